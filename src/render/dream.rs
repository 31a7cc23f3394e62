//! One dream from first to last: octaves from coarse to fine, gradient steps in each.

use rand_chacha::{
    ChaCha8Rng,
    rand_core::{Rng, SeedableRng},
};
use tch::{Kind, Tensor};

use super::{
    Progress, RenderError, checkpoint::Checkpoint, laplacian::Laplacian, pyramid::Octaves, tiles::Walk,
};
use crate::spec::{DreamSpec, Normalization, OctaveMode};

/// What the caller hears while a dream is made.
pub(super) struct Hooks<'a> {
    /// After every gradient step.
    pub(super) on_progress: &'a mut dyn FnMut(Progress),
    /// After every octave but the last: how many octaves there are, and the state.
    pub(super) on_octave: &'a mut dyn FnMut(u32, &Checkpoint) -> Result<(), RenderError>,
}

/// A finished dream.
pub(super) struct Dreamed {
    /// The last octave, `[1, 3, H, W]`, clipped to 0–255.
    pub(super) image: Tensor,
    /// Octaves that were dreamed.
    pub(super) octaves: u32,
}

/// Dreams `image`, `[1, 3, H, W]` in 0–255, going on after `resume` where there is one that fits.
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
    resume: Option<Checkpoint>,
    hooks: Hooks<'_>,
) -> Result<Dreamed, RenderError> {
    let stepper = Stepper::new(spec, image.device())?;
    let octaves = match spec.octave_mode {
        OctaveMode::CarryDetail => {
            let fits = |height, width| walk.fits(height, width);
            Octaves::carry_detail(image, spec.octaves, spec.octave_scale, &fits)?
        }
        OctaveMode::Enlarge => Octaves::enlarge(image, spec.octaves, spec.octave_scale, max_pixels)?,
    };
    let meter = Meter { pixels: octaves.pixels()?, iterations: spec.iterations };
    let count = meter.pixels.len() as u32;
    let resume = resume.filter(|checkpoint| octaves.holds(checkpoint));
    let first = resume.as_ref().map_or(0, |checkpoint| checkpoint.octave + 1);
    let mut image = resume.map_or_else(|| octaves.base.shallow_clone(), |checkpoint| checkpoint.image);
    for octave in first..count {
        if octave > 0 {
            image = octaves.advance(octave as usize, &image)?;
        }
        let mut rng = ChaCha8Rng::seed_from_u64(spec.seed);
        rng.set_stream(u64::from(octave));
        for iteration in 1..=spec.iterations {
            let shift = if spec.jitter { walk.jitter(&mut rng) } else { (0, 0) };
            let (score, gradient) = walk.gradient(&image, shift)?;
            if !score.is_finite() {
                return Err(RenderError::NotFinite { octave: octave + 1, iteration });
            }
            image = image.f_add(&stepper.step(&gradient)?)?;
            (hooks.on_progress)(meter.read(octave as usize, iteration, score));
        }
        if octave + 1 < count {
            (hooks.on_octave)(count, &Checkpoint { octave, image: image.shallow_clone() })?;
        }
    }
    Ok(Dreamed { image: image.f_clamp(0.0, 255.0)?, octaves: count })
}

/// A start from noise, `[height, width, 3]`: 100 plus a random number in [0, 1), from a ChaCha8 stream that no
/// octave uses.
pub(super) fn noise(seed: u64, height: u32, width: u32) -> Vec<f32> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(u64::MAX);
    // The upper 24 bits are as many as a float below 1 holds.
    let mut uniform = || (rng.next_u32() >> 8) as f32 / (1 << 24) as f32;
    (0..height as usize * width as usize * 3).map(|_| 100.0 + uniform()).collect()
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
