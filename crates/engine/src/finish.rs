//! From the last octave to a picture: colours and parts of the original come back, floats become bytes.

use tch::{Kind, Tensor};

use super::{
    RenderError,
    bands::{bands, each, moments, rows},
    original::Original,
    transfer::{download, upload},
};
use reverie_dream::spec::{DreamSpec, Share};
use reverie_picture::{Picture, Samples};

/// Weights of red, green and blue in brightness (ITU-R BT.601), as in JPEG's YCbCr.
const LUMA: [f64; 3] = [0.299, 0.587, 0.114];

/// The picture that a dream, `[1, 3, H, W]`, is shown as: with what the spec wants of `original`, or a standard contrast. The
/// dream is changed on the way.
pub(super) fn to_shown(
    spec: &DreamSpec,
    original: &Original,
    dreamed: &Tensor,
) -> Result<Picture, RenderError> {
    restore_original(spec, original, dreamed)?;
    if spec.auto_contrast {
        set_contrast(dreamed)?;
    }
    to_picture(dreamed)
}

/// Puts colours and parts of the original back into `image`, `[1, 3, H, W]`, where the spec asks for it.
fn restore_original(spec: &DreamSpec, original: &Original, image: &Tensor) -> Result<(), RenderError> {
    let Share(kept) = spec.preserve_colors;
    if kept == 0.0 && spec.blend == 0.0 {
        return Ok(());
    }
    let (_, _, height, width) = image.size4()?;
    let luma = upload(&Tensor::f_from_slice(&LUMA)?.f_reshape([1, 3, 1, 1])?, image.device())?;
    original.each_band(height, width, |span, original| {
        let mut band = rows(image, span)?;
        let mut change = band.f_to_kind(Kind::Double)?.f_sub_(original)?;
        if kept > 0.0 {
            // In YCbCr terms: Y of the dream; of Cb and Cr the wanted share of the original's and the rest of the dream's.
            let brightness = change.f_mul(&luma)?.f_sum_dim_intlist(&[1i64][..], true, Kind::Double)?;
            change = if kept == 1.0 {
                brightness
            } else {
                change.f_mul_scalar_(1.0 - kept)?.f_add_(&brightness.f_mul_scalar(kept)?)?
            };
        }
        let mixed = original.f_add(&change.f_mul_scalar_(1.0 - spec.blend)?)?;
        band.f_copy_(&mixed.f_clamp(0.0, 255.0)?)?;
        Ok(())
    })
}

/// Sets the mean of `image`, `[1, 3, H, W]`, to middle grey and its standard deviation to a tenth of the range, as
/// the 2015 notebook shows its results (`visstd`).
fn set_contrast(image: &Tensor) -> Result<(), RenderError> {
    let (mean, deviation) = moments(image)?;
    // A flat image has no contrast to set.
    let deviation = deviation.max(0.01);
    each(image, |_, band| {
        let mut centred = band.f_sub_scalar_(mean)?;
        Ok(centred.f_mul_scalar_(25.5 / deviation)?.f_add_scalar_(127.5)?)
    })
}

/// An opaque picture of `[1, 3, H, W]`; values are clipped to 0–255 and truncated, as the article's `np.uint8`
/// does.
pub(super) fn to_picture(image: &Tensor) -> Result<Picture, RenderError> {
    let (_, _, height, width) = image.size4()?;
    let mut values = vec![0; image.numel()];
    let mut rest = &mut values[..];
    for span in bands(height, width) {
        let bytes = rows(image, span)?.f_clamp(0.0, 255.0)?.f_to_kind(Kind::Uint8)?;
        let bytes = download(&bytes.f_permute([0, 2, 3, 1])?)?;
        let (band, after) = rest.split_at_mut(bytes.numel());
        bytes.f_copy_data_u8(band, band.len())?;
        rest = after;
    }
    Ok(Picture { width: width as u32, height: height as u32, rgb: Samples::Eight(values), alpha: None })
}

#[cfg(test)]
mod tests {
    use tch::Device;

    use super::*;
    use reverie_dream::spec::Preset;

    #[test]
    fn contrast_is_set_to_a_standard() {
        let image = Tensor::rand([1, 3, 40, 50], (Kind::Float, Device::Cpu)) * 3.0 + 100.0;
        set_contrast(&image).unwrap();
        let (mean, deviation) = (image.mean(Kind::Double), image.std(false));
        assert!(
            (mean.double_value(&[]) - 127.5).abs() < 0.01
                && (deviation.double_value(&[]) - 25.5).abs() < 0.01
        );
        let flat = Tensor::full([1, 3, 4, 5], 7.0, (Kind::Float, Device::Cpu));
        set_contrast(&flat).unwrap();
        assert_eq!((flat - 127.5).abs().max().double_value(&[]), 0.0);
    }

    #[test]
    fn a_share_of_the_original_colours_comes_back_and_brightness_stays_the_dreams() {
        let values = |kept| {
            let spec = DreamSpec { preserve_colors: Share(kept), ..DreamSpec::of_preset(Preset::Deepdream) };
            let original = Tensor::from_slice(&[120f32, 100.0, 80.0]).reshape([1, 3, 1, 1]);
            let image = Tensor::from_slice(&[100f32, 160.0, 90.0]).reshape([1, 3, 1, 1]);
            restore_original(&spec, &Original::of_floats(&original), &image).unwrap();
            [0, 1, 2].map(|channel| image.double_value(&[0, channel, 0, 0]))
        };
        let luma = |rgb: [f64; 3]| rgb.iter().zip(LUMA).map(|(value, weight)| value * weight).sum::<f64>();
        // Brightness of the dream, differences between the channels of the original, or the mean of both.
        let [dream, half, all] = [0.0, 0.5, 1.0].map(values);
        assert_eq!(dream, [100.0, 160.0, 90.0]);
        for rgb in [half, all] {
            assert!((luma(rgb) - luma(dream)).abs() < 1e-4, "{rgb:?}");
        }
        assert!((all[0] - all[1] - 20.0).abs() < 1e-4 && (all[1] - all[2] - 20.0).abs() < 1e-4, "{all:?}");
        assert!(
            (half[0] - half[1] + 20.0).abs() < 1e-4 && (half[1] - half[2] - 45.0).abs() < 1e-4,
            "{half:?}"
        );
    }

    #[test]
    fn values_are_clipped_and_truncated() {
        let image = Tensor::from_slice(&[-20f32, 300.0, 99.9, 1.0, 2.0, 3.0]).reshape([1, 3, 1, 2]);
        assert_eq!(to_picture(&image).unwrap().rgb, Samples::Eight(vec![0, 99, 2, 255, 1, 3]));
    }
}
