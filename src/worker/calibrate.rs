//! Measures the speed of this machine with a few gradient steps per model, before the server reports ready.
//!
//! Otherwise the prediction for a model's first job would use the reference machine's figures, and that job
//! would wait for the model to load onto the device.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use serde_json::json;
use tokio::time::timeout;
use tracing::{info, warn};

use super::Throughput;
use reverie_dream::{
    model::{Catalogue, Model},
    plan::Plan,
    spec::{self, DreamSpec, InputKind},
};
use reverie_engine::{CancelFlag, RenderError, RenderRequest, Renderer};

/// Edge of the image in pixels: large enough to give the processor work, and for every network.
const EDGE: u32 = 256;

/// Number of gradient steps. Their median counts: the first is slow, and others may be disturbed.
const STEPS: u32 = 5;

/// Time limit per model; on a slower device the measurement stops early.
const TIME_LIMIT: Duration = Duration::from_secs(5);

/// Measures every model. A model that cannot be measured is logged and keeps the reference machine's figures.
pub async fn calibrate(renderer: &Renderer, catalogue: &Catalogue, throughput: &Throughput) {
    for model in catalogue.iter() {
        match measure(renderer, catalogue, model).await {
            Ok(Some((spec, factor))) => {
                throughput.calibrate(&spec, factor);
                info!(model = model.id, factor, "measured");
            }
            Ok(None) => warn!(model = model.id, "the device is too slow to be measured"),
            Err(error) => warn!(model = model.id, %error, "the model cannot be measured"),
        }
    }
}

/// Time of one gradient step here, relative to the reference machine.
async fn measure(
    renderer: &Renderer,
    catalogue: &Catalogue,
    model: &Arc<Model>,
) -> Result<Option<(DreamSpec, f64)>, RenderError> {
    let spec = json!({
        "model": model.id, "preset": "multiscale", "noise": { "width": EDGE, "height": EDGE }, "octaves": 1,
        "iterations": STEPS, "recipe": false,
    });
    // A model in the catalogue has valid defaults; with invalid ones, its jobs would be refused.
    let Ok(spec) = spec::resolve("", spec, catalogue, InputKind::Nothing { image: "" }) else {
        return Ok(None);
    };
    let Ok(plan) = Plan::of(&spec, &model.network, (EDGE, EDGE), u64::MAX) else { return Ok(None) };
    let times = Arc::new(Mutex::new(vec![]));
    let recorder = Arc::clone(&times);
    let cancel = CancelFlag::default();
    let request = RenderRequest {
        on_progress: Box::new(move |_| {
            recorder.lock().unwrap_or_else(PoisonError::into_inner).push(Instant::now())
        }),
        cancel: cancel.clone(),
        ..RenderRequest::alone(Arc::clone(model), spec.clone())
    };
    match timeout(TIME_LIMIT, renderer.submit(request)?).await {
        Ok(outcome) => drop(outcome.unwrap_or(Err(RenderError::Stopped))?),
        // The steps so far are valid measurements too.
        Err(_) => cancel.cancel(),
    }
    let times = times.lock().unwrap_or_else(PoisonError::into_inner);
    let mut steps: Vec<f64> = times.windows(2).map(|pair| (pair[1] - pair[0]).as_secs_f64()).collect();
    steps.sort_unstable_by(f64::total_cmp);
    let expected = plan.step.seconds();
    Ok(steps.get(steps.len() / 2).map(|step| (spec, step / expected)))
}
