//! Octaves: the scales at which an image is dreamed, from coarse to fine, and the resampling between them.

use tch::Tensor;

use super::RenderError;

/// Resamples `[1, 3, H, W]` to `height × width` as PIL's bilinear filter does on float channels: half-pixel
/// centres, and a support that widens when shrinking, so that nothing aliases. No rounding to 8 bits.
pub(super) fn resize(image: &Tensor, height: i64, width: i64) -> Result<Tensor, RenderError> {
    Ok(image.f_internal_upsample_bilinear2d_aa([height, width], false, None, None)?)
}

/// Sizes `(height, width)` of the octaves, coarsest first; the last one is the image's own.
///
/// Each is `int(float32(size) / scale)` of the next, the article's arithmetic. The pyramid is cut short
/// where a size would fall below one pixel.
pub(super) fn octave_sizes(height: i64, width: i64, octaves: u32, scale: f64) -> Vec<(i64, i64)> {
    let shrink = |n: i64| (n as f32 / scale as f32) as i64;
    let mut sizes = vec![(height, width)];
    let mut size = (height, width);
    for _ in 1..octaves {
        size = (shrink(size.0), shrink(size.1));
        if size.0 < 1 || size.1 < 1 {
            break;
        }
        sizes.push(size);
    }
    sizes.reverse();
    sizes
}

/// A picture taken apart: the coarsest octave, and what each finer one adds to its enlarged predecessor.
pub(super) struct Pyramid {
    /// The coarsest octave, `[1, 3, h, w]`.
    pub(super) base: Tensor,
    /// Detail of the finer octaves, coarsest first; each has its octave's size.
    pub(super) details: Vec<Tensor>,
}

impl Pyramid {
    /// Takes `image` apart into the octaves of [`octave_sizes`].
    pub(super) fn split(image: &Tensor, octaves: u32, scale: f64) -> Result<Self, RenderError> {
        let (_, _, height, width) = image.size4()?;
        let sizes = octave_sizes(height, width, octaves, scale);
        let mut base = image.shallow_clone();
        let mut details = Vec::with_capacity(sizes.len() - 1);
        for pair in sizes.windows(2).rev() {
            let [(low_height, low_width), (height, width)] = [pair[0], pair[1]];
            let low = resize(&base, low_height, low_width)?;
            details.push(base.f_sub(&resize(&low, height, width)?)?);
            base = low;
        }
        details.reverse();
        Ok(Self { base, details })
    }
}

/// Enlarges a dreamed octave to the size of `detail` and adds it back.
pub(super) fn merge(image: &Tensor, detail: &Tensor) -> Result<Tensor, RenderError> {
    let (_, _, height, width) = detail.size4()?;
    Ok(resize(image, height, width)?.f_add(detail)?)
}
