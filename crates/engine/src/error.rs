//! Why a dream is not rendered, and whose fault that is.

use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
};

use reverie_dream::plan::TooManyPixels;
use reverie_graph::{ShapeError, UnknownLayer};
use reverie_picture::PictureError;

/// Why a dream was not rendered.
#[derive(Debug, thiserror::Error)]
pub enum RenderError {
    /// The input cannot be decoded or the result not encoded.
    #[error(transparent)]
    Picture(#[from] PictureError),
    /// The mask cannot be decoded, or does not cover the image.
    #[error("the mask: {0}")]
    Mask(#[source] PictureError),
    /// The guide image cannot be decoded.
    #[error("the guide: {0}")]
    Guide(#[source] PictureError),
    /// The guide image is too small for a layer that follows it.
    #[error("the guide: {0}")]
    GuideShape(#[source] ShapeError),
    /// The spec starts from an image, and none was given.
    #[error("there is no image to dream on, and the spec does not start from noise")]
    NoInput,
    /// The spec wants a mask, and none was given.
    #[error("there is no mask, and the spec says how to use one")]
    NoMask,
    /// An objective follows a guide image, and none was given.
    #[error("there is no guide image, and an objective follows one")]
    NoGuide,
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
    /// A list of devices has one twice.
    #[error(
        "the device {0} is named twice; name each GPU once, and say with the number of workers how many share it"
    )]
    DeviceTwice(String),
    /// The device has too little memory. Of a pass, only after smaller batches and smaller tiles were tried.
    #[error(
        "the device has too little memory for this dream: {0}; try a smaller image, smaller tiles or a smaller model"
    )]
    OutOfMemory(String),
    /// libtorch failed.
    #[error("libtorch: {0}")]
    Engine(String),
}

impl RenderError {
    /// Whether another attempt at the same request must fail in the same way.
    pub fn is_permanent(&self) -> bool {
        match self {
            Self::Picture(error) => !error.is_of_this_machine(),
            Self::Mask(_)
            | Self::NoInput
            | Self::NoMask
            | Self::Guide(_)
            | Self::GuideShape(_)
            | Self::NoGuide
            | Self::TooLarge(_)
            | Self::Shape(_)
            | Self::Layer(_)
            | Self::NotFinite { .. }
            | Self::OutOfMemory(_)
            | Self::Canceled => true,
            Self::Busy | Self::Stopped | Self::Device { .. } | Self::DeviceTwice(_) | Self::Engine(_) => {
                false
            }
        }
    }

    /// Whether a device that is broken, or whose memory others have taken, can be the cause, rather than the request: so it is
    /// with all that another attempt may mend but what writes videos, with a gradient that ran away, and with memory.
    pub fn may_be_the_devices(&self) -> bool {
        match self {
            Self::Picture(_) => false,
            Self::NotFinite { .. } | Self::OutOfMemory(_) => true,
            error => !error.is_permanent(),
        }
    }

    /// Whether CUDA reports it. Most of these errors come back at every call, until the process ends.
    pub fn is_cudas(&self) -> bool {
        matches!(self, Self::Engine(text) if text.contains("CUDA error"))
    }
}

impl From<tch::TchError> for RenderError {
    fn from(error: tch::TchError) -> Self {
        Self::of_text(&error.to_string())
    }
}

impl RenderError {
    /// Of what libtorch or CUDA says.
    pub(crate) fn of_text(text: &str) -> Self {
        // There is no code for it: the allocators of CUDA, of its drivers and of the CPU, in this order.
        let memory = [
            "out of memory",
            "CUDNN_STATUS_ALLOC_FAILED",
            "CUBLAS_STATUS_ALLOC_FAILED",
            "can't allocate memory",
        ];
        if memory.iter().any(|words| text.contains(words)) {
            // The first line has the figures; others tell of libtorch's settings. A panic quotes the lines as one.
            let first = text.split(['\n', '\r']).next().unwrap_or_default();
            Self::OutOfMemory(first.split("\\n").next().unwrap_or_default().to_owned())
        } else {
            Self::Engine(without_backtrace(text).to_owned())
        }
    }

    /// Of a panic with this message.
    pub(crate) fn of_panic(panic: &(dyn Any + Send)) -> Self {
        match Self::of_text(panic_message(panic)) {
            Self::Engine(text) => Self::Engine(format!("panicked: {text}")),
            memory => memory,
        }
    }
}

/// Runs `run`; where it panics because memory is missing, that is its error. tch panics there where it should not: in an operation with
/// a number, the number's destructor finds the operation's error first.
pub(super) fn caught<T>(run: impl FnOnce() -> Result<T, RenderError>) -> Result<T, RenderError> {
    // What was being computed is dropped, and nothing else was in the middle of a change.
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| match RenderError::of_panic(panic.as_ref()) {
        memory @ RenderError::OutOfMemory(_) => Err(memory),
        _ => resume_unwind(panic),
    })
}

/// The text of a panic, where it has one.
fn panic_message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}

/// What libtorch says, up to the addresses in its own code that it appends; a panic quotes the lines as one.
fn without_backtrace(text: &str) -> &str {
    let marks = ["\nException raised from", "\\nException raised from", "\nframe #", "\\nframe #"];
    let end = marks.iter().filter_map(|words| text.find(words)).min();
    text[..end.unwrap_or(text.len())].trim_end()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_that_is_missing_is_told_from_other_failures() {
        let of = |text: &str| RenderError::from(tch::TchError::Torch(text.into()));
        let cuda = "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 79 GiB\nSee documentation";
        let cpu = "[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 4 bytes.";
        for text in [cuda, cpu, "cuDNN error: CUDNN_STATUS_ALLOC_FAILED"] {
            let error = of(text);
            assert!(matches!(error, RenderError::OutOfMemory(_)), "{error}");
            assert!(error.may_be_the_devices() && !error.to_string().contains('\n'), "{error}");
        }
        let fault =
            of("CUDA error: an illegal memory access\nException raised from f at c.cpp:3\nframe #0: g");
        assert_eq!(fault.to_string(), "libtorch: Internal torch error: CUDA error: an illegal memory access");
    }

    #[test]
    fn another_worker_may_write_the_video_that_this_one_cannot() {
        let missing = PictureError::NoVideoEncoder { format: "mp4", missing: "ffmpeg".into() };
        for error in [missing, PictureError::VideoEncoder("signal: 9".into())] {
            let error = RenderError::from(error);
            assert!(!error.is_permanent() && !error.may_be_the_devices(), "{error}");
        }
        let error = RenderError::from(PictureError::Encode("too large".into()));
        assert!(error.is_permanent() && !error.may_be_the_devices(), "{error}");
    }

    #[test]
    fn a_panic_for_want_of_memory_is_an_error() {
        let panics = |text: &'static str| {
            caught(|| -> Result<(), _> { panic!("{:?}", tch::TchError::Torch(text.into())) })
        };
        let error = panics("CUDA out of memory. Tried to allocate 20.00 MiB.\nException raised from malloc")
            .unwrap_err();
        assert!(matches!(&error, RenderError::OutOfMemory(_)), "{error}");
        assert!(error.to_string().contains("20.00 MiB.; try"), "{error}");
        let other = catch_unwind(|| panics("another\nException raised from f")).unwrap_err();
        let error = RenderError::of_panic(other.as_ref()).to_string();
        assert!(error.starts_with("libtorch: panicked: ") && error.ends_with("another"), "{error}");
    }
}
