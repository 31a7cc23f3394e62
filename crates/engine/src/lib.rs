//! The seam to the heavy engine: encoded bytes and a spec go in, an encoded dream comes out.
//!
//! libtorch lives on one OS thread of its own per device, behind a bounded channel. Nothing outside
//! `render/` sees a tensor, nothing inside knows about jobs or HTTP. A full channel is a typed refusal
//! rather than a wait, so the caller decides what to do about it.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod batch;
mod checkpoint;
mod device;
mod dream;
mod engine;
mod exec;
mod finish;
mod kernels;
mod laplacian;
mod library;
mod mask;
mod notes;
mod objective;
mod original;
#[doc(hidden)]
pub mod parts;
mod places;
mod precision;
mod pyramid;
mod resample;
pub mod seams;
mod strips;
#[cfg(test)]
mod tests;
mod tiles;
pub mod verify;

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, SyncSender, TrySendError},
    },
};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use batch::Link;
use engine::Engine;
pub use exec::{NodeProfile, Profile};
pub use library::Kernels;
use reverie_dream::{
    model::Model,
    plan::TooManyPixels,
    spec::{DreamSpec, Precision},
};
use reverie_graph::{ShapeError, UnknownLayer};
use reverie_picture::PictureError;

/// How far a render has come; also the `progress` of a job in the API.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Progress {
    /// Share of the whole work done, 0 to 1, weighted by the pixels of each octave.
    pub fraction: f64,
    /// Octave at work, counted from 1.
    pub octave: u32,
    /// Octaves in this render: fewer than the spec's where the image is small.
    pub octaves: u32,
    /// Finished gradient steps of this octave.
    pub iteration: u32,
    /// Gradient steps per octave.
    pub iterations: u32,
    /// Gradient steps per second in this octave.
    #[serde(default)]
    pub iterations_per_second: f64,
    /// Objective before the last step: the mean over tiles, weighted by their pixels.
    pub score: f64,
    /// Share of the whole work that an earlier attempt had done, and this one went on after; mostly 0.
    #[serde(default)]
    pub resumed_from: f64,
}

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
    /// A checkpoint of an earlier attempt at the same request: the dream goes on after its octave and ends
    /// with the same bytes. One that does not fit is ignored.
    pub resume: Option<Bytes>,
    /// Called on the render thread after every gradient step; must be quick.
    pub on_progress: Box<dyn FnMut(Progress) + Send>,
    /// Called on the render thread after every octave but the last; must be quick.
    pub on_octave: Option<Box<dyn FnMut(FinishedOctave) + Send>>,
    /// Stops the render.
    pub cancel: CancelFlag,
}

/// What is known after an octave.
#[derive(Clone, Debug)]
pub struct FinishedOctave {
    /// Which octave, counted from 1.
    pub octave: u32,
    /// Octaves in this render.
    pub octaves: u32,
    /// For [`RenderRequest::resume`].
    pub checkpoint: Vec<u8>,
    /// The dream so far as a small JPEG.
    pub preview: Vec<u8>,
}

/// What a dream was made with, besides its input: carried inside the result (see
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
    /// Seconds of these that went into telling: progress, checkpoints, previews.
    pub telling_seconds: f64,
    /// Where the time went, if [`RenderOptions::profile`] asks.
    pub profile: Option<Profile>,
}

/// Why a dream was not rendered.
#[derive(Debug, thiserror::Error)]
pub enum RenderError {
    /// The input cannot be decoded or the result not encoded.
    #[error(transparent)]
    Picture(#[from] PictureError),
    /// The mask cannot be decoded, or does not cover the image.
    #[error("the mask: {0}")]
    Mask(#[source] PictureError),
    /// The spec starts from an image, and none was given.
    #[error("there is no image to dream on, and the spec does not start from noise")]
    NoInput,
    /// The spec wants a mask, and none was given.
    #[error("there is no mask, and the spec says how to use one")]
    NoMask,
    /// The image does not fit a layer of the objective.
    #[error(transparent)]
    Shape(#[from] ShapeError),
    /// A layer of the spec is not in the model: the spec was resolved against another one.
    #[error(transparent)]
    Layer(#[from] UnknownLayer),
    /// Enlarging octave by octave ends beyond the limit.
    #[error(transparent)]
    TooLarge(#[from] TooManyPixels),
    /// The gradient is not finite any more; `octave` and `iteration` count from 1.
    #[error(
        "the gradient stopped being finite in octave {octave}, iteration {iteration}; try a smaller step"
    )]
    NotFinite {
        /// Octave at work.
        octave: u32,
        /// Gradient step at work.
        iteration: u32,
    },
    /// The request was canceled.
    #[error("the render was canceled")]
    Canceled,
    /// Every place in the renderer's queue is taken.
    #[error("the renderer is busy")]
    Busy,
    /// The render thread has ended.
    #[error("the renderer has stopped")]
    Stopped,
    /// The device asked for is not there.
    #[error("there is no device \"{wanted}\"; available are {available}")]
    Device {
        /// As given.
        wanted: String,
        /// Comma-separated list.
        available: String,
    },
    /// libtorch failed, for example out of memory.
    #[error("libtorch: {0}")]
    Engine(String),
}

impl RenderError {
    /// Whether another attempt at the same request must fail in the same way.
    pub fn is_permanent(&self) -> bool {
        match self {
            Self::Picture(_)
            | Self::Mask(_)
            | Self::NoInput
            | Self::NoMask
            | Self::TooLarge(_)
            | Self::Shape(_)
            | Self::Layer(_)
            | Self::NotFinite { .. }
            | Self::Canceled => true,
            Self::Busy | Self::Stopped | Self::Device { .. } | Self::Engine(_) => false,
        }
    }

    /// Whether a device that is broken can be the cause, rather than the request: so it is with all that another attempt
    /// may mend, and with a gradient that ran away.
    pub fn may_be_the_devices(&self) -> bool {
        !self.is_permanent() || matches!(self, Self::NotFinite { .. })
    }
}

impl From<tch::TchError> for RenderError {
    fn from(error: tch::TchError) -> Self {
        Self::Engine(error.to_string())
    }
}

/// How a renderer is set up.
#[derive(Clone, Debug, Default)]
pub struct RenderOptions {
    /// `auto`, `cpu` or `cuda:N`.
    pub device: String,
    /// CPU threads for libtorch; 0 means one per core that this process may use.
    pub threads: usize,
    /// Which code computes.
    pub kernels: Kernels,
    /// Renders that may wait besides the one at work.
    pub queue: usize,
    /// Largest input in pixels.
    pub max_pixels: u64,
    /// Whether to find out where the time of each render goes, which costs a little.
    pub profile: bool,
}

/// A handle to one render thread. Clones share the thread; it ends with the last handle.
#[derive(Clone)]
pub struct Renderer {
    tasks: SyncSender<Task>,
    device: String,
}

/// A request on its way to the thread, with the span it belongs to.
struct Task {
    request: RenderRequest,
    reply: oneshot::Sender<Result<Rendered, RenderError>>,
    span: tracing::Span,
}

impl Renderer {
    /// Starts the render thread on the device that `options` name.
    ///
    /// # Errors
    /// [`RenderError::Device`] for a device that is not there, [`RenderError::Engine`] when the thread
    /// cannot be started.
    pub fn start(options: &RenderOptions) -> Result<Self, RenderError> {
        let device = prepare(options)?;
        Self::start_on(device, options, None)
    }

    /// Starts `count` render threads on one device that run their networks together: the tiles of several renders go
    /// through in one pass where they are of the same size, want the same layers of the same model, and where that pays.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_together(options: &RenderOptions, count: usize) -> Result<Vec<Self>, RenderError> {
        let device = prepare(options)?;
        let link = Link::start(device, options.kernels)?;
        (0..count).map(|_| Self::start_on(device, options, Some(link.clone()))).collect()
    }

    fn start_on(
        device: tch::Device,
        options: &RenderOptions,
        link: Option<Link>,
    ) -> Result<Self, RenderError> {
        let RenderOptions { max_pixels, profile, kernels, .. } = *options;
        let start = move || {
            let mut engine = Engine::new(device, kernels, profile, link.clone());
            move |request| engine.render(request, max_pixels)
        };
        Self::start_with(device::name(device), options.queue, start)
    }

    /// Starts a render thread on which whatever `start` makes does the work: it is made there, and made anew after a
    /// panic. The seam between what hands renders out and what renders.
    ///
    /// # Errors
    /// [`RenderError::Engine`] when the thread cannot be started.
    pub fn start_with<B>(
        device: String,
        queue: usize,
        start: impl Fn() -> B + Send + 'static,
    ) -> Result<Self, RenderError>
    where
        B: FnMut(RenderRequest) -> Result<Rendered, RenderError>,
    {
        let (tasks, inbox) = std::sync::mpsc::sync_channel::<Task>(queue);
        std::thread::Builder::new()
            .name("render".into())
            .spawn(move || serve(&inbox, start))
            .map_err(|error| RenderError::Engine(format!("the render thread cannot be started: {error}")))?;
        Ok(Self { tasks, device })
    }

    /// Hands a request over without waiting; the receiver yields the outcome.
    ///
    /// # Errors
    /// [`RenderError::Busy`] when the channel is full, [`RenderError::Stopped`] when the thread is gone.
    pub fn submit(
        &self,
        request: RenderRequest,
    ) -> Result<oneshot::Receiver<Result<Rendered, RenderError>>, RenderError> {
        let (reply, outcome) = oneshot::channel();
        let task = Task { request, reply, span: tracing::Span::current() };
        match self.tasks.try_send(task) {
            Ok(()) => Ok(outcome),
            Err(TrySendError::Full(_)) => Err(RenderError::Busy),
            Err(TrySendError::Disconnected(_)) => Err(RenderError::Stopped),
        }
    }

    /// The device in use: `cpu` or `cuda:N`.
    pub fn device(&self) -> &str {
        &self.device
    }

    /// What `wanted` means on this device: never [`Precision::Auto`]. The first answer takes some tenths of a second, for
    /// which it is measured.
    ///
    /// # Errors
    /// When it cannot be measured.
    pub fn precision(&self, wanted: Precision) -> Result<Precision, RenderError> {
        precision::resolve(wanted, device::kind(&self.device))
    }
}

/// The device that `options` name, with libtorch's threads set.
fn prepare(options: &RenderOptions) -> Result<tch::Device, RenderError> {
    let device = device::select(&options.device)?;
    device::set_threads(options.threads);
    Ok(device)
}

/// The render thread: one request after another until the last handle is dropped.
fn serve<B>(inbox: &Receiver<Task>, start: impl Fn() -> B)
where
    B: FnMut(RenderRequest) -> Result<Rendered, RenderError>,
{
    let mut render = start();
    while let Ok(Task { request, reply, span }) = inbox.recv() {
        let _entered = span.enter();
        // A panic inside a dependency must cost one render, not the thread.
        let outcome = catch_unwind(AssertUnwindSafe(|| render(request))).unwrap_or_else(|panic| {
            render = start();
            Err(RenderError::Engine(format!("panicked: {}", panic_message(panic.as_ref()))))
        });
        // Nobody listens any more where the worker has given the job up; the result is of no use then.
        let _ = reply.send(outcome);
    }
}

/// The text of a panic, where it has one.
fn panic_message(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}
