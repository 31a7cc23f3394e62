//! Caffe's layers as nodes. What each computes is said in `caffe/proto/caffe.proto` and in the layer's source,
//! `src/caffe/layers/NAME_layer.cpp`.

use bytes::Bytes;
use prost::Message;

use super::{
    Budget, ImportError,
    batch_norm::Affine,
    caffe_proto::{Blob, Convolution, Layer, Pooling},
    floats::list,
    strided::gather,
    volume,
};
use reverie_graph::{Array, Builder, Node, NodeId, Op, Padding, Window};

/// An error about a layer.
pub(super) fn refused(layer: &Layer, problem: impl Into<String>) -> ImportError {
    ImportError::Node { node: layer.name.clone(), op: layer.r#type.clone(), problem: problem.into() }
}

/// Adds a layer's nodes; the last one is called like the layer.
pub(super) fn translate(
    layer: &Layer,
    inputs: &[NodeId],
    builder: &mut Builder,
    budget: &mut Budget,
) -> Result<NodeId, ImportError> {
    Call { layer, inputs, builder, budget }.translate()
}

struct Call<'a> {
    layer: &'a Layer,
    inputs: &'a [NodeId],
    builder: &'a mut Builder,
    budget: &'a mut Budget,
}

impl Call<'_> {
    fn translate(&mut self) -> Result<NodeId, ImportError> {
        let layer = self.layer;
        let op = match layer.r#type.as_str() {
            "Convolution" => self.convolution()?,
            "InnerProduct" => return self.inner_product(),
            "Pooling" => self.pooling()?,
            "ReLU" => match layer.relu.as_ref().and_then(|relu| relu.negative_slope) {
                None | Some(0.0) => Op::Relu,
                Some(slope) => Op::LeakyRelu { slope },
            },
            "Sigmoid" => Op::Sigmoid,
            "LRN" => self.lrn()?,
            "Concat" => self.concat()?,
            "Eltwise" => return self.eltwise(),
            "BatchNorm" => self.batch_norm()?,
            "Scale" => self.scale()?,
            "Bias" => Op::BiasAdd { bias: self.list(0)? },
            "Power" => self.power()?,
            "Softmax" | "SoftmaxWithLoss" => Op::Softmax,
            // Nothing is dropped in evaluation; what reads a flattened map flattens it by itself.
            "Dropout" | "Flatten" => Op::Identity,
            other => return Err(ImportError::UnknownOp { node: layer.name.clone(), op: other.to_owned() }),
        };
        self.push(&layer.name, op, self.inputs)
    }

    fn push(&mut self, name: &str, op: Op, inputs: &[NodeId]) -> Result<NodeId, ImportError> {
        Ok(self.builder.push(Node { name: name.to_owned(), op, inputs: inputs.to_vec() })?)
    }

    fn refused(&self, problem: impl Into<String>) -> ImportError {
        refused(self.layer, problem)
    }

    fn input(&self) -> Result<NodeId, ImportError> {
        match self.inputs {
            [input] => Ok(*input),
            inputs => Err(self.refused(format!("reads {} blobs, needs one", inputs.len()))),
        }
    }

    /// The weights of a number: shape and values.
    fn blob(&mut self, index: usize) -> Result<(Vec<usize>, Vec<f32>), ImportError> {
        let bytes: &Bytes = self
            .layer
            .blobs
            .get(index)
            .ok_or_else(|| self.refused(format!("has {} weights, needs more", self.layer.blobs.len())))?;
        // Every value takes four bytes.
        self.budget.spend(bytes.len() / 4).map_err(|problem| refused(self.layer, problem))?;
        let blob = Blob::decode(bytes.clone()).map_err(|error| self.refused(error.to_string()))?;
        let Blob { num, channels, height, width, data, shape } = blob;
        let dims = match shape {
            Some(shape) => shape.dim,
            None => [num, channels, height, width].map(i64::from).to_vec(),
        };
        let shape: Option<Vec<usize>> = dims.iter().map(|&dim| usize::try_from(dim).ok()).collect();
        let shape = shape.ok_or_else(|| self.refused(format!("has weights of the shape {dims:?}")))?;
        if volume(&shape) != Ok(data.len()) {
            return Err(
                self.refused(format!("has weights of the shape {shape:?}, and {} values", data.len()))
            );
        }
        Ok((shape, data))
    }

    /// The weights of a number, one for each channel.
    fn list(&mut self, index: usize) -> Result<Array, ImportError> {
        Ok(list(self.blob(index)?.1))
    }

    fn convolution(&mut self) -> Result<Op, ImportError> {
        let settings = self.layer.convolution.clone().unwrap_or_default();
        if settings.axis.unwrap_or(1) != 1 {
            return Err(self.refused("the axis must be 1"));
        }
        let (shape, data) = self.blob(0)?;
        let weight = Array::new(shape.clone(), data).filter(|weight| weight.shape.len() == 4);
        let weight = weight.ok_or_else(|| self.refused(format!("has a weight of the shape {shape:?}")))?;
        let bias = if self.layer.blobs.len() > 1 { Some(self.list(1)?) } else { None };
        let Convolution { pad, kernel_size, group, stride, dilation, .. } = &settings;
        let kernel = both(kernel_size, [settings.kernel_h, settings.kernel_w], 0);
        if kernel != weight.shape[2..] {
            return Err(
                self.refused(format!("has kernels of {kernel:?} and a weight of the shape {shape:?}"))
            );
        }
        Ok(Op::Conv2d {
            weight,
            bias,
            stride: both(stride, [settings.stride_h, settings.stride_w], 1),
            dilation: both(dilation, [None; 2], 1),
            padding: Padding::symmetric(both(pad, [settings.pad_h, settings.pad_w], 0)),
            groups: group.unwrap_or(1) as usize,
        })
    }

    /// A linear layer. One that reads a square map of a fixed size becomes a convolution, so that it also has an answer for
    /// larger images: one for every place that such a window has.
    fn inner_product(&mut self) -> Result<NodeId, ImportError> {
        let input = self.input()?;
        let settings = self.layer.inner_product.clone().unwrap_or_default();
        if settings.axis.unwrap_or(1) != 1 || settings.transpose.unwrap_or(false) {
            return Err(self.refused("the axis must be 1, and the weight not transposed"));
        }
        let (shape, data) = self.blob(0)?;
        // Old files write two ones before.
        let &[.., outer, inner] = &shape[..] else {
            return Err(self.refused(format!("has a weight of the shape {shape:?}")));
        };
        if outer.checked_mul(inner) != Some(data.len()) || data.is_empty() {
            return Err(self.refused(format!("has a weight of the shape {shape:?}")));
        }
        let bias = if self.layer.blobs.len() > 1 { Some(self.list(1)?) } else { None };
        let name = &self.layer.name;
        let channels = self.builder.channels(input);
        if self.builder.is_map(input) {
            let edge = (inner / channels).isqrt();
            if edge * edge * channels != inner {
                let problem = format!("reads {inner} values, which are no square map of {channels} channels");
                return Err(self.refused(problem));
            }
            let weight = Array { shape: vec![outer, channels, edge, edge], data: data.into() };
            let (stride, dilation) = ([1; 2], [1; 2]);
            let op = Op::Conv2d { weight, bias, stride, dilation, padding: Padding::Valid, groups: 1 };
            return self.push(name, op, &[input]);
        }
        self.budget.spend(data.len()).map_err(|problem| refused(self.layer, problem))?;
        let weight =
            gather(&data, &[inner, outer], &[1, inner], 0).map_err(|problem| self.refused(problem))?;
        match bias {
            None => self.push(name, Op::MatMul { weight }, &[input]),
            Some(bias) => {
                let product = self.push(&format!("{name}/product"), Op::MatMul { weight }, &[input])?;
                self.push(name, Op::BiasAdd { bias }, &[product])
            }
        }
    }

    fn pooling(&mut self) -> Result<Op, ImportError> {
        let Pooling { pool, kernel_size, stride, pad, .. } = self.layer.pooling.clone().unwrap_or_default();
        let settings = self.layer.pooling.clone().unwrap_or_default();
        let each = |one: Option<u32>, [height, width]: [Option<u32>; 2], usual: u32| {
            [height, width].map(|extent| extent.or(one).unwrap_or(usual) as usize)
        };
        match (pool.unwrap_or(0), settings.global_pooling.unwrap_or(false)) {
            (1, true) => return Ok(Op::GlobalAvgPool),
            (0 | 1, false) => {}
            (0, true) => return Err(self.refused("the largest value of all positions is not computed")),
            (other, _) => return Err(self.refused(format!("pooling number {other} is not known"))),
        }
        let pad = each(pad, [settings.pad_h, settings.pad_w], 0);
        let ceil = settings.round_mode.unwrap_or(0) == 0;
        let window = Window {
            kernel: each(kernel_size, [settings.kernel_h, settings.kernel_w], 0),
            stride: each(stride, [settings.stride_h, settings.stride_w], 1),
            padding: Padding::Explicit { before: pad, after: pad, ceil },
        };
        Ok(if pool.unwrap_or(0) == 0 {
            Op::MaxPool(window)
        } else {
            Op::AvgPool { window, count_padding: true }
        })
    }

    /// Caffe divides alpha by the number of channels that take part.
    fn lrn(&self) -> Result<Op, ImportError> {
        let settings = self.layer.lrn.clone().unwrap_or_default();
        if settings.norm_region.unwrap_or(0) != 0 {
            return Err(self.refused("normalisation within channels is not computed"));
        }
        let size = settings.local_size.unwrap_or(5);
        if size.is_multiple_of(2) {
            return Err(self.refused(format!("the size {size} must be odd")));
        }
        Ok(Op::Lrn {
            radius: (size / 2) as usize,
            bias: settings.k.unwrap_or(1.0),
            alpha: settings.alpha.unwrap_or(1.0) / size as f32,
            beta: settings.beta.unwrap_or(0.75),
        })
    }

    fn concat(&self) -> Result<Op, ImportError> {
        let settings = self.layer.concat.clone().unwrap_or_default();
        let axis = settings.axis.or(settings.concat_dim.and_then(|axis| i32::try_from(axis).ok()));
        if axis.unwrap_or(1) == 1 {
            Ok(Op::Concat)
        } else {
            Err(self.refused("only channels can be joined (axis 1)"))
        }
    }

    /// Of two blobs and more.
    fn eltwise(&mut self) -> Result<NodeId, ImportError> {
        let settings = self.layer.eltwise.clone().unwrap_or_default();
        let op = match settings.operation.unwrap_or(1) {
            0 => Op::Multiply,
            1 if settings.coeff.iter().all(|&factor| factor == 1.0) => Op::Add,
            1 => return Err(self.refused("sums with coefficients other than 1 are not computed")),
            other => return Err(self.refused(format!("operation number {other} is not computed"))),
        };
        let [first, middle @ .., last] = self.inputs else {
            return Err(self.refused(format!("reads {} blobs, needs two", self.inputs.len())));
        };
        let mut x = *first;
        for (index, input) in middle.iter().enumerate() {
            x = self.push(&format!("{}/{index}", self.layer.name), op.clone(), &[x, *input])?;
        }
        self.push(&self.layer.name, op, &[x, *last])
    }

    /// The sums of a training run, over their number.
    fn batch_norm(&mut self) -> Result<Op, ImportError> {
        let epsilon = self.layer.batch_norm.as_ref().and_then(|norm| norm.eps).unwrap_or(1e-5);
        let (mean, variance, count) = (self.blob(0)?.1, self.blob(1)?.1, self.blob(2)?.1);
        let &[count] = &count[..] else { return Err(self.refused("the third weight must be one number")) };
        let factor = if count == 0.0 { 0.0 } else { 1.0 / count };
        let scaled = |values: Vec<f32>| values.into_iter().map(|value| value * factor).collect::<Vec<_>>();
        let (mean, variance) = (scaled(mean), scaled(variance));
        let (ones, zeros) = (vec![1.0; mean.len()], vec![0.0; mean.len()]);
        Ok(Affine::of_statistics([&ones, &zeros, &mean, &variance], f64::from(epsilon)).as_scale())
    }

    fn scale(&mut self) -> Result<Op, ImportError> {
        self.input()?;
        let settings = self.layer.scale.clone().unwrap_or_default();
        if settings.axis.unwrap_or(1) != 1 || settings.num_axes.unwrap_or(1) != 1 {
            return Err(self.refused("only channels can be scaled (axis 1, one axis)"));
        }
        let bias = if self.layer.blobs.len() > 1 { Some(self.list(1)?) } else { None };
        Ok(Op::Scale { scale: self.list(0)?, bias })
    }

    fn power(&mut self) -> Result<Op, ImportError> {
        let settings = self.layer.power.clone().unwrap_or_default();
        if settings.power.unwrap_or(1.0) != 1.0 {
            return Err(self.refused("powers other than 1 are not computed"));
        }
        let channels = self.builder.channels(self.input()?);
        self.budget.spend(2 * channels).map_err(|problem| refused(self.layer, problem))?;
        let all = |value: f32| list(vec![value; channels]);
        Ok(Op::Scale {
            scale: all(settings.scale.unwrap_or(1.0)),
            bias: Some(all(settings.shift.unwrap_or(0.0))),
        })
    }
}

/// Height and width of what is given once or twice, or under names of their own.
fn both(given: &[u32], [height, width]: [Option<u32>; 2], usual: u32) -> [usize; 2] {
    let of = |index: usize| given.get(index).or(given.first()).copied();
    [height.or(of(0)), width.or(of(1))].map(|extent| extent.unwrap_or(usual) as usize)
}
