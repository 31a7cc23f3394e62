//! A finished dream that is no file yet. It has left the device, so that the renderer can go on with the next one while this one is
//! encoded.

use std::panic::{AssertUnwindSafe, catch_unwind};

use reverie_dream::spec::{DreamSpec, Motion};
use reverie_picture::{self as picture, Animation, Ending, Picture};

use crate::{CancelFlag, Profile, RenderError, Rendered};

/// A finished dream in the machine's memory, and what is known of it.
#[derive(Debug)]
pub struct Unencoded {
    /// What is to be encoded.
    pub(super) shown: Shown,
    pub(super) spec: DreamSpec,
    /// What the file will say about itself, as text.
    pub(super) recipe: Option<String>,
    /// Stops the encoding of a video.
    pub(super) cancel: CancelFlag,
    /// Width and height of the result in pixels.
    pub(super) size: (u32, u32),
    pub(super) score: f64,
    pub(super) notes: Vec<String>,
    pub(super) render_seconds: f64,
    pub(super) callback_seconds: f64,
    pub(super) profile: Option<Profile>,
}

/// A dream as it is shown.
#[derive(Debug)]
pub(super) enum Shown {
    Still(Picture),
    Moving(Animation, Motion),
}

impl Unencoded {
    /// Writes the file, on this thread.
    ///
    /// # Errors
    /// [`RenderError::Picture`] when the encoder refuses, [`RenderError::Engine`] when it panics, [`RenderError::Canceled`].
    pub fn encode(self) -> Result<Rendered, RenderError> {
        // A panic inside a dependency must cost one render.
        catch_unwind(AssertUnwindSafe(|| self.encode_or_panic()))
            .unwrap_or_else(|panic| Err(RenderError::of_panic(panic.as_ref())))
    }

    fn encode_or_panic(self) -> Result<Rendered, RenderError> {
        let Self { shown, spec, recipe, cancel, size: (width, height), .. } = self;
        let ending = Ending { recipe: recipe.as_deref(), is_canceled: &|| cancel.is_canceled() };
        let file = match shown {
            Shown::Still(picture) => picture.encode(spec.encoding()),
            Shown::Moving(animation, motion) => animation.finish(motion.fps, motion.playback, ending),
        };
        let file = file.and_then(|file| match recipe.as_deref() {
            // A video's was written with it.
            Some(recipe) if !spec.format.is_video() => picture::recipe::embed(file, spec.format, recipe),
            _ => Ok(file),
        });
        let image = file.map_err(|error| match cancel.is_canceled() {
            true => RenderError::Canceled,
            false => RenderError::Picture(error),
        })?;
        let Self { score, notes, render_seconds, callback_seconds, profile, .. } = self;
        Ok(Rendered { image, width, height, score, notes, render_seconds, callback_seconds, profile })
    }
}
