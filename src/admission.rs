//! Admission: predicts the cost of a dream before it is accepted, from its octaves, its tiles and the layers
//! of its network. So a client learns at once what would otherwise fail, or block everyone, later.

use serde::Serialize;
use utoipa::ToSchema;

use crate::{config::LimitsConfig, jobs::Forecast, worker::Throughput};
use reverie_dream::{
    model::Model,
    plan::{Plan, PlanError},
    spec::{DreamSpec, OctaveMode},
};
use reverie_fields::FieldError;

/// Share of the memory that jobs may take without a configured limit: the rest is for the models, for uploads
/// that are being checked, and for everything else.
const SHARE: f64 = 0.6;

/// Share of a worker's part of its GPU's memory that jobs may take: the rest is for weights and for what libraries keep.
const OWN_SHARE: f64 = 0.8;

const MEGABYTE: u64 = 1_000_000;

/// The limits of one job.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Admission {
    /// Seconds from claim to end; infinity means no limit.
    max_seconds: f64,
    /// Memory in bytes.
    max_memory: u64,
    /// Pixels of the largest octave.
    max_pixels: u64,
}

impl Admission {
    /// The configured limits. Without a memory limit: 60 % of the memory of the machine or its cgroup,
    /// divided by the workers. A GPU has to hold the same images and at least one tile, so 80 % of `own_memory`, what each
    /// worker has of its GPU's, are a limit too.
    pub fn new(limits: &LimitsConfig, workers: usize, own_memory: Option<u64>) -> Self {
        let max_seconds = limits.max_job_seconds.map_or(f64::INFINITY, |limit| limit.as_secs_f64());
        let max_memory = match limits.max_job_memory_mb {
            Some(megabytes) => megabytes.saturating_mul(MEGABYTE),
            None => (memory_here() as f64 * SHARE / workers.max(1) as f64) as u64,
        };
        let own_memory = own_memory.map_or(u64::MAX, |memory| (memory as f64 * OWN_SHARE) as u64);
        Self { max_seconds, max_memory: max_memory.min(own_memory), max_pixels: limits.max_pixels }
    }

    /// Memory limit of one job in bytes.
    pub fn memory(&self) -> u64 {
        self.max_memory
    }

    /// The same limits with another memory limit.
    pub fn with_memory(self, max_memory: u64) -> Self {
        Self { max_memory, ..self }
    }

    fn allows(&self, forecast: &Forecast) -> bool {
        forecast.seconds <= self.max_seconds && forecast.memory <= self.max_memory
    }
}

/// Memory of the machine in bytes, or of the cgroup if that is less.
pub fn memory_here() -> u64 {
    // If the system does not report its memory, there is no limit to derive.
    let Ok(mut system) = sysinfo::System::new() else { return u64::MAX };
    system.refresh_memory();
    let cgroup = system.cgroup_limits().map(|limits| limits.total_memory).filter(|memory| *memory > 0);
    cgroup.into_iter().chain([system.total_memory()]).min().filter(|memory| *memory > 0).unwrap_or(u64::MAX)
}

/// Predicted cost of a refused job, and the limits.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Prediction {
    /// Predicted seconds.
    seconds: f64,
    /// Limit in seconds; `null` for no limit.
    max_seconds: Option<f64>,
    /// Predicted memory in megabytes.
    memory_mb: u64,
    /// Memory limit in megabytes.
    max_memory_mb: u64,
    /// The largest image of the same shape that fits this spec; `null` if none does.
    largest: Option<Size>,
    /// Of an animation: the most frames that fit at the size of this image; absent if none do.
    #[serde(skip_serializing_if = "Option::is_none")]
    frames: Option<u32>,
}

/// Size of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Size {
    /// Width in pixels.
    width: u32,
    /// Height in pixels.
    height: u32,
}

impl std::fmt::Display for Prediction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { seconds, max_seconds, memory_mb, max_memory_mb, largest, frames } = self;
        write!(f, "the dream would take about {seconds} seconds and {memory_mb} MB of memory; at most ")?;
        if let Some(max_seconds) = max_seconds {
            write!(f, "{max_seconds} seconds and ")?;
        }
        write!(f, "{max_memory_mb} MB are allowed: ")?;
        if let Some(frames) = frames {
            write!(f, "{frames} frames of this size fit, and ")?;
        }
        match largest {
            Some(Size { width, height }) => {
                write!(
                    f,
                    "with this spec {width}×{height} pixels is the largest picture of this shape that fits"
                )
            }
            None => {
                f.write_str("no picture of this shape fits this spec; use fewer iterations or smaller tiles")
            }
        }
    }
}

/// Why a dream is refused.
#[derive(Debug)]
pub enum Refusal {
    /// It would fail: the error, with its pointer in the request.
    Invalid(FieldError),
    /// It would take more than one job may.
    TooMuchWork(Box<Prediction>),
}

impl Admission {
    /// Predicts the cost of `spec` for an image of `size` (height, width), and a guide image of size `guide` where it
    /// follows one, and checks it. One plan takes a
    /// fraction of a millisecond, but the search for the largest fitting size takes some dozens of plans: do
    /// not call this on an async thread.
    ///
    /// # Errors
    /// See [`Refusal`].
    pub fn check(
        &self,
        throughput: &Throughput,
        model: &Model,
        spec: &DreamSpec,
        size: (u32, u32),
        guide: Option<(u32, u32)>,
    ) -> Result<Forecast, Refusal> {
        let plan = Plan::of(spec, &model.network, size, self.max_pixels);
        let plan = plan.map_err(|error| Refusal::Invalid(impossible(spec, size, error)))?;
        let guided = |plan: Plan| match guide {
            Some(guide) => plan.with_guide(spec, &model.network, size, guide),
            None => Ok(plan),
        };
        let plan =
            guided(plan).map_err(|error| Refusal::Invalid(FieldError::new("/guide", error.to_string())))?;
        check_format(spec, &plan)?;
        let forecast = forecast(throughput, spec, &plan);
        if self.allows(&forecast) {
            return Ok(forecast);
        }
        let fits = |plan: &Plan| {
            guided(plan.clone()).is_ok_and(|plan| self.allows(&self::forecast(throughput, spec, &plan)))
        };
        let largest = Plan::largest(spec, &model.network, size, self.max_pixels, fits);
        let frames = Plan::most_frames(spec, &model.network, size, self.max_pixels, fits);
        Err(Refusal::TooMuchWork(Box::new(Prediction { frames, ..refuse(self, forecast, largest) })))
    }
}

fn forecast(throughput: &Throughput, spec: &DreamSpec, plan: &Plan) -> Forecast {
    let reference_seconds = plan.work.seconds();
    Forecast {
        seconds: throughput.seconds(spec, reference_seconds),
        reference_seconds,
        memory: plan.memory,
        megapixel_iterations: plan.megapixel_iterations,
    }
}

/// The prediction of a refused job, with the largest size (height, width) that would fit.
fn refuse(admission: &Admission, refused: Forecast, largest: Option<(u32, u32)>) -> Prediction {
    Prediction {
        // A prediction is no more precise than tenths.
        seconds: (refused.seconds * 10.0).round() / 10.0,
        max_seconds: Some(admission.max_seconds).filter(|limit| limit.is_finite()),
        memory_mb: refused.memory.div_ceil(MEGABYTE),
        max_memory_mb: admission.max_memory / MEGABYTE,
        largest: largest.map(|(height, width)| Size { width, height }),
        frames: None,
    }
}

/// Checks that the requested format can hold the finished dream.
fn check_format(spec: &DreamSpec, plan: &Plan) -> Result<(), Refusal> {
    let (height, width) = plan.result;
    let written = spec.encoding().check_size(width.unsigned_abs(), height.unsigned_abs());
    written.map_err(|error| Refusal::Invalid(FieldError::new("/spec/format", error.to_string())))
}

/// Converts a later failure into an error of the request now.
fn impossible(spec: &DreamSpec, (height, width): (u32, u32), error: PlanError) -> FieldError {
    let start = if spec.noise.is_some() { "/spec/noise" } else { "/image" };
    let begins_beyond = |limit| u64::from(width) * u64::from(height) > limit;
    let (pointer, detail) = match &error {
        // Fewer octaves would not help.
        PlanError::TooLarge(beyond) if begins_beyond(beyond.max_pixels) => {
            let limit = beyond.max_pixels;
            (
                start,
                format!(
                    "has {width}×{height} pixels; at most {limit} are allowed: give a smaller width or height"
                ),
            )
        }
        PlanError::TooLarge(_) => {
            let pointer = if spec.octave_mode == OctaveMode::Enlarge { "/spec/octaves" } else { start };
            (pointer, error.to_string())
        }
        PlanError::Shape(_) => (start, error.to_string()),
        PlanError::Layer(_) => ("/spec/objectives", error.to_string()),
    };
    FieldError::new(pointer, detail)
}
