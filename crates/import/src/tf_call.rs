//! How an operation's translation reads its node: typed attributes and inputs, each refusal saying what
//! was found and what is allowed. The caller adds the node's name.

use std::sync::Arc;

use super::{
    Budget,
    floats::Floats,
    graphdef::{DT_FLOAT, NodeDef, TensorProto, TensorShapeProto, Value as Attr, type_name},
    tf_const::Constant,
};
use reverie_graph::{Builder, NodeId, Op, Padding};

/// Largest window, stride, dilation and radius; see [`reverie_graph::MAX_EXTENT`].
const MAX_EXTENT: i64 = reverie_graph::MAX_EXTENT as i64;

/// What a node of the file became.
#[derive(Clone)]
pub(super) enum Value<'a> {
    /// A constant: a weight, an axis, a shape. Constants are not nodes of the network.
    Constant(Constant<'a>),
    /// A node of the network.
    Layer(NodeId),
    /// Nothing comes this way: the branch of a Switch that is not taken.
    Dead,
    /// Not understood, or computed from something that is not; why.
    Opaque(Arc<str>),
}

/// What the translation of a node yields.
pub(super) enum Output<'a> {
    /// The node is a constant, or another name of something that is there.
    Value(Value<'a>),
    /// The node computes `.0` from the nodes `.1`.
    Layer(Op, Vec<NodeId>),
    /// The node hands its data to its second output where that is taken, else to its first.
    Switch {
        /// What goes through.
        data: Value<'a>,
        /// The predicate.
        taken: bool,
    },
}

/// One node while it is translated.
pub(super) struct Call<'a, 'b> {
    pub(super) node: &'a NodeDef,
    /// The node's data inputs, in order.
    pub(super) inputs: &'b [Value<'a>],
    /// Whether the image comes in here.
    pub(super) is_image: bool,
    /// Length of rows that reads this node by a weight, where something does.
    pub(super) row_length: Option<usize>,
    /// The network so far.
    pub(super) builder: &'b Builder,
    pub(super) budget: &'b mut Budget,
}

impl<'a, 'b> Call<'a, 'b> {
    /// Checks the number of inputs.
    pub(super) fn arity(&self, expected: usize) -> Result<(), String> {
        match self.inputs.len() {
            found if found == expected => Ok(()),
            found => Err(format!("has {found} inputs, needs {expected}")),
        }
    }

    /// The input that must be computed from the image.
    pub(super) fn layer(&self, index: usize) -> Result<NodeId, String> {
        match self.inputs.get(index) {
            Some(Value::Layer(id)) => Ok(*id),
            Some(Value::Constant(_)) => Err(format!("input {index} is a constant, needs a layer")),
            Some(Value::Dead | Value::Opaque(_)) | None => Err(format!("input {index} is missing")),
        }
    }

    /// The input that must be a constant.
    pub(super) fn constant(&self, index: usize) -> Result<&'b Constant<'a>, String> {
        match self.inputs.get(index) {
            Some(Value::Constant(constant)) => Ok(constant),
            Some(Value::Layer(_)) => Err(format!("input {index} is computed, needs a constant")),
            Some(Value::Dead | Value::Opaque(_)) | None => Err(format!("input {index} is missing")),
        }
    }

    /// All inputs, where all are constants and there are some.
    pub(super) fn constants(&self) -> Option<Vec<&'b Constant<'a>>> {
        let constants = self.inputs.iter().map(|input| match input {
            Value::Constant(constant) => Some(constant),
            _ => None,
        });
        constants.collect::<Option<Vec<_>>>().filter(|constants| !constants.is_empty())
    }

    /// The input that must be a constant of one value for each of so many channels, or of one for all of them.
    pub(super) fn per_channel(&mut self, index: usize, channels: usize) -> Result<Vec<f32>, String> {
        let Floats { shape, data } = self.constant(index)?.floats(self.budget)?;
        let along_channels = shape.iter().rev().skip(1).all(|&extent| extent == 1);
        match data[..] {
            [value] => {
                self.budget.spend(channels)?;
                Ok(vec![value; channels])
            }
            _ if data.len() == channels && along_channels => Ok(data),
            _ => Err(format!(
                "the constant has the shape {shape:?}; it must be one value, or one for each of {channels} channels"
            )),
        }
    }

    /// The input that must be a constant of floats of that rank.
    pub(super) fn weight<const RANK: usize>(
        &mut self,
        index: usize,
    ) -> Result<([usize; RANK], Vec<f32>), String> {
        let Floats { shape, data } = self.constant(index)?.floats(self.budget)?;
        match <[usize; RANK]>::try_from(&shape[..]) {
            // Zero extents fit any other extent, so they could defeat later arithmetic.
            Ok(extents) if !data.is_empty() => Ok((extents, data)),
            _ => Err(format!("the weight has the shape {shape:?}, needs {RANK} non-empty dimensions")),
        }
    }

    /// The input that must be a constant of integers.
    pub(super) fn integers(&self, index: usize) -> Result<Vec<i64>, String> {
        let integers = self.constant(index)?.integers()?;
        let known = integers.into_iter().collect::<Option<Vec<_>>>();
        known.ok_or_else(|| format!("input {index} depends on the size of the image"))
    }

    /// An attribute that is there but of a kind that is not read must not pass for an absent one.
    fn attr(&self, name: &str) -> Result<Option<&'a Attr>, String> {
        match self.node.attr.get(name) {
            None => Ok(None),
            Some(attr) => {
                let unread = || format!("{name} holds nothing that can be read");
                attr.value.as_ref().map(Some).ok_or_else(unread)
            }
        }
    }

    /// A boolean attribute, or TensorFlow's default.
    pub(super) fn flag(&self, name: &str, default: bool) -> Result<bool, String> {
        match self.attr(name)? {
            None => Ok(default),
            Some(Attr::Bool(value)) => Ok(*value),
            Some(other) => Err(wrong_kind(name, "a boolean", other)),
        }
    }

    /// A float attribute, or TensorFlow's default.
    pub(super) fn float(&self, name: &str, default: f32) -> Result<f32, String> {
        match self.attr(name)? {
            None => Ok(default),
            Some(Attr::Float(value)) => Ok(*value),
            Some(other) => Err(wrong_kind(name, "a float", other)),
        }
    }

    /// A non-negative integer attribute, or TensorFlow's default.
    pub(super) fn count(&self, name: &str, default: usize) -> Result<usize, String> {
        match self.attr(name)? {
            None => Ok(default),
            Some(&Attr::Int(value)) => {
                let allowed = (0..=MAX_EXTENT).contains(&value);
                let value = usize::try_from(value).ok().filter(|_| allowed);
                value.ok_or_else(|| format!("{name} must lie between 0 and {MAX_EXTENT}"))
            }
            Some(other) => Err(wrong_kind(name, "an integer", other)),
        }
    }

    pub(super) fn text(&self, name: &str) -> Result<Option<&'a str>, String> {
        match self.attr(name)? {
            None => Ok(None),
            Some(Attr::Text(bytes)) => {
                let text = std::str::from_utf8(bytes).map_err(|_| format!("{name} is not text"))?;
                Ok(Some(text))
            }
            Some(other) => Err(wrong_kind(name, "a string", other)),
        }
    }

    pub(super) fn ints(&self, name: &str) -> Result<Option<&'a [i64]>, String> {
        match self.attr(name)? {
            None => Ok(None),
            Some(Attr::List(list)) => Ok(Some(&list.ints)),
            Some(other) => Err(wrong_kind(name, "a list of integers", other)),
        }
    }

    /// A shape attribute.
    pub(super) fn shape(&self, name: &str) -> Result<Option<&'a TensorShapeProto>, String> {
        match self.attr(name)? {
            None => Ok(None),
            Some(Attr::Shape(shape)) => Ok(Some(shape)),
            Some(other) => Err(wrong_kind(name, "a shape", other)),
        }
    }

    /// The tensor of a constant.
    pub(super) fn tensor(&self, name: &str) -> Result<&'a TensorProto, String> {
        match self.attr(name)? {
            None => Err(format!("the attribute \"{name}\" is missing")),
            Some(Attr::Tensor(tensor)) => Ok(tensor),
            Some(other) => Err(wrong_kind(name, "a tensor", other)),
        }
    }

    /// Checks that a type attribute is there and says 32-bit floats.
    pub(super) fn is_float(&self, name: &str) -> Result<(), String> {
        match self.attr(name)? {
            None => Err(format!("the attribute \"{name}\" is missing")),
            Some(Attr::Type(DT_FLOAT)) => Ok(()),
            Some(Attr::Type(other)) => {
                Err(format!("{name} is {}, only DT_FLOAT is supported", type_name(*other)))
            }
            Some(other) => Err(wrong_kind(name, "a type", other)),
        }
    }

    /// Whether a type attribute is there and says `wanted`.
    pub(super) fn is_type(&self, name: &str, wanted: i32) -> Result<bool, String> {
        Ok(matches!(self.attr(name)?, Some(Attr::Type(found)) if *found == wanted))
    }

    /// Checks that channels come last, TensorFlow's default.
    pub(super) fn is_nhwc(&self) -> Result<(), String> {
        match self.text("data_format")? {
            None | Some("NHWC") => Ok(()),
            Some(other) => Err(format!("data_format is {other}, only NHWC is supported")),
        }
    }

    /// The border treatment, which has no default.
    pub(super) fn padding(&self) -> Result<Padding, String> {
        let sides = self.ints("explicit_paddings")?.unwrap_or_default();
        match self.text("padding")? {
            Some("EXPLICIT") => match *sides {
                [0, 0, top, bottom, left, right, 0, 0]
                    if [top, bottom, left, right].iter().all(|n| (0..=MAX_EXTENT).contains(n)) =>
                {
                    let [before, after] = [[top, left], [bottom, right]].map(|side| side.map(|n| n as usize));
                    Ok(Padding::Explicit { before, after, ceil: false })
                }
                _ => Err(format!(
                    "explicit_paddings is {}, needs [0, 0, top, bottom, left, right, 0, 0]",
                    shown(sides)
                )),
            },
            Some(other) if !sides.is_empty() => {
                Err(format!("explicit_paddings are given, but padding is {other}"))
            }
            Some("SAME") => Ok(Padding::Same),
            Some("VALID") => Ok(Padding::Valid),
            Some(other) => Err(format!("padding is {other}, only SAME, VALID and EXPLICIT are supported")),
            None => Err("the attribute \"padding\" is missing".into()),
        }
    }

    /// Height and width of a list like `strides`, `[1, height, width, 1]`, which has no default.
    pub(super) fn spatial(&self, name: &str) -> Result<[usize; 2], String> {
        self.spatial_or_absent(name)?.ok_or_else(|| format!("the attribute \"{name}\" is missing"))
    }

    /// Height and width of a list like `dilations`; `None` where it is absent.
    pub(super) fn spatial_or_absent(&self, name: &str) -> Result<Option<[usize; 2]>, String> {
        let Some(list) = self.ints(name)? else {
            return Ok(None);
        };
        match *list {
            [1, height, width, 1]
                if (1..=MAX_EXTENT).contains(&height) && (1..=MAX_EXTENT).contains(&width) =>
            {
                Ok(Some([height as usize, width as usize]))
            }
            _ => Err(format!(
                "{name} is {}, needs [1, height, width, 1] with extents up to {MAX_EXTENT}",
                shown(list)
            )),
        }
    }
}

/// Integers for people; a hostile list may have millions.
pub(super) fn shown(list: &[i64]) -> String {
    const SHOWN: usize = 8;
    match list.get(..SHOWN) {
        Some(first) if list.len() > SHOWN => format!("{first:?} and {} more", list.len() - SHOWN),
        _ => format!("{list:?}"),
    }
}

fn wrong_kind(name: &str, needed: &str, found: &Attr) -> String {
    let found = match found {
        Attr::List(_) => "a list",
        Attr::Text(_) => "a string",
        Attr::Int(_) => "an integer",
        Attr::Float(_) => "a float",
        Attr::Bool(_) => "a boolean",
        Attr::Type(_) => "a type",
        Attr::Shape(_) => "a shape",
        Attr::Tensor(_) => "a tensor",
    };
    format!("{name} is {found}, needs {needed}")
}
