//! Image files: what they are, decoding them into floats, and encoding the dream.
//!
//! Uploads are hostile until proven otherwise. [`probe`] reads only the header, so that a file of one
//! kilobyte that claims 60,000×60,000 pixels is refused before anything of that size is allocated; decoder
//! limits back it up, but are not relied upon (several decoders ignore them).

pub mod recipe;
#[cfg(test)]
mod tests;

use std::io::Cursor;

use image::{
    DynamicImage, ExtendedColorType, ImageDecoder, ImageEncoder, ImageFormat, ImageReader,
    codecs::{jpeg::JpegEncoder, png::PngEncoder, webp::WebPEncoder},
    metadata::Orientation,
};
use moxcms::{CmsError, ColorProfile, Layout, TransformOptions};

use crate::spec::Format;

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
    /// The dream could not be written as a file.
    #[error("the picture cannot be encoded: {0}")]
    Encode(String),
}

/// What the header of an image file says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Width in pixels, before EXIF orientation.
    pub width: u32,
    /// Height in pixels, before EXIF orientation.
    pub height: u32,
    /// Media type sniffed from the bytes.
    pub media_type: &'static str,
}

/// A decoded image: RGB floats, 0 to 255.
#[derive(Clone, Debug, PartialEq)]
pub struct Picture {
    /// Width in pixels, EXIF orientation applied.
    pub width: u32,
    /// Height in pixels, EXIF orientation applied.
    pub height: u32,
    /// `[height, width, 3]`, row-major.
    pub rgb: Vec<f32>,
    /// `[height, width]`, 0 to 255, where the file had transparency: carried to the result untouched.
    pub alpha: Option<Vec<u8>>,
}

/// Reads the header and checks it against `max_pixels`; nothing is decoded.
///
/// # Errors
/// Unknown format, too many pixels, none at all, or a header that cannot be read.
pub fn probe(bytes: &[u8], max_pixels: u64) -> Result<Header, PictureError> {
    let (decoder, format, _) = open(bytes, max_pixels)?;
    let (width, height) = decoder.dimensions();
    Ok(Header { width, height, media_type: format.to_mime_type() })
}

/// Decodes the first frame, applies EXIF orientation, converts colours with an ICC profile to sRGB, and drops
/// all other metadata.
///
/// # Errors
/// As [`probe`], and anything that the decoder finds in the pixel data.
pub fn decode(bytes: &[u8], max_pixels: u64) -> Result<Picture, PictureError> {
    let (mut decoder, format, name) = open(bytes, max_pixels)?;
    let profile = decoder.icc_profile().ok().flatten();
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    if format == ImageFormat::Jpeg && !reaches_end_marker(bytes) {
        return Err(PictureError::Undecodable {
            format: name,
            reason: "it is cut off before its end".into(),
        });
    }
    let mut image = DynamicImage::from_decoder(decoder).map_err(|error| undecodable(name, &error))?;
    image.apply_orientation(orientation);
    let alpha =
        image.color().has_alpha().then(|| image.to_luma_alpha8().pixels().map(|pixel| pixel.0[1]).collect());
    let (width, height) = (image.width(), image.height());
    let deep = image.color().bytes_per_pixel() / image.color().channel_count() > 1;
    let profile = profile.filter(|_| image.color().has_color());
    let rgb = if deep || profile.is_some() {
        // 16-bit and float files keep their depth, and conversions their fractions: 65535 / 257 = 255.
        let mut rgb = image.into_rgb16().into_raw();
        if let Some(profile) = profile {
            rgb = to_srgb(&profile, rgb);
        }
        rgb.into_iter().map(|value| f32::from(value) / 257.0).collect()
    } else {
        image.into_rgb8().into_raw().into_iter().map(f32::from).collect()
    };
    Ok(Picture { width, height, rgb, alpha })
}

impl Picture {
    /// Writes an image file; values are clipped to 0–255 and truncated, as the article's `np.uint8` does.
    /// `quality`, 1 to 100, is that of a JPEG, which has no transparency: alpha is dropped there.
    ///
    /// # Errors
    /// [`PictureError::Encode`] when the encoder refuses, for example a JPEG edge beyond 65,535 pixels.
    pub fn encode(&self, format: Format, quality: u8) -> Result<Vec<u8>, PictureError> {
        let mut file = Vec::new();
        let (width, height) = (self.width, self.height);
        let alpha = self.alpha.as_ref().filter(|_| format != Format::Jpeg);
        let (pixels, colour) = match alpha {
            Some(alpha) => (self.rgba(alpha), ExtendedColorType::Rgba8),
            None => (self.bytes().collect(), ExtendedColorType::Rgb8),
        };
        let written = match format {
            Format::Png => PngEncoder::new(&mut file).write_image(&pixels, width, height, colour),
            Format::Webp => WebPEncoder::new_lossless(&mut file).write_image(&pixels, width, height, colour),
            Format::Jpeg => {
                let encoder = JpegEncoder::new_with_quality(&mut file, quality);
                encoder.write_image(&pixels, width, height, colour)
            }
        };
        written.map_err(|error| PictureError::Encode(error.to_string()))?;
        Ok(file)
    }

    fn bytes(&self) -> impl Iterator<Item = u8> + '_ {
        self.rgb.iter().map(|value| value.clamp(0.0, 255.0) as u8)
    }

    fn rgba(&self, alpha: &[u8]) -> Vec<u8> {
        let colours: Vec<u8> = self.bytes().collect();
        let pixels = colours.chunks_exact(3).zip(alpha);
        pixels.flat_map(|(colour, &opacity)| colour.iter().copied().chain([opacity])).collect()
    }
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
    let reader = ImageReader::new(Cursor::new(bytes))
        .with_guessed_format()
        .map_err(|_| PictureError::UnknownFormat)?;
    let known = reader.format().and_then(|format| FORMATS.iter().find(|(known, _)| *known == format));
    let &(format, name) = known.ok_or(PictureError::UnknownFormat)?;
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

/// Whether a JPEG file has its end-of-image marker. The decoder fills what is missing with grey and says
/// nothing, so half an upload would be dreamed on. Source: ITU-T T.81, annex B.
fn reaches_end_marker(bytes: &[u8]) -> bool {
    let mut rest = bytes;
    // Every marker is 0xFF and a code; within a scan, 0xFF00 and the restarts D0–D7 are data.
    while let Some(at) =
        rest.windows(2).position(|pair| pair[0] == 0xff && !matches!(pair[1], 0 | 0xd0..=0xd7 | 0xff))
    {
        let code = rest[at + 1];
        rest = &rest[at + 2..];
        match code {
            0xd9 => return true,
            0x01 | 0xd8 => {}
            // A segment starts with its length, which counts itself.
            _ => match rest.first_chunk().map(|length| usize::from(u16::from_be_bytes(*length))) {
                Some(length) if length <= rest.len() => rest = &rest[length..],
                _ => return false,
            },
        }
    }
    false
}

fn undecodable(format: &'static str, error: &image::ImageError) -> PictureError {
    PictureError::Undecodable { format, reason: error.to_string() }
}
