//! The formats that results are written in.

use serde::{Deserialize, Serialize};

use utoipa::ToSchema;

use super::animation::can_write;
use reverie_fields::{choice::Choices, choices};

choices! {
    /// File format of a result.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
    pub enum Format {
        /// Lossless; an animation as APNG.
        #[default]
        Png = "png",
        /// Smaller, with a quality; has no transparency and no animations.
        Jpeg = "jpeg",
        /// Smaller than both, with a quality, or lossless.
        Webp = "webp",
        /// For animations that have to play everywhere: at most 256 colours in a frame, and no transparency.
        Gif = "gif",
        /// H.264 video, for animations that are shared; where the server has `ffmpeg`.
        Mp4 = "mp4",
        /// VP9 video, for animations in web pages; where the server has `ffmpeg`.
        Webm = "webm",
    }
}

impl Format {
    /// Media type for `Content-Type`.
    pub fn media_type(self) -> &'static str {
        match self {
            Format::Png => "image/png",
            Format::Jpeg => "image/jpeg",
            Format::Webp => "image/webp",
            Format::Gif => "image/gif",
            Format::Mp4 => "video/mp4",
            Format::Webm => "video/webm",
        }
    }

    /// Usual file name extension, without the dot.
    pub fn extension(self) -> &'static str {
        match self {
            Format::Png => "png",
            Format::Jpeg => "jpg",
            Format::Webp => "webp",
            Format::Gif => "gif",
            Format::Mp4 => "mp4",
            Format::Webm => "webm",
        }
    }

    /// Whether it is a video, which holds no single picture.
    pub fn is_video(self) -> bool {
        matches!(self, Format::Mp4 | Format::Webm)
    }

    /// The size of a file of so many pixels: a video has an even number of rows and columns, the last of them twice.
    pub fn size(self, width: u32, height: u32) -> (u32, u32) {
        let even = |edge: u32| edge + edge % 2;
        if self.is_video() { (even(width), even(height)) } else { (width, height) }
    }

    /// Whether a file may have several frames.
    pub fn animates(self) -> bool {
        self != Format::Jpeg
    }

    /// Whether what is written keeps the input's transparency.
    pub fn has_transparency(self) -> bool {
        matches!(self, Format::Png | Format::Webp)
    }

    /// Whether a file may have every pixel as it is.
    pub fn is_exact(self) -> bool {
        matches!(self, Format::Png | Format::Webp)
    }
}

/// What there is to know of a format before a file is asked for.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct FormatInfo {
    /// Value for `spec.format`.
    #[schema(value_type = Format)]
    pub name: &'static str,
    /// What it is good for.
    pub description: &'static str,
    /// Media type of its files.
    pub media_type: &'static str,
    /// Usual ending of a file's name, without the dot.
    pub extension: &'static str,
    /// Whether it holds single pictures.
    pub still: bool,
    /// Whether it holds animations: a spec with `motion`.
    pub animation: bool,
    /// Whether it can be written here.
    pub available: bool,
    /// Why it cannot, in words; `null` where it can.
    #[schema(required = true)]
    pub reason: Option<String>,
}

impl FormatInfo {
    /// That of every format, the default first. It looks for the program that writes videos, and asks it once what it can: not
    /// for a thread that must not wait.
    pub fn all() -> Vec<Self> {
        let formats = Format::ALL.iter().zip(Format::VALUES);
        let info = formats.map(|(&format, value)| {
            let lacking = can_write(format).err();
            Self {
                name: value.name,
                description: value.about.trim(),
                media_type: format.media_type(),
                extension: format.extension(),
                still: !format.is_video(),
                animation: format.animates(),
                available: lacking.is_none(),
                reason: lacking.map(|lacking| lacking.to_string()),
            }
        });
        info.collect()
    }
}

/// How a result is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Encoding {
    /// File format.
    pub format: Format,
    /// 1 to 100, for JPEG, lossy WebP and videos.
    pub quality: u8,
    /// For WebP: every pixel as it is, in a larger file.
    pub lossless: bool,
}
