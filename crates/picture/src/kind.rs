//! What kind of file this is, by its first bytes: file names and declared media types are often wrong.
//!
//! Kinds that are not read are recognised where people send them, so that the refusal can name them.

use super::PictureError;

/// The formats that are read; HEIC and AVIF by builds with the feature `heif`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Png,
    Jpeg,
    WebP,
    Gif,
    Bmp,
    Tiff,
    Heic,
    Avif,
}

impl Kind {
    /// What people call it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Png => "PNG",
            Self::Jpeg => "JPEG",
            Self::WebP => "WebP",
            Self::Gif => "GIF",
            Self::Bmp => "BMP",
            Self::Tiff => "TIFF",
            Self::Heic => "HEIC",
            Self::Avif => "AVIF",
        }
    }

    /// For `Content-Type`.
    pub(super) fn media_type(self) -> &'static str {
        match self {
            Self::Png => "image/png",
            Self::Jpeg => "image/jpeg",
            Self::WebP => "image/webp",
            Self::Gif => "image/gif",
            Self::Bmp => "image/bmp",
            Self::Tiff => "image/tiff",
            Self::Heic => "image/heic",
            Self::Avif => "image/avif",
        }
    }

    /// Looks at the first bytes of a file.
    ///
    /// # Errors
    /// [`PictureError::Unread`] for a kind that is known and not read, [`PictureError::UnknownFormat`] for the rest.
    pub(super) fn of(bytes: &[u8]) -> Result<Self, PictureError> {
        match bytes {
            [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1a, b'\n', ..] => Ok(Self::Png),
            [0xff, 0xd8, 0xff, ..] => Ok(Self::Jpeg),
            [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Ok(Self::WebP),
            [b'G', b'I', b'F', b'8', b'7' | b'9', b'a', ..] => Ok(Self::Gif),
            [b'B', b'M', ..] => Ok(Self::Bmp),
            [b'I', b'I', 42 | 43, 0, ..] | [b'M', b'M', 0, 42 | 43, ..] => Ok(Self::Tiff),
            _ => match iso_media(bytes) {
                Some(media) => media.map_err(PictureError::Unread),
                None => Err(unread(bytes).map_or(PictureError::UnknownFormat, PictureError::Unread)),
            },
        }
    }
}

/// The name of a kind of file that is not read.
fn unread(bytes: &[u8]) -> Option<&'static str> {
    let signatures: [(&[u8], &str); 22] = [
        (b"\0\0\0\x0cjP  ", "JPEG 2000 (image/jp2)"),
        (b"\xff\x4f\xff\x51", "JPEG 2000 (image/jp2)"),
        (b"\0\0\0\x0cJXL ", "JPEG XL (image/jxl)"),
        (b"\xff\x0a", "JPEG XL (image/jxl)"),
        (b"%PDF", "PDF"),
        (b"8BPS", "Photoshop"),
        (b"\0\0\x01\0", "icon (ICO)"),
        (b"\x1a\x45\xdf\xa3", "video (WebM or Matroska)"),
        (b"FLV\x01", "video (FLV)"),
        (b"\0\0\x01\xba", "video (MPEG)"),
        (b"\0\0\x01\xb3", "video (MPEG)"),
        (b"P1", "PNM (PPM, PGM or PBM)"),
        (b"P2", "PNM (PPM, PGM or PBM)"),
        (b"P3", "PNM (PPM, PGM or PBM)"),
        (b"P4", "PNM (PPM, PGM or PBM)"),
        (b"P5", "PNM (PPM, PGM or PBM)"),
        (b"P6", "PNM (PPM, PGM or PBM)"),
        (b"qoif", "QOI"),
        (b"\x76\x2f\x31\x01", "OpenEXR"),
        (b"PK\x03\x04", "ZIP"),
        (b"DDS ", "DDS"),
        (b"#?RADIANCE", "Radiance HDR"),
    ];
    let signature = signatures.iter().find(|(start, _)| bytes.starts_with(start));
    let riff = bytes.starts_with(b"RIFF").then(|| bytes.get(8..12)).flatten();
    signature
        .map(|(_, name)| *name)
        .or_else(|| (riff == Some(b"AVI ")).then_some("video (AVI)"))
        .or_else(|| markup(bytes))
}

/// Files of ISO base media boxes (ISO/IEC 14496-12): the first box lists brands, of which the major one is often
/// that of the container and not that of the picture. `Err` is the name of a kind that is not read.
fn iso_media(bytes: &[u8]) -> Option<Result<Kind, &'static str>> {
    if bytes.get(4..8)? != b"ftyp" {
        return None;
    }
    let size = u32::from_be_bytes(*bytes.first_chunk()?).clamp(16, 256) as usize;
    // Major brand, version, compatible brands: the version is never a brand.
    let brands = || bytes.get(8..size.min(bytes.len())).unwrap_or_default().chunks_exact(4);
    let has = |wanted: &[&[u8; 4]]| brands().any(|brand| wanted.iter().any(|one| brand == one.as_slice()));
    let heic: [&[u8; 4]; 10] =
        [b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1"];
    Some(match () {
        () if has(&[b"avif", b"avis"]) => Ok(Kind::Avif),
        () if has(&heic) => Ok(Kind::Heic),
        () if has(&[b"jp2 ", b"jpx ", b"jph "]) => Err("JPEG 2000 (image/jp2)"),
        () if has(&[b"crx "]) => Err("camera raw (CR3)"),
        () => Err("video (MP4 or QuickTime)"),
    })
}

/// Text with tags: a vector drawing, or the page that a download ended at.
fn markup(bytes: &[u8]) -> Option<&'static str> {
    let start = &bytes[..bytes.len().min(1024)];
    let text = String::from_utf8_lossy(start).to_ascii_lowercase();
    let text = text.trim_start_matches('\u{feff}').trim_start();
    if !text.starts_with('<') {
        return None;
    }
    if text.contains("<svg") {
        return Some("SVG (image/svg+xml)");
    }
    let html = ["<!doctype html", "<html", "<head", "<body"].iter().any(|tag| text.contains(tag));
    Some(if html { "HTML" } else { "XML" })
}
