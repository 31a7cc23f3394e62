//! What a node computes with, uploaded once in every form that the passes need.

use tch::{Device, Kind, Tensor};

use super::{
    super::{RenderError, native::Response},
    Layout,
    convolution::{Convolution, Filter},
};
use crate::graph::{Array, Network, NodeId, Op};

/// The tensors of one node.
pub(super) enum Kernel {
    /// Nothing but its inputs.
    None,
    /// A convolution.
    Convolution(Box<Convolution>),
    /// What is added: `[1, C, 1, 1]` for maps, `[C]` for rows.
    Bias(Tensor),
    /// `[in, out]`.
    Matrix(Tensor),
    /// Local response normalisation.
    Lrn(Lrn),
}

/// `x · s^−beta` with `s = bias + alpha · Σ x²` over neighbouring channels. On the CPU [`Response`] computes it; where
/// that cannot, both sums are 1×1 convolutions with a band of ones: libtorch's own operation pads and pools in five
/// dimensions, which is several times slower.
pub(super) struct Lrn {
    pub(super) response: Response,
    /// `[C, C, 1, 1]`: alpha where `|i − j| ≤ radius`.
    pub(super) sum: Tensor,
    /// `[C]`, the bias.
    pub(super) bias: Tensor,
    /// The same band with `−2 · alpha · beta`, for the way back.
    pub(super) back: Tensor,
    pub(super) beta: f64,
}

impl Kernel {
    pub(super) fn upload(
        network: &Network,
        id: NodeId,
        layout: Layout,
        device: Device,
        kind: Kind,
    ) -> Result<Self, RenderError> {
        let to_device = |array: &Array| -> Result<Tensor, RenderError> {
            let shape: Vec<i64> = array.shape.iter().map(|&extent| extent as i64).collect();
            Ok(Tensor::f_from_slice(&array.data)?.f_reshape(shape)?.f_to_device(device)?.f_to_kind(kind)?)
        };
        Ok(match &network.node(id).op {
            Op::Conv2d { weight, bias, stride, dilation, padding, groups } => {
                let bias = bias.as_ref().map(to_device).transpose()?;
                let filter =
                    Filter { stride: *stride, dilation: *dilation, padding: *padding, groups: *groups };
                Self::Convolution(Box::new(Convolution::new(&to_device(weight)?, bias, filter, layout)?))
            }
            Op::BiasAdd { bias } => {
                let is_map = network.is_map(id);
                let bias = to_device(bias)?;
                Self::Bias(if is_map { bias.f_reshape([1, -1, 1, 1])? } else { bias })
            }
            Op::MatMul { weight } => Self::Matrix(to_device(weight)?),
            Op::Lrn { radius, bias, alpha, beta } => {
                let channels = network.channels(id);
                let band = to_device(&band(channels, *radius))?;
                let response = Response { radius: *radius, bias: *bias, alpha: *alpha, beta: *beta };
                let (alpha, beta) = (f64::from(*alpha), f64::from(*beta));
                Self::Lrn(Lrn {
                    response,
                    sum: band.f_mul_scalar(alpha)?,
                    bias: Tensor::f_full([channels as i64], f64::from(*bias), (kind, device))?,
                    back: band.f_mul_scalar(-2.0 * alpha * beta)?,
                    beta,
                })
            }
            _ => Self::None,
        })
    }
}

/// `[C, C, 1, 1]`, 1 where `|i − j| ≤ radius`.
fn band(channels: usize, radius: usize) -> Array {
    let mut data = vec![0.0; channels * channels];
    for (row, values) in data.chunks_exact_mut(channels.max(1)).enumerate() {
        values[row.saturating_sub(radius)..(row.saturating_add(radius).saturating_add(1)).min(channels)]
            .fill(1.0);
    }
    Array { shape: vec![channels, channels, 1, 1], data: data.into() }
}

impl Lrn {
    /// `s`, positive, and `s^−beta` for the map `x`.
    pub(super) fn divisor(&self, x: &Tensor) -> Result<(Tensor, Tensor), RenderError> {
        let sums = x.f_square()?.f_conv2d(&self.sum, Some(&self.bias), [1, 1], [0, 0], [1, 1], 1)?;
        // Roots are several times faster than powers; these exponents are the published networks'.
        let power = match self.beta {
            0.5 => sums.f_rsqrt()?,
            0.75 => {
                let root = sums.f_rsqrt()?;
                root.f_sqrt()?.f_mul(&root)?
            }
            beta => sums.f_pow_tensor_scalar(-beta)?,
        };
        Ok((sums, power))
    }
}
