//! Which of TIFF's many forms a file has, and whether it is read.

use super::{super::PictureError, super::directory::Directory, NAME, damaged};

const WIDTH: u16 = 256;
const HEIGHT: u16 = 257;
const BITS: u16 = 258;
pub(super) const COMPRESSION: u16 = 259;
pub(super) const PHOTOMETRIC: u16 = 262;
pub(super) const FILL_ORDER: u16 = 266;
pub(super) const STRIP_OFFSETS: u16 = 273;
const SAMPLES: u16 = 277;
pub(super) const ROWS_PER_STRIP: u16 = 278;
pub(super) const STRIP_BYTES: u16 = 279;
const PLANAR: u16 = 284;
pub(super) const COLOR_MAP: u16 = 320;
pub(super) const TILE_WIDTH: u16 = 322;
pub(super) const TILE_HEIGHT: u16 = 323;
pub(super) const TILE_OFFSETS: u16 = 324;
pub(super) const TILE_BYTES: u16 = 325;
const EXTRA: u16 = 338;
const SAMPLE_FORMAT: u16 = 339;
const SUBSAMPLING: u16 = 530;

/// Samples per pixel; more are measurements, and no picture's.
const MAX_SAMPLES: u64 = 8;

/// How the samples are packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Compression {
    /// None, or one that the decoder unpacks.
    Samples,
    Jpeg,
}

/// What the samples are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// 0 is white.
    Inverted,
    Grey,
    Rgb,
    Palette,
    /// Ink.
    Cmyk,
    YCbCr,
    Lab,
}

impl Meaning {
    /// Samples that make a colour.
    pub(super) fn channels(self) -> usize {
        match self {
            Self::Inverted | Self::Grey | Self::Palette => 1,
            Self::Rgb | Self::YCbCr | Self::Lab => 3,
            Self::Cmyk => 4,
        }
    }
}

/// Whether there is opacity, and whether it is in the colours already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Alpha {
    None,
    Premultiplied,
    Apart,
}

/// The form of a picture.
#[derive(Debug)]
pub(super) struct Form {
    pub(super) width: u32,
    pub(super) height: u32,
    /// Bits per sample, the same for all.
    pub(super) bits: u16,
    /// Samples per pixel, all of them.
    pub(super) samples: u16,
    pub(super) meaning: Meaning,
    pub(super) compression: Compression,
    pub(super) alpha: Alpha,
    /// Whether each sample has a plane of its own.
    pub(super) planar: bool,
}

impl Form {
    /// Reads the form.
    ///
    /// # Errors
    /// [`PictureError::Unsupported`] with the name of a form that is not read.
    pub(super) fn read(directory: &Directory<'_>) -> Result<Self, PictureError> {
        let size = |tag| directory.number(tag).and_then(|value| u32::try_from(value).ok());
        let (width, height) =
            size(WIDTH).zip(size(HEIGHT)).ok_or_else(|| damaged("it does not say its size"))?;
        let compression = compression(directory.number(COMPRESSION).unwrap_or(1))?;
        let samples = directory.number(SAMPLES).unwrap_or(1);
        if samples == 0 || samples > MAX_SAMPLES {
            return Err(PictureError::unsupported(NAME, format!("{samples} samples per pixel")));
        }
        let bits = samples_of(directory)?;
        let meaning = meaning(directory, bits, samples as usize, compression)?;
        let extra = directory.numbers(EXTRA);
        let has_extra = samples as usize > meaning.channels();
        let alpha = match extra.as_deref().and_then(<[u64]>::first) {
            _ if !has_extra => Alpha::None,
            Some(1) => Alpha::Premultiplied,
            Some(2) => Alpha::Apart,
            // Older programs left out the tag, and meant opacity.
            None if meaning == Meaning::Rgb && samples == 4 => Alpha::Apart,
            _ => Alpha::None,
        };
        let planar = directory.number(PLANAR) == Some(2);
        if planar && compression == Compression::Jpeg {
            return Err(PictureError::unsupported(NAME, "JPEG compression of separate planes"));
        }
        Ok(Self { width, height, bits, samples: samples as u16, meaning, compression, alpha, planar })
    }
}

fn compression(number: u64) -> Result<Compression, PictureError> {
    let name = match number {
        1 | 4 | 5 | 8 | 32_773 | 32_946 => return Ok(Compression::Samples),
        7 => return Ok(Compression::Jpeg),
        2 => "CCITT modified Huffman compression",
        3 => "CCITT Group 3 compression",
        6 => "JPEG compression of the old kind",
        9 | 10 | 34_661 => "JBIG compression",
        32_766 => "NeXT compression",
        32_771 => "CCITT modified Huffman compression with word alignment",
        32_809 => "ThunderScan compression",
        33_003 | 33_005 | 34_712 => "JPEG 2000 compression",
        34_676 | 34_677 => "SGI LogLuv compression",
        34_887 => "LERC compression",
        34_892 => "lossy JPEG compression of camera raw",
        34_925 => "LZMA compression",
        50_000 => "zstd compression",
        50_001 => "WebP compression",
        50_002 | 52_546 => "JPEG XL compression",
        _ => return Err(PictureError::unsupported(NAME, format!("compression number {number}"))),
    };
    Err(PictureError::unsupported(NAME, name))
}

/// Bits of every sample; 32 are a floating-point number.
fn samples_of(directory: &Directory<'_>) -> Result<u16, PictureError> {
    let unsupported = |kind: String| Err(PictureError::unsupported(NAME, kind));
    let bits = directory.numbers(BITS).unwrap_or_else(|| vec![1]);
    let first = bits.first().copied().unwrap_or(1);
    if bits.iter().any(|&other| other != first) {
        return unsupported("samples of different lengths".into());
    }
    let formats = directory.numbers(SAMPLE_FORMAT).unwrap_or_else(|| vec![1]);
    let format = formats.first().copied().unwrap_or(1);
    if formats.iter().any(|&other| other != format) {
        return unsupported("samples of different types".into());
    }
    match (format, first) {
        // 4 is "undefined", which programs write for plain numbers.
        (1 | 4, 1 | 2 | 4 | 8 | 16) => Ok(first as u16),
        (3, 32) => Ok(32),
        (1 | 4, _) => unsupported(format!("{first}-bit samples")),
        (2, _) => unsupported(format!("{first}-bit samples with a sign")),
        (3, _) => unsupported(format!("{first}-bit floating-point samples")),
        _ => unsupported("complex samples".into()),
    }
}

/// What the samples mean, where that is read in their length.
fn meaning(
    directory: &Directory<'_>,
    bits: u16,
    samples: usize,
    compression: Compression,
) -> Result<Meaning, PictureError> {
    let unsupported = |kind: String| Err(PictureError::unsupported(NAME, kind));
    let number =
        directory.number(PHOTOMETRIC).ok_or_else(|| damaged("it does not say what its colours are"))?;
    let meaning = match number {
        0 => Meaning::Inverted,
        1 => Meaning::Grey,
        2 => Meaning::Rgb,
        3 => Meaning::Palette,
        5 => Meaning::Cmyk,
        6 => Meaning::YCbCr,
        8 => Meaning::Lab,
        4 => return unsupported("a transparency mask instead of a picture".into()),
        9 => return unsupported("ICC Lab colours".into()),
        10 => return unsupported("ITU Lab colours".into()),
        32_803 | 34_892 => return unsupported("camera raw pixels (DNG)".into()),
        32_844 | 32_845 => return unsupported("LogLuv colours".into()),
        _ => return unsupported(format!("colour space number {number}")),
    };
    if samples < meaning.channels() {
        return Err(damaged("it has fewer samples than its colours need"));
    }
    let lengths: &[u16] = match (meaning, compression) {
        (_, Compression::Jpeg) => &[8],
        (Meaning::Inverted | Meaning::Grey, _) => &[1, 2, 4, 8, 16, 32],
        (Meaning::Rgb, _) => &[8, 16, 32],
        (Meaning::Palette, _) => &[1, 2, 4, 8],
        (Meaning::Cmyk, _) => &[8, 16],
        (Meaning::YCbCr | Meaning::Lab, _) => &[8],
    };
    if !lengths.contains(&bits) {
        return unsupported(format!("{bits} bits per sample in this colour space"));
    }
    if bits < 8 && samples > 1 {
        return unsupported(format!("{samples} samples of {bits} bits"));
    }
    let halved = directory.numbers(SUBSAMPLING).is_none_or(|factors| factors != [1, 1]);
    if meaning == Meaning::YCbCr && compression != Compression::Jpeg && halved {
        return unsupported("YCbCr colours at a lower resolution than brightness".into());
    }
    Ok(meaning)
}
