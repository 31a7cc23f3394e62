//! What can be wrong with an image file, in words for the client who sent it.

/// The formats that this build reads.
const READ: &str = match cfg!(feature = "heif") {
    true => "PNG, JPEG, WebP, GIF, BMP, TIFF, HEIC or AVIF",
    false => "PNG, JPEG, WebP, GIF, BMP or TIFF",
};

/// What was wrong with an image file.
#[derive(Debug, thiserror::Error)]
pub enum PictureError {
    /// The bytes are no image, or of a format that is not known.
    #[error("this is not an image that can be read; send {READ}")]
    UnknownFormat,
    /// A kind of file that is recognised and not read.
    #[error("{0} files are not read; save the picture as JPEG, PNG or WebP and send that")]
    Unread(&'static str),
    /// A format that other builds read.
    #[error(
        "{format} ({media_type}) is not read by this build; save the picture as JPEG, PNG or WebP and send that \
         (operators: build with --features heif)"
    )]
    NotBuilt {
        /// Name of the format.
        format: &'static str,
        /// Its media type.
        media_type: &'static str,
    },
    /// A format that is read, in a form that is not.
    #[error("{format} with {kind} is not read; save the picture as PNG, JPEG or WebP and send that")]
    Unsupported {
        /// Name of the format.
        format: &'static str,
        /// What about it is not read.
        kind: String,
    },
    /// The header claims more pixels than allowed.
    #[error("the image has {width}×{height} pixels; at most {max_pixels} pixels are allowed")]
    TooLarge {
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
        /// The limit that it breaks.
        max_pixels: u64,
    },
    /// The image has no pixels.
    #[error("the image has no pixels")]
    Empty,
    /// The bytes are damaged or truncated.
    #[error("the {format} file cannot be decoded: {reason}")]
    Undecodable {
        /// Name of the format.
        format: &'static str,
        /// The decoder's words.
        reason: String,
    },
    /// A mask must cover the image pixel by pixel.
    #[error(
        "the mask has {}×{} pixels; it must have those of the image, {}×{}",
        mask.0, mask.1, image.0, image.1
    )]
    MaskSize {
        /// Width and height of the mask, upright.
        mask: (u32, u32),
        /// Width and height of the image, upright.
        image: (u32, u32),
    },
    /// The file format ends before the picture does.
    #[error(
        "a {format} file has at most {max_edge} pixels per edge, and the dream would have {width}×{height}; choose \
         another format"
    )]
    EdgeTooLong {
        /// Name of the format.
        format: &'static str,
        /// Width in pixels.
        width: u64,
        /// Height in pixels.
        height: u64,
        /// The limit that one of them breaks.
        max_edge: u64,
    },
    /// Frames were wanted of a format that has one picture.
    #[error(
        "a JPEG holds a single picture; an animation is a \"webp\", \"png\" (APNG), \"gif\", \"mp4\" or \"webm\""
    )]
    NotAnimated,
    /// A single picture was wanted of a format for animations.
    #[error("a video is for animations; add \"motion\", or choose \"png\", \"jpeg\", \"webp\" or \"gif\"")]
    NotStill,
    /// This machine cannot write videos of this format.
    #[error(
        "{format} files are written by ffmpeg, and {missing} is not there; choose \"webp\", \"png\" or \"gif\" \
         (operators: install ffmpeg, or name it in REVERIE_FFMPEG)"
    )]
    NoVideoEncoder {
        /// Name of the format.
        format: &'static str,
        /// What is not there.
        missing: String,
    },
    /// The process that writes videos, or a file or pipe of its, failed; the next try may go well.
    #[error("ffmpeg failed: {0}")]
    VideoEncoder(String),
    /// The dream could not be written as a file.
    #[error("the picture cannot be encoded: {0}")]
    Encode(String),
}

impl PictureError {
    /// Whether it is this machine that failed, not the picture or the request: another one, or a later try, may do better.
    pub fn is_of_this_machine(&self) -> bool {
        matches!(self, Self::NoVideoEncoder { .. } | Self::VideoEncoder(_))
    }

    /// The bytes are damaged, truncated or contradict themselves.
    pub(super) fn undecodable(format: &'static str, reason: impl ToString) -> Self {
        Self::Undecodable { format, reason: reason.to_string() }
    }

    /// A form of a format that is recognised and not read.
    pub(super) fn unsupported(format: &'static str, kind: impl Into<String>) -> Self {
        Self::Unsupported { format, kind: kind.into() }
    }
}
