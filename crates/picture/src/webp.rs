//! WebP, still or the first frame of an animation. Source: RFC 9649.
//!
//! What a file announces in its header (EXIF, XMP, a colour profile) may be missing. Browsers do not mind; the decoder
//! does, so that it gets the file with nothing announced, and the chunks are read here.

use std::{borrow::Cow, io::Cursor};

use image::{DynamicImage, ImageDecoder, codecs::webp::WebPDecoder};

use super::{
    Decoded, Outline, PictureError,
    bytes::{array, le16, le32},
    color::Colors,
    directory::exif_orientation,
};

const NAME: &str = "WebP";

/// Where the flags of an extended header stand, and those for ICC, EXIF and XMP.
const FLAGS: usize = 20;
const METADATA: u8 = 0x20 | 0x08 | 0x04;

/// What stands before the chunks of an animation's frame.
const FRAME_HEADER: usize = 16;

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

/// Whether a lossy frame is larger than the canvas: the decoder finds out too, once it has decoded it. `at` is where the
/// chunks begin; the frames of an animation, which are found at the `top` alone, have chunks of their own.
fn has_larger_frame(bytes: &[u8], mut at: usize, canvas: (u32, u32), top: bool) -> bool {
    while let (Some(name), Some(length)) = (array::<4>(bytes, at), le32(bytes, at + 4)) {
        let (start, length) = (at + 8, length as usize);
        let Some(end) = start.checked_add(length).and_then(|end| end.checked_add(length % 2)) else { break };
        let larger = match &name {
            // After the frame tag and the start code: two sizes of 14 bits (RFC 6386, 9.1).
            b"VP8 " => le16(bytes, start + 6).zip(le16(bytes, start + 8)).is_some_and(|(width, height)| {
                u32::from(width & 0x3fff) > canvas.0 || u32::from(height & 0x3fff) > canvas.1
            }),
            b"ANMF" if top => {
                let frame = bytes.get(start..end.min(bytes.len())).unwrap_or_default();
                has_larger_frame(frame, FRAME_HEADER, canvas, false)
            }
            _ => false,
        };
        if larger {
            return true;
        }
        at = end;
    }
    false
}

/// Size, orientation and what decoding takes.
pub(super) fn outline(bytes: &[u8]) -> Result<Outline, PictureError> {
    let plain = plain(bytes);
    let (width, height) = open(&plain)?.dimensions();
    if has_larger_frame(bytes, 12, (width, height), true) {
        return Err(PictureError::undecodable(NAME, "its frame is larger than its canvas"));
    }
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
