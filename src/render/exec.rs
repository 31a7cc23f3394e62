//! Executes a [`Network`] on libtorch: the forward pass, with autograd recording what it needs for the way
//! back.
//!
//! Weights are uploaded once, when the executor is made; a forward pass runs only the nodes that the wanted
//! layers need and drops each activation after its last reader. Maps are `[1, C, H, W]` in channels-last
//! memory; rows are `[rows, features]`.

use std::sync::Arc;

use tch::{Device, Kind, Tensor};

use super::RenderError;
use crate::{
    graph::{Array, Network, NodeId, Op, Padding, Window},
    models::{Model, Preprocessing},
};

/// How maps lie in memory. The results differ in the last digit only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    /// Channels fastest: what oneDNN and cuDNN convolve without reordering.
    ChannelsLast,
    /// Columns fastest: another order of summation, to compare with.
    Contiguous,
}

impl Layout {
    /// The same `[N, C, H, W]` tensor in this layout.
    fn arrange(self, map: &Tensor) -> Result<Tensor, RenderError> {
        Ok(match self {
            Layout::ChannelsLast => map.f_permute([0, 2, 3, 1])?.f_contiguous()?.f_permute([0, 3, 1, 2])?,
            Layout::Contiguous => map.f_contiguous()?,
        })
    }
}

/// A model on a device, in one precision.
pub(super) struct Executor {
    model: Arc<Model>,
    /// Tensors of each node, in the order that [`apply`] expects.
    weights: Vec<Vec<Tensor>>,
    kind: Kind,
    layout: Layout,
}

impl Executor {
    /// Uploads the weights of `model`; `kind` is `Float` or `BFloat16`.
    pub(super) fn new(model: Arc<Model>, device: Device, kind: Kind) -> Result<Self, RenderError> {
        Self::with_layout(model, device, kind, Layout::ChannelsLast)
    }

    /// As [`Self::new`], with another layout than the fastest.
    pub(super) fn with_layout(
        model: Arc<Model>,
        device: Device,
        kind: Kind,
        layout: Layout,
    ) -> Result<Self, RenderError> {
        let network = &model.network;
        let weights = (0..network.nodes().len())
            .map(|index| upload(network, NodeId(index), layout, device, kind))
            .collect::<Result<_, _>>()?;
        Ok(Self { model, weights, kind, layout })
    }

    /// The network that runs here.
    pub(super) fn network(&self) -> &Network {
        &self.model.network
    }

    /// Activations of `wanted` for `image`, `[1, 3, H, W]` in 0–255, float32.
    ///
    /// # Errors
    /// [`RenderError::Shape`] when the image is too small for a needed layer.
    pub(super) fn forward(&self, image: &Tensor, wanted: &[NodeId]) -> Result<Vec<Tensor>, RenderError> {
        let network = &self.model.network;
        let (_, _, height, width) = image.size4()?;
        network.shapes(wanted, height as usize, width as usize)?;
        let needed = network.needed(wanted);
        let mut readers = vec![0usize; needed.len()];
        let reads = network.nodes().iter().zip(&needed).filter(|(_, needed)| **needed);
        for input in reads.flat_map(|(node, _)| &node.inputs).chain(wanted) {
            readers[input.0] += 1;
        }
        let mut values: Vec<Option<Tensor>> = needed.iter().map(|_| None).collect();
        values[network.input().0] = Some(self.prepare(image)?);
        for (index, node) in network.nodes().iter().enumerate().filter(|(index, _)| needed[*index]) {
            if matches!(node.op, Op::Input { .. }) {
                continue;
            }
            let inputs = node.inputs.iter().filter_map(|input| values[input.0].as_ref()).collect::<Vec<_>>();
            let value = apply(&node.op, &inputs, &self.weights[index])?;
            values[index] = Some(value);
            for input in &node.inputs {
                readers[input.0] -= 1;
                if readers[input.0] == 0 {
                    values[input.0] = None;
                }
            }
        }
        let layers = wanted.iter().map(|id| values[id.0].as_ref().map(Tensor::shallow_clone));
        layers
            .collect::<Option<_>>()
            .ok_or_else(|| RenderError::Engine("a wanted layer was not computed".into()))
    }

    /// `(x − mean) · scale` in the executor's precision and memory layout.
    fn prepare(&self, image: &Tensor) -> Result<Tensor, RenderError> {
        let Preprocessing { mean, scale } = self.model.preprocessing;
        let centred = image.f_sub_scalar(f64::from(mean))?.f_mul_scalar(f64::from(scale))?;
        self.layout.arrange(&centred.f_to_kind(self.kind)?)
    }
}

/// The tensors that a node's operation needs besides its inputs.
fn upload(
    network: &Network,
    id: NodeId,
    layout: Layout,
    device: Device,
    kind: Kind,
) -> Result<Vec<Tensor>, RenderError> {
    let to_device = |array: &Array| -> Result<Tensor, RenderError> {
        let shape: Vec<i64> = array.shape.iter().map(|&extent| extent as i64).collect();
        Ok(Tensor::f_from_slice(&array.data)?.f_reshape(shape)?.f_to_device(device)?.f_to_kind(kind)?)
    };
    let node = network.node(id);
    Ok(match &node.op {
        Op::Conv2d { weight, bias, .. } => {
            let mut tensors = vec![layout.arrange(&to_device(weight)?)?];
            if let Some(bias) = bias {
                tensors.push(to_device(bias)?);
            }
            tensors
        }
        Op::BiasAdd { bias } => {
            let is_map = network.is_map(id);
            let bias = to_device(bias)?;
            vec![if is_map { bias.f_reshape([1, -1, 1, 1])? } else { bias }]
        }
        Op::MatMul { weight } => vec![to_device(weight)?],
        Op::Lrn { radius, .. } => vec![to_device(&band(network.channels(id), *radius))?],
        _ => Vec::new(),
    })
}

/// The 1×1 convolution that sums over a window of channels: `[C, C, 1, 1]`, 1 where `|i − j| ≤ radius`.
/// libtorch's own LRN pads and pools in five dimensions, which is several times slower.
fn band(channels: usize, radius: usize) -> Array {
    let mut data = vec![0.0; channels * channels];
    for (row, values) in data.chunks_exact_mut(channels.max(1)).enumerate() {
        values[row.saturating_sub(radius)..(row.saturating_add(radius).saturating_add(1)).min(channels)]
            .fill(1.0);
    }
    Array { shape: vec![channels, channels, 1, 1], data: data.into() }
}

/// One operation. `inputs` and `weights` are what [`Network::new`](crate::graph::Network::new) has checked.
fn apply(op: &Op, inputs: &[&Tensor], weights: &[Tensor]) -> Result<Tensor, RenderError> {
    let missing = || RenderError::Engine(format!("{} lacks an operand", op.kind()));
    let x = *inputs.first().ok_or_else(missing)?;
    let weight = || weights.first().ok_or_else(missing);
    Ok(match op {
        Op::Input { .. } | Op::Identity => x.shallow_clone(),
        Op::Conv2d { weight: array, stride, dilation, padding, groups, .. } => {
            let extent = [0, 1].map(|axis| (array.shape[2 + axis] - 1) * dilation[axis] + 1);
            let (x, padding) = pad(x, extent, *stride, *padding, 0.0)?;
            x.f_conv2d(weight()?, weights.get(1), ints(*stride), padding, ints(*dilation), *groups as i64)?
        }
        Op::BiasAdd { .. } => x.f_add(weight()?)?,
        Op::Relu => x.f_relu()?,
        Op::Relu6 => x.f_clamp(0.0, 6.0)?,
        Op::MaxPool(Window { kernel, stride, padding }) => {
            let (x, padding) = pad(x, *kernel, *stride, *padding, f64::NEG_INFINITY)?;
            x.f_max_pool2d(ints(*kernel), ints(*stride), padding, [1, 1], false)?
        }
        Op::AvgPool(window) => average(x, *window)?,
        Op::Lrn { bias, alpha, beta, .. } => {
            let sums = x.f_square()?.f_conv2d(weight()?, None::<Tensor>, [1, 1], [0, 0], [1, 1], 1)?;
            let divisor = sums.f_mul_scalar(f64::from(*alpha))?.f_add_scalar(f64::from(*bias))?;
            x.f_mul(&divisor.f_pow_tensor_scalar(-f64::from(*beta))?)?
        }
        Op::Concat => Tensor::f_cat(inputs, 1)?,
        Op::Add => x.f_add(*inputs.get(1).ok_or_else(missing)?)?,
        Op::SpatialMean => x.f_mean_dim(&[2i64, 3][..], false, None::<Kind>)?,
        Op::Flatten { features } => {
            let rows = if x.dim() == 4 { x.f_permute([0, 2, 3, 1])? } else { x.shallow_clone() };
            rows.f_reshape([-1, *features as i64])?
        }
        Op::MatMul { .. } => x.f_matmul(weight()?)?,
        Op::Softmax => x.f_softmax(1, None::<Kind>)?,
    })
}

/// Pads a map as the window wants. Symmetric zero padding is left to the operation (the returned extents);
/// TensorFlow's extra pixel at the end has to be added beforehand. Max-pooling pads with −∞ itself too, but
/// only up to half a window.
fn pad(
    x: &Tensor,
    kernel: [usize; 2],
    stride: [usize; 2],
    padding: Padding,
    value: f64,
) -> Result<(Tensor, [i64; 2]), RenderError> {
    let (_, _, height, width) = x.size4()?;
    let sides = [(height, 0), (width, 1)].map(|(n, axis)| {
        padding
            .resolve(n as usize, kernel[axis], stride[axis])
            .map_or((0, 0), |(_, before, after)| (before as i64, after as i64))
    });
    let [(top, bottom), (left, right)] = sides;
    if top == bottom && left == right && 2 * top <= kernel[0] as i64 && 2 * left <= kernel[1] as i64 {
        return Ok((x.shallow_clone(), [top, left]));
    }
    Ok((x.f_pad([left, right, top, bottom], "constant", value)?, [0, 0]))
}

/// Mean over the pixels of a window that lie inside the map, as TensorFlow counts them.
fn average(x: &Tensor, window: Window) -> Result<Tensor, RenderError> {
    let sum = |x: &Tensor| -> Result<Tensor, RenderError> {
        let (x, padding) = pad(x, window.kernel, window.stride, window.padding, 0.0)?;
        Ok(x.f_avg_pool2d(ints(window.kernel), ints(window.stride), padding, false, true, 1)?)
    };
    let (_, _, height, width) = x.size4()?;
    let counts = sum(&Tensor::f_ones([1, 1, height, width], (x.kind(), x.device()))?)?;
    Ok(sum(x)?.f_div(&counts)?)
}

fn ints(pair: [usize; 2]) -> [i64; 2] {
    pair.map(|value| value as i64)
}
