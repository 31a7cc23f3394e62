//! From the samples of a TIFF to a picture: what they mean, in the depth that they have.

use image::{DynamicImage, ImageBuffer};
use tiff::decoder::DecodingResult;

use super::{
    super::{
        PictureError,
        color::{Colors, cmyk_to_srgb, encoded},
        directory::Directory,
    },
    NAME, damaged,
    form::{Alpha, COLOR_MAP, Form, Meaning},
};

/// A picture of the samples, row by row.
pub(super) fn into_image(
    samples: DecodingResult,
    form: &Form,
    directory: &Directory<'_>,
    colors: &Colors,
) -> Result<DynamicImage, PictureError> {
    match samples {
        DecodingResult::U8(values) => {
            let values = if form.bits < 8 { expand(&values, form) } else { chunky(values, form) };
            eight(values, form, directory, colors)
        }
        DecodingResult::U16(values) => {
            let values = chunky(values, form);
            if form.meaning == Meaning::Cmyk {
                return eight(
                    values.into_iter().map(|value| (value >> 8) as u8).collect(),
                    form,
                    directory,
                    colors,
                );
            }
            sixteen(values, form)
        }
        DecodingResult::F32(values) => {
            // Values above 1 are ambiguous: some programs mean 255, others light brighter than white.
            if values.iter().any(|value| *value > 1.0) {
                let kind = "floating-point samples beyond 0 to 1";
                return Err(PictureError::unsupported(NAME, kind));
            }
            let whole = |value: f32| (value.max(0.0) * 65_535.0).round() as u16;
            sixteen(chunky(values.into_iter().map(whole).collect(), form), form)
        }
        _ => Err(PictureError::unsupported(NAME, "samples of this type")),
    }
}

/// Samples of a pixel side by side, those that are no part of the picture left out.
fn chunky<T: Copy>(values: Vec<T>, form: &Form) -> Vec<T> {
    let (stored, kept) = (usize::from(form.samples), kept(form));
    let plane = values.len() / stored;
    if form.planar && stored > 1 {
        return (0..plane * kept).map(|index| values[index % kept * plane + index / kept]).collect();
    }
    if stored == kept {
        return values;
    }
    values.chunks_exact(stored).flat_map(|pixel| &pixel[..kept]).copied().collect()
}

/// Samples of a pixel that are a part of the picture.
fn kept(form: &Form) -> usize {
    form.meaning.channels() + usize::from(form.alpha != Alpha::None)
}

/// One byte per sample of fewer bits: of a palette the numbers, of greys 0 to 255. Rows begin at whole bytes.
fn expand(packed: &[u8], form: &Form) -> Vec<u8> {
    let bits = usize::from(form.bits);
    let width = form.width as usize;
    let largest = (1u16 << bits) - 1;
    let scale = if form.meaning == Meaning::Palette { 1 } else { (255 / largest) as u8 };
    let stride = (width * bits).div_ceil(8);
    let sample = |row: &[u8], x: usize| {
        let bit = x * bits;
        (row[bit / 8] >> (8 - bits - bit % 8)) & largest as u8
    };
    packed
        .chunks_exact(stride.max(1))
        .flat_map(|row| (0..width).map(move |x| sample(row, x) * scale))
        .collect()
}

fn wrong_length<T>(image: Option<T>) -> Result<T, PictureError> {
    image.ok_or_else(|| damaged("its samples are fewer than its size"))
}

fn eight(
    mut values: Vec<u8>,
    form: &Form,
    directory: &Directory<'_>,
    colors: &Colors,
) -> Result<DynamicImage, PictureError> {
    let alpha = form.alpha != Alpha::None;
    if form.alpha == Alpha::Premultiplied && form.meaning.channels() < 4 {
        divide(&mut values, kept(form), 255, u32::from, |value| value as u8);
    }
    let (pixels, grey) = match form.meaning {
        Meaning::Grey => (values, true),
        Meaning::Inverted => {
            let (stored, channels) = (kept(form), form.meaning.channels());
            for pixel in values.chunks_exact_mut(stored) {
                pixel[..channels].iter_mut().for_each(|value| *value = 255 - *value);
            }
            (values, true)
        }
        Meaning::Rgb => (values, false),
        Meaning::Palette => (look_up(&values, form, directory)?, false),
        Meaning::YCbCr => (each_colour(values, kept(form), from_ycbcr), false),
        Meaning::Lab => (each_colour(values, kept(form), from_lab), false),
        Meaning::Cmyk => {
            let stored = kept(form);
            let ink: Vec<u8> = values.chunks_exact(stored).flat_map(|pixel| &pixel[..4]).copied().collect();
            let rgb = cmyk_to_srgb(&ink, colors);
            return wrong_length(
                ImageBuffer::from_raw(form.width, form.height, rgb).map(DynamicImage::ImageRgb8),
            );
        }
    };
    let (width, height) = (form.width, form.height);
    let alpha = alpha && form.meaning != Meaning::Palette;
    wrong_length(match (grey, alpha) {
        (true, false) => ImageBuffer::from_raw(width, height, pixels).map(DynamicImage::ImageLuma8),
        (true, true) => ImageBuffer::from_raw(width, height, pixels).map(DynamicImage::ImageLumaA8),
        (false, false) => ImageBuffer::from_raw(width, height, pixels).map(DynamicImage::ImageRgb8),
        (false, true) => ImageBuffer::from_raw(width, height, pixels).map(DynamicImage::ImageRgba8),
    })
}

fn sixteen(mut values: Vec<u16>, form: &Form) -> Result<DynamicImage, PictureError> {
    let stored = kept(form);
    if form.alpha == Alpha::Premultiplied {
        divide(&mut values, stored, 65_535, u32::from, |value| value as u16);
    }
    let alpha = form.alpha != Alpha::None;
    if form.meaning == Meaning::Inverted {
        values.chunks_exact_mut(stored).for_each(|pixel| pixel[0] = 65_535 - pixel[0]);
    }
    let (width, height) = (form.width, form.height);
    wrong_length(match (form.meaning.channels(), alpha) {
        (1, false) => ImageBuffer::from_raw(width, height, values).map(DynamicImage::ImageLuma16),
        (1, true) => ImageBuffer::from_raw(width, height, values).map(DynamicImage::ImageLumaA16),
        (_, false) => ImageBuffer::from_raw(width, height, values).map(DynamicImage::ImageRgb16),
        (_, true) => ImageBuffer::from_raw(width, height, values).map(DynamicImage::ImageRgba16),
    })
}

/// Takes the opacity, the last sample of a pixel, out of its colours.
fn divide<T: Copy>(
    values: &mut [T],
    stored: usize,
    full: u32,
    wide: impl Fn(T) -> u32,
    narrow: impl Fn(u32) -> T,
) {
    for pixel in values.chunks_exact_mut(stored) {
        let Some((opacity, colours)) = pixel.split_last_mut() else { continue };
        let opacity = wide(*opacity);
        for colour in colours {
            // What is not there at all has no colour.
            let whole = (u64::from(wide(*colour)) * u64::from(full)).checked_div(opacity.into()).unwrap_or(0);
            *colour = narrow(whole.min(full.into()) as u32);
        }
    }
}

/// The colours of a palette: all reds, all greens, all blues, of 16 bits each.
fn look_up(values: &[u8], form: &Form, directory: &Directory<'_>) -> Result<Vec<u8>, PictureError> {
    let map = directory.numbers(COLOR_MAP).ok_or_else(|| damaged("its palette is missing"))?;
    let colours = map.len() / 3;
    // Old programs wrote 8 bits.
    let shift = if map.iter().all(|&value| value < 256) { 0 } else { 8 };
    let colour = |index: u8, channel: usize| {
        let at = usize::from(index);
        if at < colours { (map[channel * colours + at] >> shift) as u8 } else { 0 }
    };
    let stored = kept(form);
    Ok(values
        .chunks_exact(stored)
        .flat_map(|pixel| [0, 1, 2].map(|channel| colour(pixel[0], channel)))
        .collect())
}

/// Applies a conversion to the three colours of every pixel.
fn each_colour(mut values: Vec<u8>, stored: usize, convert: fn([u8; 3]) -> [u8; 3]) -> Vec<u8> {
    for pixel in values.chunks_exact_mut(stored) {
        let converted = convert([pixel[0], pixel[1], pixel[2]]);
        pixel[..3].copy_from_slice(&converted);
    }
    values
}

/// Full range, ITU-R BT.601, as JPEG's.
fn from_ycbcr([y, cb, cr]: [u8; 3]) -> [u8; 3] {
    let (y, cb, cr) = (f32::from(y), f32::from(cb) - 128.0, f32::from(cr) - 128.0);
    [y + 1.402 * cr, y - 0.344_136 * cb - 0.714_136 * cr, y + 1.772 * cb].map(|value| value.round() as u8)
}

/// CIE L*a*b* of D50 as TIFF stores it (L from 0 to 255, a and b with a sign), to sRGB with Bradford's adaptation.
fn from_lab([lightness, a, b]: [u8; 3]) -> [u8; 3] {
    let fy = (f32::from(lightness) / 2.55 + 16.0) / 116.0;
    let (fx, fz) = (fy + f32::from(a as i8) / 500.0, fy - f32::from(b as i8) / 200.0);
    let cube = |f: f32| if f > 6.0 / 29.0 { f * f * f } else { (f - 4.0 / 29.0) * 108.0 / 841.0 };
    let (x, y, z) = (0.9642 * cube(fx), cube(fy), 0.8249 * cube(fz));
    let linear = [
        3.133_856 * x - 1.616_867 * y - 0.490_615 * z,
        -0.978_768 * x + 1.916_142 * y + 0.033_454 * z,
        0.071_945 * x - 0.228_991 * y + 1.405_243 * z,
    ];
    linear.map(encoded)
}
