//! Image files: what they are, decoding them, and encoding the dream.
//!
//! Uploads are hostile until proven otherwise. [`probe`] reads only the header, so that a file of one
//! kilobyte that claims 60,000×60,000 pixels is refused before anything of that size is allocated; decoder
//! limits back it up, but are not relied upon (several decoders ignore them).

mod encode;
mod jpeg;
pub mod recipe;
#[cfg(test)]
mod tests;

use std::io::Cursor;

use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, metadata::Orientation};
use moxcms::{CmsError, ColorProfile, Layout, TransformOptions};

/// The formats that are read.
const FORMATS: [(ImageFormat, &str); 6] = [
    (ImageFormat::Png, "PNG"),
    (ImageFormat::Jpeg, "JPEG"),
    (ImageFormat::WebP, "WebP"),
    (ImageFormat::Gif, "GIF"),
    (ImageFormat::Bmp, "BMP"),
    (ImageFormat::Tiff, "TIFF"),
];

/// What was wrong with an image file.
#[derive(Debug, thiserror::Error)]
pub enum PictureError {
    /// The bytes are no image, or of a format that is not read.
    #[error("this is not an image that can be read; send PNG, JPEG, WebP, GIF, BMP or TIFF")]
    UnknownFormat,
    /// An image as newer telephones and programs write it.
    #[error("{0} images are not read here; save it as JPEG, PNG or WebP and send that")]
    Unread(&'static str),
    /// The header claims more pixels than allowed.
    #[error("the image has {width}×{height} pixels; at most {max_pixels} pixels are allowed")]
    TooLarge {
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
        /// The limit that it breaks.
        max_pixels: u64,
    },
    /// The image has no pixels.
    #[error("the image has no pixels")]
    Empty,
    /// The bytes are damaged, truncated or use a feature that is not read.
    #[error("the {format} file cannot be decoded: {reason}")]
    Undecodable {
        /// Name of the format.
        format: &'static str,
        /// The decoder's words.
        reason: String,
    },
    /// A mask must cover the image pixel by pixel.
    #[error(
        "the mask has {}×{} pixels; it must have those of the image, {}×{}",
        mask.0, mask.1, image.0, image.1
    )]
    MaskSize {
        /// Width and height of the mask, upright.
        mask: (u32, u32),
        /// Width and height of the image, upright.
        image: (u32, u32),
    },
    /// The file format ends before the picture does.
    #[error(
        "a {format} file has at most {max_edge} pixels per edge, and the dream would have {width}×{height}; choose \
         another format"
    )]
    EdgeTooLong {
        /// Name of the format.
        format: &'static str,
        /// Width in pixels.
        width: u64,
        /// Height in pixels.
        height: u64,
        /// The limit that one of them breaks.
        max_edge: u64,
    },
    /// The dream could not be written as a file.
    #[error("the picture cannot be encoded: {0}")]
    Encode(String),
}

/// What the header of an image file says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Width in pixels, EXIF orientation applied.
    pub width: u32,
    /// Height in pixels, EXIF orientation applied.
    pub height: u32,
    /// Media type sniffed from the bytes.
    pub media_type: &'static str,
}

/// A decoded image.
#[derive(Clone, Debug, PartialEq)]
pub struct Picture {
    /// Width in pixels, EXIF orientation applied.
    pub width: u32,
    /// Height in pixels, EXIF orientation applied.
    pub height: u32,
    /// Red, green and blue.
    pub rgb: Samples,
    /// `[height, width]`, 0 to 255, where the file had transparency: carried to the result untouched.
    pub alpha: Option<Vec<u8>>,
}

/// `[height, width, 3]`, row-major, with as many bits as the file has: large pictures are held in memory as small
/// as they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Samples {
    /// 0 to 255.
    Eight(Vec<u8>),
    /// 0 to 65,535, which stands for 255.
    Sixteen(Vec<u16>),
}

/// Where a dream shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mask {
    /// Width in pixels, EXIF orientation applied.
    pub width: u32,
    /// Height in pixels, EXIF orientation applied.
    pub height: u32,
    /// `[height, width]`: 0 (nothing) to 255 (all of the dream).
    pub values: Vec<u8>,
}

/// Reads the header and checks it against `max_pixels`; nothing is decoded.
///
/// # Errors
/// Unknown format, too many pixels, none at all, or a header that cannot be read.
pub fn probe(bytes: &[u8], max_pixels: u64) -> Result<Header, PictureError> {
    let (mut decoder, format, _) = open(bytes, max_pixels)?;
    Ok(header(&mut decoder, format))
}

fn header(decoder: &mut impl ImageDecoder, format: ImageFormat) -> Header {
    let (width, height) = decoder.dimensions();
    let (width, height) = match orientation(decoder) {
        Orientation::NoTransforms
        | Orientation::FlipHorizontal
        | Orientation::FlipVertical
        | Orientation::Rotate180 => (width, height),
        Orientation::Rotate90
        | Orientation::Rotate270
        | Orientation::Rotate90FlipH
        | Orientation::Rotate270FlipH => (height, width),
    };
    Header { width, height, media_type: format.to_mime_type() }
}

/// What EXIF says; a block that cannot be read says nothing.
fn orientation(decoder: &mut impl ImageDecoder) -> Orientation {
    decoder.orientation().unwrap_or(Orientation::NoTransforms)
}

/// Whether [`decode`] would succeed, for less memory and time: the first frame is decoded and thrown away, of a
/// photo only what can fail.
///
/// # Errors
/// As [`decode`].
pub fn verify(bytes: &[u8], max_pixels: u64) -> Result<Header, PictureError> {
    // It has to outlive its decoder.
    let shorter;
    let (mut decoder, format, name) = open(bytes, max_pixels)?;
    check_end(bytes, format, name)?;
    if format == ImageFormat::Jpeg {
        shorter = jpeg::without_scan(bytes);
        if let Some(shorter) = &shorter {
            (decoder, ..) = open(shorter, max_pixels)?;
        }
    }
    let header = header(&mut decoder, format);
    let size = usize::try_from(decoder.total_bytes()).unwrap_or(usize::MAX);
    let mut pixels = Vec::new();
    let Header { width, height, .. } = header;
    pixels.try_reserve_exact(size).map_err(|_| PictureError::TooLarge { width, height, max_pixels })?;
    pixels.resize(size, 0);
    decoder.read_image(&mut pixels).map_err(|error| undecodable(name, &error))?;
    Ok(header)
}

/// Decodes the first frame, applies EXIF orientation, converts colours with an ICC profile to sRGB, and drops
/// all other metadata.
///
/// # Errors
/// As [`probe`], and anything that the decoder finds in the pixel data.
pub fn decode(bytes: &[u8], max_pixels: u64) -> Result<Picture, PictureError> {
    let (image, profile) = upright(bytes, max_pixels)?;
    let alpha =
        image.color().has_alpha().then(|| image.to_luma_alpha8().pixels().map(|pixel| pixel.0[1]).collect());
    let (width, height) = (image.width(), image.height());
    let deep = image.color().bytes_per_pixel() / image.color().channel_count() > 1;
    let profile = profile.filter(|_| image.color().has_color());
    // 16-bit and float files keep their depth, and conversions their fractions.
    let rgb = match profile {
        Some(profile) => Samples::Sixteen(to_srgb(&profile, image.into_rgb16().into_raw())),
        None if deep => Samples::Sixteen(image.into_rgb16().into_raw()),
        None => Samples::Eight(image.into_rgb8().into_raw()),
    };
    Ok(Picture { width, height, rgb, alpha })
}

/// Decodes a mask: the brightness of an image of any colour type; what is transparent is black.
///
/// # Errors
/// As [`decode`].
pub fn decode_mask(bytes: &[u8], max_pixels: u64) -> Result<Mask, PictureError> {
    let (image, _) = upright(bytes, max_pixels)?;
    let (width, height) = (image.width(), image.height());
    let values = if image.color().has_alpha() {
        let grey = image.into_luma_alpha8();
        let seen = |[brightness, opacity]: [u8; 2]| (u16::from(brightness) * u16::from(opacity) / 255) as u8;
        grey.pixels().map(|pixel| seen(pixel.0)).collect()
    } else {
        image.into_luma8().into_raw()
    };
    Ok(Mask { width, height, values })
}

/// The first frame as the camera saw it, with its colour profile.
fn upright(bytes: &[u8], max_pixels: u64) -> Result<(DynamicImage, Option<Vec<u8>>), PictureError> {
    let (mut decoder, format, name) = open(bytes, max_pixels)?;
    let profile = decoder.icc_profile().ok().flatten();
    let orientation = orientation(&mut decoder);
    check_end(bytes, format, name)?;
    let mut image = DynamicImage::from_decoder(decoder).map_err(|error| undecodable(name, &error))?;
    image.apply_orientation(orientation);
    Ok((image, profile))
}

/// Whether a mask covers an image; both sizes are (width, height), upright.
///
/// # Errors
/// [`PictureError::MaskSize`].
pub fn check_mask(mask: (u32, u32), image: (u32, u32)) -> Result<(), PictureError> {
    if mask == image { Ok(()) } else { Err(PictureError::MaskSize { mask, image }) }
}

/// Converts 16-bit RGB from the colour space of an ICC profile to sRGB. A profile that cannot be used leaves
/// the colours as they are: a picture with colours slightly off is better than none.
fn to_srgb(profile: &[u8], rgb: Vec<u16>) -> Vec<u16> {
    let convert = || {
        let profile = ColorProfile::new_from_slice(profile)?;
        let srgb = ColorProfile::new_srgb();
        let options = TransformOptions::default();
        let transform = profile.create_transform_16bit(Layout::Rgb, &srgb, Layout::Rgb, options)?;
        let mut converted = vec![0; rgb.len()];
        transform.transform(&rgb, &mut converted)?;
        Ok::<_, CmsError>(converted)
    };
    convert().unwrap_or_else(|error| {
        tracing::debug!(%error, "the colour profile of an image is not used");
        rgb
    })
}

/// A decoder that has read the header, after all checks that the header allows.
fn open(
    bytes: &[u8],
    max_pixels: u64,
) -> Result<(impl ImageDecoder + '_, ImageFormat, &'static str), PictureError> {
    let reader = ImageReader::new(Cursor::new(bytes)).with_guessed_format().map_err(|_| unknown(bytes))?;
    let known = reader.format().and_then(|format| FORMATS.iter().find(|(known, _)| *known == format));
    let &(format, name) = known.ok_or_else(|| unknown(bytes))?;
    let decoder = reader.into_decoder().map_err(|error| undecodable(name, &error))?;
    let (width, height) = decoder.dimensions();
    if width == 0 || height == 0 {
        return Err(PictureError::Empty);
    }
    if u64::from(width) * u64::from(height) > max_pixels {
        return Err(PictureError::TooLarge { width, height, max_pixels });
    }
    Ok((decoder, format, name))
}

/// Refuses a JPEG file that is cut off.
fn check_end(bytes: &[u8], format: ImageFormat, name: &'static str) -> Result<(), PictureError> {
    if format == ImageFormat::Jpeg && !jpeg::reaches_end_marker(bytes) {
        let reason = "it is cut off before its end".into();
        return Err(PictureError::Undecodable { format: name, reason });
    }
    Ok(())
}

/// A file that is not read, by its name where people have many of the kind: the brand of an ISO media file.
fn unknown(bytes: &[u8]) -> PictureError {
    match bytes.get(4..12) {
        Some(b"ftypavif" | b"ftypavis") => PictureError::Unread("AVIF"),
        Some(b"ftypheic" | b"ftypheix" | b"ftyphevc" | b"ftypmif1" | b"ftypmsf1") => {
            PictureError::Unread("HEIC")
        }
        _ => PictureError::UnknownFormat,
    }
}

fn undecodable(format: &'static str, error: &image::ImageError) -> PictureError {
    PictureError::Undecodable { format, reason: error.to_string() }
}
