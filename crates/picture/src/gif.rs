//! GIF: the first frame on its screen, as browsers show it.
//!
//! A first frame that reaches beyond the screen enlarges it; a screen without pixels takes the frame's size. What the
//! first frame leaves open is transparent where the frame has a transparent colour, and of the background colour
//! otherwise. Source: CompuServe, GIF89a.

use std::io::Cursor;

use gif::{ColorOutput, DecodeOptions, Decoder, DecodingError, MemoryLimit};
use image::{DynamicImage, ImageBuffer};

use super::{
    Decoded, Outline, PictureError,
    bytes::{array, le16},
    color::Colors,
};

const NAME: &str = "GIF";

/// Bytes that the decoder may take besides its output, for tables and blocks.
const MEMORY: u64 = 4 << 20;

fn failed(error: DecodingError) -> PictureError {
    PictureError::undecodable(NAME, error)
}

/// A decoder that has read up to the first frame.
fn open(bytes: &[u8]) -> Result<Decoder<Cursor<&[u8]>>, PictureError> {
    let mut options = DecodeOptions::new();
    options.set_color_output(ColorOutput::Indexed);
    options.allow_unknown_blocks(true);
    if let Some(limit) = std::num::NonZeroU64::new(MEMORY) {
        options.set_memory_limit(MemoryLimit::Bytes(limit));
    }
    options.read_info(Cursor::new(bytes)).map_err(failed)
}

/// Size and what decoding takes: that of the screen, or of the first frame where it reaches further.
pub(super) fn outline(bytes: &[u8]) -> Result<Outline, PictureError> {
    let (right, bottom) =
        first_frame(bytes).ok_or_else(|| PictureError::undecodable(NAME, "it has no frame"))?;
    let screen = le16(bytes, 6).zip(le16(bytes, 8));
    let (width, height) = screen.ok_or_else(|| PictureError::undecodable(NAME, "its header is cut off"))?;
    let (width, height) = (u32::from(width).max(right), u32::from(height).max(bottom));
    Ok(Outline { width, height, orientation: None, bytes_per_pixel: 5, settled: false })
}

/// How far the first frame reaches, right and down. Found here and not by the decoder, which allocates a frame's
/// memory on the way.
fn first_frame(bytes: &[u8]) -> Option<(u32, u32)> {
    let [flags] = array(bytes, 10)?;
    let table = if flags & 0x80 == 0 { 0 } else { 3 << ((flags & 7) + 1) };
    let mut at = 13 + table;
    loop {
        match bytes.get(at)? {
            0x2c => break,
            // An extension: its label, and blocks up to an empty one.
            0x21 => {
                at += 2;
                loop {
                    let length = usize::from(*bytes.get(at)?);
                    at += 1 + length;
                    if length == 0 {
                        break;
                    }
                }
            }
            0 => at += 1,
            _ => return None,
        }
    }
    let number = |offset| le16(bytes, at + offset).map(u32::from);
    let (left, top, width, height) = (number(1)?, number(3)?, number(5)?, number(7)?);
    // A frame without pixels shows nothing, wherever it is.
    if width == 0 || height == 0 { None } else { Some((left + width, top + height)) }
}

/// Decodes the first frame.
pub(super) fn decode(bytes: &[u8], outline: &Outline) -> Result<Decoded, PictureError> {
    let mut decoder = open(bytes)?;
    let frame = decoder.next_frame_info().map_err(failed)?;
    let frame = frame.ok_or_else(|| PictureError::undecodable(NAME, "it has no frame"))?;
    let (left, top) = (usize::from(frame.left), usize::from(frame.top));
    let (width, height) = (usize::from(frame.width), usize::from(frame.height));
    let (interlaced, transparent) = (frame.interlaced, frame.transparent);
    let colours = palette(decoder.palette().map_err(failed)?, transparent);
    let background = decoder.bg_color().filter(|_| transparent.is_none());
    let background = match decoder.global_palette().filter(|_| transparent.is_none()) {
        Some(global) => palette(global, None)[background.unwrap_or(0).min(255)],
        None => [0; 4],
    };
    let stride = outline.width as usize * 4;
    let mut pixels = outline.buffer(stride * outline.height as usize)?;
    pixels.chunks_exact_mut(4).for_each(|pixel| pixel.copy_from_slice(&background));
    // At once: row by row, the decoder loses the end of short frames.
    let mut indexes = outline.buffer(width * height)?;
    if !decoder.fill_buffer(&mut indexes).map_err(failed)? {
        return Err(PictureError::undecodable(NAME, "it is cut off before the end of its first frame"));
    }
    for (y, row) in rows(height, interlaced).zip(indexes.chunks_exact(width.max(1))) {
        let start = (top + y) * stride + left * 4;
        let Some(target) = pixels.get_mut(start..start + width * 4) else { continue };
        for (pixel, &index) in target.chunks_exact_mut(4).zip(row) {
            let colour = colours[usize::from(index)];
            // What is transparent leaves what is there.
            if colour[3] != 0 {
                pixel.copy_from_slice(&colour);
            }
        }
    }
    let opaque = pixels.chunks_exact(4).all(|pixel| pixel[3] == 255);
    let image = ImageBuffer::from_raw(outline.width, outline.height, pixels).ok_or(PictureError::Empty)?;
    let image = DynamicImage::ImageRgba8(image);
    let image = if opaque { DynamicImage::ImageRgb8(image.into_rgb8()) } else { image };
    Ok(Decoded { image, colors: Colors::Srgb })
}

/// 256 colours; those that a table lacks are black.
fn palette(table: &[u8], transparent: Option<u8>) -> [[u8; 4]; 256] {
    let mut colours = [[0, 0, 0, 255]; 256];
    for (colour, rgb) in colours.iter_mut().zip(table.chunks_exact(3)) {
        colour[..3].copy_from_slice(rgb);
    }
    if let Some(index) = transparent {
        colours[usize::from(index)] = [0; 4];
    }
    colours
}

/// The rows of a frame in the order of the file: every eighth, those between, and so on where it is interlaced.
fn rows(height: usize, interlaced: bool) -> impl Iterator<Item = usize> {
    let passes = if interlaced {
        [(0, 8), (4, 8), (2, 4), (1, 2)]
    } else {
        [(0, 1), (height, 1), (height, 1), (height, 1)]
    };
    passes.into_iter().flat_map(move |(first, step)| (first..height).step_by(step))
}
