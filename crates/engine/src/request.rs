//! What goes through the interface: a request for a dream, what is called while it grows, and the finished dream.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use reverie_dream::{
    model::Model,
    progress::Progress,
    spec::{Change, DreamSpec},
};
use serde::{Deserialize, Serialize};

use crate::{Decoded, Profile, RenderError};

/// Tells a running render to stop; checked between tiles.
#[derive(Clone, Debug, Default)]
pub struct CancelFlag(Arc<AtomicBool>);

impl CancelFlag {
    /// Asks the render to stop.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether someone asked.
    pub fn is_canceled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Called before an octave begins, of an animation before a frame: which one, counted from 1, and of how many. It answers
/// with the schedule as it stands then.
pub type OnBegin = Box<dyn FnMut(u32, u32) -> Result<Vec<Change>, RenderError> + Send>;

/// One dream to render.
pub struct RenderRequest {
    /// The model named by the spec.
    pub model: Arc<Model>,
    /// What to dream.
    pub spec: DreamSpec,
    /// The input image as a file (PNG, JPEG, …); `None` where the spec starts from noise.
    pub input: Option<Bytes>,
    /// The mask as a file, where the spec wants one: as large as the input, white where the dream may grow.
    pub mask: Option<Bytes>,
    /// The guide image as a file, where an objective of the spec follows one, or one of a change on the way may; of any size.
    pub guide: Option<Bytes>,
    /// What [`Self::decode`] has made of these files, which are gone then. It did so as the spec said: its noise, mask, background and
    /// recipe must stay as they are.
    pub decoded: Option<Decoded>,
    /// A checkpoint of an earlier attempt at the same request: the dream goes on after its octave and ends
    /// with the same bytes. One that does not fit is ignored.
    pub resume: Option<Bytes>,
    /// Asked on the render thread for the schedule, in place of the spec's, where that may change while the dream is made. It
    /// may wait: nothing begins before it has answered.
    pub on_begin: Option<OnBegin>,
    /// Called on the render thread after every gradient step; must be quick.
    pub on_progress: Box<dyn FnMut(Progress) + Send>,
    /// Called after every octave but the last, of an animation after its frames: on the render thread, or on one beside it while the
    /// render goes on, but before that ends. Must be quick.
    pub on_octave: Option<Box<dyn FnMut(FinishedOctave) + Send>>,
    /// What wants to see a picture that grows; of an animation, [`Self::on_octave`] shows the frames.
    pub on_preview: Option<PreviewSink>,
    /// Stops the render.
    pub cancel: CancelFlag,
}

impl RenderRequest {
    /// A dream of `spec` without any file, that nobody follows; what else there is can be added.
    pub fn alone(model: Arc<Model>, spec: DreamSpec) -> Self {
        Self {
            model,
            spec,
            input: None,
            mask: None,
            guide: None,
            decoded: None,
            resume: None,
            on_begin: None,
            on_progress: Box::new(|_| {}),
            on_octave: None,
            on_preview: None,
            cancel: CancelFlag::default(),
        }
    }
}

/// Wants previews between two octaves: the last octave is most of a dream's time.
pub struct PreviewSink {
    /// Time between two previews; more where they would take a notable share of the render.
    pub every: Duration,
    /// Called with the octave, counted from 1, and the dream so far as a small JPEG, where [`RenderRequest::on_octave`] is and in its
    /// order; not while something waits there. Must be quick.
    pub on_preview: Box<dyn FnMut(u32, Vec<u8>) + Send>,
}

/// What is known after an octave; of an animation, after a frame.
#[derive(Clone, Debug)]
pub struct FinishedOctave {
    /// Which octave, or frame, counted from 1.
    pub octave: u32,
    /// Octaves in this render, or frames.
    pub octaves: u32,
    /// For [`RenderRequest::resume`].
    pub checkpoint: Vec<u8>,
    /// The dream so far as a small JPEG.
    pub preview: Vec<u8>,
}

/// What a dream was made with, apart from its input: carried inside the result (see
/// [`picture::recipe`](reverie_picture::recipe)). The same on the same kind of device gives the same bytes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Recipe {
    /// Version of this program.
    pub reverie: String,
    /// Digest of the model file.
    pub model_sha256: String,
    /// Digest of the input file; none for a start from noise.
    pub input_sha256: Option<String>,
    /// Digest of the mask file, if there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mask_sha256: Option<String>,
    /// Digest of the guide image's file, if there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guide_sha256: Option<String>,
    /// `cpu` or `cuda:N`.
    pub device: String,
    /// CPU threads: another number sums in another order.
    pub threads: i32,
    /// What was dreamed; its precision is the one that was used.
    pub spec: DreamSpec,
}

/// A finished dream.
#[derive(Debug)]
pub struct Rendered {
    /// The image file, in the spec's format.
    pub image: Vec<u8>,
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// Objective of the finished dream.
    pub score: f64,
    /// What the requester should know, such as that fewer octaves fitted than were asked for.
    pub notes: Vec<String>,
    /// Seconds from the decoded image to the dream; loading, warm-up and encoding excluded.
    pub render_seconds: f64,
    /// Seconds of these that the render thread spent for the callbacks: progress, and what checkpoints and previews are made of.
    pub callback_seconds: f64,
    /// Where the time went, if [`RenderOptions::profile`](crate::RenderOptions::profile) asks.
    pub profile: Option<Profile>,
}
