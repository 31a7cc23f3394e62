//! Image files: what they are, decoding them, and encoding the dream.
//!
//! Uploads are hostile until proven otherwise. Each format has a module with two functions: `outline` reads the header
//! only, so that a file of one kilobyte that claims 60,000×60,000 pixels is refused before anything of that size is
//! allocated, and `decode` does the rest within what the outline promised. A panic in a decoder is the file's fault.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod animation;
mod background;
mod bmp;
mod bytes;
mod color;
mod directory;
mod encode;
mod error;
mod format;
mod gif;
#[cfg(feature = "heif")]
mod heif;
#[cfg(any(test, not(feature = "heif")))]
mod heif_absent;
mod jpeg;
mod kind;
mod png;
pub mod recipe;
mod recipe_video;
#[cfg(test)]
mod tests;
mod thumbnail;
mod tiff;
mod webp;

use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind},
};

use image::{DynamicImage, Limits, metadata::Orientation};

pub use animation::{Animation, Ending, Playback, can_write, first_frame};
pub use error::PictureError;
pub use format::{Encoding, Format, FormatInfo};

use color::Colors;
#[cfg(not(feature = "heif"))]
use heif_absent as heif;
use kind::Kind;

/// What the header of an image file says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Width in pixels, EXIF orientation applied.
    pub width: u32,
    /// Height in pixels, EXIF orientation applied.
    pub height: u32,
    /// Media type sniffed from the bytes.
    pub media_type: &'static str,
}

/// A decoded image.
#[derive(Clone, Debug, PartialEq)]
pub struct Picture {
    /// Width in pixels, EXIF orientation applied.
    pub width: u32,
    /// Height in pixels, EXIF orientation applied.
    pub height: u32,
    /// Red, green and blue.
    pub rgb: Samples,
    /// `[height, width]`, 0 to 255, where the file had transparency: carried to the result untouched.
    pub alpha: Option<Vec<u8>>,
}

/// `[height, width, 3]`, row-major, with as many bits as the file has: large pictures are held in memory as small
/// as they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Samples {
    /// 0 to 255.
    Eight(Vec<u8>),
    /// 0 to 65,535, which stands for 255.
    Sixteen(Vec<u16>),
}

/// Where a dream shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mask {
    /// Width in pixels, EXIF orientation applied.
    pub width: u32,
    /// Height in pixels, EXIF orientation applied.
    pub height: u32,
    /// `[height, width]`: 0 (nothing) to 255 (all of the dream).
    pub values: Vec<u8>,
}

/// What the header of a file says to its decoder.
#[derive(Clone, Copy, Debug)]
struct Outline {
    /// In pixels, as stored.
    width: u32,
    /// In pixels, as stored.
    height: u32,
    /// How the camera was held, 1 to 8 as in EXIF.
    orientation: Option<u8>,
    /// Memory that decoding takes.
    bytes_per_pixel: u64,
    /// Whether the header tells that decoding will succeed.
    settled: bool,
}

impl Outline {
    fn pixels(&self) -> u64 {
        u64::from(self.width) * u64::from(self.height)
    }

    /// Bytes of memory that decoding takes.
    fn bytes(&self) -> u64 {
        self.pixels().saturating_mul(self.bytes_per_pixel)
    }

    /// For the decoders of the `image` crate.
    fn limits(&self) -> Limits {
        let mut limits = Limits::default();
        limits.max_image_width = Some(self.width);
        limits.max_image_height = Some(self.height);
        limits.max_alloc = Some(self.bytes().saturating_add(4 << 20));
        limits
    }

    /// Zeros for a decoder to write on.
    fn buffer(&self, size: usize) -> Result<Vec<u8>, PictureError> {
        let Self { width, height, .. } = *self;
        let mut buffer = Vec::new();
        let reserved = buffer.try_reserve_exact(size);
        reserved.map_err(|_| PictureError::TooLarge { width, height, max_pixels: 0 })?;
        buffer.resize(size, 0);
        Ok(buffer)
    }

    fn orientation(&self) -> Orientation {
        self.orientation.and_then(Orientation::from_exif).unwrap_or(Orientation::NoTransforms)
    }

    fn header(&self, kind: Kind) -> Header {
        let (width, height) = match self.orientation() {
            Orientation::NoTransforms
            | Orientation::FlipHorizontal
            | Orientation::FlipVertical
            | Orientation::Rotate180 => (self.width, self.height),
            Orientation::Rotate90
            | Orientation::Rotate270
            | Orientation::Rotate90FlipH
            | Orientation::Rotate270FlipH => (self.height, self.width),
        };
        Header { width, height, media_type: kind.media_type() }
    }
}

/// What a decoder makes of a file: the first picture as stored, and what its samples mean.
struct Decoded {
    image: DynamicImage,
    colors: Colors,
}

/// Media type of a file, by its first bytes.
///
/// # Errors
/// Unknown format, or one that is not read.
pub fn media_type(head: &[u8]) -> Result<&'static str, PictureError> {
    Kind::of(head).map(Kind::media_type)
}

/// Reads the header and checks it against `max_pixels`; nothing is decoded.
///
/// # Errors
/// Unknown format, too many pixels, none at all, or a header that cannot be read.
pub fn probe(bytes: &[u8], max_pixels: u64) -> Result<Header, PictureError> {
    let (kind, outline) = open(bytes, max_pixels)?;
    Ok(outline.header(kind))
}

/// Reads the header, and how many bytes of memory [`decode`] takes; nothing is decoded.
///
/// # Errors
/// As [`probe`], but for the number of pixels.
pub fn weigh(bytes: &[u8]) -> Result<(Header, u64), PictureError> {
    let (kind, outline) = open(bytes, u64::MAX)?;
    Ok((outline.header(kind), outline.bytes()))
}

/// What the header tells about whether [`decode`] would succeed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// All that matters.
    Enough(Header),
    /// Not enough: [`verify`] decodes the picture.
    Decode {
        /// Bytes of memory that this takes.
        bytes: u64,
    },
}

/// Reads the header; nothing is decoded.
///
/// # Errors
/// As [`probe`].
pub fn look(bytes: &[u8], max_pixels: u64) -> Result<Look, PictureError> {
    let (kind, outline) = open(bytes, max_pixels)?;
    Ok(match outline.settled {
        true => Look::Enough(outline.header(kind)),
        false => Look::Decode { bytes: outline.bytes() },
    })
}

/// Whether [`decode`] would succeed: the first picture is decoded and thrown away, of a JPEG the segments are read.
///
/// Damage in the bits of a JPEG's scan is no error, as browsers show what there is. What libjpeg refuses in spite of
/// good segments, such as a table of codes that contradicts itself, is found when the picture is decoded.
///
/// # Errors
/// As [`decode`].
pub fn verify(bytes: &[u8], max_pixels: u64) -> Result<Header, PictureError> {
    let (kind, outline) = open(bytes, max_pixels)?;
    if !outline.settled {
        read(bytes, kind, &outline)?;
    }
    Ok(outline.header(kind))
}

/// Decodes the first picture, applies EXIF orientation, converts colours to sRGB, and drops all other metadata.
///
/// # Errors
/// As [`probe`], and anything that the decoder finds in the pixel data.
pub fn decode(bytes: &[u8], max_pixels: u64) -> Result<Picture, PictureError> {
    let Decoded { image, colors } = upright(bytes, max_pixels)?;
    let alpha = image.color().has_alpha().then(|| opacity(&image));
    let (width, height) = (image.width(), image.height());
    let rgb = guard("image", || Ok(colors.to_srgb(image)))?;
    Ok(Picture { width, height, rgb, alpha })
}

/// Decodes a mask: the brightness of an image of any colour type; what is transparent is black. Where everything that
/// can be seen has one colour, the shape is in the transparency, and that alone counts.
///
/// # Errors
/// As [`decode`].
pub fn decode_mask(bytes: &[u8], max_pixels: u64) -> Result<Mask, PictureError> {
    let Decoded { image, .. } = upright(bytes, max_pixels)?;
    let (width, height) = (image.width(), image.height());
    if !image.color().has_alpha() {
        return Ok(Mask { width, height, values: image.into_luma8().into_raw() });
    }
    let grey = image.into_luma_alpha8();
    let mut seen = grey.pixels().filter(|pixel| pixel.0[1] > 0).map(|pixel| pixel.0[0]);
    let first = seen.next();
    let flat = seen.all(|brightness| Some(brightness) == first);
    let shaped = flat && grey.pixels().any(|pixel| pixel.0[1] < 255);
    let value = |[brightness, opacity]: [u8; 2]| match shaped {
        true => opacity,
        false => (u16::from(brightness) * u16::from(opacity) / 255) as u8,
    };
    Ok(Mask { width, height, values: grey.pixels().map(|pixel| value(pixel.0)).collect() })
}

/// `[height, width]`, 0 to 255.
fn opacity(image: &DynamicImage) -> Vec<u8> {
    match image {
        DynamicImage::ImageRgba8(pixels) => pixels.pixels().map(|pixel| pixel.0[3]).collect(),
        DynamicImage::ImageLumaA8(pixels) => pixels.pixels().map(|pixel| pixel.0[1]).collect(),
        other => other.to_luma_alpha8().pixels().map(|pixel| pixel.0[1]).collect(),
    }
}

/// The first picture as the camera saw it.
fn upright(bytes: &[u8], max_pixels: u64) -> Result<Decoded, PictureError> {
    let (kind, outline) = open(bytes, max_pixels)?;
    let mut decoded = read(bytes, kind, &outline)?;
    decoded.image.apply_orientation(outline.orientation());
    Ok(decoded)
}

/// The first picture as stored.
fn read(bytes: &[u8], kind: Kind, outline: &Outline) -> Result<Decoded, PictureError> {
    let decoded = guard(kind.name(), || match kind {
        Kind::Png => png::decode(bytes, outline),
        Kind::Jpeg => jpeg::decode(bytes, outline),
        Kind::WebP => webp::decode(bytes, outline),
        Kind::Gif => gif::decode(bytes, outline),
        Kind::Bmp => bmp::decode(bytes, outline),
        Kind::Tiff => tiff::decode(bytes, outline),
        Kind::Heic | Kind::Avif => heif::decode(bytes, kind, outline),
    })?;
    // A decoder may believe another one of two entries that contradict each other.
    let image = &decoded.image;
    let pixels = image.width() as usize * image.height() as usize;
    let whole = image.as_bytes().len() == pixels * usize::from(image.color().bytes_per_pixel());
    if !whole || (image.width(), image.height()) != (outline.width, outline.height) {
        return Err(PictureError::undecodable(kind.name(), "its parts contradict each other about its size"));
    }
    Ok(decoded)
}

/// Whether a mask covers an image; both sizes are (width, height), upright.
///
/// # Errors
/// [`PictureError::MaskSize`].
pub fn check_mask(mask: (u32, u32), image: (u32, u32)) -> Result<(), PictureError> {
    if mask == image { Ok(()) } else { Err(PictureError::MaskSize { mask, image }) }
}

/// What the header says, after all checks that it allows.
fn open(bytes: &[u8], max_pixels: u64) -> Result<(Kind, Outline), PictureError> {
    let kind = Kind::of(bytes)?;
    let outline = guard(kind.name(), || match kind {
        Kind::Png => png::outline(bytes),
        Kind::Jpeg => jpeg::outline(bytes),
        Kind::WebP => webp::outline(bytes),
        Kind::Gif => gif::outline(bytes),
        Kind::Bmp => bmp::outline(bytes),
        Kind::Tiff => tiff::outline(bytes),
        Kind::Heic | Kind::Avif => heif::outline(bytes, kind),
    })?;
    let Outline { width, height, .. } = outline;
    if width == 0 || height == 0 {
        return Err(PictureError::Empty);
    }
    if outline.pixels() > max_pixels {
        return Err(PictureError::TooLarge { width, height, max_pixels });
    }
    Ok((kind, outline))
}

/// What libjpeg's binding puts before the reason that it gives up for.
const LIBJPEG: &str = "libjpeg fatal error: ";

/// Runs a decoder: one that panics has met bytes that it cannot handle, and the file is at fault as far as anyone can
/// tell. libjpeg's errors arrive as panics too.
fn guard<T>(format: &'static str, work: impl FnOnce() -> Result<T, PictureError>) -> Result<T, PictureError> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let text = text(&*panic);
        match text.strip_prefix(LIBJPEG) {
            Some(reason) => Err(PictureError::undecodable(format, reason)),
            None => {
                tracing::warn!(format, panic = text, "an image decoder panicked");
                Err(PictureError::undecodable(
                    format,
                    "it is damaged in a way that its decoder does not know",
                ))
            }
        }
    })
}

/// The words of a panic.
fn text(panic: &(dyn Any + Send)) -> &str {
    let words = panic.downcast_ref::<String>().map(String::as_str);
    words.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message")
}
