//! Octaves: the scales at which an image is dreamed, from coarse to fine, and the resampling between them.

use tch::{Kind, Tensor};

use super::{RenderError, checkpoint::Checkpoint};
use crate::plan::{enlarged_sizes, octave_sizes};

/// Resamples `[1, 3, H, W]` to `height × width` as PIL's bilinear filter does on float channels: half-pixel
/// centres, and a support that widens when shrinking, so that nothing aliases. No rounding to 8 bits.
///
/// Computed in double precision: single-precision weights do not sum to exactly 1, and the ripple of 10⁻⁴ that
/// they leave in flat areas (a clipped sky) decides which of several equal pixels a max-pooling picks, which
/// changes the gradient by several per cent. One channel at a time, to hold little more than the image.
pub(super) fn resize(image: &Tensor, height: i64, width: i64) -> Result<Tensor, RenderError> {
    let (_, channels, _, _) = image.size4()?;
    let resized = (0..channels).map(|channel| -> Result<Tensor, RenderError> {
        let exact = image.f_narrow(1, channel, 1)?.f_to_kind(Kind::Double)?;
        let exact = exact.f_internal_upsample_bilinear2d_aa([height, width], false, None, None)?;
        Ok(exact.f_to_kind(image.f_kind()?)?)
    });
    Ok(Tensor::f_cat(&resized.collect::<Result<Vec<_>, _>>()?, 1)?)
}

/// The way from the coarsest octave to the finest.
pub(super) struct Octaves {
    /// The coarsest octave, `[1, 3, h, w]`.
    pub(super) base: Tensor,
    /// What makes each finer octave of its predecessor, coarsest first.
    next: Vec<Next>,
}

enum Next {
    /// Enlarge to so many rows and columns.
    Size(i64, i64),
    /// Enlarge to the size of this tensor and add it.
    Detail(Tensor),
}

impl Octaves {
    /// Takes `image`, the finest octave, apart: each octave remembers what the next coarser one lacks.
    pub(super) fn carry_detail(
        image: &Tensor,
        octaves: u32,
        scale: f64,
        fits: &dyn Fn(i64, i64) -> bool,
    ) -> Result<Self, RenderError> {
        let (_, _, height, width) = image.size4()?;
        let sizes = octave_sizes(height, width, octaves, scale, fits);
        let mut base = image.shallow_clone();
        let mut next = Vec::with_capacity(sizes.len());
        for pair in sizes.windows(2).rev() {
            let [(low_height, low_width), (height, width)] = [pair[0], pair[1]];
            let low = resize(&base, low_height, low_width)?;
            next.push(Next::Detail(base.f_sub(&resize(&low, height, width)?)?));
            base = low;
        }
        next.reverse();
        Ok(Self { base, next })
    }

    /// Starts from `image`, the coarsest octave; each finer one has `int(float32(size) · scale)` pixels.
    ///
    /// # Errors
    /// [`RenderError::TooLarge`] when the finest octave would have more than `max_pixels`.
    pub(super) fn enlarge(
        image: &Tensor,
        octaves: u32,
        scale: f64,
        max_pixels: u64,
    ) -> Result<Self, RenderError> {
        let (_, _, height, width) = image.size4()?;
        let sizes = enlarged_sizes(height, width, octaves, scale, max_pixels)?;
        let next = sizes.into_iter().skip(1).map(|(height, width)| Next::Size(height, width)).collect();
        Ok(Self { base: image.shallow_clone(), next })
    }

    /// Pixels of each octave, coarsest first.
    pub(super) fn pixels(&self) -> Result<Vec<i64>, RenderError> {
        let area = |tensor: &Tensor| tensor.size4().map(|(_, _, height, width)| height * width);
        let finer = self.next.iter().map(|next| match next {
            Next::Size(height, width) => Ok(height * width),
            Next::Detail(detail) => area(detail),
        });
        Ok(std::iter::once(area(&self.base)).chain(finer).collect::<Result<_, _>>()?)
    }

    /// Whether a checkpoint is one of these octaves, and not the last.
    pub(super) fn holds(&self, checkpoint: &Checkpoint) -> bool {
        let size = |tensor: &Tensor| tensor.size4().ok().map(|(_, _, height, width)| (height, width));
        let index = checkpoint.octave as usize;
        let expected = match index.checked_sub(1).map(|finer| self.next.get(finer)) {
            None => size(&self.base),
            Some(Some(Next::Size(height, width))) => Some((*height, *width)),
            Some(Some(Next::Detail(detail))) => size(detail),
            Some(None) => None,
        };
        index < self.next.len() && expected.is_some() && expected == size(&checkpoint.image)
    }

    /// The start of octave `index` (from 1), given the dreamed octave before it.
    pub(super) fn advance(&self, index: usize, dreamed: &Tensor) -> Result<Tensor, RenderError> {
        match self.next.get(index - 1) {
            Some(Next::Size(height, width)) => resize(dreamed, *height, *width),
            Some(Next::Detail(detail)) => {
                let (_, _, height, width) = detail.size4()?;
                Ok(resize(dreamed, height, width)?.f_add(detail)?)
            }
            None => Err(RenderError::Engine(format!("there is no octave {index}"))),
        }
    }
}
