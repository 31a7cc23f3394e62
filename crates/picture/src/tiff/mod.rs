//! TIFF and BigTIFF: the first picture of a file. Source: TIFF 6.0, and Adobe's technical notes on it.
//!
//! TIFF has hundreds of forms. What a form is stands in the directory, so that it is known before anything is decoded
//! whether it is read: each of those that are not is refused by its name. The `tiff` crate unpacks the samples, told
//! that they are grey whatever they are; what they mean is applied in [`samples`], and JPEG inside is read by
//! [`jpeg_inside`].

mod form;
mod jpeg_inside;
mod samples;

use std::{collections::HashSet, io::Cursor};

use tiff::decoder::{Decoder, DecodingResult, Limits};

use super::{Decoded, Outline, PictureError, color::Colors, directory::Directory};
use form::{
    COMPRESSION, Compression, FILL_ORDER, Form, PHOTOMETRIC, STRIP_BYTES, STRIP_OFFSETS, TILE_BYTES,
    TILE_OFFSETS,
};

const NAME: &str = "TIFF";

/// The profile of the colours.
const PROFILE: u16 = 34_675;

/// Bytes that one tile may take where the picture is smaller.
const TILE: usize = 16 << 20;

/// How often the bytes of a file may be a part of its picture, on the average.
const MAX_SHARED: usize = 16;

fn damaged(reason: &str) -> PictureError {
    PictureError::undecodable(NAME, reason)
}

fn directory(bytes: &[u8]) -> Result<Directory<'_>, PictureError> {
    Directory::first(bytes).ok_or_else(|| damaged("its directory is cut off"))
}

/// Size, orientation and what decoding takes.
pub(super) fn outline(bytes: &[u8]) -> Result<Outline, PictureError> {
    let directory = directory(bytes)?;
    let form = Form::read(&directory)?;
    // The samples as they are stored, and the picture.
    let stored = u64::from(form.samples) * u64::from(form.bits.div_ceil(8));
    Ok(Outline {
        width: form.width,
        height: form.height,
        orientation: directory.orientation(),
        bytes_per_pixel: stored + 8,
        settled: false,
    })
}

/// Decodes the first picture.
pub(super) fn decode(bytes: &[u8], outline: &Outline) -> Result<Decoded, PictureError> {
    let directory = directory(bytes)?;
    let form = Form::read(&directory)?;
    let colors = directory.data(PROFILE).map_or(Colors::Srgb, Colors::icc);
    let image = match form.compression {
        Compression::Jpeg => jpeg_inside::decode(bytes, &directory, &form, outline)?,
        _ => samples::into_image(unpack(bytes, &directory, outline)?, &form, &directory, &colors)?,
    };
    Ok(Decoded { image, colors })
}

/// The samples as they are stored: planes one after the other, bits still packed.
fn unpack(
    bytes: &[u8],
    directory: &Directory<'_>,
    outline: &Outline,
) -> Result<DecodingResult, PictureError> {
    let failed = |error: tiff::TiffError| PictureError::undecodable(NAME, error);
    if directory.number(COMPRESSION) != Some(1) {
        chunks(directory)?;
    }
    let file = told_grey(bytes, directory)?;
    let mut limits = Limits::default();
    let most = usize::try_from(outline.bytes()).unwrap_or(usize::MAX);
    limits.decoding_buffer_size = most;
    limits.intermediate_buffer_size = most.saturating_add(TILE);
    limits.ifd_value_size = bytes.len();
    let mut decoder = Decoder::new(Cursor::new(&file)).map_err(failed)?.with_limits(limits);
    let mut samples = DecodingResult::U8(Vec::new());
    decoder.read_image_to_buffer(&mut samples).map_err(failed)?;
    Ok(samples)
}

/// The file with its samples declared grey, the bits of its bytes in the usual order, and without the entries that are not
/// read here: the decoder would allocate what they claim before it looks for it, up to 256 MB.
fn told_grey(bytes: &[u8], directory: &Directory<'_>) -> Result<Vec<u8>, PictureError> {
    let mut file = bytes.to_vec();
    for &entry in directory.ignored() {
        if let Some(tag) = file.get_mut(entry..entry + 2) {
            tag.fill(0);
        }
    }
    let mut write = |tag: u16, value: u16| {
        let Some(entry) = directory.find(tag) else { return };
        let little = [value.to_le_bytes(), [0; 2]].concat();
        let value = match entry.kind {
            3 if directory.big_endian => value.to_be_bytes().to_vec(),
            3 => little[..2].to_vec(),
            _ if directory.big_endian => u32::from(value).to_be_bytes().to_vec(),
            _ => little,
        };
        if let Some(place) = file.get_mut(entry.at..entry.at + value.len()) {
            place.copy_from_slice(&value);
        }
    };
    write(PHOTOMETRIC, 1);
    if directory.number(FILL_ORDER) != Some(2) {
        return Ok(file);
    }
    write(FILL_ORDER, 1);
    let mut turned = HashSet::new();
    for (offset, length) in chunks(directory)? {
        let end = offset.checked_add(length);
        let chunk = end.and_then(|end| file.get_mut(offset..end)).ok_or_else(|| damaged("it is cut off"))?;
        if turned.insert(offset) {
            chunk.iter_mut().for_each(|byte| *byte = byte.reverse_bits());
        }
    }
    Ok(file)
}

/// Where the strips or tiles are, and how long.
///
/// Some of them may be the same, such as tiles without content; other than that, a byte of the file belongs to one. Without
/// a bound, a file of a megabyte could have its bytes read a hundred thousand times, even where they unpack to nothing.
fn chunks(directory: &Directory<'_>) -> Result<Vec<(usize, usize)>, PictureError> {
    let (offsets, lengths) = match directory.numbers(TILE_OFFSETS) {
        Some(offsets) => (Some(offsets), directory.numbers(TILE_BYTES)),
        None => (directory.numbers(STRIP_OFFSETS), directory.numbers(STRIP_BYTES)),
    };
    let both = offsets.zip(lengths).ok_or_else(|| damaged("it does not say where its picture is"))?;
    let number = |value: u64| usize::try_from(value).unwrap_or(usize::MAX);
    let chunks: Vec<(usize, usize)> =
        both.0.into_iter().zip(both.1).map(|(offset, length)| (number(offset), number(length))).collect();
    let total = chunks.iter().fold(0usize, |total, (_, length)| total.saturating_add(*length));
    if total > directory.length().saturating_mul(MAX_SHARED) {
        return Err(damaged("its parts overlap"));
    }
    Ok(chunks)
}
