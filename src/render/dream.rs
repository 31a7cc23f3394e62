//! One dream from first to last: octaves from coarse to fine, gradient steps in each.

use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
use tch::{Kind, Tensor};

use super::{
    Progress, RenderError,
    laplacian::Laplacian,
    pyramid::{Pyramid, merge},
    tiles::{Walk, jitter},
};
use crate::spec::{DreamSpec, Normalization};

/// Dreams `image`, `[1, 3, H, W]` in 0–255, and returns it at the same size, clipped to 0–255.
///
/// Each octave draws its jitter from a ChaCha8 stream of its own (seed: the spec's, stream: the octave,
/// counted from 0 at the coarsest), so that an octave's random choices do not depend on what ran before.
pub(super) fn dream(
    walk: &Walk<'_>,
    spec: &DreamSpec,
    image: &Tensor,
    on_progress: &mut dyn FnMut(Progress),
) -> Result<Tensor, RenderError> {
    let stepper = Stepper::new(spec, image.device())?;
    let Pyramid { base, details } = Pyramid::split(image, spec.octaves, spec.octave_scale)?;
    let octaves = details.len() as u32 + 1;
    let mut meter = Meter::new(&base, &details, spec.iterations);
    let mut image = base;
    for octave in 0..octaves {
        if let Some(detail) = octave
            .checked_sub(1)
            .and_then(|finer| details.get(finer as usize))
        {
            image = merge(&image, detail)?;
        }
        let mut rng = ChaCha8Rng::seed_from_u64(spec.seed);
        rng.set_stream(u64::from(octave));
        for iteration in 1..=spec.iterations {
            let shift = if spec.jitter {
                jitter(&mut rng, walk.tile)
            } else {
                (0, 0)
            };
            let (score, gradient) = walk.gradient(&image, shift)?;
            if !score.is_finite() {
                return Err(RenderError::NotFinite {
                    octave: octave + 1,
                    iteration,
                });
            }
            image = image.f_add(&stepper.step(&gradient)?)?;
            on_progress(meter.advance(octave, iteration, score));
        }
    }
    Ok(image.f_clamp(0.0, 255.0)?)
}

/// Turns a gradient into the change of the image.
struct Stepper {
    normalization: Normalization,
    step: f64,
    levels: u32,
    laplacian: Laplacian,
}

impl Stepper {
    fn new(spec: &DreamSpec, device: tch::Device) -> Result<Self, RenderError> {
        let laplacian = Laplacian::new(device)?;
        Ok(Self {
            normalization: spec.normalization,
            step: spec.step,
            levels: spec.laplacian_levels,
            laplacian,
        })
    }

    fn step(&self, gradient: &Tensor) -> Result<Tensor, RenderError> {
        let direction = match self.normalization {
            Normalization::MeanAbs => {
                gradient.f_div(&gradient.f_abs()?.f_mean(None::<Kind>)?.f_add_scalar(1e-7)?)?
            }
            Normalization::Std => gradient.f_div(&gradient.f_std(false)?.f_add_scalar(1e-8)?)?,
            Normalization::Laplacian => self.laplacian.normalize(gradient, self.levels)?,
        };
        Ok(direction.f_mul_scalar(self.step)?)
    }
}

/// Counts finished work in pixels × iterations.
struct Meter {
    /// Pixels of each octave.
    pixels: Vec<f64>,
    iterations: u32,
}

impl Meter {
    fn new(base: &Tensor, details: &[Tensor], iterations: u32) -> Self {
        let pixels = std::iter::once(base)
            .chain(details)
            .map(|tensor| tensor.numel() as f64)
            .collect();
        Self { pixels, iterations }
    }

    /// `octave` counts from 0, `iteration` is how many of its steps are done.
    fn advance(&mut self, octave: u32, iteration: u32, score: f64) -> Progress {
        let (done, rest) = self.pixels.split_at(octave as usize);
        let whole = |octaves: &[f64]| octaves.iter().sum::<f64>() * f64::from(self.iterations);
        let current = rest.first().copied().unwrap_or(0.0) * f64::from(iteration);
        Progress {
            fraction: (whole(done) + current) / whole(&self.pixels),
            octave: octave + 1,
            octaves: self.pixels.len() as u32,
            iteration,
            iterations: self.iterations,
            score,
        }
    }
}
