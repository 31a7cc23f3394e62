//! Writing the dream as an image file.

use std::borrow::Cow;

use image::{
    ExtendedColorType, ImageEncoder, ImageResult,
    codecs::{jpeg::JpegEncoder, png::PngEncoder, webp::WebPEncoder},
};

use super::{Encoding, Format, Picture, PictureError, Samples, animation};

impl Encoding {
    /// Whether a picture of this size can be written.
    ///
    /// # Errors
    /// [`PictureError::EdgeTooLong`].
    pub fn check_size(&self, width: u64, height: u64) -> Result<(), PictureError> {
        let (format, max_edge) = match self.format {
            Format::Png => ("PNG", i32::MAX as u64),
            Format::Jpeg => ("JPEG", 65_535),
            Format::Webp => ("WebP", 16_383),
            Format::Gif => ("GIF", 65_535),
            // What players decode.
            Format::Mp4 => ("MP4", 8_192),
            Format::Webm => ("WebM", 8_192),
        };
        match width.max(height) > max_edge {
            true => Err(PictureError::EdgeTooLong { format, width, height, max_edge }),
            false => Ok(()),
        }
    }
}

impl Picture {
    /// Writes an image file. Where the format has no transparency, alpha is dropped.
    ///
    /// # Errors
    /// [`PictureError::EdgeTooLong`], and [`PictureError::Encode`] when the encoder refuses.
    pub fn encode(&self, encoding: Encoding) -> Result<Vec<u8>, PictureError> {
        self.write(encoding, self.alpha.as_ref().filter(|_| encoding.format.has_transparency()))
    }

    /// The same without transparency.
    ///
    /// # Errors
    /// As [`Self::encode`].
    pub(super) fn encode_opaque(&self, encoding: Encoding) -> Result<Vec<u8>, PictureError> {
        self.write(encoding, None)
    }

    fn write(&self, encoding: Encoding, alpha: Option<&Vec<u8>>) -> Result<Vec<u8>, PictureError> {
        let (width, height) = (self.width, self.height);
        encoding.check_size(width.into(), height.into())?;
        let (pixels, colour) = match alpha {
            Some(alpha) => (Cow::Owned(interleave(&self.bytes(), alpha)), ExtendedColorType::Rgba8),
            None => (self.bytes(), ExtendedColorType::Rgb8),
        };
        let mut file = Vec::new();
        let written = match encoding.format {
            Format::Png => PngEncoder::new(&mut file).write_image(&pixels, width, height, colour),
            Format::Webp if encoding.lossless => {
                WebPEncoder::new_lossless(&mut file).write_image(&pixels, width, height, colour)
            }
            Format::Webp => return lossy_webp(&pixels, width, height, alpha.is_some(), encoding.quality),
            Format::Gif => return animation::still(self),
            Format::Mp4 | Format::Webm => return Err(PictureError::NotStill),
            Format::Jpeg => write_jpeg(&mut file, &pixels, width, height, encoding.quality),
        };
        written.map_err(|error| PictureError::Encode(error.to_string()))?;
        Ok(file)
    }

    /// Eight bits per colour, `[height, width, 3]`.
    pub(super) fn bytes(&self) -> Cow<'_, [u8]> {
        match &self.rgb {
            Samples::Eight(values) => Cow::Borrowed(values),
            Samples::Sixteen(values) => values.iter().map(|value| (value / 257) as u8).collect(),
        }
    }
}

fn write_jpeg(file: &mut Vec<u8>, pixels: &[u8], width: u32, height: u32, quality: u8) -> ImageResult<()> {
    JpegEncoder::new_with_quality(file, quality).write_image(pixels, width, height, ExtendedColorType::Rgb8)
}

/// libwebp's encoder; the `image` crate has only the lossless one.
fn lossy_webp(
    pixels: &[u8],
    width: u32,
    height: u32,
    alpha: bool,
    quality: u8,
) -> Result<Vec<u8>, PictureError> {
    let encoder = match alpha {
        true => webp::Encoder::from_rgba(pixels, width, height),
        false => webp::Encoder::from_rgb(pixels, width, height),
    };
    let file = encoder.encode_simple(false, f32::from(quality));
    Ok(file.map_err(|error| PictureError::Encode(format!("libwebp: {error:?}")))?.to_vec())
}

fn interleave(colours: &[u8], alpha: &[u8]) -> Vec<u8> {
    let mut pixels = Vec::with_capacity(alpha.len() * 4);
    for (colour, &opacity) in colours.chunks_exact(3).zip(alpha) {
        pixels.extend_from_slice(&[colour[0], colour[1], colour[2], opacity]);
    }
    pixels
}
