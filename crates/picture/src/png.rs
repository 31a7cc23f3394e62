//! PNG. Source: W3C, Portable Network Graphics, third edition.
//!
//! Chunks around the pixels are read here, as they may come in any order and must not cost more than they are worth:
//! a compressed colour profile of half a megabyte can stand for half a gigabyte. Damage is taken as browsers take it:
//! a wrong checksum beside the header, a missing end and missing last rows are no reason to refuse.

use std::{
    borrow::Cow,
    io::{Cursor, Read},
};

use flate2::read::ZlibDecoder;
use image::{DynamicImage, ImageBuffer};
use png::{BitDepth, ColorType, DecodeOptions, Decoder, Limits, Transformations};

use super::{
    Decoded, Outline, PictureError,
    bytes::{array, be32},
    color::{Colors, MAX_PROFILE},
    directory::exif_orientation,
};

const NAME: &str = "PNG";

/// The chunk that a file ends with: no data, a name, and their checksum.
const END: [u8; 12] = [0, 0, 0, 0, b'I', b'E', b'N', b'D', 0xae, 0x42, 0x60, 0x82];

/// What stands around the pixels.
#[derive(Default)]
struct Chunks<'a> {
    header: Option<&'a [u8]>,
    cicp: Option<[u8; 4]>,
    profile: Option<&'a [u8]>,
    srgb: bool,
    gamma: Option<u32>,
    points: Option<[u32; 8]>,
    orientation: Option<u8>,
    transparency: bool,
    pixels: bool,
    end: bool,
    /// Whether the file ends with a whole chunk.
    whole: bool,
}

/// Reads chunks up to the end, or to where the file is cut off.
fn chunks(bytes: &[u8]) -> Result<Chunks<'_>, PictureError> {
    let mut chunks = Chunks::default();
    let mut at = 8;
    while let (Some(length), Some(name)) = (be32(bytes, at), array::<4>(bytes, at + 4)) {
        let end = (at + 8).saturating_add(length as usize);
        let Some(data) = bytes.get(at + 8..end) else { break };
        // A search for inputs would never come up with a checksum; the decoder looks at none either there.
        let sound =
            cfg!(fuzzing) || be32(bytes, end).is_some_and(|sum| sum == crc32fast::hash(&bytes[at + 4..end]));
        match &name {
            b"IHDR" | b"PLTE" if !sound => {
                return Err(PictureError::undecodable(NAME, "its header is damaged"));
            }
            // The decoder takes its word for it.
            b"PLTE" if chunks.indexed() && !(data.len().is_multiple_of(3) && data.len() <= 256 * 3) => {
                return Err(PictureError::undecodable(
                    NAME,
                    "its palette has no whole number of colours up to 256",
                ));
            }
            b"IHDR" => chunks.header = chunks.header.or(Some(data)),
            b"IDAT" => chunks.pixels = true,
            b"tRNS" => chunks.transparency = true,
            b"eXIf" if sound => chunks.orientation = chunks.orientation.or_else(|| exif_orientation(data)),
            b"IEND" => {
                chunks.end = true;
                break;
            }
            // After the pixels, colours are not allowed to change any more.
            _ if chunks.pixels || !sound => {}
            b"cICP" => chunks.cicp = array(data, 0),
            b"iCCP" => chunks.profile = Some(data),
            b"sRGB" => chunks.srgb = true,
            b"gAMA" => chunks.gamma = be32(data, 0),
            b"cHRM" => chunks.points = points(data),
            _ => {}
        }
        at = end.saturating_add(4);
    }
    chunks.whole = chunks.end || at == bytes.len();
    Ok(chunks)
}

fn points(data: &[u8]) -> Option<[u32; 8]> {
    let mut points = [0; 8];
    for (index, point) in points.iter_mut().enumerate() {
        *point = be32(data, index * 4)?;
    }
    Some(points)
}

impl Chunks<'_> {
    /// Whether the pixels are numbers of colours in a palette.
    fn indexed(&self) -> bool {
        self.header.is_some_and(|header| header.get(9) == Some(&3))
    }

    /// In the order of the specification: the most exact statement counts.
    fn colors(&self) -> Colors {
        if let Some(colors) = self.cicp.and_then(Colors::cicp) {
            return colors;
        }
        match (self.profile.and_then(inflate), self.gamma) {
            (Some(profile), _) => Colors::icc(&profile),
            (None, Some(gamma)) if !self.srgb => Colors::gamma(gamma, self.points),
            _ => Colors::Srgb,
        }
    }
}

/// Unpacks a profile that is no larger than profiles are: a name, a zero, the method, and the packed bytes.
fn inflate(chunk: &[u8]) -> Option<Vec<u8>> {
    let name = chunk.iter().take(80).position(|&byte| byte == 0)?;
    let packed = chunk.get(name + 2..)?;
    let mut profile = Vec::new();
    // The length stands in front, so that of a large one only that is unpacked.
    let mut unpacking = ZlibDecoder::new(packed);
    let mut length = [0; 4];
    unpacking.read_exact(&mut length).ok()?;
    let length = u32::from_be_bytes(length) as usize;
    if !(128..=MAX_PROFILE).contains(&length) {
        return None;
    }
    profile.extend((length as u32).to_be_bytes());
    unpacking.take(length as u64 - 4).read_to_end(&mut profile).ok()?;
    Some(profile)
}

/// Size, orientation and what decoding takes.
pub(super) fn outline(bytes: &[u8]) -> Result<Outline, PictureError> {
    let chunks = chunks(bytes)?;
    let header = chunks.header.ok_or_else(|| PictureError::undecodable(NAME, "it has no header"))?;
    let (Some(width), Some(height), Some([depth, colour])) =
        (be32(header, 0), be32(header, 4), array(header, 8))
    else {
        return Err(PictureError::undecodable(NAME, "its header is cut off"));
    };
    let channels = match colour {
        0 => 1,
        2 => 3,
        3 => 3,
        4 => 2,
        _ => 4,
    } + u64::from(chunks.transparency);
    let sample = if depth == 16 { 2 } else { 1 };
    // The samples, and the way from the file's byte order.
    let bytes = channels * sample * sample;
    Ok(Outline { width, height, orientation: chunks.orientation, bytes_per_pixel: bytes, settled: false })
}

/// Decodes the picture that shows where nothing moves.
pub(super) fn decode(bytes: &[u8], outline: &Outline) -> Result<Decoded, PictureError> {
    let chunks = chunks(bytes)?;
    let mut options = DecodeOptions::default();
    options.set_ignore_checksums(true);
    options.set_ignore_iccp_chunk(true);
    options.set_ignore_text_chunk(true);
    // The decoder waits for the end even where every row is there.
    let file = match chunks.whole && !chunks.end {
        true => Cow::Owned([bytes, &END].concat()),
        false => Cow::Borrowed(bytes),
    };
    let mut decoder = Decoder::new_with_options(Cursor::new(&*file), options);
    decoder.set_limits(Limits {
        bytes: usize::try_from(outline.bytes()).unwrap_or(usize::MAX).saturating_add(1 << 20),
    });
    decoder.set_transformations(Transformations::EXPAND);
    let failed = |error: png::DecodingError| PictureError::undecodable(NAME, error);
    let mut reader = decoder.read_info().map_err(failed)?;
    let (colour, depth) = reader.output_color_type();
    let size = reader.output_buffer_size().ok_or(PictureError::Empty)?;
    let mut pixels = outline.buffer(size)?;
    match reader.next_frame(&mut pixels) {
        Ok(frame) if (frame.width, frame.height) == (outline.width, outline.height) => {}
        Ok(_) => {
            return Err(PictureError::undecodable(NAME, "its frames have another size than its header says"));
        }
        // Rows are missing from a file that is not cut off: they stay black, as everywhere.
        Err(png::DecodingError::Format(error)) if chunks.end && error.to_string().contains("enough data") => {
        }
        Err(error) => return Err(failed(error)),
    }
    let image = into_image(pixels, colour, depth, outline)
        .ok_or_else(|| PictureError::undecodable(NAME, "its colour type is not known"))?;
    Ok(Decoded { image, colors: chunks.colors() })
}

fn into_image(
    pixels: Vec<u8>,
    colour: ColorType,
    depth: BitDepth,
    outline: &Outline,
) -> Option<DynamicImage> {
    let (width, height) = (outline.width, outline.height);
    if depth == BitDepth::Sixteen {
        let samples: Vec<u16> =
            pixels.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect();
        return match colour {
            ColorType::Grayscale => {
                ImageBuffer::from_raw(width, height, samples).map(DynamicImage::ImageLuma16)
            }
            ColorType::GrayscaleAlpha => {
                ImageBuffer::from_raw(width, height, samples).map(DynamicImage::ImageLumaA16)
            }
            ColorType::Rgb => ImageBuffer::from_raw(width, height, samples).map(DynamicImage::ImageRgb16),
            ColorType::Rgba => ImageBuffer::from_raw(width, height, samples).map(DynamicImage::ImageRgba16),
            ColorType::Indexed => None,
        };
    }
    match colour {
        ColorType::Grayscale => ImageBuffer::from_raw(width, height, pixels).map(DynamicImage::ImageLuma8),
        ColorType::GrayscaleAlpha => {
            ImageBuffer::from_raw(width, height, pixels).map(DynamicImage::ImageLumaA8)
        }
        ColorType::Rgb => ImageBuffer::from_raw(width, height, pixels).map(DynamicImage::ImageRgb8),
        ColorType::Rgba => ImageBuffer::from_raw(width, height, pixels).map(DynamicImage::ImageRgba8),
        ColorType::Indexed => None,
    }
}
