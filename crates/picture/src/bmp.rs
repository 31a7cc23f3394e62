//! BMP, of every age: the header is read here and written again as the decoder knows it.
//!
//! Programs leave out what most readers ignore: the number of planes, the offset of the pixels, the palette's
//! length. Browsers go by what must be, and so does this. Source: Microsoft, "Bitmap Storage"; IBM, "OS/2 Bitmap File
//! Format".

use std::io::Cursor;

use image::{DynamicImage, ImageDecoder, codecs::bmp::BmpDecoder};

use super::{
    Decoded, Outline, PictureError,
    bytes::{le16, le32},
    color::Colors,
};

const NAME: &str = "BMP";

/// Length of the header that every file starts with.
const FILE_HEADER: usize = 14;

/// Ways to store pixels.
const PLAIN: u32 = 0;
const RLE8: u32 = 1;
const RLE4: u32 = 2;
const BITFIELDS: u32 = 3;
const ALPHA_BITFIELDS: u32 = 6;

/// What a header says, in the words of the newest.
struct Header {
    width: i32,
    /// Negative where the first row is the upper one.
    height: i32,
    depth: u16,
    compression: u32,
    /// Where red, green, blue and opacity are in a pixel.
    masks: Option<[u32; 4]>,
    /// Blue, green, red and a zero per colour.
    palette: Vec<u8>,
    /// Where the pixels begin in the file.
    pixels: usize,
}

fn cut() -> PictureError {
    PictureError::undecodable(NAME, "its header is cut off")
}

/// How the pixels are stored, and their bits.
fn form(bytes: &[u8], length: usize) -> Result<(u16, u32), PictureError> {
    let core = length == 12;
    let depth = le16(bytes, if core { 24 } else { 28 }).ok_or_else(cut)?;
    let compression = if core || length < 20 { PLAIN } else { le32(bytes, 30).ok_or_else(cut)? };
    let os2 = length == 16 || length == 64;
    let kind = match compression {
        PLAIN | RLE8 | RLE4 => None,
        3 if os2 => Some("OS/2 Huffman compression"),
        4 if os2 => Some("OS/2 RLE24 compression"),
        BITFIELDS | ALPHA_BITFIELDS => None,
        4 => Some("a JPEG inside"),
        5 => Some("a PNG inside"),
        11..=13 => Some("CMYK colours"),
        _ => Some("a compression that is not known"),
    };
    if let Some(kind) = kind {
        return Err(PictureError::unsupported(NAME, kind));
    }
    if !matches!(depth, 1 | 2 | 4 | 8 | 16 | 24 | 32) {
        return Err(PictureError::unsupported(NAME, format!("{depth} bits per pixel")));
    }
    Ok((depth, compression))
}

fn header(bytes: &[u8]) -> Result<Header, PictureError> {
    let length = le32(bytes, FILE_HEADER).ok_or_else(cut)? as usize;
    if length < 12 || length > bytes.len() {
        return Err(PictureError::undecodable(NAME, "its header has no length that a header has"));
    }
    let core = length == 12;
    let (width, height) = if core {
        let size = le16(bytes, 18).zip(le16(bytes, 20)).ok_or_else(cut)?;
        (i32::from(size.0), i32::from(size.1))
    } else {
        let size = le32(bytes, 18).zip(le32(bytes, 22)).ok_or_else(cut)?;
        (size.0 as i32, size.1 as i32)
    };
    let (depth, compression) = form(bytes, length)?;
    let masked = matches!(compression, BITFIELDS | ALPHA_BITFIELDS);
    let mask = |index: usize| le32(bytes, FILE_HEADER + 40 + index * 4).ok_or_else(cut);
    // In the older header the masks follow, in the newer ones they are a part.
    let opacity = length >= 56 || compression == ALPHA_BITFIELDS;
    let masks = match masked {
        true => Some([mask(0)?, mask(1)?, mask(2)?, if opacity { mask(3)? } else { 0 }]),
        false => None,
    };
    let behind = match masked && length < 52 {
        true if opacity => 16,
        true => 12,
        false => 0,
    };
    let start = FILE_HEADER + length + behind;
    let told = le32(bytes, 10).ok_or_else(cut)? as usize;
    let told = (told >= start && told <= bytes.len()).then_some(told);
    let entry = if core { 3 } else { 4 };
    let counted = if core || length < 36 { 0 } else { le32(bytes, 46).ok_or_else(cut)? as usize };
    let most = if depth <= 8 { 1 << depth } else { 0 };
    let counted = if counted == 0 { most } else { counted };
    // A table may be longer than the pixels can point into, and shorter than it says.
    let room = (told.unwrap_or(bytes.len()).max(start) - start) / entry;
    let colours = counted.min(most).min(room);
    let table = bytes.get(start..start + colours * entry).ok_or_else(cut)?;
    let palette = table.chunks_exact(entry).flat_map(|colour| [colour[0], colour[1], colour[2], 0]).collect();
    let written = if depth <= 8 { counted.saturating_mul(entry) } else { 0 };
    let pixels = told.unwrap_or_else(|| start.saturating_add(written).min(bytes.len()));
    Ok(Header { width, height, depth, compression, masks, palette, pixels })
}

/// Size and what decoding takes.
pub(super) fn outline(bytes: &[u8]) -> Result<Outline, PictureError> {
    let header = header(bytes)?;
    let (width, height) = (header.width.max(0).unsigned_abs(), header.height.unsigned_abs());
    Ok(Outline { width, height, orientation: None, bytes_per_pixel: 4, settled: false })
}

/// The file with a header as the decoder knows it.
fn rewrite(bytes: &[u8], header: &Header) -> Vec<u8> {
    // Masks with opacity need the fourth version; everything else is the same in it.
    let length: u32 = if header.masks.is_some() { 108 } else { 40 };
    let colours = header.palette.len() / 4;
    let pixels = FILE_HEADER as u32 + length + header.palette.len() as u32;
    let compression = if header.masks.is_some() { BITFIELDS } else { header.compression };
    let mut file = Vec::with_capacity(pixels as usize + bytes.len() - header.pixels);
    file.extend(b"BM\0\0\0\0\0\0\0\0");
    file.extend(pixels.to_le_bytes());
    file.extend(length.to_le_bytes());
    file.extend(header.width.to_le_bytes());
    file.extend(header.height.to_le_bytes());
    file.extend(1u16.to_le_bytes());
    file.extend(header.depth.to_le_bytes());
    for field in [compression, 0, 2835, 2835, colours as u32, 0] {
        file.extend(field.to_le_bytes());
    }
    for mask in header.masks.iter().flatten() {
        file.extend(mask.to_le_bytes());
    }
    file.resize(FILE_HEADER + length as usize, 0);
    file.extend(&header.palette);
    file.extend(&bytes[header.pixels..]);
    file
}

/// Decodes the picture. Where nothing is opaque at all, the opacity was never written.
pub(super) fn decode(bytes: &[u8], outline: &Outline) -> Result<Decoded, PictureError> {
    let file = rewrite(bytes, &header(bytes)?);
    let failed = |error: image::ImageError| PictureError::undecodable(NAME, error);
    let mut decoder = BmpDecoder::new(Cursor::new(&file)).map_err(failed)?;
    decoder.set_limits(outline.limits()).map_err(failed)?;
    let image = DynamicImage::from_decoder(decoder).map_err(failed)?;
    let empty = image.as_rgba8().is_some_and(|pixels| pixels.pixels().all(|pixel| pixel.0[3] == 0));
    let image = if empty { DynamicImage::ImageRgb8(image.into_rgb8()) } else { image };
    Ok(Decoded { image, colors: Colors::Srgb })
}
