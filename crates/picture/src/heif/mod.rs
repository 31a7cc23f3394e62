//! HEIC and AVIF, through the system's libheif. Source: ISO/IEC 23008-12 (HEIF), MIAF and the AVIF specification.
//!
//! Compiled with the feature `heif`. libheif and the decoders behind it are C and C++ and are given hostile files:
//! [`check`] reads the boxes and the few bits that matter first, so that nothing reaches them that could make them
//! allocate or compute more than the picture is worth. libheif turns pictures upright by itself, so that EXIF's
//! orientation, which cameras write beside it, does not count.

mod boxes;
mod check;
mod coded;
mod library;

use image::{DynamicImage, ImageBuffer};
use moxcms::DataColorSpace;

use super::{
    Decoded, Outline, PictureError,
    color::{Colors, MAX_PROFILE},
    kind::Kind,
};
use boxes::Fault;
use library::{Context, Failure, Handle, Pixels, Samples};

/// Bytes of memory per coded pixel while a picture of 8 bits per sample is decoded, and of more: the coded planes,
/// libheif's way from them to red, green and blue, and the picture itself. Measured; `tests/picture_memory.rs` holds it.
const BYTES: u64 = 14;
const DEEP_BYTES: u64 = 32;

/// ITU-T H.273: sRGB's primaries and transfer, and what "not said" is.
const SRGB_PRIMARIES: u16 = 1;
const SRGB_TRANSFER: u16 = 13;
const NOT_SAID: u16 = 2;

fn fault(kind: Kind, fault: Fault) -> PictureError {
    match fault {
        Fault::Damaged(reason) => PictureError::undecodable(kind.name(), reason),
        Fault::Form(form) => PictureError::unsupported(kind.name(), form),
    }
}

fn failed(kind: Kind, failure: Failure) -> PictureError {
    PictureError::undecodable(kind.name(), failure)
}

/// Size and what decoding takes.
pub(super) fn outline(bytes: &[u8], kind: Kind) -> Result<Outline, PictureError> {
    let work = check::work(bytes).map_err(|error| fault(kind, error))?;
    let context = Context::read(bytes, None).map_err(|error| failed(kind, error))?;
    let handle = context.primary().map_err(|error| failed(kind, error))?;
    let (width, height) = handle.size();
    let shown = u64::from(width) * u64::from(height);
    if shown == 0 {
        return Err(PictureError::Empty);
    }
    if !work.is_worth(shown) {
        return Err(PictureError::unsupported(kind.name(), "many more pixels than it shows"));
    }
    let each = if handle.deep() { DEEP_BYTES } else { BYTES };
    let bytes_per_pixel = (work.at_once() * each).div_ceil(shown);
    Ok(Outline { width, height, orientation: None, bytes_per_pixel, settled: false })
}

/// Decodes the primary picture.
pub(super) fn decode(bytes: &[u8], kind: Kind, outline: &Outline) -> Result<Decoded, PictureError> {
    let work = check::work(bytes).map_err(|error| fault(kind, error))?;
    let context = Context::read(bytes, Some(work.edge)).map_err(|error| failed(kind, error))?;
    let handle = context.primary().map_err(|error| failed(kind, error))?;
    let colors = colors(&handle);
    let pixels = handle.decode().map_err(|error| failed(kind, error))?;
    if (pixels.width, pixels.height) != (outline.width, outline.height) {
        return Err(PictureError::undecodable(kind.name(), "its picture has another size than it says"));
    }
    let image = into_image(pixels, handle.premultiplied()).ok_or_else(|| {
        PictureError::undecodable(kind.name(), "its rows are of another length than it says")
    })?;
    let grey = matches!(&colors, Colors::Icc(profile) if profile.color_space == DataColorSpace::Gray);
    // Profiles of grey are for grey samples; red, green and blue are the same here.
    let image = match (grey, image.color().has_alpha()) {
        (false, _) => image,
        (true, false) => image.into_luma16().into(),
        (true, true) => image.into_luma_alpha16().into(),
    };
    Ok(Decoded { image, colors })
}

/// A profile says more than numbers do; without either the picture is sRGB.
fn colors(handle: &Handle<'_>) -> Colors {
    if let Some(profile) = handle.profile(MAX_PROFILE) {
        return Colors::icc(&profile);
    }
    handle.nclx().map_or(Colors::Srgb, |(primaries, transfer)| {
        let primaries = if primaries == NOT_SAID { SRGB_PRIMARIES } else { primaries };
        // The curves of video cameras (BT.601, 709, 2020) are shown as sRGB, as browsers do.
        let transfer = if [1, NOT_SAID, 6, 14, 15].contains(&transfer) { SRGB_TRANSFER } else { transfer };
        if (primaries, transfer) == (SRGB_PRIMARIES, SRGB_TRANSFER) {
            return Colors::Srgb;
        }
        let [Ok(primaries), Ok(transfer)] = [primaries, transfer].map(u8::try_from) else {
            return Colors::Srgb;
        };
        Colors::cicp([primaries, transfer, 0, 1]).unwrap_or_default()
    })
}

fn into_image(pixels: Pixels, premultiplied: bool) -> Option<DynamicImage> {
    let Pixels { width, height, alpha, mut samples } = pixels;
    if alpha && premultiplied {
        match &mut samples {
            Samples::Eight(values) => divide(values, u8::MAX.into()),
            Samples::Sixteen(values) => divide(values, u16::MAX.into()),
        }
    }
    match (samples, alpha) {
        (Samples::Eight(values), false) => {
            ImageBuffer::from_raw(width, height, values).map(DynamicImage::ImageRgb8)
        }
        (Samples::Eight(values), true) => {
            ImageBuffer::from_raw(width, height, values).map(DynamicImage::ImageRgba8)
        }
        (Samples::Sixteen(values), false) => {
            ImageBuffer::from_raw(width, height, values).map(DynamicImage::ImageRgb16)
        }
        (Samples::Sixteen(values), true) => {
            ImageBuffer::from_raw(width, height, values).map(DynamicImage::ImageRgba16)
        }
    }
}

/// Takes the opacity out of red, green and blue.
fn divide<T: Copy + Into<u32> + TryFrom<u32>>(values: &mut [T], white: u32) {
    for pixel in values.chunks_exact_mut(4) {
        let opacity: u32 = pixel[3].into();
        for value in &mut pixel[..3] {
            let wide: u64 = (*value).into().into();
            let divided = (wide * u64::from(white)).checked_div(opacity.into()).unwrap_or(0);
            *value = T::try_from(divided.min(white.into()) as u32).unwrap_or(*value);
        }
    }
}
