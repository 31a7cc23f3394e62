//! How long a gradient step of a model takes, by itself: one pass forward to a layer and back to the pixels.

use std::{sync::Arc, time::Instant};

use tch::{Kind, Tensor};

use super::{
    RenderError, device,
    exec::{Executor, Manner, settle},
    library::Kernels,
    objective::BoundObjective,
};
use reverie_dream::{model::Model, spec::Objective};

/// Steps that are not counted: the first ones choose algorithms and fill caches.
const WARM_UP: usize = 2;

/// Seconds of each of `count` steps in float32, on noise of `width` × `height` pixels as one tile.
///
/// # Errors
/// As a render: an unknown layer or device, an image that is too small for the layer.
pub fn measure(
    model: &Arc<Model>,
    objective: &Objective,
    [width, height]: [u32; 2],
    count: usize,
    device: &str,
    kernels: Kernels,
) -> Result<Vec<f64>, RenderError> {
    let device = device::select(device)?;
    let library_only = kernels.are_library(device);
    let manner = Manner { library_only, gpu: kernels.of_gpu(device), ..Manner::of(Kind::Float) };
    let executor = Executor::with_manner(Arc::clone(model), device, manner)?;
    let bound = BoundObjective::new(executor.network(), std::slice::from_ref(objective))?;
    let image =
        Tensor::f_rand([1, 3, height.into(), width.into()], (Kind::Float, device))?.f_mul_scalar(255.0)?;
    let mut seconds = Vec::with_capacity(count);
    for step in 0..WARM_UP + count {
        let began = Instant::now();
        drop(bound.gradient(&executor, &image)?);
        settle(device);
        if step >= WARM_UP {
            seconds.push(began.elapsed().as_secs_f64());
        }
    }
    Ok(seconds)
}
