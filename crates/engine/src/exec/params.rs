//! What a node computes with, uploaded once in every form that the passes need.

use reverie_kernels::LrnParams;
use tch::{Device, Kind, Tensor};

use super::{
    super::{
        RenderError,
        library::{ConvParams, convolve},
    },
    Manner,
    convolution::{ConvAttributes, Convolution},
    repeated::{RepeatedConvolution, RepeatedMatrix},
};
use reverie_graph::{Array, Network, NodeId, Op};

/// The parameters of one node.
pub(super) enum NodeParams {
    /// Nothing but its inputs.
    None,
    /// A convolution.
    Convolution(Box<Convolution>),
    /// A convolution whose weight is one value.
    RepeatedConvolution(Box<RepeatedConvolution>),
    /// What is added: `[1, C, 1, 1]` for maps, `[C]` for rows.
    Bias(Tensor),
    /// Factors and what is added, in the same shapes.
    Scale { scale: Tensor, bias: Option<Tensor> },
    /// `[in, out]`.
    Matrix(Tensor),
    /// One of one value.
    RepeatedMatrix(RepeatedMatrix),
    /// Local response normalisation.
    Lrn(Lrn),
}

/// `x · s^−beta` with `s = bias + alpha · Σ x²` over neighbouring channels. On the CPU a kernel computes it from
/// `params`; where that cannot, both sums are 1×1 convolutions with a band of ones: libtorch's own operation pads and
/// pools in five dimensions, which is several times slower. Sums and powers are float32 where the map is bfloat16, and
/// results are rounded once, as in the kernel.
pub(super) struct Lrn {
    pub(super) params: LrnParams,
    /// `[C, C, 1, 1]`: alpha where `|i − j| ≤ radius`.
    sum: Tensor,
    /// `[C]`, the bias.
    bias: Tensor,
    /// The same band with `−2 · alpha · beta`, for the backward pass.
    back: Tensor,
    beta: f64,
}

impl NodeParams {
    pub(super) fn upload(
        network: &Network,
        id: NodeId,
        manner: Manner,
        device: Device,
    ) -> Result<Self, RenderError> {
        let kind = manner.kind;
        let as_kind = |array: &Array, kind: Kind| -> Result<Tensor, RenderError> {
            let shape: Vec<i64> = array.shape.iter().map(|&extent| extent as i64).collect();
            let values = match array.data[..] {
                [value] => Tensor::f_full(&shape, f64::from(value), (Kind::Float, Device::Cpu))?,
                _ => Tensor::f_from_slice(&array.data)?.f_reshape(&shape)?,
            };
            Ok(values.f_to_device(device)?.f_to_kind(kind)?)
        };
        let to_device = |array: &Array| as_kind(array, kind);
        let per_channel = |array: &Array| -> Result<Tensor, RenderError> {
            let values = to_device(array)?;
            Ok(if network.is_map(id) { values.f_reshape([1, -1, 1, 1])? } else { values })
        };
        Ok(match &network.node(id).op {
            Op::Conv2d { weight, bias, stride, dilation, padding, groups } => {
                let attributes = ConvAttributes {
                    stride: *stride,
                    dilation: *dilation,
                    padding: *padding,
                    groups: *groups,
                };
                if let (true, 1, &[out, ref inner @ ..]) = (weight.is_repeated(), *groups, &weight.shape[..])
                {
                    let one = Array { shape: [&[1], inner].concat(), data: weight.data.clone() };
                    let one = Convolution::new(&to_device(&one)?, None, attributes, manner)?;
                    let bias = bias.as_ref().map(per_channel).transpose()?;
                    let all = RepeatedConvolution { one, bias, channels: out as i64 };
                    return Ok(Self::RepeatedConvolution(Box::new(all)));
                }
                let bias = bias.as_ref().map(to_device).transpose()?;
                Self::Convolution(Box::new(Convolution::new(&to_device(weight)?, bias, attributes, manner)?))
            }
            Op::BiasAdd { bias } => Self::Bias(per_channel(bias)?),
            Op::Scale { scale, bias } => {
                Self::Scale { scale: per_channel(scale)?, bias: bias.as_ref().map(per_channel).transpose()? }
            }
            Op::MatMul { weight } => match (&weight.data[..], &weight.shape[..]) {
                (&[value], &[rows, columns]) => Self::RepeatedMatrix(RepeatedMatrix {
                    value: f64::from(value),
                    shape: [rows as i64, columns as i64],
                }),
                _ => Self::Matrix(to_device(weight)?),
            },
            Op::Lrn { radius, bias, alpha, beta } => {
                let channels = network.channels(id);
                let exact = exact(kind);
                let band = as_kind(&band(channels, *radius), exact)?;
                let params = LrnParams { radius: *radius, bias: *bias, alpha: *alpha, beta: *beta };
                let (alpha, beta) = (f64::from(*alpha), f64::from(*beta));
                Self::Lrn(Lrn {
                    params,
                    sum: band.f_mul_scalar(alpha)?,
                    bias: Tensor::f_full([channels as i64], f64::from(*bias), (exact, device))?,
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
    /// The normalised map, `s`, which is positive, and `s^−beta`.
    pub(super) fn forward(&self, x: &Tensor) -> Result<(Tensor, Tensor, Tensor), RenderError> {
        let wide = widened(x)?;
        let sums = convolve(&wide.f_square()?, &self.sum, Some(&self.bias), ConvParams::PLAIN, false)?;
        // On a CPU roots are several times faster than powers; these exponents are the published networks'. A GPU waits for
        // memory, which one operation goes through less often than three.
        let power = match self.beta {
            0.5 => sums.f_rsqrt()?,
            0.75 if x.device() == Device::Cpu => {
                let root = sums.f_rsqrt()?;
                root.f_sqrt()?.f_mul(&root)?
            }
            beta => sums.f_pow_tensor_scalar(-beta)?,
        };
        Ok((wide.f_mul(&power)?.f_to_kind(x.f_kind()?)?, sums, power))
    }

    /// The gradient of the input `x`, given that of the output, and the rest of what [`Self::forward`] gave.
    ///
    /// With y = x · p and p = s^−β: ∂/∂x_i = g_i p_i − 2αβ x_i Σ_j g_j x_j p_j / s_j.
    pub(super) fn backward(
        &self,
        gradient: &Tensor,
        x: &Tensor,
        sums: &Tensor,
        power: &Tensor,
    ) -> Result<Tensor, RenderError> {
        let x = widened(x)?;
        let mut direct = widened(gradient)?.f_mul(power)?;
        let through = direct.f_mul(&x)?.f_div_(sums)?;
        let through = convolve(&through, &self.back, None, ConvParams::PLAIN, false)?;
        Ok(direct.f_addcmul_(&x, &through)?.f_to_kind(gradient.f_kind()?)?)
    }
}

/// What sums are computed in.
fn exact(kind: Kind) -> Kind {
    if kind == Kind::BFloat16 { Kind::Float } else { kind }
}

/// `x` in the kind of its sums.
fn widened(x: &Tensor) -> Result<Tensor, RenderError> {
    Ok(x.f_to_kind(exact(x.f_kind()?))?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use reverie_graph::Node;

    #[test]
    fn a_bfloat16_map_is_normalised_in_float32_and_rounded_once() {
        let node = |name: &str, op, inputs| Node { name: name.into(), op, inputs };
        let lrn = Op::Lrn { radius: 2, bias: 1.0, alpha: 0.1, beta: 0.75 };
        let nodes =
            vec![node("input", Op::Input { channels: 16 }, Vec::new()), node("lrn", lrn, vec![NodeId(0)])];
        let network = Network::new(nodes).unwrap();
        let [half, exact] = [Kind::BFloat16, Kind::Float].map(|kind| {
            let manner = Manner { library_only: true, ..Manner::of(kind) };
            match NodeParams::upload(&network, NodeId(1), manner, Device::Cpu).unwrap() {
                NodeParams::Lrn(lrn) => lrn,
                _ => panic!("no normalisation"),
            }
        });
        let rounded =
            || Tensor::randn([2, 16, 9, 7], (Kind::Float, Device::Cpu)).to_kind(Kind::BFloat16) * 4.0;
        let (x, gradient) = (rounded(), rounded());
        let [wide, wide_gradient] = [&x, &gradient].map(|map| map.to_kind(Kind::Float));
        let (y, sums, power) = half.forward(&x).unwrap();
        let (expected, wide_sums, wide_power) = exact.forward(&wide).unwrap();
        assert_eq!((&sums, &power), (&wide_sums, &wide_power));
        assert_eq!(y, expected.to_kind(Kind::BFloat16));
        let back = half.backward(&gradient, &x, &sums, &power).unwrap();
        let expected = exact.backward(&wide_gradient, &wide, &sums, &power).unwrap();
        assert_eq!((back.kind(), back), (Kind::BFloat16, expected.to_kind(Kind::BFloat16)));
    }
}
