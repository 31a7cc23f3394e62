//! JPEG. Source: ITU-T T.81.
//!
//! libjpeg-turbo (in mozjpeg's edition, which builds with a C compiler and nothing else) decodes: it reads every order
//! of scans, arithmetic coding, every sampling, and damaged restart markers, where others show a wrong picture and
//! call it success. Accepting a photo looks at its segments only; see [`segments`]. A file without an end marker may
//! be cut off, which the decoder does not tell: [`complete`] finds out.

mod segments;

use std::borrow::Cow;

use image::{DynamicImage, ImageBuffer};
use mozjpeg::{ColorSpace, Decompress, Format};

use super::{
    Decoded, Outline, PictureError,
    color::{self, Colors},
    guard,
};
use segments::Segments;

const NAME: &str = "JPEG";

/// Bytes after a scan that was cut off: no code of a scan is that long, and no marker is in it.
const FILLING: [u8; 4096] = {
    let mut filling = [0x5a; 4096];
    let mut at = 0;
    while at < filling.len() {
        // Any sequence without 0xFF that does not repeat soon.
        filling[at] = ((at * 151 + at / 7 * 13) % 251) as u8;
        at += 1;
    }
    filling
};

/// End of the image.
const END: [u8; 2] = [0xff, 0xd9];

/// Size, orientation and what decoding takes.
pub(super) fn outline(bytes: &[u8]) -> Result<Outline, PictureError> {
    let segments = Segments::read(bytes)?;
    // The picture, and all coefficients where they come in several scans.
    let coefficients = if segments.scans > 1 { 2 } else { 0 };
    let channels = segments.components.len() as u64;
    Ok(Outline {
        width: segments.width.into(),
        height: segments.height.into(),
        orientation: segments.orientation(),
        bytes_per_pixel: channels * (1 + coefficients),
        settled: segments.ended,
    })
}

/// Decodes all scans.
pub(super) fn decode(bytes: &[u8], _: &Outline) -> Result<Decoded, PictureError> {
    let segments = Segments::read(bytes)?;
    let colors = segments.profile().map_or(Colors::Srgb, |profile| Colors::icc(&profile));
    let file = segments.with_height(bytes);
    let image = if segments.ended { pixels(&file, &colors)? } else { complete(&file, &colors)? };
    Ok(Decoded { image, colors })
}

/// Decodes a file without an end marker: like that, and with other bytes behind it. Where both are the same, the
/// scans needed none of them, so that every row is there.
fn complete(file: &[u8], colors: &Colors) -> Result<DynamicImage, PictureError> {
    // Downloads that stopped early are zeros from there on.
    let zeros = file.iter().rev().take_while(|&&byte| byte == 0).count();
    let written = &file[..file.len() - zeros];
    // A zero after 0xFF belongs to the scan.
    let written =
        if written.ends_with(&[0xff]) { &file[..(written.len() + 1).min(file.len())] } else { written };
    let image = pixels(&[written, &END].concat(), colors)?;
    if pixels(&[written, &FILLING, &END].concat(), colors)? == image {
        return Ok(image);
    }
    Err(PictureError::undecodable(NAME, "it is cut off before its end"))
}

/// Red, green and blue, or grey, of a part of another file: a strip or a tile.
pub(super) fn part(file: &[u8], colors: &Colors) -> Result<DynamicImage, PictureError> {
    Segments::read(file)?;
    pixels(file, colors)
}

fn pixels(file: &[u8], colors: &Colors) -> Result<DynamicImage, PictureError> {
    guard(NAME, || {
        let failed = |error: std::io::Error| PictureError::undecodable(NAME, error);
        let decoder = Decompress::new_mem(file).map_err(failed)?;
        let mut started = match decoder.image().map_err(failed)? {
            Format::RGB(started) | Format::Gray(started) | Format::CMYK(started) => started,
        };
        let mut samples: Vec<u8> = started.read_scanlines().map_err(failed)?;
        let (width, height) = (started.width() as u32, started.height() as u32);
        let image = match started.color_space() {
            ColorSpace::JCS_GRAYSCALE => {
                ImageBuffer::from_raw(width, height, samples).map(DynamicImage::ImageLuma8)
            }
            ColorSpace::JCS_CMYK => {
                // Programs write ink as the light that it leaves, as Adobe's do.
                samples.iter_mut().for_each(|sample| *sample = 255 - *sample);
                let rgb = color::cmyk_to_srgb(&samples, colors);
                ImageBuffer::from_raw(width, height, rgb).map(DynamicImage::ImageRgb8)
            }
            _ => ImageBuffer::from_raw(width, height, samples).map(DynamicImage::ImageRgb8),
        };
        image.ok_or_else(|| {
            PictureError::undecodable(NAME, "its rows have another length than its header says")
        })
    })
}

impl Segments<'_> {
    /// The file with its height where the decoder looks for it.
    fn with_height<'a>(&self, bytes: &'a [u8]) -> Cow<'a, [u8]> {
        let Some(at) = self.height_behind else { return Cow::Borrowed(bytes) };
        let mut copy = bytes.to_vec();
        if let Some(height) = copy.get_mut(at..at + 2) {
            height.copy_from_slice(&self.height.to_be_bytes());
        }
        Cow::Owned(copy)
    }
}
