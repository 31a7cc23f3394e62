//! Sliding windows over a map: where padding goes, and pooling.

use tch::Tensor;

use super::{super::RenderError, Layout, ints};
use reverie_graph::{Padding, Window};

/// A map with its borders padded, and the padding that is left to the operation.
pub(super) struct Padded {
    pub(super) map: Tensor,
    /// Rows above and columns to the left that were added to [`Self::map`].
    pub(super) added: [i64; 2],
    /// Symmetric padding for the operation itself, `[rows, columns]`.
    pub(super) symmetric: [i64; 2],
}

/// Pixels before and after each axis of a map of `size` that a window adds; `kernel` is the dilated extent.
pub(super) fn sides(
    size: [i64; 2],
    kernel: [usize; 2],
    stride: [usize; 2],
    padding: Padding,
) -> [(i64, i64); 2] {
    [0, 1].map(|axis| {
        let resolved = padding.resolve(axis, size[axis] as usize, kernel[axis], stride[axis]);
        resolved.map_or((0, 0), |(_, before, after)| (before as i64, after as i64))
    })
}

/// Pads a map as the window wants; `kernel` is the dilated extent. Symmetric zero padding is left to the operation;
/// TensorFlow's extra pixel at the end has to be added beforehand. Max-pooling pads with −∞ itself too, but only up
/// to half a window.
pub(super) fn pad(
    x: &Tensor,
    kernel: [usize; 2],
    stride: [usize; 2],
    padding: Padding,
    value: f64,
) -> Result<Padded, RenderError> {
    let (_, _, height, width) = x.size4()?;
    let [(top, bottom), (left, right)] = sides([height, width], kernel, stride, padding);
    if top == bottom && left == right && 2 * top <= kernel[0] as i64 && 2 * left <= kernel[1] as i64 {
        return Ok(Padded { map: x.shallow_clone(), added: [0, 0], symmetric: [top, left] });
    }
    let map = x.f_pad([left, right, top, bottom], "constant", value)?;
    Ok(Padded { map, added: [top, left], symmetric: [0, 0] })
}

/// The part of `map` that was there before padding: `size` rows and columns, without gaps. With gaps, which loop can run over
/// it would depend on the number of images, and with that its last digits.
pub(super) fn crop(map: &Tensor, added: [i64; 2], size: [i64; 2]) -> Result<Tensor, RenderError> {
    let (_, _, height, width) = map.size4()?;
    if [height, width] == size {
        return Ok(map.shallow_clone());
    }
    let part = map.f_narrow(2, added[0], size[0])?.f_narrow(3, added[1], size[1])?;
    if map.stride()[1] == 1 { Layout::ChannelsLast.arrange(&part) } else { Ok(part.f_contiguous()?) }
}

/// Mean over the pixels of a window that lie inside the map, as TensorFlow counts them; with `count_padding` over those of
/// explicit padding too, which are zeros.
pub(super) fn average(x: &Tensor, window: Window, count_padding: bool) -> Result<Tensor, RenderError> {
    Ok(sum(x, window)?.f_div(&counts(x, window, count_padding)?)?)
}

/// Gradient of [`average`] with respect to an input that looks like `x`.
pub(super) fn average_backward(
    gradient: &Tensor,
    x: &Tensor,
    window: Window,
    count_padding: bool,
) -> Result<Tensor, RenderError> {
    let (_, _, height, width) = x.size4()?;
    let Window { kernel, stride, padding } = window;
    let Padded { map, added, symmetric } = pad(x, kernel, stride, padding, 0.0)?;
    let shares = gradient.f_div(&counts(x, window, count_padding)?)?;
    let spread = map.f_avg_pool2d_backward(&shares, ints(kernel), ints(stride), symmetric, false, true, 1)?;
    crop(&spread, added, [height, width])
}

/// Sums over the windows; the padding adds nothing.
fn sum(x: &Tensor, Window { kernel, stride, padding }: Window) -> Result<Tensor, RenderError> {
    let Padded { map, symmetric, .. } = pad(x, kernel, stride, padding, 0.0)?;
    Ok(map.f_avg_pool2d(ints(kernel), ints(stride), symmetric, false, true, 1)?)
}

/// How many pixels each window counts.
fn counts(x: &Tensor, window: Window, count_padding: bool) -> Result<Tensor, RenderError> {
    let (_, _, height, width) = x.size4()?;
    let ones = |size: [i64; 2]| Tensor::f_ones([1, 1, size[0], size[1]], (x.f_kind()?, x.device()));
    match window.padding {
        Padding::Explicit { before, after, .. } if count_padding => {
            let size = [0, 1].map(|axis| [height, width][axis] + (before[axis] + after[axis]) as i64);
            // Only what the last windows reach beyond the padding is left.
            let all = sides([height, width], window.kernel, window.stride, window.padding);
            let rest = [0, 1].map(|axis| all[axis].1 as usize - after[axis]);
            let rest = rest.map(|n| n as i64);
            let padded = ones(size)?.f_pad([0, rest[1], 0, rest[0]], "constant", 0.0)?;
            sum(&padded, Window { padding: Padding::Valid, ..window })
        }
        _ => sum(&ones([height, width])?, window),
    }
}
