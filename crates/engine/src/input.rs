//! What a request brings along, as it was [decoded](super::decoded): the image, its transparency and the mask, on the device, and at
//! the size at which the dream grows; and the guide image at its own. Gives the dream the image's own size again.

use tch::{Device, Kind, Tensor};

use super::{
    RenderError,
    bands::{each, rows},
    fourier,
    mask::Mask,
    original::Original,
    pyramid::Change,
    resample::{Rows, resample},
};
use reverie_dream::{
    plan::{dreamed_size, guide_size},
    spec::{DreamSpec, Noise},
};
use reverie_picture::{self as picture, Picture};

/// The images of a request. All are as large as the dream's last octave, unless the dream has grown.
pub(super) struct Input {
    /// What the dream starts from.
    pub(super) original: Original,
    /// Where it may grow.
    pub(super) mask: Option<Mask>,
    /// `[height, width]` of the result, where the input has transparency.
    pub(super) alpha: Option<Vec<u8>>,
    /// What was sent, where the above is smaller and its size is to come back.
    pub(super) whole: Option<Whole>,
    /// Height and width of what was sent.
    pub(super) sent: (i64, i64),
}

/// An image and its mask before they were shrunk.
pub(super) struct Whole {
    pub(super) original: Original,
    mask: Option<Mask>,
}

impl Input {
    /// Moves the decoded images to the device, and shrinks them where the spec has a largest edge.
    ///
    /// # Errors
    /// A missing image, and what the device says.
    pub(super) fn new(
        spec: &DreamSpec,
        picture: Option<Picture>,
        mask: Option<picture::Mask>,
        device: Device,
    ) -> Result<Self, RenderError> {
        if let Some(Noise { width, height }) = spec.noise {
            let original = Original::noise(spec.seed, height, width, device)?;
            let original = if spec.is_fourier() { fourier::start(&original)? } else { original };
            let sent = original.extent()?;
            return Ok(Self { original, mask: None, alpha: None, whole: None, sent });
        }
        let mut picture = picture.ok_or(RenderError::NoInput)?;
        let original = Original::new(&picture, device)?;
        let mask = match (spec.mask, mask) {
            (Some(masking), Some(mask)) => Some(Mask::new(&mask, masking.feather, device)?),
            _ => None,
        };
        let sent = original.extent()?;
        let input = Self { original, mask, alpha: picture.alpha.take(), whole: None, sent };
        drop(picture);
        let size = dreamed_size(spec, sent);
        if size == sent { Ok(input) } else { input.shrunk(size, spec.restore_size) }
    }

    /// The same at another size; `restored` tells whether the size is to come back, and with it the transparency.
    fn shrunk(self, (height, width): (i64, i64), restored: bool) -> Result<Self, RenderError> {
        let Self { original, mask, alpha, sent, .. } = self;
        let small = original.shrunk(height, width)?;
        let small_mask = mask.as_ref().map(|mask| mask.shrunk(height, width)).transpose()?;
        let alpha = match alpha {
            Some(alpha) if !restored => {
                let plane = Tensor::f_from_slice(&alpha)?.f_reshape([1, 1, sent.0, sent.1])?;
                let plane = shrunk_plane(&plane, height, width)?;
                let mut alpha = vec![0; plane.numel()];
                plane.f_copy_data_u8(&mut alpha, plane.numel())?;
                Some(alpha)
            }
            alpha => alpha,
        };
        let whole = restored.then_some(Whole { original, mask });
        Ok(Self { original: small, mask: small_mask, alpha, whole, sent })
    }

    /// The dream of `self`, `[1, 3, h, w]`, at the size of what was sent: what was dreamed is enlarged and added to the
    /// whole image, so that its detail stays. Where nothing is to be restored, the dream as it is.
    pub(super) fn restore_size(&self, dreamed: Tensor) -> Result<Tensor, RenderError> {
        let Some(Whole { original, mask }) = &self.whole else { return Ok(dreamed) };
        let image = original.to_floats()?;
        let (height, width) = self.sent;
        resample(&Change { from: &self.original, to: &dreamed }, height, width, |span, change| {
            drop(rows(&image, span)?.f_add_(change)?);
            Ok(())
        })?;
        drop(dreamed);
        each(&image, |_, band| Ok(band.f_clamp_(0.0, 255.0)?))?;
        if let Some(mask) = mask {
            mask.restore(&image, original)?;
        }
        Ok(image)
    }

    /// What the result is an image of, at its size if the dream has not grown.
    pub(super) fn base(&self) -> &Original {
        self.whole.as_ref().map_or(&self.original, |whole| &whole.original)
    }
}

/// A guide image, `[1, 3, h, w]` float32 at the size at which its features are taken.
pub(super) fn guide(picture: &Picture, device: Device) -> Result<Tensor, RenderError> {
    let original = Original::new(picture, device)?;
    let (height, width) = guide_size(original.extent()?);
    original.resized(height, width)
}

/// Shrinks `[1, 1, H, W]` uint8, a band at a time and rounded.
pub(super) fn shrunk_plane(plane: &Tensor, height: i64, width: i64) -> Result<Tensor, RenderError> {
    let small = Tensor::f_empty([1, 1, height, width], (Kind::Uint8, plane.device()))?;
    resample(plane, height, width, |span, band| {
        rows(&small, span)?.f_copy_(&band.f_round()?)?;
        Ok(())
    })?;
    Ok(small)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An image of 300×200 with transparency and a mask, white on its left half.
    fn input() -> Input {
        let image = Tensor::arange(300 * 200 * 3, (Kind::Float, Device::Cpu)).remainder(251.0);
        let original = Original::of_floats(&image.view([1, 3, 200, 300]));
        let left = |x: usize| if x < 150 { 255 } else { 0 };
        let values: Vec<u8> = (0..300 * 200).map(|index| left(index % 300)).collect();
        let mask = picture::Mask { width: 300, height: 200, values: values.clone() };
        let mask = Some(Mask::new(&mask, 0, Device::Cpu).unwrap());
        Input { original, mask, alpha: Some(values), whole: None, sent: (200, 300) }
    }

    #[test]
    fn a_shrunk_image_without_a_dream_is_restored_to_the_last_bit() {
        let whole = input().original.to_floats().unwrap();
        let input = input().shrunk((80, 120), true).unwrap();
        assert_eq!(input.original.extent().unwrap(), (80, 120));
        assert_eq!(input.alpha.as_ref().unwrap().len(), 300 * 200);
        let start = input.original.to_floats().unwrap();
        assert_eq!(input.restore_size(start.copy()).unwrap(), whole);
        // A dream is added where the mask is white, and only there.
        let restored = input.restore_size((start + 40.0).clamp(0.0, 255.0)).unwrap();
        let change = (&restored - &whole).abs();
        assert_eq!(change.narrow(3, 150, 150).max().double_value(&[]), 0.0);
        assert!(change.narrow(3, 0, 140).mean(Kind::Double).double_value(&[]) > 20.0);
        assert!(restored.max().double_value(&[]) <= 255.0);
    }

    #[test]
    fn transparency_and_masks_are_shrunk_with_their_image() {
        let input = input().shrunk((80, 120), false).unwrap();
        let alpha = input.alpha.as_ref().unwrap();
        assert_eq!((alpha.len(), alpha[10], alpha[110]), (80 * 120, 255, 0));
        let weights = input.mask.as_ref().unwrap().at(80, 120).unwrap();
        assert_eq!((weights.weight(40, 10), weights.weight(40, 110)), (1.0, 0.0));
        assert!(input.whole.is_none());
        assert_eq!(input.base().extent().unwrap(), (80, 120));
    }
}
