//! The formats that results are written in.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// File format of a result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// Lossless.
    #[default]
    Png,
    /// Smaller; see [`Encoding::quality`]. Has no transparency.
    Jpeg,
    /// Smaller than both; see [`Encoding::quality`] and [`Encoding::lossless`].
    Webp,
}

impl Format {
    /// Media type for `Content-Type`.
    pub fn media_type(self) -> &'static str {
        match self {
            Format::Png => "image/png",
            Format::Jpeg => "image/jpeg",
            Format::Webp => "image/webp",
        }
    }

    /// Usual file name extension, without the dot.
    pub fn extension(self) -> &'static str {
        match self {
            Format::Png => "png",
            Format::Jpeg => "jpg",
            Format::Webp => "webp",
        }
    }
}

/// How a result is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Encoding {
    /// File format.
    pub format: Format,
    /// 1 to 100, for JPEG and lossy WebP.
    pub quality: u8,
    /// For WebP: every pixel as it is, in a larger file.
    pub lossless: bool,
}
