//! What the render thread owns: the device and the models loaded onto it.

use std::{collections::HashMap, sync::Arc, time::Instant};

use tch::{Device, Kind, Tensor};

use super::{
    RenderError, RenderRequest, Rendered, dream::dream, exec::Executor, objective::Goal, tiles::Walk,
};
use crate::{
    models::Model,
    picture::{self, Picture},
    spec::Precision,
};

/// Renders requests on one device.
pub(super) struct Engine {
    device: Device,
    /// By digest of the model file and precision: a model replaced under the same id is another model.
    executors: HashMap<(String, Precision), Executor>,
}

impl Engine {
    pub(super) fn new(device: Device) -> Self {
        Self { device, executors: HashMap::new() }
    }

    /// Decodes, dreams and encodes.
    ///
    /// # Errors
    /// See [`RenderError`].
    pub(super) fn render(
        &mut self,
        mut request: RenderRequest,
        max_pixels: u64,
    ) -> Result<Rendered, RenderError> {
        if request.cancel.is_canceled() {
            return Err(RenderError::Canceled);
        }
        let spec = &request.spec;
        let Picture { width, height, rgb, alpha } = picture::decode(&request.input, max_pixels)?;
        let image = to_tensor(&rgb, height, width, self.device)?;
        drop(rgb);
        let (executor, fresh) = self.executor(&request.model, spec.precision)?;
        let goal = Goal::new(executor, &spec.objectives, image.device())?;
        let walk = Walk {
            executor,
            goal: &goal,
            tile: i64::from(spec.tile_size),
            tiling: spec.tiling,
            cancel: &request.cancel,
        };
        if fresh {
            walk.warm_up(&image)?;
        }
        let started = Instant::now();
        let dreamed = dream(&walk, spec, &image, max_pixels, &mut request.on_progress)?;
        let render_seconds = started.elapsed().as_secs_f64();
        let score = walk.score(&dreamed)?;
        let (_, _, dreamed_height, dreamed_width) = dreamed.size4()?;
        let (dreamed_width, dreamed_height) = (dreamed_width as u32, dreamed_height as u32);
        // A dream that has grown has lost the places that its transparency belonged to.
        let alpha = alpha.filter(|_| (dreamed_width, dreamed_height) == (width, height));
        let picture =
            Picture { width: dreamed_width, height: dreamed_height, rgb: to_pixels(&dreamed)?, alpha };
        let image = picture.encode(spec.format)?;
        Ok(Rendered { image, width: picture.width, height: picture.height, score, render_seconds })
    }

    /// The executor for a model and precision, and whether it was made just now.
    fn executor(
        &mut self,
        model: &Arc<Model>,
        precision: Precision,
    ) -> Result<(&Executor, bool), RenderError> {
        let (precision, kind) = match precision {
            Precision::Auto | Precision::Fp32 => (Precision::Fp32, Kind::Float),
            Precision::Bf16 => (Precision::Bf16, Kind::BFloat16),
        };
        let key = (model.sha256.clone(), precision);
        let fresh = !self.executors.contains_key(&key);
        if fresh {
            let executor = Executor::new(Arc::clone(model), self.device, kind)?;
            self.executors.insert(key.clone(), executor);
        }
        let executor = self.executors.get(&key);
        executor
            .map(|executor| (executor, fresh))
            .ok_or_else(|| RenderError::Engine("the executor is gone".into()))
    }
}

/// `[height, width, 3]` values to `[1, 3, H, W]` float32 on `device`.
pub(super) fn to_tensor(rgb: &[f32], height: u32, width: u32, device: Device) -> Result<Tensor, RenderError> {
    let rows = Tensor::f_from_slice(rgb)?.f_reshape([1, i64::from(height), i64::from(width), 3])?;
    Ok(rows.f_to_device(device)?.f_permute([0, 3, 1, 2])?.f_contiguous()?)
}

/// `[1, 3, H, W]` to `[height, width, 3]` values.
pub(super) fn to_pixels(image: &Tensor) -> Result<Vec<f32>, RenderError> {
    let flat = image.f_permute([0, 2, 3, 1])?.f_contiguous()?.f_to_device(Device::Cpu)?.f_reshape([-1])?;
    let mut pixels = vec![0.0; flat.numel()];
    flat.f_copy_data(&mut pixels, flat.numel())?;
    Ok(pixels)
}
