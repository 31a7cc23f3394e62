//! How an operation's translation reads its node: typed attributes and inputs, each refusal saying what was found and
//! what is allowed. The caller adds the node's name.

use std::{collections::HashSet, sync::Arc};

use super::{
    Budget,
    floats::{self, Floats},
    onnx_data,
    onnx_proto::{AttributeProto, NodeProto, TensorProto, data_type, kind},
    volume,
};
use reverie_graph::{Array, Builder, MAX_EXTENT, Node, NodeId, Op, Padding, Window};

/// Integers that a constant may hold: axes and shapes are short.
const MAX_INTEGERS: usize = 64;

/// Decodes a constant's values.
type Decode = fn(&TensorProto) -> Vec<f32>;

/// What a value of the file is.
#[derive(Clone)]
pub(super) enum Value {
    Constant(Constant),
    /// A node of the network. `nhwc`: the file has its channels last, `[N, H, W, C]`.
    Layer {
        id: NodeId,
        nhwc: bool,
    },
    /// A map of one channel that the file has without it, `[N, H, W]`.
    Plane(NodeId),
    /// A map with its channels in groups, `[N, groups, C / groups, H, W]`; `[N, C / groups, groups, H, W]` where they are `swapped`.
    Grouped {
        id: NodeId,
        groups: usize,
        swapped: bool,
        /// Rows and columns as the file says them; none where they depend on the image.
        size: [Option<i64>; 2],
    },
    /// Not understood, or computed from something that is not; why.
    Opaque(Arc<str>),
}

/// A constant: as the file has it, or computed.
#[derive(Clone)]
pub(super) enum Constant {
    /// Not decoded yet.
    Raw(Arc<TensorProto>),
    Floats(Arc<Floats>),
    /// A shape full of one value.
    Repeated(Vec<usize>, f32),
    /// Extents and integers; none for one that depends on the size of the image.
    Integers(Vec<usize>, Vec<Option<i64>>),
}

impl Constant {
    pub(super) fn shape(&self) -> Result<Vec<usize>, String> {
        match self {
            Self::Raw(tensor) => {
                let extent =
                    |&n: &i64| usize::try_from(n).map_err(|_| format!("the constant has a dimension of {n}"));
                tensor.dims.iter().map(extent).collect()
            }
            Self::Floats(floats) => Ok(floats.shape.clone()),
            Self::Repeated(shape, _) | Self::Integers(shape, _) => Ok(shape.clone()),
        }
    }

    pub(super) fn is_integer(&self) -> bool {
        match self {
            Self::Raw(tensor) => matches!(tensor.data_type, data_type::INT32 | data_type::INT64),
            Self::Floats(_) | Self::Repeated(..) => false,
            Self::Integers(..) => true,
        }
    }

    pub(super) fn floats(&self, budget: &mut Budget) -> Result<Floats, String> {
        let tensor = match self {
            Self::Raw(tensor) => tensor,
            Self::Floats(floats) => {
                budget.spend(floats.data.len())?;
                return Ok(Floats { shape: floats.shape.clone(), data: floats.data.clone() });
            }
            Self::Repeated(shape, value) => {
                let count = volume(shape)?;
                budget.spend(count)?;
                return Ok(Floats { shape: shape.clone(), data: vec![*value; count] });
            }
            Self::Integers(..) => return Err("the constant holds integers, needs floats".into()),
        };
        if tensor.data_location != 0 {
            return Err(onnx_data::location(tensor).map_or_else(
                |problem| problem,
                |name| format!("the values of a constant are in the file {name:?}, which is not there"),
            ));
        }
        let (width, listed, decode): (usize, usize, Decode) = match tensor.data_type {
            data_type::FLOAT => (4, tensor.float_data.len(), |tensor| match tensor.raw_data.is_empty() {
                true => tensor.float_data.clone(),
                false => floats::of_f32(&tensor.raw_data),
            }),
            data_type::DOUBLE => (8, tensor.double_data.len(), |tensor| match tensor.raw_data.is_empty() {
                true => tensor.double_data.iter().map(|&value| value as f32).collect(),
                false => floats::of_f64(&tensor.raw_data),
            }),
            data_type::FLOAT16 => (2, tensor.int32_data.len(), |tensor| match tensor.raw_data.is_empty() {
                true => tensor.int32_data.iter().map(|&bits| floats::half(bits as u16)).collect(),
                false => floats::of_f16(&tensor.raw_data),
            }),
            data_type::BFLOAT16 => (2, tensor.int32_data.len(), |tensor| match tensor.raw_data.is_empty() {
                true => tensor.int32_data.iter().map(|&bits| f32::from_bits((bits as u32) << 16)).collect(),
                false => floats::of_bf16(&tensor.raw_data),
            }),
            other => {
                return Err(format!(
                    "the constant is of type {other} ({}); float32, float16, bfloat16 and float64 are read",
                    data_type::name(other)
                ));
            }
        };
        let shape = self.shape()?;
        let count = volume(&shape)?;
        let raw = &tensor.raw_data;
        let there = if raw.is_empty() { listed } else { raw.len() / width };
        if there != count || !raw.len().is_multiple_of(width) {
            return Err(format!(
                "the constant's shape is {shape:?}, but the file holds {there} value(s) for it"
            ));
        }
        budget.spend(count)?;
        Ok(Floats { shape, data: decode(tensor) })
    }

    /// A short list of integers, or a single one.
    pub(super) fn integers(&self) -> Result<Vec<Option<i64>>, String> {
        let tensor = match self {
            Self::Raw(tensor) => tensor,
            Self::Integers(_, values) => return Ok(values.clone()),
            Self::Floats(_) | Self::Repeated(..) => {
                return Err("the constant holds floats, needs integers".into());
            }
        };
        let count = volume(&self.shape()?)?;
        if count > MAX_INTEGERS || tensor.raw_data.len() > 8 * MAX_INTEGERS {
            return Err(format!("the constant has more than {MAX_INTEGERS} integers"));
        }
        let raw = &tensor.raw_data;
        let values: Vec<i64> = match tensor.data_type {
            data_type::INT64 if raw.is_empty() => tensor.int64_data.clone(),
            data_type::INT32 | data_type::BOOL if raw.is_empty() => {
                tensor.int32_data.iter().map(|&value| value.into()).collect()
            }
            data_type::INT64 => raw.as_chunks().0.iter().map(|bytes| i64::from_le_bytes(*bytes)).collect(),
            data_type::INT32 => {
                raw.as_chunks().0.iter().map(|bytes| i32::from_le_bytes(*bytes).into()).collect()
            }
            data_type::BOOL => raw.iter().map(|&byte| byte.into()).collect(),
            other => return Err(format!("the constant is of type {other}, needs integers")),
        };
        if values.len() != count {
            return Err(format!("a constant of {count} integers holds {}", values.len()));
        }
        Ok(values.into_iter().map(Some).collect())
    }
}

/// One node while it is translated.
pub(super) struct Call<'a, 'b> {
    pub(super) node: &'a NodeProto,
    /// What its layer is called.
    pub(super) name: &'a str,
    /// None for one that is left out.
    pub(super) inputs: Vec<Option<Value>>,
    pub(super) opset: i64,
    /// Length of the rows that the result is multiplied as.
    pub(super) row_length: Option<usize>,
    /// Rows and columns of the image that the file was made for.
    pub(super) size: Option<[usize; 2]>,
    /// Names of the file's values.
    pub(super) taken: &'b HashSet<&'a str>,
    pub(super) builder: &'b mut Builder,
    pub(super) budget: &'b mut Budget,
}

impl<'a> Call<'a, '_> {
    /// Adds the layer of this node.
    pub(super) fn layer(&mut self, op: Op, inputs: &[NodeId]) -> Result<NodeId, String> {
        self.push(self.name.to_owned(), op, inputs)
    }

    /// Adds a layer on the way to that of this node.
    pub(super) fn step(&mut self, what: &str, op: Op, inputs: &[NodeId]) -> Result<NodeId, String> {
        let mut name = format!("{}/{what}", self.name);
        while self.taken.contains(name.as_str()) {
            name.push('\'');
        }
        self.push(name, op, inputs)
    }

    fn push(&mut self, name: String, op: Op, inputs: &[NodeId]) -> Result<NodeId, String> {
        self.builder.push(Node { name, op, inputs: inputs.to_vec() }).map_err(|error| match error {
            // The caller names the node.
            reverie_graph::GraphError::Node { problem, .. } => problem,
            other => other.to_string(),
        })
    }

    /// Checks that there are between `least` and `most` inputs.
    pub(super) fn arity(&self, least: usize, most: usize) -> Result<(), String> {
        match self.inputs.len() {
            found if (least..=most).contains(&found) => Ok(()),
            found => Err(format!("has {found} inputs, needs {least} to {most}")),
        }
    }

    /// An input that is computed from the image, and whether its channels come last.
    pub(super) fn either(&self, index: usize) -> Result<(NodeId, bool), String> {
        match self.inputs.get(index) {
            Some(Some(Value::Layer { id, nhwc })) => Ok((*id, *nhwc)),
            Some(Some(Value::Constant(_))) => Err(format!("input {index} is a constant, needs a layer")),
            Some(Some(Value::Plane(_))) => Err(format!("input {index} has three dimensions, needs a map")),
            Some(Some(Value::Grouped { .. })) => {
                Err(format!("input {index} has five dimensions, needs a map"))
            }
            _ => Err(format!("input {index} is missing")),
        }
    }

    /// An input that is computed from the image, with its channels in front.
    pub(super) fn input(&self, index: usize) -> Result<NodeId, String> {
        match self.either(index)? {
            (id, false) => Ok(id),
            (_, true) => Err(format!("input {index} has its channels last")),
        }
    }

    /// An input that must be a constant, if it is there.
    pub(super) fn optional(&self, index: usize) -> Result<Option<&Constant>, String> {
        match self.inputs.get(index) {
            Some(Some(Value::Constant(constant))) => Ok(Some(constant)),
            Some(Some(Value::Layer { .. } | Value::Plane(_) | Value::Grouped { .. })) => {
                Err(format!("input {index} is computed, needs a constant"))
            }
            _ => Ok(None),
        }
    }

    /// An input that must be a constant.
    pub(super) fn constant(&self, index: usize) -> Result<&Constant, String> {
        self.optional(index)?.ok_or_else(|| format!("input {index} is missing"))
    }

    /// The values of an input that must be a constant of floats.
    pub(super) fn floats(&mut self, index: usize) -> Result<Floats, String> {
        let constant = self.constant(index)?.clone();
        constant.floats(self.budget)
    }

    /// An input that must be a constant of floats, as the weight of a layer.
    pub(super) fn weight(&mut self, index: usize) -> Result<Array, String> {
        if let Constant::Repeated(shape, value) = self.constant(index)? {
            let (shape, value) = (shape.clone(), *value);
            self.budget.repeat(volume(&shape)?)?;
            return Ok(Array::repeated(shape, value));
        }
        let Floats { shape, data } = self.floats(index)?;
        Array::new(shape, data).ok_or_else(|| "the weight does not fill its shape".into())
    }

    /// As [`Self::floats`], of so many values.
    pub(super) fn list(&mut self, index: usize, length: usize) -> Result<Vec<f32>, String> {
        let Floats { shape, data } = self.floats(index)?;
        if data.len() == length {
            Ok(data)
        } else {
            Err(format!("input {index} has the shape {shape:?}, needs [{length}]"))
        }
    }

    /// The values of an input that must be a constant of known integers.
    pub(super) fn integers(&self, index: usize) -> Result<Vec<i64>, String> {
        let known: Option<Vec<i64>> = self.constant(index)?.integers()?.into_iter().collect();
        known.ok_or_else(|| format!("input {index} depends on the size of the image"))
    }

    /// One value for all, or for each of so many channels, from a constant that is combined with a layer.
    pub(super) fn per_channel(
        &mut self,
        index: usize,
        layer: NodeId,
        nhwc: bool,
    ) -> Result<Vec<f32>, String> {
        let channels = self.builder.channels(layer);
        // Dimensions after that of the channels.
        let after = if self.builder.is_map(layer) && !nhwc { 2 } else { 0 };
        let Floats { shape, data } = self.floats(index)?;
        let rank = shape.len();
        let fits = data.len() == channels && rank > after && shape[rank - 1 - after] == channels;
        match data[..] {
            [value] => {
                self.budget.spend(channels)?;
                Ok(vec![value; channels])
            }
            _ if fits => Ok(data),
            _ => Err(format!(
                "a constant of the shape {shape:?} is not one value for each of {channels} channels"
            )),
        }
    }

    /// Refuses attributes other than these: they could change what is computed.
    pub(super) fn only(&self, known: &[&str]) -> Result<(), String> {
        match self.node.attribute.iter().find(|attr| !known.contains(&attr.name.as_str())) {
            None => Ok(()),
            Some(attr) => Err(format!("the attribute \"{}\" is not known", attr.name)),
        }
    }

    fn attr(&self, name: &str, wanted: i32) -> Result<Option<&'a AttributeProto>, String> {
        match self.node.attribute.iter().find(|attr| attr.name == name) {
            None => Ok(None),
            // The oldest files do not say.
            Some(attr) if attr.r#type == wanted || attr.r#type == 0 => Ok(Some(attr)),
            Some(attr) => Err(format!("{name} is of kind {}, needs {wanted}", attr.r#type)),
        }
    }

    pub(super) fn int(&self, name: &str, default: i64) -> Result<i64, String> {
        Ok(self.attr(name, kind::INT)?.map_or(default, |attr| attr.i))
    }

    pub(super) fn float(&self, name: &str, default: f32) -> Result<f32, String> {
        Ok(self.attr(name, kind::FLOAT)?.map_or(default, |attr| attr.f))
    }

    pub(super) fn text(&self, name: &str) -> Result<Option<&'a str>, String> {
        let Some(attr) = self.attr(name, kind::STRING)? else { return Ok(None) };
        std::str::from_utf8(&attr.s).map(Some).map_err(|_| format!("{name} is not text"))
    }

    pub(super) fn ints(&self, name: &str) -> Result<Option<&'a [i64]>, String> {
        Ok(self.attr(name, kind::INTS)?.map(|attr| &attr.ints[..]))
    }

    pub(super) fn tensor(&self, name: &str) -> Result<Option<&'a TensorProto>, String> {
        Ok(self.attr(name, kind::TENSOR)?.and_then(|attr| attr.t.as_ref()))
    }

    /// Height and width of a list like `strides`; `None` where it is absent.
    pub(super) fn pair(&self, name: &str) -> Result<Option<[usize; 2]>, String> {
        let Some(list) = self.ints(name)? else { return Ok(None) };
        match *list {
            [height, width] if [height, width].iter().all(|n| (1..=MAX_EXTENT as i64).contains(n)) => {
                Ok(Some([height as usize, width as usize]))
            }
            _ => Err(format!("{name} is {}, needs [height, width] up to {MAX_EXTENT}", shown(list))),
        }
    }

    /// The padding of a window.
    pub(super) fn padding(&self, ceil: bool) -> Result<Padding, String> {
        match self.text("auto_pad")? {
            None | Some("NOTSET" | "") => {}
            Some("VALID") if !ceil => return Ok(Padding::Valid),
            Some("SAME_UPPER") => return Ok(Padding::Same),
            Some(other) => {
                return Err(format!("auto_pad is {other}, only NOTSET, VALID and SAME_UPPER are supported"));
            }
        }
        let sides = self.ints("pads")?.unwrap_or(&[0; 4]);
        match *sides {
            [0, 0, 0, 0] if !ceil => Ok(Padding::Valid),
            [top, left, bottom, right] if sides.iter().all(|n| (0..=MAX_EXTENT as i64).contains(n)) => {
                let [before, after] = [[top, left], [bottom, right]].map(|side| side.map(|n| n as usize));
                Ok(Padding::Explicit { before, after, ceil })
            }
            _ => Err(format!("pads is {}, needs [top, left, bottom, right]", shown(sides))),
        }
    }

    /// The window of a pooling.
    pub(super) fn window(&self) -> Result<Window, String> {
        let kernel = self.pair("kernel_shape")?.ok_or("the attribute \"kernel_shape\" is missing")?;
        if self.pair("dilations")?.is_some_and(|dilations| dilations != [1, 1]) {
            return Err("dilated poolings are not supported".into());
        }
        let stride = self.pair("strides")?.unwrap_or([1, 1]);
        Ok(Window { kernel, stride, padding: self.padding(self.int("ceil_mode", 0)? != 0)? })
    }
}

/// Integers for people; a hostile list may have millions.
pub(super) fn shown(list: &[i64]) -> String {
    super::tf_call::shown(list)
}
