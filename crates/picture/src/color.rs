//! Colours: what a file says about them, and the way to sRGB.
//!
//! A profile that cannot be used leaves the colours as they are: a picture with colours slightly off is better than
//! none. Everything is converted in strips, so that a conversion takes no second picture's memory.

use image::DynamicImage;
use moxcms::{
    Chromaticity, CicpColorPrimaries, CicpProfile, CmsError, ColorPrimaries, ColorProfile, DataColorSpace,
    Layout, MatrixCoefficients, ToneReprCurve, TransferCharacteristics, TransformOptions,
};

use super::Samples;

/// Largest colour profile in bytes: real ones have up to 3 MB. A larger one is not even unpacked.
pub(super) const MAX_PROFILE: usize = 4 << 20;

/// Pixels that are converted at once.
const STRIP: usize = 1 << 14;

/// gAMA of files that mean sRGB, in 1/100,000, and how far from it nobody sees.
const GAMMA_OF_SRGB: u32 = 45_455;
const GAMMA_TOLERANCE: u32 = 1_000;

/// The colour space of the samples of a file.
#[derive(Default)]
pub(super) enum Colors {
    /// sRGB, or nothing that can be used.
    #[default]
    Srgb,
    /// As an ICC profile says: of the file's own channels.
    Icc(Box<ColorProfile>),
    /// As the file's header says: of red, green and blue, even where the file has grey only.
    Rgb(Box<ColorProfile>),
}

impl Colors {
    /// From the bytes of an ICC profile.
    pub(super) fn icc(profile: &[u8]) -> Self {
        if profile.len() > MAX_PROFILE {
            return Self::Srgb;
        }
        match ColorProfile::new_from_slice(profile) {
            Ok(profile) => Self::Icc(Box::new(profile)),
            Err(error) => {
                unused(&error);
                Self::Srgb
            }
        }
    }

    /// From PNG's cICP chunk (ITU-T H.273): primaries, transfer, matrix, range. Only full-range RGB is read.
    pub(super) fn cicp([primaries, transfer, matrix, range]: [u8; 4]) -> Option<Self> {
        if matrix != 0 || range != 1 {
            return None;
        }
        let color_primaries = CicpColorPrimaries::try_from(primaries).ok()?;
        let transfer_characteristics = TransferCharacteristics::try_from(transfer).ok()?;
        let profile = ColorProfile::new_from_cicp(CicpProfile {
            color_primaries,
            transfer_characteristics,
            matrix_coefficients: MatrixCoefficients::Identity,
            full_range: true,
        });
        profile.red_trc.is_some().then(|| Self::Rgb(Box::new(profile)))
    }

    /// From PNG's gAMA, and cHRM where there is one: white, red, green and blue as x and y; all in 1/100,000.
    pub(super) fn gamma(gamma: u32, points: Option<[u32; 8]>) -> Self {
        // What encoders write who mean sRGB and do not say so.
        let like_srgb = gamma.abs_diff(GAMMA_OF_SRGB) <= GAMMA_TOLERANCE;
        if gamma == 0 || (like_srgb && points.is_none()) {
            return Self::Srgb;
        }
        let points = points.unwrap_or([31_270, 32_900, 64_000, 33_000, 30_000, 60_000, 15_000, 6_000]);
        // A point without height has no brightness to divide by.
        if points.iter().skip(1).step_by(2).any(|&y| y == 0) {
            return Self::Srgb;
        }
        let [white, red, green, blue] = [0, 2, 4, 6].map(|at| {
            let [x, y] = [points[at], points[at + 1]].map(|value| value as f32 / 100_000.0);
            Chromaticity::new(x, y)
        });
        let mut profile = ColorProfile::new_srgb();
        profile.cicp = None;
        profile.update_rgb_colorimetry(white.to_xyyb(), ColorPrimaries { red, green, blue });
        let curve = ToneReprCurve::Parametric(vec![100_000.0 / gamma as f32]);
        profile.red_trc = Some(curve.clone());
        profile.green_trc = Some(curve.clone());
        profile.blue_trc = Some(curve);
        Self::Rgb(Box::new(profile))
    }

    /// The colours of an image in sRGB, without its transparency, in as many bits as it has; conversions keep their
    /// fractions.
    pub(super) fn to_srgb(&self, image: DynamicImage) -> Samples {
        let deep = image.color().bytes_per_pixel() / image.color().channel_count() > 1;
        let grey = !image.color().has_color();
        match self {
            Self::Icc(profile) if grey && profile.color_space == DataColorSpace::Gray => {
                let rgb = convert(profile, Layout::Gray, &image.to_luma16());
                rgb.map_or_else(|| Samples::Sixteen(image.into_rgb16().into_raw()), Samples::Sixteen)
            }
            Self::Icc(profile) if !grey && profile.color_space == DataColorSpace::Rgb => {
                Samples::Sixteen(convert_rgb(profile, image.into_rgb16().into_raw()))
            }
            Self::Rgb(profile) => Samples::Sixteen(convert_rgb(profile, image.into_rgb16().into_raw())),
            _ if deep => Samples::Sixteen(image.into_rgb16().into_raw()),
            _ => Samples::Eight(image.into_rgb8().into_raw()),
        }
    }
}

fn unused(error: &CmsError) {
    tracing::debug!(%error, "the colour profile of an image is not used");
}

/// Converts samples of 16 bits; nothing where the profile cannot be used.
fn convert(profile: &ColorProfile, layout: Layout, samples: &[u16]) -> Option<Vec<u16>> {
    let channels = layout.channels();
    let mut rgb = vec![0; samples.len() / channels * 3];
    let mut convert = || {
        let options = TransformOptions::default();
        let srgb = ColorProfile::new_srgb();
        let transform = profile.create_transform_16bit(layout, &srgb, Layout::Rgb, options)?;
        for (from, to) in samples.chunks(STRIP * channels).zip(rgb.chunks_mut(STRIP * 3)) {
            transform.transform(from, to)?;
        }
        Ok::<_, CmsError>(())
    };
    convert().map_err(|error| unused(&error)).ok()?;
    Some(rgb)
}

/// Converts red, green and blue in place.
fn convert_rgb(profile: &ColorProfile, mut rgb: Vec<u16>) -> Vec<u16> {
    let mut convert = || {
        let options = TransformOptions::default();
        let srgb = ColorProfile::new_srgb();
        let transform = profile.create_transform_16bit(Layout::Rgb, &srgb, Layout::Rgb, options)?;
        let mut strip = vec![0; rgb.len().min(STRIP * 3)];
        for samples in rgb.chunks_mut(STRIP * 3) {
            let strip = &mut strip[..samples.len()];
            strip.copy_from_slice(samples);
            transform.transform(strip, samples)?;
        }
        Ok::<_, CmsError>(())
    };
    convert().unwrap_or_else(|error| unused(&error));
    rgb
}

/// Converts ink, `[pixels, 4]` with 0 for none and 255 for full, to sRGB: with the profile, or as light that the inks
/// let through.
pub(super) fn cmyk_to_srgb(cmyk: &[u8], colors: &Colors) -> Vec<u8> {
    if let Colors::Icc(profile) = colors
        && profile.color_space == DataColorSpace::Cmyk
    {
        match print_to_srgb(cmyk, profile) {
            Ok(rgb) => return rgb,
            Err(error) => unused(&error),
        }
    }
    let mut rgb = vec![0; cmyk.len() / 4 * 3];
    for (ink, light) in cmyk.chunks_exact(4).zip(rgb.chunks_exact_mut(3)) {
        let through = |ink: u8| u32::from(255 - ink);
        for (light, &colour) in light.iter_mut().zip(ink) {
            *light = ((through(colour) * through(ink[3]) + 127) / 255) as u8;
        }
    }
    rgb
}

/// With a profile, and the print's darkest colour made black, as viewers do it (black point compensation: in XYZ the
/// print's black, taken as neutral, goes to 0 and white stays).
fn print_to_srgb(cmyk: &[u8], profile: &ColorProfile) -> Result<Vec<u8>, CmsError> {
    let srgb = ColorProfile::new_srgb();
    let transform =
        profile.create_transform_16bit(Layout::Rgba, &srgb, Layout::Rgb, TransformOptions::default())?;
    let mut darkest = [0; 3];
    transform.transform(&[u16::MAX; 4], &mut darkest)?;
    // ITU-R BT.709.
    let black: f32 =
        darkest.iter().zip([0.2126, 0.7152, 0.0722]).map(|(&value, part)| linear(value) * part).sum();
    // What is nearly white is no black.
    let black = if black < 0.5 { black } else { 0.0 };
    let table: Vec<u8> =
        (0..=u16::MAX).map(|value| encoded((linear(value) - black) / (1.0 - black))).collect();
    let mut rgb = vec![0; cmyk.len() / 4 * 3];
    let (mut inks, mut lights) = (vec![0; STRIP * 4], vec![0; STRIP * 3]);
    for (from, to) in cmyk.chunks(STRIP * 4).zip(rgb.chunks_mut(STRIP * 3)) {
        let (inks, lights) = (&mut inks[..from.len()], &mut lights[..to.len()]);
        inks.iter_mut().zip(from).for_each(|(ink, &value)| *ink = u16::from(value) * 257);
        transform.transform(inks, lights)?;
        to.iter_mut().zip(lights).for_each(|(value, light)| *value = table[usize::from(*light)]);
    }
    Ok(rgb)
}

/// Light of a value of sRGB, 0 to 1 (IEC 61966-2-1).
fn linear(value: u16) -> f32 {
    let value = f32::from(value) / 65_535.0;
    if value <= 0.040_45 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }
}

/// The value of sRGB, 0 to 255, of so much light.
pub(super) fn encoded(light: f32) -> u8 {
    let value = if light <= 0.003_130_8 { 12.92 * light } else { 1.055 * light.powf(1.0 / 2.4) - 0.055 };
    (value * 255.0).round() as u8
}
