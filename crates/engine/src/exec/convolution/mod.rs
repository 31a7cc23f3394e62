//! Convolutions, forward and backward to their input, each by the fastest implementation here.
//!
//! On the CPU there are four, which fall back to libtorch's own: 3×3 to 5×5 weights are a Winograd convolution where
//! the map is large enough for that to pay ([`Winograd`](super::super::kernels::Winograd)); 1×1 and depthwise
//! convolutions have kernels of their own ([`Conv1x1`](super::super::kernels::Conv1x1), [`Depthwise`]); everything else
//! is oneDNN's, with weights that are packed in advance ([`weight`]).
//!
//! The backward pass is a convolution too: of the gradient with the flipped weights, where the stride is 1; with one
//! set of weights per phase of the stride, where few channels leave many positions idle (the first layer, on three
//! colours, takes a quarter of the time that a transposed convolution needs); transposed otherwise.
//!
//! On the library path ([`library`]) the backward pass of a depthwise convolution is not transposed: cuDNN has none
//! that is fast. Zeros go between the pixels of the gradient, and a plain depthwise convolution does the rest.

mod onednn;
#[cfg(test)]
mod tests;
mod weight;

use reverie_kernels::{ConvShape, ThreadPool};
use tch::{Device, Tensor};

use super::{
    super::{
        RenderError,
        cuda::GpuDepthwise,
        kernels::{Depthwise, Epilogue, PostOps, ReluMask, add_to, is_supported, pixel_shuffle},
        library::{self, ConvParams},
    },
    Layout, Manner, ints,
    window::{Padded, crop, pad, sides},
};
pub(super) use onednn::Activation;
use reverie_graph::Padding;
use weight::Weight;

/// Input channels up to which the backward pass goes by phases.
const FEW: i64 = 4;

/// Outputs that a convolution computes side by side: 12 take a third longer than 16.
const WIDTH: i64 = 16;

/// The attributes of a convolution, as the network has them.
#[derive(Clone, Copy, Debug)]
pub(super) struct ConvAttributes {
    pub(super) stride: [usize; 2],
    pub(super) dilation: [usize; 2],
    pub(super) padding: Padding,
    pub(super) groups: usize,
}

/// A convolution's weights, in the forms that the passes need.
pub(super) struct Convolution {
    /// `[out, in / groups, kh, kw]`.
    weight: Weight,
    /// `[out]`.
    bias: Option<Tensor>,
    attributes: ConvAttributes,
    back: Back,
    /// The depthwise kernel; none where it is not for this convolution.
    depthwise: Option<DepthwiseKernel>,
    layout: Layout,
    library_only: bool,
    tf32: bool,
}

/// The kernel for a convolution of every channel by itself.
enum DepthwiseKernel {
    Cpu(Depthwise),
    Gpu(GpuDepthwise),
}

impl DepthwiseKernel {
    /// For `weight`, `[out, in / groups, kh, kw]`, where there is one.
    fn new(weight: &Tensor, groups: usize, manner: Manner) -> Result<Option<Self>, RenderError> {
        if manner.layout != Layout::ChannelsLast {
            return Ok(None);
        }
        Ok(match manner.gpu {
            Some(gpu) => GpuDepthwise::new(gpu, weight, groups)?.map(Self::Gpu),
            None if manner.library_only || weight.device() != Device::Cpu => None,
            None => Depthwise::new(weight, groups)?.map(Self::Cpu),
        })
    }

    /// Whether it can run over `x`.
    fn supports(&self, x: &Tensor) -> bool {
        match self {
            Self::Cpu(_) => is_supported(x),
            Self::Gpu(depthwise) => depthwise.supports(x),
        }
    }
}

/// Weights for the backward pass.
enum Back {
    /// Flipped, `[in, out / groups, kh, kw]`: a plain convolution.
    Flipped(Weight),
    /// `[in · 4, out, q, q]`: one set of weights for each of the four positions in a 2×2 block of the input, which
    /// `pixel_shuffle` puts together; padded with zeros to [`WIDTH`] outputs.
    Phases(Weight),
    /// As they are: a transposed convolution.
    Transposed,
    /// Flipped, `[C, 1, kh, kw]`: a plain depthwise convolution of the gradient with zeros between its pixels.
    Spread(Weight),
}

impl Convolution {
    pub(super) fn new(
        weight: &Tensor,
        bias: Option<Tensor>,
        attributes: ConvAttributes,
        manner: Manner,
    ) -> Result<Self, RenderError> {
        let Manner { layout, library_only, tf32, .. } = manner;
        let (out, channels, height, width) = weight.size4()?;
        let back = match attributes {
            ConvAttributes { stride: [1, 1], groups, .. } => {
                Back::Flipped(Weight::new(&flipped(weight, groups as i64)?, manner, false)?)
            }
            ConvAttributes { stride: [2, 2], dilation: [1, 1], groups: 1, .. }
                if channels <= FEW && height == width =>
            {
                let phases = phases(weight)?;
                let missing = (WIDTH - 4 * channels).max(0);
                let filled = phases.f_pad([0, 0, 0, 0, 0, 0, 0, missing], "constant", 0.0)?;
                Back::Phases(Weight::new(&filled, manner, false)?)
            }
            ConvAttributes { groups, .. }
                if library_only && channels == 1 && groups > 1 && out == groups as i64 =>
            {
                Back::Spread(Weight::new(&flipped(weight, out)?, manner, false)?)
            }
            _ => Back::Transposed,
        };
        let alone = attributes.dilation == [1, 1];
        let depthwise = if alone { DepthwiseKernel::new(weight, attributes.groups, manner)? } else { None };
        let weight = Weight::new(weight, manner, true)?;
        Ok(Self { weight, bias, attributes, back, depthwise, layout, library_only, tf32 })
    }

    /// Whether the backward pass to `x` can include that of the ReLU before it: [`Self::backward_through_relu`].
    pub(super) fn fuses_relu(&self, x: &Tensor) -> Result<bool, RenderError> {
        if let Some(depthwise) = &self.depthwise {
            return Ok(depthwise.supports(x));
        }
        Ok(match &self.back {
            Back::Flipped(weight) => self.attributes.groups == 1 && weight.is_conv1x1()? && is_supported(x),
            _ => false,
        })
    }

    /// How the depthwise kernel moves over an input of `size` rows and columns.
    fn shape(&self, size: [i64; 2]) -> Result<Option<ConvShape>, RenderError> {
        let ConvAttributes { stride, padding, .. } = self.attributes;
        let kernel = self.kernel_extent()?;
        let input = size.map(|n| n as usize);
        let [rows, columns] =
            [0, 1].map(|axis| padding.resolve(axis, input[axis], kernel[axis], stride[axis]));
        let (Some((height, top, _)), Some((width, left, _))) = (rows, columns) else { return Ok(None) };
        Ok(Some(ConvShape { stride, before: [top, left], input, output: [height, width] }))
    }

    /// Dilated extent of the kernel, `[height, width]`.
    fn kernel_extent(&self) -> Result<[usize; 2], RenderError> {
        let [_, _, height, width] = self.weight.shape()?;
        let [down, across] = self.attributes.dilation;
        Ok([(height as usize - 1) * down + 1, (width as usize - 1) * across + 1])
    }

    /// Whether a bias of its own is added already.
    pub(super) fn has_bias(&self) -> bool {
        self.bias.is_some()
    }

    /// `activation(weight * x + bias)`. `bias`, `[out]`, takes the place of the convolution's own.
    pub(super) fn forward(
        &self,
        threads: &ThreadPool,
        x: &Tensor,
        bias: Option<&Tensor>,
        activation: Activation,
    ) -> Result<Tensor, RenderError> {
        let bias = bias.or(self.bias.as_ref());
        if let Some(depthwise) = &self.depthwise {
            let (_, _, height, width) = x.size4()?;
            let (low, high) = activation.limits();
            if let Some(shape) = self.shape([height, width])?
                && let Some(y) = match depthwise {
                    DepthwiseKernel::Cpu(kernel) => {
                        kernel.forward(threads, x, shape, Epilogue { bias, low, high })?
                    }
                    DepthwiseKernel::Gpu(kernel) => kernel.forward(x, shape, Epilogue { bias, low, high })?,
                }
            {
                return Ok(y);
            }
        }
        let ConvAttributes { stride, dilation, padding, groups } = self.attributes;
        let Padded { map, symmetric, .. } = pad(x, self.kernel_extent()?, stride, padding, 0.0)?;
        let params = ConvParams {
            stride: ints(stride),
            padding: symmetric,
            dilation: ints(dilation),
            groups: groups as i64,
        };
        self.weight.convolve(threads, &map, bias, params, activation)
    }

    /// Gradient with respect to an input of `size` rows and columns, added to `sum` where there is one: a map that
    /// nothing else reads.
    pub(super) fn backward(
        &self,
        threads: &ThreadPool,
        gradient: &Tensor,
        size: [i64; 2],
        sum: Option<Tensor>,
    ) -> Result<Tensor, RenderError> {
        if let Some(gradient) = self.depthwise_backward(threads, gradient, size, None)? {
            return add_to(sum, gradient);
        }
        let ConvAttributes { stride, dilation, padding, groups } = self.attributes;
        let extent = self.kernel_extent()?;
        let sides = sides(size, extent, stride, padding);
        let before = sides.map(|(before, _)| before);
        let params =
            |padding| ConvParams { stride: [1, 1], padding, dilation: ints(dilation), groups: groups as i64 };
        let full = match &self.back {
            Back::Flipped(weight) => {
                let reach = extent.map(|extent| extent as i64 - 1);
                let less = [0, 1].map(|axis| reach[axis] - before[axis]);
                // Padding by less than the kernel reaches takes the input's own padding off at once.
                if sides.iter().all(|(before, after)| before == after) && less.iter().all(|&n| n >= 0) {
                    return match sum {
                        Some(sum) => weight.convolve_onto(threads, sum, gradient, params(less)),
                        None => weight.convolve(threads, gradient, None, params(less), Activation::None),
                    };
                }
                weight.convolve(threads, gradient, None, params(reach), Activation::None)?
            }
            Back::Phases(weight) => {
                let [_, _, reach, _] = weight.shape()?;
                let params = params([reach - 1, reach - 1]);
                let blocks = weight.convolve(threads, gradient, None, params, Activation::None)?;
                let [_, channels, ..] = self.weight.shape()?;
                let joined = if self.library_only {
                    None
                } else {
                    pixel_shuffle(threads, &blocks, channels as usize, before, size)?
                };
                match joined {
                    Some(gradient) => return add_to(sum, gradient),
                    None => self.join(&blocks, size, &sides)?,
                }
            }
            Back::Transposed => self.transposed(gradient, size, &sides)?,
            Back::Spread(weight) => {
                return add_to(sum, self.spread(weight, gradient, size, &sides)?);
            }
        };
        add_to(sum, crop(&full, before, size)?)
    }

    /// As [`Self::backward`], through the ReLU before it too; none where that is not supported.
    pub(super) fn backward_through_relu(
        &self,
        threads: &ThreadPool,
        gradient: &Tensor,
        relu: ReluMask<'_>,
    ) -> Result<Option<Tensor>, RenderError> {
        let (_, _, height, width) = relu.output.size4()?;
        if let Some(back) = self.depthwise_backward(threads, gradient, [height, width], Some(relu))? {
            return Ok(Some(back));
        }
        let Back::Flipped(weight) = &self.back else { return Ok(None) };
        let params = ConvParams { stride: [1, 1], padding: [0, 0], dilation: [1, 1], groups: 1 };
        let post_ops = PostOps { epilogue: Epilogue::NONE, sum: None, relu: Some(relu) };
        weight.conv1x1(threads, gradient, params, post_ops)
    }

    /// The backward pass in the depthwise kernel; none where it is not for this convolution.
    fn depthwise_backward(
        &self,
        threads: &ThreadPool,
        gradient: &Tensor,
        size: [i64; 2],
        relu: Option<ReluMask<'_>>,
    ) -> Result<Option<Tensor>, RenderError> {
        let Some(depthwise) = &self.depthwise else { return Ok(None) };
        let Some(shape) = self.shape(size)? else { return Ok(None) };
        match depthwise {
            DepthwiseKernel::Cpu(kernel) => kernel.backward(threads, gradient, shape, relu),
            DepthwiseKernel::Gpu(kernel) => kernel.backward(gradient, shape, relu),
        }
    }

    /// The padded input's gradient of its four phases.
    fn join(&self, phases: &Tensor, size: [i64; 2], sides: &[(i64, i64); 2]) -> Result<Tensor, RenderError> {
        let [_, channels, ..] = self.weight.shape()?;
        let full = phases.f_narrow(1, 0, 4 * channels)?.f_pixel_shuffle(2)?;
        // A last row or column that no window reaches.
        let (_, _, height, width) = full.size4()?;
        let [rows, columns] = padded(size, sides);
        let missing = [rows - height, columns - width].map(|n| n.max(0));
        if missing == [0, 0] {
            return Ok(full);
        }
        Ok(full.f_pad([0, missing[1], 0, missing[0]], "constant", 0.0)?)
    }

    /// The input's gradient by a depthwise convolution with `weight` of the gradient with zeros between its pixels.
    fn spread(
        &self,
        weight: &Weight,
        gradient: &Tensor,
        size: [i64; 2],
        sides: &[(i64, i64); 2],
    ) -> Result<Tensor, RenderError> {
        let ConvAttributes { stride, dilation, groups, .. } = self.attributes;
        let reach = self.kernel_extent()?.map(|extent| extent as i64 - 1);
        let (images, channels, height, width) = gradient.size4()?;
        // As many rows and columns as make the convolution's result that of the padded input.
        let [rows, columns] = padded(size, sides);
        let (kind, device) = (gradient.f_kind()?, gradient.device());
        let map = Tensor::f_zeros([images, channels, rows - reach[0], columns - reach[1]], (kind, device))?;
        let [down, across] = ints(stride);
        let places = map.f_slice(2, 0, (height - 1) * down + 1, down)?;
        places.f_slice(3, 0, (width - 1) * across + 1, across)?.f_copy_(gradient)?;
        let params =
            ConvParams { stride: [1, 1], padding: reach, dilation: ints(dilation), groups: groups as i64 };
        let full = library::convolve(&map, weight.plain(), None, params, false)?;
        let [(top, _), (left, _)] = *sides;
        self.layout.arrange(&full.f_narrow(2, top, size[0])?.f_narrow(3, left, size[1])?)
    }

    /// The padded input's gradient by a transposed convolution; image by image, except on the library path, since libtorch
    /// adds up those of several in another order, and what a tile gives must not depend on what else is in the batch.
    fn transposed(
        &self,
        gradient: &Tensor,
        size: [i64; 2],
        sides: &[(i64, i64); 2],
    ) -> Result<Tensor, RenderError> {
        let ConvAttributes { stride, dilation, groups, .. } = self.attributes;
        let extent = self.kernel_extent()?;
        let (images, _, height, width) = gradient.size4()?;
        let reached = |axis: usize, n: i64| (n - 1) * stride[axis] as i64 + extent[axis] as i64;
        let [rows, columns] = padded(size, sides);
        let rest = [rows - reached(0, height), columns - reached(1, width)];
        let params = ConvParams {
            stride: ints(stride),
            padding: [0, 0],
            dilation: ints(dilation),
            groups: groups as i64,
        };
        let back =
            |gradient: &Tensor| library::transposed(gradient, self.weight.plain(), params, rest, self.tf32);
        if self.library_only {
            return back(gradient);
        }
        let images = (0..images).map(|image| back(&gradient.f_narrow(0, image, 1)?));
        Ok(Tensor::f_cat(&images.collect::<Result<Vec<_>, _>>()?, 0)?)
    }
}

/// Rows and columns of a map of `size` with its padding.
fn padded(size: [i64; 2], sides: &[(i64, i64); 2]) -> [i64; 2] {
    [0, 1].map(|axis| size[axis] + sides[axis].0 + sides[axis].1)
}

/// `[out, in / g, kh, kw]` to `[in, out / g, kh, kw]`, flipped in both axes.
fn flipped(weight: &Tensor, groups: i64) -> Result<Tensor, RenderError> {
    let (out, channels, height, width) = weight.size4()?;
    let grouped = weight.f_reshape([groups, out / groups, channels, height, width])?.f_transpose(1, 2)?;
    Ok(grouped.f_reshape([groups * channels, out / groups, height, width])?.f_flip([2, 3])?)
}

/// The weights of the four phases of stride 2. Pixel `2i + p` of the input takes part in window `o` through tap
/// `k = 2i + p − 2o`, so phase `p` sees the taps `p, p + 2, …` in falling order.
fn phases(weight: &Tensor) -> Result<Tensor, RenderError> {
    let (out, channels, extent, _) = weight.size4()?;
    let taps = (extent + 1) / 2;
    // An even number of taps, `k = 2 · (taps − 1 − j) + p`: turn, then split into pairs from the end.
    let even = weight.f_pad([0, 2 * taps - extent, 0, 2 * taps - extent], "constant", 0.0)?;
    let split = even.f_reshape([out, channels, taps, 2, taps, 2])?.f_flip([2, 4])?;
    Ok(split.f_permute([1, 3, 5, 0, 2, 4])?.f_reshape([channels * 4, out, taps, taps])?)
}
