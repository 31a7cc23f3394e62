//! Decides whether a failed render is the job's fault or the worker's. The probe renders a small dream with a
//! known result: if it comes out as at startup, the failed job is to blame.
//!
//! Without the probe, a worker with a broken device would take one job after the other and fail them all,
//! faster than any healthy worker could take them.

use std::{sync::Arc, time::Duration};

use serde_json::json;
use tokio::time::timeout;

use reverie_dream::digest;
use reverie_dream::{
    model::{Catalogue, Model},
    plan::Plan,
    spec::{self, DreamSpec, InputKind},
};
use reverie_engine::{CancelFlag, RenderError, RenderRequest, Rendered, Renderer};

use super::attempt::encoded;

/// Edge of the image in pixels: large enough for every network.
const EDGE: u32 = 256;

/// Time limit for a single gradient step; a slower device counts as broken.
const TIME_LIMIT: Duration = Duration::from_secs(60);

/// Probes in a row that may fail with an error of CUDA. One that does not come back at every call is over by then.
const CUDA_PROBES: u32 = 2;

/// Allowed relative difference of the objective, on a device whose sums depend on its load.
const TOLERANCE: f64 = 0.01;

/// Why the device counts as sick.
#[derive(Debug, thiserror::Error)]
pub enum Sick {
    /// The render fails.
    #[error("{0}")]
    Render(#[from] RenderError),
    /// The result differs.
    #[error("the probe image differs from the one at startup")]
    Different,
    /// The render hangs.
    #[error("the probe image is not finished after {} seconds", TIME_LIMIT.as_secs())]
    Slow,
}

impl Sick {
    /// Whether waiting is useless after so many failed probes: the render thread has ended, or a GPU goes on to report an error
    /// that only a new process can mend.
    pub fn is_final(&self, renderer: &Renderer, failed: u32) -> bool {
        match self {
            Self::Render(RenderError::Stopped) => true,
            Self::Render(error) => error.is_cudas() && renderer.device() != "cpu" && failed >= CUDA_PROBES,
            Self::Different | Self::Slow => false,
        }
    }
}

/// A small dream and its result at startup.
#[derive(Debug)]
pub struct Probe {
    model: Arc<Model>,
    spec: DreamSpec,
    known: Known,
}

/// The compared properties.
#[derive(Debug, PartialEq)]
struct Known {
    sha256: String,
    score: f64,
}

impl Known {
    fn of(rendered: &Rendered) -> Self {
        Self { sha256: digest::sha256(&rendered.image), score: rendered.score }
    }
}

impl Probe {
    /// Renders the dream for the first time, with the smallest model; `None` if that model cannot render it.
    ///
    /// # Errors
    /// If the device is sick from the start.
    pub async fn learn(renderer: &Renderer, catalogue: &Catalogue) -> Result<Option<Self>, Sick> {
        let Some(model) = catalogue.iter().min_by_key(|model| model.network.nodes().len()) else {
            return Ok(None);
        };
        let spec = json!({
            "model": model.id, "preset": "deepdream", "noise": { "width": EDGE, "height": EDGE }, "octaves": 1,
            "iterations": 1, "precision": "fp32", "recipe": false,
        });
        // A model in the catalogue has valid defaults; with invalid ones, its jobs would be refused.
        let Ok(spec) = spec::resolve("", spec, catalogue, InputKind::Nothing { image: "" }) else {
            return Ok(None);
        };
        if Plan::of(&spec, &model.network, (EDGE, EDGE), u64::MAX).is_err() {
            return Ok(None);
        }
        let model = Arc::clone(model);
        match render(renderer, &model, &spec).await {
            Ok(rendered) => Ok(Some(Self { known: Known::of(&rendered), model, spec })),
            // A sick device does not cause this error: the model cannot render this dream.
            Err(Sick::Render(error)) if !error.may_be_the_devices() => Ok(None),
            Err(sick) => Err(sick),
        }
    }

    /// Renders the dream again and compares.
    ///
    /// # Errors
    /// If the result differs, or the render fails or hangs.
    pub async fn check(&self, renderer: &Renderer) -> Result<(), Sick> {
        let found = Known::of(&render(renderer, &self.model, &self.spec).await?);
        let near = || (found.score - self.known.score).abs() <= TOLERANCE * self.known.score.abs();
        // On the CPU a dream has the same bits under any load.
        let same = if renderer.device() == "cpu" { found == self.known } else { near() };
        if same { Ok(()) } else { Err(Sick::Different) }
    }
}

async fn render(renderer: &Renderer, model: &Arc<Model>, spec: &DreamSpec) -> Result<Rendered, Sick> {
    let cancel = CancelFlag::default();
    let request =
        RenderRequest { cancel: cancel.clone(), ..RenderRequest::alone(Arc::clone(model), spec.clone()) };
    match timeout(TIME_LIMIT, renderer.submit(request)?).await {
        Ok(outcome) => Ok(encoded(outcome.unwrap_or(Err(RenderError::Stopped))?).await?),
        Err(_) => {
            cancel.cancel();
            Err(Sick::Slow)
        }
    }
}
