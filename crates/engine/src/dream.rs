//! One dream from first to last: octaves from coarse to fine, gradient steps in each.

use std::time::{Duration, Instant};

use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
use tch::{Kind, Tensor};

use super::{
    RenderError,
    bands::{each, sum},
    checkpoint::Checkpoint,
    error::caught,
    mask::Mask,
    original::Original,
    pyramid::Octaves,
    resample::Rows,
    stages::Stage,
    stepper::Stepper,
    tiles::TiledGradient,
    transformation::Transformation,
};
use reverie_dream::progress::Progress;
use reverie_dream::{
    plan::{sizes, steps},
    spec::{DreamSpec, OctaveMode},
};

/// What a dream starts from.
pub(super) struct Start<'a> {
    /// The image.
    pub(super) original: &'a Original,
    /// Where the dream may grow; none for everywhere.
    pub(super) mask: Option<&'a Mask>,
    /// Which frame of an animation it is, counted from 0.
    pub(super) frame: u32,
    /// An octave of an earlier attempt, after which it goes on if it fits.
    pub(super) resume: Option<Checkpoint>,
}

impl<'a> Start<'a> {
    /// A dream of an image that has nothing else.
    #[cfg(test)]
    pub(super) fn of(original: &'a Original) -> Self {
        Self { original, mask: None, frame: 0, resume: None }
    }
}

/// What the caller hears while a dream is made.
pub(super) struct Callbacks<'a> {
    /// Before every octave: which, counted from 1, and of how many. What is maximised from there on, if it is something else.
    pub(super) on_begin: &'a mut dyn FnMut(u32, u32) -> Result<Option<Stage>, RenderError>,
    /// After every gradient step.
    pub(super) on_progress: &'a mut dyn FnMut(Progress),
    /// After every octave but the last: how many octaves there are, and the state.
    pub(super) on_octave: &'a mut dyn FnMut(u32, &Checkpoint) -> Result<(), RenderError>,
    /// Between two octaves; none where nobody looks.
    pub(super) previews: Option<Previews<'a>>,
}

/// Shows a dream while an octave is at work.
pub(super) struct Previews<'a> {
    /// Time between two previews, at least.
    pub(super) every: Duration,
    /// Which octave, counted from 1, and the image as it stands, `[1, 3, H, W]`.
    pub(super) show: &'a mut dyn FnMut(u32, &Tensor) -> Result<(), RenderError>,
}

/// Between two previews lies this many times as long as the render waits for one of them: that costs 2 % of it at most.
const PREVIEW_REST: u32 = 50;

/// When the next preview is due.
struct PreviewClock<'a> {
    previews: Option<Previews<'a>>,
    due: Instant,
}

impl<'a> PreviewClock<'a> {
    fn new(previews: Option<Previews<'a>>) -> Self {
        let mut clock = Self { previews, due: Instant::now() };
        clock.rest(Duration::ZERO);
        clock
    }

    /// The dream was shown, which took `took`.
    fn rest(&mut self, took: Duration) {
        if let Some(Previews { every, .. }) = &self.previews {
            self.due = Instant::now() + (*every).max(took * PREVIEW_REST);
        }
    }

    /// Shows the image, if that is due.
    fn step(&mut self, octave: u32, image: &Tensor) -> Result<(), RenderError> {
        let began = Instant::now();
        match &mut self.previews {
            Some(Previews { show, .. }) if began >= self.due => show(octave, image)?,
            _ => return Ok(()),
        }
        self.rest(began.elapsed());
        Ok(())
    }
}

/// A finished dream.
pub(super) struct Dreamed {
    /// The last octave, `[1, 3, H, W]`, clipped to 0–255.
    pub(super) image: Tensor,
    /// Octaves that were dreamed.
    pub(super) octaves: u32,
    /// Whether no step has changed a single value. A dream that goes on after a checkpoint counts as changed: it is unknown
    /// what the steps before it did.
    pub(super) idle: bool,
    /// Time spent in the callbacks.
    pub(super) callback_time: Duration,
}

/// Dreams, and how they were computed.
pub(super) struct Fitted<T> {
    pub(super) dreamed: T,
    /// Edge of the largest tile in pixels: the spec's, or as much of it as the device has memory for.
    pub(super) tile_size: u32,
}

/// Edge in pixels below which tiles are not halved: most of a smaller one would be halo.
const SMALLEST_TILE: u32 = 128;

/// Dreams with `dream`, and anew with tiles of half the size each time that the device has too little memory for one of them: it
/// is called with the spec that has that size.
///
/// # Errors
/// [`RenderError::OutOfMemory`] when even small tiles do not fit, otherwise as `dream`.
pub(super) fn within_memory<T>(
    spec: &DreamSpec,
    mut dream: impl FnMut(&DreamSpec) -> Result<T, RenderError>,
) -> Result<Fitted<T>, RenderError> {
    let mut spec = spec.clone();
    loop {
        match caught(|| dream(&spec)) {
            Ok(dreamed) => return Ok(Fitted { dreamed, tile_size: spec.tile_size }),
            Err(RenderError::OutOfMemory(reason)) if spec.tile_size / 2 >= SMALLEST_TILE => {
                let tile_size = spec.tile_size;
                tracing::warn!(
                    reason,
                    tile_size,
                    "too little memory for a tile; the dream begins anew with half of it"
                );
                spec.tile_size /= 2;
            }
            Err(error) => return Err(error),
        }
    }
}

/// Dreams from `start` on.
///
/// Each octave draws its jitter, and after that how the step's image is transformed, from a ChaCha8 stream of its own (seed: the spec's, stream: the octave, counted from 0 at the
/// coarsest, and 2³² times the frame), so that an octave's random choices do not depend on what ran before.
///
/// # Errors
/// [`RenderError::TooLarge`] when the spec enlarges beyond `max_pixels`, [`RenderError::Picture`] when the result
/// would not fit its file format, [`RenderError::NotFinite`] when the ascent runs away, and what the gradient says.
pub(super) fn dream(
    tiled: &TiledGradient<'_>,
    spec: &DreamSpec,
    start: Start<'_>,
    max_pixels: u64,
    callbacks: Callbacks<'_>,
) -> Result<Dreamed, RenderError> {
    let Start { original, mask, frame, resume } = start;
    let stepper = Stepper::new(spec, original.device(), tiled)?;
    let mut octaves = plan(tiled, spec, original, max_pixels)?;
    if let Some(&(height, width)) = octaves.sizes().last() {
        // Better known before the dream than after it.
        spec.encoding().check_size(width as u64, height as u64)?;
    }
    let meter = Meter::new(octaves.sizes(), |octave| steps(spec, octave));
    let count = octaves.sizes().len() as u32;
    let resume = resume.filter(|checkpoint| octaves.holds(checkpoint));
    let first = resume.as_ref().map_or(0, |checkpoint| checkpoint.octave + 1);
    let mut moved = resume.is_some();
    stepper.moved.set(moved);
    let mut image = match resume {
        Some(checkpoint) => checkpoint.image,
        None => octaves.base()?,
    };
    let resumed_from = meter.read(first as usize, 0, 0.0).fraction;
    let mut callback_time = Duration::ZERO;
    let mut previews = PreviewClock::new(callbacks.previews);
    let mut changed = None;
    for octave in first..count {
        let called = Instant::now();
        if let Some(stage) = (callbacks.on_begin)(octave + 1, count)? {
            let spec = DreamSpec { tile_size: spec.tile_size, ..stage.spec };
            let tiled = tiled.changed(stage.bound, &spec);
            changed = Some((Stepper::new(&spec, original.device(), &tiled)?, tiled));
        }
        callback_time += called.elapsed();
        let (stepper, tiled) =
            changed.as_ref().map_or((&stepper, tiled), |(stepper, tiled)| (stepper, tiled));
        if octave > 0 {
            image = octaves.advance(octave as usize, image)?;
        }
        let (height, width) = image.extent()?;
        let octave_mask = mask.map(|mask| mask.at(height, width)).transpose()?;
        let mut rng = ChaCha8Rng::seed_from_u64(spec.seed);
        rng.set_stream(u64::from(frame) << 32 | u64::from(octave));
        let began = Instant::now();
        let iterations = steps(spec, octave as usize);
        for iteration in 1..=iterations {
            let shift = if spec.jitter { tiled.jitter(&mut rng, spec.jitter_pixels) } else { (0, 0) };
            let seen = Transformation::drawn(spec, &mut rng);
            let (score, gradient) = tiled.transformed_gradient(&image, shift, seen.as_ref())?;
            stepper.step(&image, &gradient, octave_mask.as_ref())?;
            // Not earlier: a GPU is waited for, and has been told all that it has to do.
            let score = score.value()?;
            if !score.is_finite() {
                return Err(RenderError::NotFinite { octave: octave + 1, iteration });
            }
            let mut progress = meter.read(octave as usize, iteration, score);
            progress.resumed_from = resumed_from;
            progress.iterations_per_second = f64::from(iteration) / began.elapsed().as_secs_f64();
            let called = Instant::now();
            (callbacks.on_progress)(progress);
            // After the last step the octave is shown, or the dream is finished.
            if iteration < iterations {
                previews.step(octave + 1, &image)?;
            }
            callback_time += called.elapsed();
        }
        // ReLU may turn NaN into 0, so check the image.
        if !sum(&image, |band| Ok(band.f_sum(Kind::Double)?))?.is_finite() {
            return Err(RenderError::NotFinite { octave: octave + 1, iteration: iterations });
        }
        stepper.settle()?;
        moved |= stepper.moved.get();
        if octave + 1 < count {
            let called = Instant::now();
            (callbacks.on_octave)(count, &Checkpoint { octave, image: image.shallow_clone() })?;
            callback_time += called.elapsed();
            previews.rest(Duration::ZERO);
        }
    }
    each(&image, |_, band| Ok(band.f_clamp_(0.0, 255.0)?))?;
    if let Some(mask) = mask
        && image.extent()? == original.extent()?
        && image.extent()? == mask.extent()?
    {
        mask.restore(&image, original)?;
    }
    Ok(Dreamed { image, octaves: count, idle: !moved, callback_time })
}

/// Pixels × gradient steps of a dream on an image of that size, which its progress is measured in.
///
/// # Errors
/// [`RenderError::TooLarge`] when the spec enlarges beyond `max_pixels`.
pub(super) fn pixel_steps(
    tiled: &TiledGradient<'_>,
    spec: &DreamSpec,
    size: (i64, i64),
    max_pixels: u64,
) -> Result<f64, RenderError> {
    let sizes = sizes(spec, size, max_pixels, &|height, width| tiled.fits(height, width))?;
    let of = |(octave, (height, width)): (usize, &(i64, i64))| {
        (height * width) as f64 * f64::from(steps(spec, octave))
    };
    Ok(sizes.iter().enumerate().map(of).sum())
}

/// The image in the size of the first octave, before any step.
///
/// # Errors
/// As [`pixel_steps`].
pub(super) fn first_octave(
    tiled: &TiledGradient<'_>,
    spec: &DreamSpec,
    original: &Original,
    max_pixels: u64,
) -> Result<Tensor, RenderError> {
    plan(tiled, spec, original, max_pixels)?.base()
}

/// The octaves of a dream.
fn plan<'a>(
    tiled: &TiledGradient<'_>,
    spec: &DreamSpec,
    original: &'a Original,
    max_pixels: u64,
) -> Result<Octaves<'a>, RenderError> {
    let sizes = sizes(spec, original.extent()?, max_pixels, &|height, width| tiled.fits(height, width))?;
    if let Some(&(height, width)) = sizes.first() {
        // Not left to the first pass, whose windows may be larger than the image.
        tiled.check(height, width)?;
    }
    match spec.octave_mode {
        OctaveMode::CarryDetail => Octaves::carry_detail(original, sizes),
        OctaveMode::Enlarge => Ok(Octaves::enlarge(original, sizes)),
    }
}

/// Counts finished work in pixels × iterations.
struct Meter {
    /// Pixels and gradient steps of each octave, coarsest first.
    octaves: Vec<(i64, u32)>,
}

impl Meter {
    /// `steps` are those of each octave.
    fn new(sizes: &[(i64, i64)], steps: impl Fn(usize) -> u32) -> Self {
        let of = |(octave, (height, width)): (usize, &(i64, i64))| (height * width, steps(octave));
        Self { octaves: sizes.iter().enumerate().map(of).collect() }
    }

    /// `octave` counts from 0, `iteration` is how many of its steps are done.
    fn read(&self, octave: usize, iteration: u32, score: f64) -> Progress {
        let (done, rest) = self.octaves.split_at(octave);
        let whole = |octaves: &[(i64, u32)]| {
            octaves.iter().map(|&(pixels, steps)| pixels as f64 * f64::from(steps)).sum::<f64>()
        };
        let (pixels, iterations) = rest.first().copied().unwrap_or((0, 0));
        let current = pixels as f64 * f64::from(iteration);
        Progress {
            fraction: (whole(done) + current) / whole(&self.octaves),
            octave: octave as u32 + 1,
            octaves: self.octaves.len() as u32,
            iteration,
            iterations,
            score,
            ..Progress::default()
        }
    }
}
