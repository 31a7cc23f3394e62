//! Where a dream grows: an image as large as the input, white for everywhere.
//!
//! Each gradient step is weighted by the mask, so that forms fit themselves into it instead of being cut off at
//! its edge; pixels where it is black keep the input's values to the last bit.

use tch::{Device, Kind, Tensor};

use super::{
    RenderError,
    bands::{each, rows},
    input::shrunk_plane,
    resample::{Rows, resize},
    transfer::upload,
};
use reverie_picture as picture;

/// A mask with its edges softened.
pub(super) struct Mask {
    /// `[1, 1, H, W]` uint8.
    values: Tensor,
}

/// A mask at the size of an octave.
pub(super) struct OctaveMask {
    /// `[1, 1, h, w]` float32, 0 to 1.
    weights: Tensor,
}

impl Mask {
    /// Moves a decoded mask to `device`; `feather` is the width in pixels over which its edges are softened.
    pub(super) fn new(mask: &picture::Mask, feather: u32, device: Device) -> Result<Self, RenderError> {
        let (height, width) = (i64::from(mask.height), i64::from(mask.width));
        let values = Tensor::f_from_slice(&mask.values)?.f_reshape([1, 1, height, width])?;
        let values = upload(&values, device)?;
        if feather < 2 {
            return Ok(Self { values });
        }
        // Shrinking averages over a triangle of that width, enlarging draws lines between the averages.
        let small = |extent: i64| (extent * 2 / i64::from(feather)).max(1);
        let soft = resize(&values.f_to_kind(Kind::Float)?, small(height), small(width))?;
        let soft = resize(&soft, height, width)?;
        Ok(Self { values: soft.f_round()?.f_to_kind(Kind::Uint8)? })
    }

    /// The mask of an image that was shrunk to this size.
    pub(super) fn shrunk(&self, height: i64, width: i64) -> Result<Self, RenderError> {
        Ok(Self { values: shrunk_plane(&self.values, height, width)? })
    }

    /// Whether the dream may grow nowhere.
    pub(super) fn is_black(&self) -> Result<bool, RenderError> {
        Ok(self.values.f_max()?.f_double_value(&[])? == 0.0)
    }

    /// The mask for an octave of this size.
    pub(super) fn at(&self, height: i64, width: i64) -> Result<OctaveMask, RenderError> {
        let weights = if self.values.extent()? == (height, width) {
            self.values.f_to_kind(Kind::Float)?
        } else {
            resize(&self.values.f_to_kind(Kind::Float)?, height, width)?
        };
        each(&weights, |_, band| Ok(band.f_div_scalar_(255.0)?))?;
        Ok(OctaveMask { weights })
    }

    /// Height and width.
    pub(super) fn extent(&self) -> Result<(i64, i64), RenderError> {
        self.values.extent()
    }

    /// Puts the pixels of `original` back into `image` where the mask is black; both are `[1, 3, H, W]`.
    pub(super) fn restore(&self, image: &Tensor, original: &dyn Rows) -> Result<(), RenderError> {
        each(image, |span, band| {
            let black = rows(&self.values, span)?.f_eq(0)?;
            let restored = original.rows(span)?.f_to_kind(Kind::Float)?.f_where_self(&black, band)?;
            band.f_copy_(&restored)?;
            Ok(band.shallow_clone())
        })
    }
}

impl OctaveMask {
    /// Weights `gradient`, `[1, 3, h, w]`, in place.
    pub(super) fn apply(&self, gradient: &Tensor) -> Result<(), RenderError> {
        each(gradient, |span, band| Ok(band.f_mul_(&rows(&self.weights, span)?)?))
    }

    /// Puts `image`, `[1, 3, h, w]`, where the weight is 0, back to `original`, and mixes the two in between.
    pub(super) fn mix(&self, image: &Tensor, original: &dyn Rows) -> Result<(), RenderError> {
        each(image, |span, band| {
            let still = original.rows(span)?;
            let mut change = band.f_to_kind(Kind::Double)?.f_sub_(&still)?;
            let mixed = change.f_mul_(&rows(&self.weights, span)?)?.f_add_(&still)?;
            band.f_copy_(&mixed)?;
            Ok(band.shallow_clone())
        })
    }

    /// The weight at a pixel.
    #[cfg(test)]
    pub(super) fn weight(&self, y: i64, x: i64) -> f64 {
        self.weights.double_value(&[0, 0, y, x])
    }
}
