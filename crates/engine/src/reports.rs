//! What is told of a dream at work. Its pictures and checkpoints leave the device on the render thread; what the callbacks are given
//! is made of them [beside](super::beside) it, where there is a thread for that.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use tch::Tensor;

use super::{
    FinishedOctave, RenderError,
    checkpoint::{Snapshot, sealed},
    finish,
    resample::resize,
};
use reverie_dream::spec::{Encoding, Format, Precision};
use reverie_picture::{Animation, Picture};

/// Longer edge of a preview in pixels.
const PREVIEW_EDGE: u32 = 512;

/// A preview is looked at for seconds.
const PREVIEW: Encoding = Encoding { format: Format::Jpeg, quality: 80, lossless: false };

/// Hears of octaves and frames.
pub(super) type OctaveSink<'a> = &'a mut (dyn FnMut(FinishedOctave) + Send + 'static);

/// Sees pictures of octaves at work.
type PictureSink<'a> = &'a mut (dyn FnMut(u32, Vec<u8>) + Send + 'static);

/// What a checkpoint is made with, beside what the request says.
#[derive(Clone, Copy)]
pub(super) struct Origin {
    pub(super) precision: Precision,
    /// See [`made_with`](super::checkpoint::made_with).
    pub(super) made_with: [u8; 8],
}

/// A dream, `[1, 3, H, W]`, as the picture that a preview is made of.
pub(super) fn small(image: &Tensor) -> Result<Picture, RenderError> {
    let (_, _, height, width) = image.size4()?;
    let shrink = (f64::from(PREVIEW_EDGE) / height.max(width) as f64).min(1.0);
    let edge = |n: i64| ((n as f64 * shrink) as i64).max(1);
    finish::to_picture(&resize(image, edge(height), edge(width))?)
}

/// Who follows the dream of a single picture.
pub(super) struct Followers<'a> {
    pub(super) on_octave: Option<OctaveSink<'a>>,
    pub(super) on_preview: Option<PictureSink<'a>>,
}

impl Followers<'_> {
    /// An octave is finished, one of so many `octaves`; `shown` is what it looks like, [small].
    pub(super) fn octave(
        &mut self,
        octaves: u32,
        finished: &Snapshot,
        shown: &Picture,
        origin: Origin,
    ) -> Result<(), RenderError> {
        let Some(on_octave) = &mut self.on_octave else { return Ok(()) };
        on_octave(FinishedOctave {
            octave: finished.place(),
            octaves,
            checkpoint: sealed(finished.encode(origin.precision)?, origin.made_with),
            preview: shown.encode(PREVIEW)?,
        });
        Ok(())
    }

    /// What an octave at work, counted from 1, looks like, [small].
    pub(super) fn preview(&mut self, octave: u32, shown: &Picture) -> Result<(), RenderError> {
        if let Some(on_preview) = &mut self.on_preview {
            on_preview(octave, shown.encode(PREVIEW)?);
        }
        Ok(())
    }
}

/// The frames of an animation so far, and who follows it.
pub(super) struct Reel<'a> {
    pub(super) animation: Animation,
    /// Frames of the whole animation.
    frames: u32,
    /// Bytes of the frames so far.
    bytes: Arc<AtomicUsize>,
    on_octave: Option<OctaveSink<'a>>,
}

impl<'a> Reel<'a> {
    pub(super) fn new(animation: Animation, frames: u32, on_octave: Option<OctaveSink<'a>>) -> Self {
        let reel = Self { animation, frames, bytes: Arc::default(), on_octave };
        reel.count();
        reel
    }

    /// How many bytes the frames have by now, for the render thread.
    pub(super) fn bytes(&self) -> Arc<AtomicUsize> {
        Arc::clone(&self.bytes)
    }

    fn count(&self) {
        let bytes = self.animation.frames().iter().map(Vec::len).sum();
        self.bytes.store(bytes, Ordering::Relaxed);
    }

    /// Takes the next frame, as it is shown. `last` is what the next one is made of, where a checkpoint is wanted.
    pub(super) fn frame(
        &mut self,
        shown: &Picture,
        last: Option<&Snapshot>,
        origin: Origin,
    ) -> Result<(), RenderError> {
        self.animation.push(shown)?;
        self.count();
        if let (Some(last), Some(on_octave)) = (last, &mut self.on_octave) {
            let frames = self.animation.frames();
            on_octave(FinishedOctave {
                octave: last.place(),
                octaves: self.frames,
                checkpoint: sealed(last.encode_frames(frames, origin.precision)?, origin.made_with),
                preview: shown.fitted(PREVIEW_EDGE, PREVIEW_EDGE)?.encode(PREVIEW)?,
            });
        }
        Ok(())
    }
}
