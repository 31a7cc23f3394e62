//! What a dream will be, known before it is dreamed: the sizes of its octaves, where its tiles lie, and what it
//! takes in time and memory.
//!
//! The renderer finds octaves and tiles with the same functions, so that what is refused here would fail there. On the library
//! path its windows are uniform, and where a device has too little memory its tiles are smaller. Nothing here touches libtorch or
//! a pixel.

mod guide;
mod memory;
mod motion;
mod objective;
mod octaves;
#[cfg(test)]
mod tests;
mod tiles;
pub mod winograd;
mod work;

use std::borrow::Cow;

pub use guide::{DOTS, GUIDE_EDGE, MAX_COLUMNS, columns_kept, guide_size};
pub use memory::{
    BAND, BYTES_PER_BAND_PIXEL, BYTES_PER_FOURIER_PIXEL, BYTES_PER_PIXEL, BYTES_PER_RESTORED_PIXEL,
    BYTES_PER_SHRUNK_PIXEL, BYTES_PER_TRANSFORMED_PIXEL,
};
pub use motion::BYTES_PER_MOVING_PIXEL;
pub use octaves::{dreamed_size, octave_count, octave_sizes, sizes, steps};
pub use tiles::{BATCH, Grid, HALO, LIBRARY_BATCH, STILL_HALO, Span, Strip, batch_within, held};
pub use work::Work;

use crate::spec::{DreamSpec, Normalization};
use guide::Followed;
use objective::Measured;
use reverie_graph::{Network, NodeId, ShapeError, UnknownLayer};

/// The last octave would have more pixels than allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the last octave would have {width}×{height} pixels; at most {max_pixels} are allowed: use fewer octaves, a \
     smaller octave_scale or a smaller start"
)]
pub struct TooManyPixels {
    /// Width in pixels of the first octave beyond the limit.
    pub width: u64,
    /// Its height in pixels.
    pub height: u64,
    /// The limit that it breaks.
    pub max_pixels: u64,
}

/// Why a dream cannot be.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// The image does not fit a layer of the objective.
    #[error(transparent)]
    Shape(#[from] ShapeError),
    /// The spec enlarges beyond the limit, or starts beyond it.
    #[error(transparent)]
    TooLarge(#[from] TooManyPixels),
    /// A layer of the spec is not in the model.
    #[error(transparent)]
    Layer(#[from] UnknownLayer),
}

/// A dream before it is dreamed.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// Sizes `(height, width)` of the octaves, coarsest first; of an animation those of its first frame.
    pub octaves: Vec<(i64, i64)>,
    /// Size `(height, width)` of the finished picture.
    pub result: (i64, i64),
    /// Everything from the encoded image to the encoded dream.
    pub work: Work,
    /// One gradient step of the last octave, of an animation in its first frame.
    pub step: Work,
    /// Bytes at the most, beyond what the process holds anyway.
    pub memory: u64,
    /// Pixels × gradient steps over all octaves, in millions.
    pub megapixel_iterations: f64,
}

impl Plan {
    /// Plans what `spec` makes of an image of `height × width` pixels with the network of its model.
    ///
    /// # Errors
    /// See [`PlanError`]; a render of the same would fail in the same way.
    pub fn of(
        spec: &DreamSpec,
        network: &Network,
        (height, width): (u32, u32),
        max_pixels: u64,
    ) -> Result<Self, PlanError> {
        let layers = spec.objectives.iter().map(|objective| network.find(&objective.layer));
        let layers = layers.collect::<Result<Vec<NodeId>, _>>()?;
        let grid = Grid::of(spec, network.stride(&layers) as i64);
        if u64::from(height) * u64::from(width) > max_pixels {
            let (height, width) = (u64::from(height), u64::from(width));
            return Err(TooManyPixels { width, height, max_pixels }.into());
        }
        let fits = |height, width| {
            let [height, width] = grid.least(height, width).map(|n| usize::try_from(n).unwrap_or(0));
            network.shapes(&layers, height, width).is_ok()
        };
        let start = (i64::from(height), i64::from(width));
        let dreamed = dreamed_size(spec, start);
        let octaves = sizes(spec, dreamed, max_pixels, &fits)?;
        let mut all_steps = Work::default();
        let (mut values, mut pixel_steps) = (0usize, 0.0);
        let (mut first, mut last) = (Work::default(), Work::default());
        let (mut needed, mut guides) = (layers, 0);
        let mut stage: Option<(Cow<'_, DreamSpec>, Stage<'_>)> = None;
        for (octave, &(height, width)) in octaves.iter().enumerate() {
            let iterations = f64::from(steps(spec, octave));
            // An animation's changes come with its frames, and this is the first.
            let now = spec.at(if spec.motion.is_some() { 1 } else { octave as u32 + 1 });
            let (_, stage) = match &mut stage {
                Some(known) if known.0 == now => known,
                stage => {
                    let begun = Stage::of(&now, network)?;
                    needed.extend(&begun.layers);
                    guides = guides.max(guide::memory(&begun.followed, network));
                    stage.insert((now, begun))
                }
            };
            let (step, largest) = stage.over(height, width)?;
            values = values.max(largest);
            let pixels = (height * width) as f64;
            let laplacian = if spec.normalization == Normalization::Laplacian { pixels } else { 0.0 };
            last = Work { pixels: pixels * stage.times, laplacian, ..step };
            if octave == 0 {
                first = step;
            }
            all_steps = all_steps + last * iterations;
            pixel_steps += pixels * iterations;
        }
        let area = |(height, width): (i64, i64)| (height * width) as f64;
        let largest = octaves.iter().copied().map(area).fold(0.0, f64::max);
        let grown = octaves.last().copied().unwrap_or(dreamed);
        let (shrunk, restored) = (dreamed != start, dreamed != start && spec.restore_size);
        let result = if restored { start } else { grown };
        // What is shrunk, or enlarged again, is gone through once more.
        let resampled = if shrunk { area(start) } else { 0.0 } + if restored { area(start) } else { 0.0 };
        let file = area(start) + area(result) + resampled;
        // The score of the finished dream is one more way forward.
        let score = Work { pixels: 0.0, laplacian: 0.0, ..last } * work::FORWARD;
        let looks = objective::looks_first(spec);
        let looked = if looks { first * work::FORWARD } else { Work::default() };
        let work = all_steps + score + looked + Work { file, ..Work::default() };
        let weights = memory::weights(network, &needed);
        let shrunk = if shrunk { area(start) } else { 0.0 };
        let images = memory::Images { largest, shrunk, restored };
        let memory = images.bytes(spec, values as f64) + weights + guides;
        let single =
            Self { octaves, result, work, step: last, memory, megapixel_iterations: pixel_steps / 1e6 };
        match &spec.motion {
            Some(motion) => single.animated(spec, motion, network),
            None => Ok(single),
        }
    }

    /// The same of an image of `size` with a guide image of `height × width` pixels, which is made ready first, and goes forward
    /// through the network once.
    ///
    /// # Errors
    /// [`ShapeError`] where it is too small for a layer that follows it.
    pub fn with_guide(
        self,
        spec: &DreamSpec,
        network: &Network,
        size: (u32, u32),
        (height, width): (u32, u32),
    ) -> Result<Self, PlanError> {
        let all = DreamSpec { objectives: spec.all_objectives().cloned().collect(), ..spec.clone() };
        let layers = guide::followed(&all, network)?.into_iter().map(|followed| followed.layer);
        let small = guide_size((height.into(), width.into()));
        let [rows, columns] = [small.0, small.1].map(|n| usize::try_from(n).unwrap_or(0));
        let once = Work::of_window(network, &layers.collect::<Vec<_>>(), rows, columns)? * work::FORWARD;
        let pixels = f64::from(height) * f64::from(width);
        let image = f64::from(size.0) * f64::from(size.1);
        let memory = pixels * BYTES_PER_SHRUNK_PIXEL + image * memory::BYTES_PER_DECODED_PIXEL;
        let memory = self.memory.max(memory as u64);
        Ok(Self { work: self.work + once + Work { file: pixels, ..Work::default() }, memory, ..self })
    }

    /// The largest size `(height, width)` of the same shape as `size` whose plan is `allowed`; none where not
    /// even the smallest is.
    pub fn largest(
        spec: &DreamSpec,
        network: &Network,
        size: (u32, u32),
        max_pixels: u64,
        allowed: impl Fn(&Self) -> bool,
    ) -> Option<(u32, u32)> {
        let (height, width) = (f64::from(size.0), f64::from(size.1));
        // Along the longer edge, so that every step is one of pixels.
        let longer = size.0.max(size.1);
        let at = |edge: u32| {
            let scale = f64::from(edge) / f64::from(longer);
            let shrink = |n: f64| ((n * scale) as u32).max(1);
            (shrink(height), shrink(width))
        };
        let fits = |edge| Self::of(spec, network, at(edge), max_pixels).is_ok_and(|plan| allowed(&plan));
        // Cost grows with the image; where it falls a little, because tiles divide it better, a size somewhat
        // below the largest may be found.
        let (mut low, mut high) = (0, longer);
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            if fits(middle) { low = middle } else { high = middle }
        }
        (low > 0 && fits(low)).then(|| at(low))
    }
}

/// What is maximised in an octave, and the tiles for that.
struct Stage<'a> {
    network: &'a Network,
    layers: Vec<NodeId>,
    followed: Vec<Followed>,
    measured: Vec<Measured>,
    /// Pixels whose plain steps take as long as one of this stage's.
    times: f64,
    grid: Grid,
}

impl<'a> Stage<'a> {
    /// That of a spec as it is in force.
    fn of(spec: &DreamSpec, network: &'a Network) -> Result<Self, UnknownLayer> {
        let layers = spec.objectives.iter().map(|objective| network.find(&objective.layer));
        let layers = layers.collect::<Result<Vec<NodeId>, _>>()?;
        Ok(Self {
            network,
            followed: guide::followed(spec, network)?,
            measured: objective::measured(spec, network)?,
            times: objective::pixels(spec),
            grid: Grid::of(spec, network.stride(&layers) as i64),
            layers,
        })
    }

    /// Work of one gradient over all tiles, and the values that the network computes in the largest
    /// pass.
    fn over(&self, height: i64, width: i64) -> Result<(Work, usize), ShapeError> {
        let (mut sum, mut largest) = (Work::default(), 0.0f64);
        for (size, tiles) in self.grid.windows(height, width) {
            let [height, width] = size.map(|n| usize::try_from(n).unwrap_or(0));
            let window = Work::of_window(self.network, &self.layers, height, width)?;
            let window = window + guide::work(&self.followed, self.network, height, width)?;
            let window = window + objective::work(&self.measured, self.network, height, width)?;
            // Those of one size may be computed together.
            let together = held(BATCH, size).min(tiles);
            largest = largest.max(window.values * together as f64);
            let operations = window.operations * tiles.div_ceil(together) as f64;
            sum = sum + Work { operations, ..window * tiles as f64 };
        }
        Ok((sum, largest as usize))
    }
}
