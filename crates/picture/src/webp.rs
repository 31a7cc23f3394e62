//! WebP, still or the first frame of an animation. Source: RFC 9649.
//!
//! What a file announces in its header (EXIF, XMP, a colour profile) may be missing. Browsers do not mind; the decoder
//! does, so that it gets the file with nothing announced, and the chunks are read here.

use std::{borrow::Cow, io::Cursor};

use image::{DynamicImage, ImageDecoder, codecs::webp::WebPDecoder};

use super::{
    Decoded, Outline, PictureError,
    bytes::{array, le32},
    color::Colors,
    directory::exif_orientation,
};

const NAME: &str = "WebP";

/// Where the flags of an extended header stand, and those for ICC, EXIF and XMP.
const FLAGS: usize = 20;
const METADATA: u8 = 0x20 | 0x08 | 0x04;

/// The first chunk of a name.
fn chunk<'a>(bytes: &'a [u8], wanted: &[u8; 4]) -> Option<&'a [u8]> {
    let mut at = 12;
    loop {
        let name = array::<4>(bytes, at)?;
        let length = le32(bytes, at + 4)? as usize;
        let start = at + 8;
        if &name == wanted {
            return bytes.get(start..start.checked_add(length)?);
        }
        at = start.checked_add(length)?.checked_add(length % 2)?;
    }
}

/// The file with no metadata announced.
fn plain(bytes: &[u8]) -> Cow<'_, [u8]> {
    match (bytes.get(12..16), bytes.get(FLAGS)) {
        (Some(b"VP8X"), Some(flags)) if flags & METADATA != 0 => {
            let mut copy = bytes.to_vec();
            copy[FLAGS] &= !METADATA;
            Cow::Owned(copy)
        }
        _ => Cow::Borrowed(bytes),
    }
}

fn open(bytes: &[u8]) -> Result<WebPDecoder<Cursor<&[u8]>>, PictureError> {
    WebPDecoder::new(Cursor::new(bytes)).map_err(|error| PictureError::undecodable(NAME, error))
}

/// Size, orientation and what decoding takes.
pub(super) fn outline(bytes: &[u8]) -> Result<Outline, PictureError> {
    let plain = plain(bytes);
    let (width, height) = open(&plain)?.dimensions();
    let orientation = chunk(bytes, b"EXIF").and_then(exif_orientation);
    // The picture, and the planes or the transformed picture that it is made of.
    Ok(Outline { width, height, orientation, bytes_per_pixel: 8, settled: false })
}

/// Decodes the first frame.
pub(super) fn decode(bytes: &[u8], outline: &Outline) -> Result<Decoded, PictureError> {
    let plain = plain(bytes);
    let mut decoder = open(&plain)?;
    decoder.set_limits(outline.limits()).map_err(|error| PictureError::undecodable(NAME, error))?;
    let image =
        DynamicImage::from_decoder(decoder).map_err(|error| PictureError::undecodable(NAME, error))?;
    let colors = chunk(bytes, b"ICCP").map_or(Colors::Srgb, Colors::icc);
    Ok(Decoded { image, colors })
}
