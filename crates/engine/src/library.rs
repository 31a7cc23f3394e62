//! The library path: everything on libtorch's own operations, as a GPU computes.
//!
//! A CPU has kernels of our own ([`kernels`](super::kernels)); a GPU has what libtorch and cuDNN bring. The setting
//! `worker.kernels = "library"` makes a CPU take the same path, so that the tests prove it without a card.
//!
//! The convolutions of this path go through [`convolve`] and [`transposed`], and on a GPU, where a ReLU follows and rounding is
//! allowed, through [`convolve_relu`]. The first two say at each call what cuDNN may do,
//! because libtorch's defaults are no good here: it lets cuDNN round float32 factors to TF32 (errors of 1e-3 where
//! float32 has 1e-6), and it gives depthwise convolutions in channels-last memory to cuDNN, which takes a hundred times as
//! long as libtorch's own kernel.

use std::str::FromStr;

use tch::{Device, Kind, Tensor};

use super::{RenderError, cuda::GpuKernels};

/// Which code computes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kernels {
    /// Our own kernels on a CPU; on a GPU libtorch's operations, with kernels of our own where it is slow, recorded where a pass comes
    /// again.
    #[default]
    Auto,
    /// libtorch's operations everywhere, one by one: slower, for tests.
    Library,
}

impl Kernels {
    /// Whether the library path is taken on `device`.
    pub(super) fn are_library(self, device: Device) -> bool {
        self == Self::Library || device != Device::Cpu
    }

    /// Our own kernels for a GPU, where they may be used.
    pub(super) fn of_gpu(self, device: Device) -> Option<GpuKernels> {
        match self {
            Self::Auto => GpuKernels::of(device),
            Self::Library => None,
        }
    }
}

impl FromStr for Kernels {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "library" => Ok(Self::Library),
            _ => Err(format!("\"{text}\" is not allowed; use auto or library")),
        }
    }
}

/// The same values in memory of their own; tch's own copy cannot fail, but panics.
pub(super) fn copy(tensor: &Tensor) -> Result<Tensor, RenderError> {
    let mut copy = tensor.f_empty_like()?;
    copy.f_copy_(tensor)?;
    Ok(copy)
}

/// How a convolution moves over a map that needs no further padding than this.
#[derive(Clone, Copy, Debug)]
pub(super) struct ConvParams {
    pub(super) stride: [i64; 2],
    pub(super) padding: [i64; 2],
    pub(super) dilation: [i64; 2],
    pub(super) groups: i64,
}

impl ConvParams {
    /// Pixel by pixel, without padding.
    pub(super) const PLAIN: Self = Self { stride: [1, 1], padding: [0, 0], dilation: [1, 1], groups: 1 };

    /// Whether `weight`, `[out, in / groups, kh, kw]`, convolves each channel by itself.
    pub(super) fn is_depthwise(self, weight: &Tensor) -> bool {
        self.groups > 1 && weight.size().get(1) == Some(&1)
    }
}

/// `weight * x + bias`; `weight` is `[out, in / groups, kh, kw]`, `bias` `[out]`. Differentiable by autograd.
///
/// With `tf32` a GPU may round the factors of float32 to 10 bits of mantissa; a CPU never does.
///
/// A depthwise convolution runs in libtorch's own kernel on a GPU. That one wants `[N, C, H, W]` in contiguous memory, and
/// answers in it.
pub(super) fn convolve(
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    params: ConvParams,
    tf32: bool,
) -> Result<Tensor, RenderError> {
    call(x, weight, bias, params, None, tf32)
}

/// `max(weight * x + bias, 0)` in one operation, which writes and reads the map once instead of three times; none where there
/// is no such operation. Not for float32 without TF32: it takes libtorch's defaults, which allow TF32. That the same
/// map gives the same bits was measured, and is not promised by libtorch.
pub(super) fn convolve_relu(
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    params: ConvParams,
    tf32: bool,
) -> Result<Option<Tensor>, RenderError> {
    let rounds = tf32 || x.f_kind()? == Kind::BFloat16;
    let ConvParams { stride, padding, dilation, groups } = params;
    if !rounds || groups != 1 || bias.is_none() || x.requires_grad() || !matches!(x.device(), Device::Cuda(_))
    {
        return Ok(None);
    }
    Ok(Some(x.f_cudnn_convolution_relu(weight, bias, stride, padding, dilation, groups)?))
}

/// The transpose of [`convolve`] without a bias; `rest` are the rows and columns that it adds at the end.
pub(super) fn transposed(
    x: &Tensor,
    weight: &Tensor,
    params: ConvParams,
    rest: [i64; 2],
    tf32: bool,
) -> Result<Tensor, RenderError> {
    call(x, weight, None, params, Some(rest), tf32)
}

fn call(
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    params: ConvParams,
    rest: Option<[i64; 2]>,
    tf32: bool,
) -> Result<Tensor, RenderError> {
    // cuDNN measures no alternatives (what it finds depends on chance), and sums in the same order every time.
    const BENCHMARK: bool = false;
    const DETERMINISTIC: bool = true;
    let ConvParams { stride, padding, dilation, groups } = params;
    let cudnn = rest.is_some() || !params.is_depthwise(weight);
    Ok(x.f_internal_convolution(
        weight,
        bias,
        stride,
        padding,
        dilation,
        rest.is_some(),
        rest.unwrap_or([0, 0]),
        groups,
        BENCHMARK,
        DETERMINISTIC,
        cudnn,
        tf32,
    )?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn convolutions_are_those_of_libtorch() {
        let map = |shape: [i64; 4]| Tensor::randn(shape, (Kind::Float, Device::Cpu));
        for (channels, out, groups) in [(6, 8, 1), (8, 8, 8), (8, 16, 4)] {
            let (x, weight) = (map([2, channels, 19, 23]), map([out, channels / groups, 3, 3]));
            let bias = Tensor::randn([out], (Kind::Float, Device::Cpu));
            let params = ConvParams { stride: [2, 2], padding: [1, 1], dilation: [1, 1], groups };
            let expected = x.conv2d(&weight, Some(&bias), [2, 2], [1, 1], [1, 1], groups);
            for tf32 in [false, true] {
                assert_eq!(convolve(&x, &weight, Some(&bias), params, tf32).unwrap(), expected);
            }
            let expected =
                expected.conv_transpose2d(&weight, None::<Tensor>, [2, 2], [1, 1], [0, 0], groups, [1, 1]);
            let y = x.conv2d(&weight, Some(&bias), [2, 2], [1, 1], [1, 1], groups);
            assert_eq!(transposed(&y, &weight, params, [0, 0], false).unwrap(), expected);
        }
    }

    #[test]
    fn kernels_are_chosen_by_name_and_device() {
        assert!(!"auto".parse::<Kernels>().unwrap().are_library(Device::Cpu));
        assert!("library".parse::<Kernels>().unwrap().are_library(Device::Cpu));
        assert!(Kernels::Auto.are_library(Device::Cuda(0)));
        assert!("own".parse::<Kernels>().unwrap_err().contains("use auto or library"));
    }
}
