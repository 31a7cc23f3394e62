//! The formats that results are written in.

use serde::{Deserialize, Serialize};

use reverie_fields::choices;

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
