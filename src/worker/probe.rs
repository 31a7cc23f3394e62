//! Is it the job, or is it the worker? A small dream whose result is known tells: where it comes out as it did at the
//! start, a render that failed before failed for a reason of its own.
//!
//! Without it a worker whose device has broken would take one job after the other and fail them all, faster than any
//! healthy one could take them.

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

/// Edge of the picture in pixels: large enough for every network.
const EDGE: u32 = 256;

/// A device that takes longer than this for a single step is as good as none.
const PATIENCE: Duration = Duration::from_secs(60);

/// By how much the objective may differ on a device whose sums depend on how much it has to do.
const TOLERANCE: f64 = 0.01;

/// Why the device is not what it was.
#[derive(Debug, thiserror::Error)]
pub enum Sick {
    /// It does not render.
    #[error("{0}")]
    Render(#[from] RenderError),
    /// It renders something else.
    #[error("a small dream with a known result comes out wrong")]
    Different,
    /// It hangs.
    #[error("a small dream is not done after {} seconds", PATIENCE.as_secs())]
    Slow,
}

impl Sick {
    /// Whether waiting cannot help: the thread that renders has ended.
    pub fn is_final(&self) -> bool {
        matches!(self, Self::Render(RenderError::Stopped))
    }
}

/// A small dream, and what came of it at the start.
#[derive(Debug)]
pub struct Probe {
    model: Arc<Model>,
    spec: DreamSpec,
    known: Known,
}

/// What is compared.
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
    /// Renders it for the first time, with the smallest model; `None` where there is none that such a dream fits.
    ///
    /// # Errors
    /// When the device is sick from the start.
    pub async fn learn(renderer: &Renderer, catalogue: &Catalogue) -> Result<Option<Self>, Sick> {
        let Some(model) = catalogue.iter().min_by_key(|model| model.network.nodes().len()) else {
            return Ok(None);
        };
        let spec = json!({
            "model": model.id, "preset": "deepdream", "noise": { "width": EDGE, "height": EDGE }, "octaves": 1,
            "iterations": 1, "precision": "fp32", "recipe": false,
        });
        // The defaults of a model in the catalogue are right; were they not, its jobs would be refused.
        let Ok(spec) = spec::resolve("", spec, catalogue, InputKind::Nothing { image: "" }) else {
            return Ok(None);
        };
        if Plan::of(&spec, &model.network, (EDGE, EDGE), u64::MAX).is_err() {
            return Ok(None);
        }
        let model = Arc::clone(model);
        match render(renderer, &model, &spec).await {
            Ok(rendered) => Ok(Some(Self { known: Known::of(&rendered), model, spec })),
            // Nothing that a sick device does: this model cannot be dreamed with in this way.
            Err(Sick::Render(error)) if !error.may_be_the_devices() => Ok(None),
            Err(sick) => Err(sick),
        }
    }

    /// Renders it again.
    ///
    /// # Errors
    /// When it does not come out as it did.
    pub async fn check(&self, renderer: &Renderer) -> Result<(), Sick> {
        let found = Known::of(&render(renderer, &self.model, &self.spec).await?);
        let near = || (found.score - self.known.score).abs() <= TOLERANCE * self.known.score.abs();
        // On the CPU a dream has the same bits whatever else is at work there.
        let same = if renderer.device() == "cpu" { found == self.known } else { near() };
        if same { Ok(()) } else { Err(Sick::Different) }
    }
}

async fn render(renderer: &Renderer, model: &Arc<Model>, spec: &DreamSpec) -> Result<Rendered, Sick> {
    let cancel = CancelFlag::default();
    let request = RenderRequest {
        model: Arc::clone(model),
        spec: spec.clone(),
        input: None,
        mask: None,
        resume: None,
        on_progress: Box::new(|_| {}),
        on_octave: None,
        cancel: cancel.clone(),
    };
    match timeout(PATIENCE, renderer.submit(request)?).await {
        Ok(outcome) => Ok(outcome.unwrap_or(Err(RenderError::Stopped))?),
        Err(_) => {
            cancel.cancel();
            Err(Sick::Slow)
        }
    }
}
