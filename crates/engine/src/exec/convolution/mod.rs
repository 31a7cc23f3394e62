//! Convolutions, forward and back to their input, each in the way that takes the least time here.
//!
//! On the CPU there are four ways, which fall back to libtorch's own: kernels of 3×3 to 5×5 go by fewer multiplications
//! where the map is large enough for that to pay ([`Winograd`](super::super::native::Winograd)); those of one pixel and
//! those of every channel by itself have loops of their own ([`Pointwise`](super::super::native::Pointwise),
//! [`Depthwise`]); everything else is oneDNN's, with weights that lie ready ([`weight`]).
//!
//! The way back is a convolution too: of the gradient with the kernel turned around, where the stride is 1; with one
//! kernel per phase of the stride, where few channels leave many positions idle (the first layer, on three colours,
//! takes a quarter of the time that a transposed convolution needs); transposed otherwise.
//!
//! On the library path ([`library`]) depthwise convolutions take no transposed way back: cuDNN has none that is fast. Zeros
//! go between the pixels of the gradient, and a plain depthwise convolution does the rest.

mod onednn;
#[cfg(test)]
mod tests;
mod weight;

use tch::{Device, Tensor};

use super::{
    super::{
        RenderError,
        library::{self, Slide},
        native::{Besides, Depthwise, Finish, Rectifier, Stride, Team, added_to, extent, phases},
    },
    Layout, Manner, ints,
    window::{Padded, crop, pad, sides},
};
pub(super) use onednn::Activation;
use reverie_graph::Padding;
use weight::Weight;

/// Input channels up to which the way back goes by phases.
const FEW: i64 = 4;

/// Kernels that a convolution computes side by side: 12 take a third longer than 16.
const WIDTH: i64 = 16;

/// How a kernel slides.
#[derive(Clone, Copy, Debug)]
pub(super) struct Filter {
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
    filter: Filter,
    back: Back,
    /// For the loops over every channel by itself; none where they are not for this convolution.
    depthwise: Option<Depthwise>,
    layout: Layout,
    library: bool,
    tf32: bool,
}

/// Weights for the way back.
enum Back {
    /// Turned around, `[in, out / groups, kh, kw]`: a plain convolution.
    Turned(Weight),
    /// `[in · 4, out, q, q]`: one kernel for each of the four places in a 2×2 block of the input, which
    /// `pixel_shuffle` puts together; filled up with zeros to [`WIDTH`] kernels.
    Phases(Weight),
    /// As they are: a transposed convolution.
    Transposed,
    /// Turned around, `[C, 1, kh, kw]`: a plain depthwise convolution of the gradient with zeros between its pixels.
    Spread(Weight),
}

impl Convolution {
    pub(super) fn new(
        weight: &Tensor,
        bias: Option<Tensor>,
        filter: Filter,
        manner: Manner,
    ) -> Result<Self, RenderError> {
        let Manner { layout, library, tf32, .. } = manner;
        let (out, channels, height, width) = weight.size4()?;
        let back = match filter {
            Filter { stride: [1, 1], groups, .. } => {
                Back::Turned(Weight::new(&turned(weight, groups as i64)?, manner, false)?)
            }
            Filter { stride: [2, 2], dilation: [1, 1], groups: 1, .. }
                if channels <= FEW && height == width =>
            {
                let phases = phases(weight)?;
                let missing = (WIDTH - 4 * channels).max(0);
                let filled = phases.f_pad([0, 0, 0, 0, 0, 0, 0, missing], "constant", 0.0)?;
                Back::Phases(Weight::new(&filled, manner, false)?)
            }
            Filter { groups, .. } if library && channels == 1 && groups > 1 && out == groups as i64 => {
                Back::Spread(Weight::new(&turned(weight, out)?, manner, false)?)
            }
            _ => Back::Transposed,
        };
        let fast = !library && layout == Layout::ChannelsLast && weight.device() == Device::Cpu;
        let alone = fast && filter.dilation == [1, 1];
        let depthwise = if alone { Depthwise::of(weight, filter.groups)? } else { None };
        let weight = Weight::new(weight, manner, true)?;
        Ok(Self { weight, bias, filter, back, depthwise, layout, library, tf32 })
    }

    /// Whether the way back to `x` can be through the rectifier before it too: [`Self::backward_through`].
    pub(super) fn takes_rectifier(&self, x: &Tensor) -> Result<bool, RenderError> {
        let possible = match &self.back {
            _ if self.depthwise.is_some() => true,
            Back::Turned(weight) => self.filter.groups == 1 && weight.is_pointwise()?,
            _ => false,
        };
        Ok(possible && extent(x).is_some())
    }

    /// How the loops go over an input of `size` rows and columns.
    fn stride(&self, size: [i64; 2]) -> Result<Option<Stride>, RenderError> {
        let Filter { stride, padding, .. } = self.filter;
        let kernel = self.extent()?;
        let input = size.map(|n| n as usize);
        let [rows, columns] = [0, 1].map(|axis| padding.resolve(input[axis], kernel[axis], stride[axis]));
        let (Some((height, top, _)), Some((width, left, _))) = (rows, columns) else { return Ok(None) };
        Ok(Some(Stride { stride, before: [top, left], input, output: [height, width] }))
    }

    /// Dilated extent of the kernel, `[height, width]`.
    fn extent(&self) -> Result<[usize; 2], RenderError> {
        let [_, _, height, width] = self.weight.shape()?;
        let [down, across] = self.filter.dilation;
        Ok([(height as usize - 1) * down + 1, (width as usize - 1) * across + 1])
    }

    /// Whether a bias of its own is added already.
    pub(super) fn has_bias(&self) -> bool {
        self.bias.is_some()
    }

    /// `activation(weight * x + bias)`. `bias`, `[out]`, takes the place of the convolution's own.
    pub(super) fn forward(
        &self,
        team: &Team,
        x: &Tensor,
        bias: Option<&Tensor>,
        activation: Activation,
    ) -> Result<Tensor, RenderError> {
        let bias = bias.or(self.bias.as_ref());
        if let Some(depthwise) = &self.depthwise {
            let (_, _, height, width) = x.size4()?;
            let (low, high) = activation.limits();
            if let Some(stride) = self.stride([height, width])?
                && let Some(y) = depthwise.forward(team, x, stride, Finish { bias, low, high })?
            {
                return Ok(y);
            }
        }
        let Filter { stride, dilation, padding, groups } = self.filter;
        let Padded { map, symmetric, .. } = pad(x, self.extent()?, stride, padding, 0.0)?;
        let slide = Slide {
            stride: ints(stride),
            padding: symmetric,
            dilation: ints(dilation),
            groups: groups as i64,
        };
        self.weight.convolve(team, &map, bias, slide, activation)
    }

    /// Gradient with respect to an input of `size` rows and columns, added to `sum` where there is one: a map that
    /// nobody else looks at.
    pub(super) fn backward(
        &self,
        team: &Team,
        gradient: &Tensor,
        size: [i64; 2],
        sum: Option<Tensor>,
    ) -> Result<Tensor, RenderError> {
        if let Some(gradient) = self.back_by_channel(team, gradient, size, None)? {
            return added_to(sum, gradient);
        }
        let Filter { stride, dilation, padding, groups } = self.filter;
        let extent = self.extent()?;
        let sides = sides(size, extent, stride, padding);
        let before = sides.map(|(before, _)| before);
        let slide =
            |padding| Slide { stride: [1, 1], padding, dilation: ints(dilation), groups: groups as i64 };
        let full = match &self.back {
            Back::Turned(weight) => {
                let reach = extent.map(|extent| extent as i64 - 1);
                let less = [0, 1].map(|axis| reach[axis] - before[axis]);
                // Padding by less than the kernel reaches takes the input's own padding off at once.
                if sides.iter().all(|(before, after)| before == after) && less.iter().all(|&n| n >= 0) {
                    return match sum {
                        Some(sum) => weight.convolve_onto(team, sum, gradient, slide(less)),
                        None => weight.convolve(team, gradient, None, slide(less), Activation::None),
                    };
                }
                weight.convolve(team, gradient, None, slide(reach), Activation::None)?
            }
            Back::Phases(weight) => {
                let [_, _, reach, _] = weight.shape()?;
                let slide = slide([reach - 1, reach - 1]);
                let blocks = weight.convolve(team, gradient, None, slide, Activation::None)?;
                let [_, channels, ..] = self.weight.shape()?;
                let joined = if self.library {
                    None
                } else {
                    phases::join(team, &blocks, channels as usize, before, size)?
                };
                match joined {
                    Some(gradient) => return added_to(sum, gradient),
                    None => self.join(&blocks, size, &sides)?,
                }
            }
            Back::Transposed => self.transposed(gradient, size, &sides)?,
            Back::Spread(weight) => {
                return added_to(sum, self.spread(weight, gradient, size, &sides)?);
            }
        };
        added_to(sum, crop(&full, before, size)?)
    }

    /// As [`Self::backward`], through the rectifier before it too; none where that cannot be.
    pub(super) fn backward_through(
        &self,
        team: &Team,
        gradient: &Tensor,
        rectifier: Rectifier<'_>,
    ) -> Result<Option<Tensor>, RenderError> {
        let (_, _, height, width) = rectifier.y.size4()?;
        if let Some(back) = self.back_by_channel(team, gradient, [height, width], Some(rectifier))? {
            return Ok(Some(back));
        }
        let Back::Turned(weight) = &self.back else { return Ok(None) };
        let slide = Slide { stride: [1, 1], padding: [0, 0], dilation: [1, 1], groups: 1 };
        let besides = Besides { finish: Finish::NONE, sum: None, rectifier: Some(rectifier) };
        weight.by_pixels(team, gradient, slide, besides)
    }

    /// The way back in the loops over every channel by itself; none where they are not for it.
    fn back_by_channel(
        &self,
        team: &Team,
        gradient: &Tensor,
        size: [i64; 2],
        rectifier: Option<Rectifier<'_>>,
    ) -> Result<Option<Tensor>, RenderError> {
        let Some(depthwise) = &self.depthwise else { return Ok(None) };
        let Some(stride) = self.stride(size)? else { return Ok(None) };
        depthwise.backward(team, gradient, stride, rectifier)
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
        let Filter { stride, dilation, groups, .. } = self.filter;
        let reach = self.extent()?.map(|extent| extent as i64 - 1);
        let (images, channels, height, width) = gradient.size4()?;
        // As many rows and columns as make the convolution's result that of the padded input.
        let [rows, columns] = padded(size, sides);
        let (kind, device) = (gradient.f_kind()?, gradient.device());
        let map = Tensor::f_zeros([images, channels, rows - reach[0], columns - reach[1]], (kind, device))?;
        let [down, across] = ints(stride);
        let places = map.f_slice(2, 0, (height - 1) * down + 1, down)?;
        places.f_slice(3, 0, (width - 1) * across + 1, across)?.f_copy_(gradient)?;
        let slide = Slide { stride: [1, 1], padding: reach, dilation: ints(dilation), groups: groups as i64 };
        let full = library::convolve(&map, weight.plain(), None, slide, false)?;
        let [(top, _), (left, _)] = *sides;
        self.layout.arrange(&full.f_narrow(2, top, size[0])?.f_narrow(3, left, size[1])?)
    }

    /// The padded input's gradient by a transposed convolution; but for the library path image by image, since libtorch adds
    /// up those of several in another order, and what a tile gives must not depend on what else is in the batch.
    fn transposed(
        &self,
        gradient: &Tensor,
        size: [i64; 2],
        sides: &[(i64, i64); 2],
    ) -> Result<Tensor, RenderError> {
        let Filter { stride, dilation, groups, .. } = self.filter;
        let extent = self.extent()?;
        let (images, _, height, width) = gradient.size4()?;
        let reached = |axis: usize, n: i64| (n - 1) * stride[axis] as i64 + extent[axis] as i64;
        let [rows, columns] = padded(size, sides);
        let rest = [rows - reached(0, height), columns - reached(1, width)];
        let slide =
            Slide { stride: ints(stride), padding: [0, 0], dilation: ints(dilation), groups: groups as i64 };
        let back =
            |gradient: &Tensor| library::transposed(gradient, self.weight.plain(), slide, rest, self.tf32);
        if self.library {
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

/// `[out, in / g, kh, kw]` to `[in, out / g, kh, kw]`, turned by 180°.
fn turned(weight: &Tensor, groups: i64) -> Result<Tensor, RenderError> {
    let (out, channels, height, width) = weight.size4()?;
    let grouped = weight.f_reshape([groups, out / groups, channels, height, width])?.f_transpose(1, 2)?;
    Ok(grouped.f_reshape([groups * channels, out / groups, height, width])?.f_flip([2, 3])?)
}

/// The kernels of the four phases of stride 2. Pixel `2i + p` of the input takes part in window `o` through tap
/// `k = 2i + p − 2o`, so phase `p` sees the taps `p, p + 2, …` in falling order.
fn phases(weight: &Tensor) -> Result<Tensor, RenderError> {
    let (out, channels, extent, _) = weight.size4()?;
    let taps = (extent + 1) / 2;
    // An even number of taps, `k = 2 · (taps − 1 − j) + p`: turn, then split into pairs from the end.
    let even = weight.f_pad([0, 2 * taps - extent, 0, 2 * taps - extent], "constant", 0.0)?;
    let split = even.f_reshape([out, channels, taps, 2, taps, 2])?.f_flip([2, 4])?;
    Ok(split.f_permute([1, 3, 5, 0, 2, 4])?.f_reshape([channels * 4, out, taps, taps])?)
}
