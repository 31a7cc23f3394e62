//! What the render thread owns: the device and the models loaded onto it.

use std::{collections::HashMap, sync::Arc, time::Instant};

use tch::{Device, Kind, Tensor};

use super::{
    FinishedOctave, Recipe, RenderError, RenderRequest, Rendered,
    checkpoint::Checkpoint,
    device,
    dream::{Dreamed, Hooks, dream, noise},
    exec::Executor,
    objective::Goal,
    pyramid::resize,
    tiles::Walk,
};
use crate::{
    digest,
    models::Model,
    picture::{self, Picture},
    spec::{DreamSpec, Format, Noise, Precision},
};

/// Longer edge of a preview in pixels.
const PREVIEW: i64 = 512;

/// A preview is looked at for seconds.
const PREVIEW_QUALITY: u8 = 80;

/// Weights of red, green and blue in brightness (ITU-R BT.601), as in JPEG's YCbCr.
const LUMA: [f32; 3] = [0.299, 0.587, 0.114];

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
        let spec = request.spec;
        let Picture { width, height, rgb, alpha } = start(&spec, request.input.as_deref(), max_pixels)?;
        let image = to_tensor(&rgb, height, width, self.device)?;
        drop(rgb);
        let resume = match request.resume.and_then(|bytes| Checkpoint::decode(&bytes, self.device)) {
            Some(checkpoint) => Some(checkpoint?),
            None => None,
        };
        let (executor, fresh) = self.executor(&request.model, spec.precision)?;
        let goal = Goal::new(executor, &spec.objectives, image.device())?;
        let walk = Walk::new(executor, &goal, &spec, &request.cancel);
        if fresh {
            walk.warm_up(&image)?;
        }
        let recipe =
            spec.recipe.then(|| self::recipe(&request.model, request.input.as_deref(), &image, &spec));
        let mut on_octave = |octaves: u32, checkpoint: &Checkpoint| match &mut request.on_octave {
            Some(on_octave) => finished_octave(octaves, checkpoint).map(on_octave),
            None => Ok(()),
        };
        let hooks = Hooks { on_progress: &mut request.on_progress, on_octave: &mut on_octave };
        let started = Instant::now();
        let Dreamed { image: dreamed, octaves } = dream(&walk, &spec, &image, max_pixels, resume, hooks)?;
        let render_seconds = started.elapsed().as_secs_f64();
        let score = walk.score(&dreamed)?;
        let mut picture = to_picture(&finish(&spec, &image, dreamed)?)?;
        // A dream that has grown has lost the places that its transparency belonged to.
        picture.alpha = alpha.filter(|_| (picture.width, picture.height) == (width, height));
        let mut file = picture.encode(spec.format, spec.quality)?;
        if let Some(recipe) = recipe {
            let text =
                serde_json::to_string(&recipe).map_err(|error| RenderError::Engine(error.to_string()))?;
            file = picture::recipe::embed(file, spec.format, &text)?;
        }
        Ok(Rendered {
            image: file,
            width: picture.width,
            height: picture.height,
            score,
            notes: notes(&spec, octaves),
            render_seconds,
        })
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

/// An opaque picture.
fn to_picture(image: &Tensor) -> Result<Picture, RenderError> {
    let (_, _, height, width) = image.size4()?;
    Ok(Picture { width: width as u32, height: height as u32, rgb: to_pixels(image)?, alpha: None })
}

/// What the dream starts from.
fn start(spec: &DreamSpec, input: Option<&[u8]>, max_pixels: u64) -> Result<Picture, RenderError> {
    match (spec.noise, input) {
        (Some(Noise { width, height }), _) => {
            Ok(Picture { width, height, rgb: noise(spec.seed, height, width), alpha: None })
        }
        (None, Some(input)) => Ok(picture::decode(input, max_pixels)?),
        (None, None) => Err(RenderError::NoInput),
    }
}

/// What the result will say about itself.
fn recipe(model: &Model, input: Option<&[u8]>, image: &Tensor, spec: &DreamSpec) -> Recipe {
    Recipe {
        reverie: env!("CARGO_PKG_VERSION").into(),
        model_sha256: model.sha256.clone(),
        input_sha256: input.map(digest::sha256),
        device: device::name(image.device()),
        threads: tch::get_num_threads(),
        spec: spec.clone(),
    }
}

/// Checkpoint and preview of an octave.
fn finished_octave(octaves: u32, checkpoint: &Checkpoint) -> Result<FinishedOctave, RenderError> {
    let (_, _, height, width) = checkpoint.image.size4()?;
    let shrink = (PREVIEW as f64 / height.max(width) as f64).min(1.0);
    let edge = |n: i64| ((n as f64 * shrink) as i64).max(1);
    let small = resize(&checkpoint.image, edge(height), edge(width))?;
    Ok(FinishedOctave {
        octave: checkpoint.octave + 1,
        octaves,
        checkpoint: checkpoint.encode()?,
        preview: to_picture(&small)?.encode(Format::Jpeg, PREVIEW_QUALITY)?,
    })
}

/// Puts colours and parts of the original back where the spec asks for it.
fn finish(spec: &DreamSpec, original: &Tensor, dreamed: Tensor) -> Result<Tensor, RenderError> {
    if !spec.preserve_colors && spec.blend == 0.0 {
        return Ok(dreamed);
    }
    let (_, _, height, width) = dreamed.size4()?;
    let original = resize(original, height, width)?;
    let coloured = if spec.preserve_colors {
        // In YCbCr terms: Y of the dream, Cb and Cr of the original.
        let luma = Tensor::f_from_slice(&LUMA)?.f_to_device(dreamed.device())?.f_reshape([1, 3, 1, 1])?;
        let difference = dreamed.f_sub(&original)?.f_mul(&luma)?;
        original.f_add(&difference.f_sum_dim_intlist(&[1i64][..], true, Kind::Float)?)?
    } else {
        dreamed
    };
    let blended = coloured.f_mul_scalar(1.0 - spec.blend)?.f_add(&original.f_mul_scalar(spec.blend)?)?;
    Ok(blended.f_clamp(0.0, 255.0)?)
}

/// What the requester should know about a dream.
fn notes(spec: &DreamSpec, octaves: u32) -> Vec<String> {
    let mut notes = Vec::new();
    if octaves < spec.octaves {
        notes.push(format!(
            "{octaves} of {} octaves were dreamed: the image is too small for a coarser one",
            spec.octaves
        ));
    }
    notes
}
