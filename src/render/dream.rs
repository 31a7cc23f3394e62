//! One dream from first to last: octaves from coarse to fine, gradient steps in each.

use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
use tch::{Kind, Tensor};

use super::{
    Progress, RenderError,
    laplacian::Laplacian,
    pyramid::Octaves,
    tiles::{Walk, jitter},
};
use crate::spec::{DreamSpec, Normalization, OctaveMode};

/// Dreams `image`, `[1, 3, H, W]` in 0–255, and returns the last octave, clipped to 0–255.
///
/// Each octave draws its jitter from a ChaCha8 stream of its own (seed: the spec's, stream: the octave,
/// counted from 0 at the coarsest), so that an octave's random choices do not depend on what ran before.
///
/// # Errors
/// [`RenderError::TooLarge`] when the spec enlarges beyond `max_pixels`, [`RenderError::NotFinite`] when the
/// ascent runs away, and what the walk says.
pub(super) fn dream(
    walk: &Walk<'_>,
    spec: &DreamSpec,
    image: &Tensor,
    max_pixels: u64,
    on_progress: &mut dyn FnMut(Progress),
) -> Result<Tensor, RenderError> {
    let stepper = Stepper::new(spec, image.device())?;
    let octaves = match spec.octave_mode {
        OctaveMode::CarryDetail => Octaves::carry_detail(image, spec.octaves, spec.octave_scale)?,
        OctaveMode::Enlarge => Octaves::enlarge(image, spec.octaves, spec.octave_scale, max_pixels)?,
    };
    let meter = Meter { pixels: octaves.pixels()?, iterations: spec.iterations };
    let mut image = octaves.base.shallow_clone();
    for octave in 0..meter.pixels.len() {
        if octave > 0 {
            image = octaves.advance(octave, &image)?;
        }
        let mut rng = ChaCha8Rng::seed_from_u64(spec.seed);
        rng.set_stream(octave as u64);
        for iteration in 1..=spec.iterations {
            let shift = if spec.jitter { jitter(&mut rng, walk.tile) } else { (0, 0) };
            let (score, gradient) = walk.gradient(&image, shift)?;
            if !score.is_finite() {
                return Err(RenderError::NotFinite { octave: octave as u32 + 1, iteration });
            }
            image = image.f_add(&stepper.step(&gradient)?)?;
            on_progress(meter.read(octave, iteration, score));
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
    /// Pixels of each octave, coarsest first.
    pixels: Vec<i64>,
    iterations: u32,
}

impl Meter {
    /// `octave` counts from 0, `iteration` is how many of its steps are done.
    fn read(&self, octave: usize, iteration: u32, score: f64) -> Progress {
        let (done, rest) = self.pixels.split_at(octave);
        let whole = |octaves: &[i64]| octaves.iter().sum::<i64>() as f64 * f64::from(self.iterations);
        let current = rest.first().copied().unwrap_or(0) as f64 * f64::from(iteration);
        Progress {
            fraction: (whole(done) + current) / whole(&self.pixels),
            octave: octave as u32 + 1,
            octaves: self.pixels.len() as u32,
            iteration,
            iterations: self.iterations,
            score,
        }
    }
}
