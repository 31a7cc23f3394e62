//! JPEG inside TIFF: each strip or tile is a JPEG of its own, with its tables in the directory. Source: Adobe's
//! TIFF technical note 2.

use image::{DynamicImage, GenericImage, GenericImageView};

use super::{
    super::{Outline, PictureError, color::Colors, directory::Directory, jpeg},
    NAME, chunks, damaged,
    form::{Form, Meaning, ROWS_PER_STRIP, TILE_HEIGHT, TILE_WIDTH},
};

/// The tables that all parts share.
const TABLES: u16 = 347;

/// Pixels of a part of a smaller picture.
const MAX_PART: u64 = 1 << 22;

/// Edge of the blocks that JPEG codes: some programs count a part in whole ones.
const BLOCK: u32 = 16;

/// Bytes of the tables that all parts share: four of quantisation and eight of codes take less than half of that.
const MAX_TABLES: usize = 8192;

/// Start and end of an image.
const START: [u8; 2] = [0xff, 0xd8];
const END: [u8; 2] = [0xff, 0xd9];

/// Decodes all parts, and lays them where they belong.
pub(super) fn decode(
    bytes: &[u8],
    directory: &Directory<'_>,
    form: &Form,
    outline: &Outline,
) -> Result<DynamicImage, PictureError> {
    let ycbcr = match form.meaning {
        Meaning::Grey => false,
        Meaning::Rgb => false,
        Meaning::YCbCr => true,
        _ => return Err(PictureError::unsupported(NAME, "JPEG compression of this colour space")),
    };
    let number =
        |tag| directory.number(tag).and_then(|value| u32::try_from(value).ok()).filter(|value| *value > 0);
    let (width, height) = (form.width, form.height);
    let (part_width, part_height) = match number(TILE_WIDTH).zip(number(TILE_HEIGHT)) {
        Some(tile) => tile,
        None => (width, number(ROWS_PER_STRIP).unwrap_or(height).min(height)),
    };
    let across = width.div_ceil(part_width);
    let parts = u64::from(across) * u64::from(height.div_ceil(part_height));
    let chunks = chunks(directory)?;
    if (chunks.len() as u64) < parts {
        return Err(damaged("it has fewer parts than its picture"));
    }
    let tables = directory.data(TABLES).unwrap_or_default();
    let tables = tables.strip_prefix(&START).unwrap_or(tables);
    let tables = tables.strip_suffix(&END).unwrap_or(tables);
    if tables.len() > MAX_TABLES {
        return Err(damaged("its tables are longer than tables are"));
    }
    // Adobe's segment tells the decoder what the colours are.
    let head = [&START[..], b"\xff\xee\x00\x0eAdobe\x00\x64\0\0\0\0", &[u8::from(ycbcr)], tables].concat();
    let mut picture = match form.meaning {
        Meaning::Grey => DynamicImage::new_luma8(width, height),
        _ => DynamicImage::new_rgb8(width, height),
    };
    for (index, (offset, length)) in (0u32..).zip(chunks).take(parts as usize) {
        let data = offset.checked_add(length).and_then(|end| bytes.get(offset..end));
        let data =
            data.and_then(|data| data.strip_prefix(&START)).ok_or_else(|| damaged("a part is missing"))?;
        let part = [&head, data].concat();
        let claimed = jpeg::outline(&part)?;
        // Tiles reach over the edges of small pictures; a part must not cost much more than the picture all the same.
        if claimed.pixels() > outline.pixels().max(MAX_PART) {
            return Err(damaged("a part is larger than the picture"));
        }
        // All parts may be the same bytes, so that a file of a few kilobytes can have any number of them.
        let fits =
            |edge: u32, place: u32| place.checked_next_multiple_of(BLOCK).is_none_or(|most| edge <= most);
        if !(fits(claimed.width, part_width) && fits(claimed.height, part_height)) {
            return Err(damaged("a part is larger than its place"));
        }
        let part = jpeg::part(&part, &Colors::Srgb)?;
        let (x, y) = (index % across * part_width, index / across * part_height);
        let (wanted_width, wanted_height) = (part_width.min(width - x), part_height.min(height - y));
        if part.width() < wanted_width || part.height() < wanted_height {
            return Err(damaged("a part is smaller than its place"));
        }
        if part.color() != picture.color() {
            return Err(damaged("a part has other colours than the picture"));
        }
        let fitting = part.crop_imm(0, 0, wanted_width, wanted_height);
        copy(&mut picture, &fitting, x, y)?;
    }
    Ok(picture)
}

fn copy(picture: &mut DynamicImage, part: &DynamicImage, x: u32, y: u32) -> Result<(), PictureError> {
    debug_assert!(part.dimensions().0 <= picture.dimensions().0);
    let copied = match (picture, part) {
        (DynamicImage::ImageLuma8(picture), DynamicImage::ImageLuma8(part)) => picture.copy_from(part, x, y),
        (DynamicImage::ImageRgb8(picture), DynamicImage::ImageRgb8(part)) => picture.copy_from(part, x, y),
        _ => return Err(damaged("a part has other colours than the picture")),
    };
    copied.map_err(|error| PictureError::undecodable(NAME, error))
}
