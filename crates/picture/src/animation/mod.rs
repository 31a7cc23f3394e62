//! Animations: frames that are encoded one after another, and put together at the end.
//!
//! A frame is kept as the part of the file that it will be, so that a long animation takes the memory of its file and no
//! more, and so that what there is can be stored between two frames: that is how a render goes on after its process was
//! killed. The crates that write animations (`png`, libwebp's `WebPAnimEncoder`) keep an encoder's state instead, which
//! cannot be stored; so the containers of APNG and WebP are written here, around frames from the encoders of single
//! pictures. GIF is written by the crate `gif`, which takes encoded frames. Videos are written by `ffmpeg`, a process of its own;
//! until then their frames are PNG files.

mod apng;
mod gif;
mod process;
#[cfg(test)]
mod tests;
mod video;
mod webp;

use reverie_fields::choices;
use serde::{Deserialize, Serialize};

use super::{Encoding, Format, Picture, PictureError};

pub(super) use gif::still;
pub(super) use video::LONGEST_RECIPE;
pub use video::{Ending, can_write, first_frame};

choices! {
    /// How an animation is played.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
    pub enum Playback {
        /// Again and again from the first frame.
        #[default]
        Repeat = "repeat",
        /// Forth and back, again and again: the file holds the frames between the ends twice.
        Boomerang = "boomerang",
        /// Once; the last frame stays.
        Once = "once",
    }
}

impl Playback {
    /// The frames of a file in their order: numbers of frames below `count`.
    fn order(self, count: usize) -> Vec<usize> {
        let back = if self == Self::Boomerang { 1..count.saturating_sub(1) } else { 0..0 };
        (0..count).chain(back.rev()).collect()
    }

    /// Whether it ends.
    fn ends(self) -> bool {
        self == Self::Once
    }
}

/// How frames of a video are kept.
const STORED: Encoding = Encoding { format: Format::Png, quality: 100, lossless: true };

/// An animation, as far as it is made.
#[derive(Debug)]
pub struct Animation {
    encoding: Encoding,
    width: u32,
    height: u32,
    frames: Vec<Vec<u8>>,
}

/// How a file is put together.
struct Sequence<'a> {
    width: u32,
    height: u32,
    fps: u32,
    playback: Playback,
    frames: Vec<&'a [u8]>,
}

impl Sequence<'_> {
    /// How long each frame shows, in `units` of a second. Formats count in whole units, so that frames differ by one where a
    /// frame takes a broken number of them; none is early or late by more than half a unit.
    fn delays(&self, units: u64) -> impl Iterator<Item = u64> {
        let fps = u64::from(self.fps.max(1));
        let at = move |frame: u64| (2 * frame * units + fps) / (2 * fps);
        (0..self.frames.len() as u64).map(move |frame| at(frame + 1) - at(frame))
    }
}

impl Animation {
    /// An animation without frames yet, of so many pixels.
    ///
    /// # Errors
    /// [`PictureError::NotAnimated`], and as [`Encoding::check_size`].
    pub fn new(encoding: Encoding, width: u32, height: u32) -> Result<Self, PictureError> {
        Self::of_frames(encoding, width, height, Vec::new())
    }

    /// An animation with the frames that [`Self::frames`] gave.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn of_frames(
        encoding: Encoding,
        width: u32,
        height: u32,
        frames: Vec<Vec<u8>>,
    ) -> Result<Self, PictureError> {
        if !encoding.format.animates() {
            return Err(PictureError::NotAnimated);
        }
        encoding.check_size(width.into(), height.into())?;
        Ok(Self { encoding, width, height, frames })
    }

    /// The frames so far, each as the part of the file that it will be.
    pub fn frames(&self) -> &[Vec<u8>] {
        &self.frames
    }

    /// Encodes the next frame; its transparency is left out.
    ///
    /// # Errors
    /// [`PictureError::Encode`] when the picture has another size than the animation, or the encoder refuses.
    pub fn push(&mut self, picture: &Picture) -> Result<(), PictureError> {
        let (found, wanted) = ((picture.width, picture.height), (self.width, self.height));
        if found != wanted {
            return Err(broken(format!("a frame has {found:?} pixels, the animation {wanted:?}")));
        }
        self.frames.push(match self.encoding.format {
            Format::Png => apng::frame(picture)?,
            Format::Webp => webp::frame(picture, self.encoding)?,
            Format::Gif => gif::frame(picture)?,
            Format::Mp4 | Format::Webm => picture.encode_opaque(STORED)?,
            Format::Jpeg => return Err(PictureError::NotAnimated),
        });
        Ok(())
    }

    /// The file, `fps` frames a second.
    ///
    /// # Errors
    /// [`PictureError::Encode`] when there is no frame, the file would be larger than its format allows, or it is canceled;
    /// [`PictureError::VideoEncoder`] when `ffmpeg` fails, and [`PictureError::NoVideoEncoder`].
    pub fn finish(self, fps: u32, playback: Playback, ending: Ending<'_>) -> Result<Vec<u8>, PictureError> {
        if self.frames.is_empty() {
            return Err(broken("an animation has at least one frame"));
        }
        let order = playback.order(self.frames.len()).into_iter();
        let frames = order.filter_map(|index| self.frames.get(index)).map(Vec::as_slice).collect();
        let sequence = Sequence { width: self.width, height: self.height, fps, playback, frames };
        match self.encoding.format {
            Format::Png => {
                apng::file(&sequence).ok_or_else(|| broken("the file would be too large for a PNG"))
            }
            Format::Webp => {
                webp::file(&sequence).ok_or_else(|| broken("the file would be too large for a WebP"))
            }
            Format::Gif => gif::file(&sequence),
            format @ (Format::Mp4 | Format::Webm) => {
                video::file(&sequence, format, self.encoding.quality, ending)
            }
            Format::Jpeg => Err(PictureError::NotAnimated),
        }
    }
}

fn broken(reason: impl Into<String>) -> PictureError {
    PictureError::Encode(reason.into())
}
