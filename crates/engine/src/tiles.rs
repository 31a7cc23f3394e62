//! Gradients tile by tile: memory is bounded by the tile, not by the picture.
//!
//! In each step the tiles lie as if the image had been rolled by a random offset, so that their borders fall
//! elsewhere each time and no seam builds up. Where tiles lie is decided in [`reverie_dream::plan`], how many of one size are
//! computed together in [`batch`](super::batch).

use std::{
    borrow::Cow,
    cell::{Cell, RefCell},
    rc::Rc,
};

use rand_chacha::{ChaCha8Rng, rand_core::Rng};
use tch::{Device, Kind, Tensor};

use super::{
    CancelFlag, RenderError,
    batch::GradientSource,
    cuda::GpuKernels,
    kernels::thread_pool,
    objective::BoundObjective,
    places::Places,
    resample::Rows,
    tile::{self, Tile, windows},
    transformation::Transformation,
};
use reverie_dream::{
    plan::{Grid, Span},
    spec::{DreamSpec, Tiling},
};
use reverie_graph::NodeId;

/// A random offset `(x, y)`, each uniform in `0..end`.
fn jitter(rng: &mut ChaCha8Rng, end: i64) -> (i64, i64) {
    // Multiply-shift maps 32 random bits to the range; its bias is below 2⁻²⁰ for any range we allow.
    let mut draw = || ((u64::from(rng.next_u32()) * end as u64) >> 32) as i64;
    (draw(), draw())
}

/// Score and gradient of an image, computed tile by tile.
pub(super) struct TiledGradient<'a> {
    source: &'a dyn GradientSource,
    bound: Cow<'a, BoundObjective>,
    grid: Grid,
    cancel: &'a CancelFlag,
    /// The tiles for the last image size, kept since all steps of an octave share it.
    laid: RefCell<Option<Rc<Laid>>>,
    /// Tiles for which a pass has had memory, at the most.
    most: Cell<usize>,
}

/// The tiles of images of one size.
struct Laid {
    extent: [i64; 2],
    groups: Vec<Group>,
}

/// Tiles of one size.
struct Group {
    tiles: Vec<Tile>,
    /// On the library path.
    places: Option<Places>,
}

impl<'a> TiledGradient<'a> {
    pub(super) fn new(
        source: &'a dyn GradientSource,
        bound: &'a BoundObjective,
        spec: &DreamSpec,
        cancel: &'a CancelFlag,
    ) -> Self {
        let grid = Grid::of(spec, bound.stride(source.network())).uniform_for(spec, source.is_library());
        Self::over(source, bound, grid, cancel)
    }

    /// As [`Self::new`], over a grid of one's own.
    pub(super) fn over(
        source: &'a dyn GradientSource,
        bound: &'a BoundObjective,
        grid: Grid,
        cancel: &'a CancelFlag,
    ) -> Self {
        Self::of(source, Cow::Borrowed(bound), grid, cancel)
    }

    fn of(
        source: &'a dyn GradientSource,
        bound: Cow<'a, BoundObjective>,
        grid: Grid,
        cancel: &'a CancelFlag,
    ) -> Self {
        Self { source, bound, grid, cancel, laid: RefCell::default(), most: Cell::new(usize::MAX) }
    }

    /// The same for what `spec` maximises, which is `bound`.
    pub(super) fn changed(&self, bound: BoundObjective, spec: &DreamSpec) -> Self {
        let grid = Grid::of(spec, bound.stride(self.source.network())).uniform_for(spec, self.is_library());
        Self::of(self.source, Cow::Owned(bound), grid, self.cancel)
    }

    /// Whether libtorch's operations alone compute: see [`library`](super::library).
    pub(super) fn is_library(&self) -> bool {
        self.source.is_library()
    }

    /// Our own kernels for a GPU, where they may be used.
    pub(super) fn gpu_kernels(&self) -> Option<GpuKernels> {
        self.source.gpu_kernels()
    }

    /// A random offset for [`Self::gradient`]: below the edge of a tile, or so many `pixels` at the most.
    pub(super) fn jitter(&self, rng: &mut ChaCha8Rng, pixels: Option<u32>) -> (i64, i64) {
        jitter(rng, pixels.map_or(self.grid.tile, |pixels| i64::from(pixels) + 1))
    }

    /// Whether every tile of an image of this size is large enough for the network.
    pub(super) fn fits(&self, height: i64, width: i64) -> bool {
        self.check(height, width).is_ok()
    }

    /// As [`Self::fits`], in words.
    ///
    /// # Errors
    /// [`RenderError::Shape`] where a tile is too small.
    pub(super) fn check(&self, height: i64, width: i64) -> Result<(), RenderError> {
        let [height, width] = self.grid.least(height, width);
        self.bound.check(self.source.network(), height, width)
    }

    /// Score and gradient of the whole `image`, `[1, 3, H, W]`. The tiles lie on the image as if it had been
    /// rolled by `shift` = (x, y) first; where they reach over its edge, they go on at the opposite one. The score
    /// is the mean over the tiles, weighted by the pixels of their cores.
    ///
    /// # Errors
    /// [`RenderError::Canceled`] between tiles, otherwise what the executor says.
    pub(super) fn gradient(&self, image: &Tensor, shift: (i64, i64)) -> Result<(f64, Tensor), RenderError> {
        let (score, gradient) = self.transformed_gradient(image, shift, None)?;
        Ok((score.value()?, gradient))
    }

    /// As [`Self::gradient`], by the values of `image`, where the network sees the image as it is after `seen`. Places of
    /// objectives are those of the image. The device need not have computed the score when this returns.
    ///
    /// # Errors
    /// As [`Self::gradient`].
    pub(super) fn transformed_gradient(
        &self,
        image: &Tensor,
        shift: (i64, i64),
        seen: Option<&Transformation>,
    ) -> Result<(Score, Tensor), RenderError> {
        let Some(seen) = seen else { return self.gradient_of(image, shift, None) };
        let threads = (!self.is_library()).then(thread_pool);
        let transformed = seen.apply(image, threads.as_ref())?;
        let (score, gradient) = self.gradient_of(&transformed, shift, Some(seen))?;
        // Its memory is that of the result.
        drop(transformed);
        Ok((score, seen.adjoint(&gradient, threads.as_ref())?))
    }

    /// Score and gradient by the values of `image`, which has been transformed as `seen` says.
    fn gradient_of(
        &self,
        image: &Tensor,
        shift: (i64, i64),
        seen: Option<&Transformation>,
    ) -> Result<(Score, Tensor), RenderError> {
        let (_, _, height, width) = image.size4()?;
        let gradient = image.f_zeros_like()?;
        let whole = match self.grid.tiling {
            Tiling::Even => Some(self.bound.positions(self.source.network(), height, width)?),
            // Each tile on its own, as the article has it.
            Tiling::Article => None,
        };
        let mut mean = Score::default();
        for group in &self.laid([height, width], image.device())?.groups {
            self.in_batches(group, |first, count| {
                let windows = group.gather(image, first, count, shift)?;
                let lit = self.lit(&group.tiles[first..first + count], [height, width], shift, seen)?;
                let bound = lit.as_ref().unwrap_or(&self.bound);
                let (scores, parts) = self.source.gradients(windows, bound, whole.as_deref(), self.cancel)?;
                group.scatter(&parts, &gradient, first, count, shift)?;
                // Last: what fails is tried again.
                mean.add(scores, &group.tiles[first..first + count]);
                Ok(())
            })?;
        }
        Ok((mean, gradient))
    }

    /// One gradient of the first tile: libtorch plans and compiles its kernels at first use.
    pub(super) fn warm_up(&self, image: &dyn Rows) -> Result<(), RenderError> {
        let (height, width) = image.extent()?;
        self.check(height, width)?;
        let tiles = self.tiles(height, width);
        if let Some(tile) = tiles.first() {
            let tile_size = tile.size();
            let [rows, columns] = tile_size;
            // Where it lies is of no matter. A uniform window may be larger than the image.
            let some = image.rows(Span { start: 0, length: rows.min(height) })?.f_to_kind(Kind::Float)?;
            let around = |length: i64, n: i64| {
                Tensor::f_arange(length, (Kind::Int64, some.device()))?.f_remainder(n.min(length))
            };
            let tile = some
                .f_index_select(2, &around(rows, height)?)?
                .f_index_select(3, &around(columns, width)?)?;
            let count = if self.is_library() {
                // As many as will go together.
                let alike = tiles.iter().filter(|other| other.size() == tile_size).count();
                self.source.at_once(&self.bound, tile_size, alike)
            } else {
                1
            };
            let tile = tile.f_expand([count as i64, -1, -1, -1], false)?;
            drop(self.source.gradients(tile, &self.bound, None, self.cancel)?);
        }
        Ok(())
    }

    /// Score of the whole image, tiles as in [`Self::gradient`] without a shift.
    pub(super) fn score(&self, image: &Tensor) -> Result<f64, RenderError> {
        let (_, _, height, width) = image.size4()?;
        let mut mean = Score::default();
        if self.is_library() {
            // In the batches of `gradient`, so that a GPU meets no new size.
            for group in &self.laid([height, width], image.device())?.groups {
                self.in_batches(group, |first, count| {
                    let windows = group.gather(image, first, count, (0, 0))?;
                    let lit = self.lit(&group.tiles[first..first + count], [height, width], (0, 0), None)?;
                    let bound = lit.as_ref().unwrap_or(&self.bound);
                    let scores = self.source.scores(windows, bound, self.cancel)?;
                    mean.add(scores, &group.tiles[first..first + count]);
                    Ok(())
                })?;
            }
            return mean.value();
        }
        for tile in self.tiles(height, width) {
            self.go_on()?;
            let window = windows(image, &[tile], (0, 0))?;
            let lit = self.lit(&[tile], [height, width], (0, 0), None)?;
            let bound = lit.as_ref().unwrap_or(&self.bound);
            mean.add(self.source.scores(window, bound, self.cancel)?, &[tile]);
        }
        mean.value()
    }

    /// Mean activation of every channel of `layers` over the whole `image`, `[1, 3, H, W]`, in tiles that are not uniform: those may
    /// see a part of the image twice.
    pub(super) fn channel_means(
        &self,
        image: &Tensor,
        layers: &[NodeId],
    ) -> Result<Vec<Vec<f64>>, RenderError> {
        let (_, _, height, width) = image.size4()?;
        let network = self.source.network();
        let whole = (height * width) as f64;
        let mut means: Vec<Vec<f64>> =
            layers.iter().map(|&layer| vec![0.0; network.channels(layer)]).collect();
        for tile in tiles_of(&Grid { uniform: false, ..self.grid }, height, width) {
            self.go_on()?;
            let area = (tile.row.core.length * tile.column.core.length) as f64;
            let activations = self.source.features(windows(image, &[tile], (0, 0))?, layers)?;
            for (means, activation) in means.iter_mut().zip(activations) {
                let others = if activation.dim() == 4 { &[0i64, 2, 3][..] } else { &[0][..] };
                let own = activation.f_to_kind(Kind::Double)?.f_mean_dim(others, false, None::<Kind>)?;
                let own = Vec::<f64>::try_from(own.f_to_device(Device::Cpu)?)?;
                means.iter_mut().zip(own).for_each(|(mean, own)| *mean += area / whole * own);
            }
        }
        Ok(means)
    }

    /// What is climbed at these tiles, where that depends on where they lie.
    fn lit(
        &self,
        tiles: &[Tile],
        extent: [i64; 2],
        shift: (i64, i64),
        seen: Option<&Transformation>,
    ) -> Result<Option<BoundObjective>, RenderError> {
        self.bound.lit(self.source.network(), tiles, extent, shift, seen)
    }

    /// The tiles of an image of this size, by their own.
    fn laid(&self, extent: [i64; 2], device: Device) -> Result<Rc<Laid>, RenderError> {
        let mut last = self.laid.borrow_mut();
        if let Some(laid) = last.as_ref().filter(|laid| laid.extent == extent) {
            return Ok(Rc::clone(laid));
        }
        let [height, width] = extent;
        let group = |tiles: Vec<Tile>| {
            let places = self.is_library().then(|| Places::new(&tiles, device)).transpose()?;
            Ok(Group { tiles, places })
        };
        let groups = alike(self.tiles(height, width)).into_iter().map(group);
        let groups = groups.collect::<Result<_, RenderError>>()?;
        Ok(Rc::clone(last.insert(Rc::new(Laid { extent, groups }))))
    }

    /// All tiles of an image of this size, row by row.
    fn tiles(&self, height: i64, width: i64) -> Vec<Tile> {
        tiles_of(&self.grid, height, width)
    }

    /// Hands the tiles of a group to `pass`, as many at once as go together: the first of them and their number. A pass for
    /// which the device has too little memory is tried again with half of its tiles; so are all that follow.
    fn in_batches(
        &self,
        group: &Group,
        mut pass: impl FnMut(usize, usize) -> Result<(), RenderError>,
    ) -> Result<(), RenderError> {
        let mut first = 0;
        while first < group.tiles.len() {
            self.go_on()?;
            let rest = group.tiles.len() - first;
            let count =
                self.source.at_once(&self.bound, group.size(), rest).min(self.most.get()).clamp(1, rest);
            match pass(first, count) {
                Ok(()) => first += count,
                Err(RenderError::OutOfMemory(reason)) if count > 1 => {
                    tracing::warn!(
                        reason,
                        tiles = count,
                        "too little memory for a pass; half as many tiles are computed"
                    );
                    self.most.set(count / 2);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// An error if the render was canceled.
    fn go_on(&self) -> Result<(), RenderError> {
        if self.cancel.is_canceled() { Err(RenderError::Canceled) } else { Ok(()) }
    }
}

impl Group {
    /// Of every tile.
    fn size(&self) -> [i64; 2] {
        self.tiles[0].size()
    }

    /// What the network sees of `count` tiles from `first` on, `[N, 3, H, W]`.
    fn gather(
        &self,
        image: &Tensor,
        first: usize,
        count: usize,
        shift: (i64, i64),
    ) -> Result<Tensor, RenderError> {
        match &self.places {
            Some(places) => places.gather(image, span(first, count), shift),
            None => windows(image, &self.tiles[first..first + count], shift),
        }
    }

    /// Writes the cores of those tiles to `gradient`.
    fn scatter(
        &self,
        parts: &Tensor,
        gradient: &Tensor,
        first: usize,
        count: usize,
        shift: (i64, i64),
    ) -> Result<(), RenderError> {
        if let Some(places) = &self.places {
            return places.scatter(parts, gradient, span(first, count), shift);
        }
        tile::scatter(parts, &self.tiles[first..first + count], gradient, shift)
    }
}

/// All tiles that `grid` lays on an image of this size, row by row.
fn tiles_of(grid: &Grid, height: i64, width: i64) -> Vec<Tile> {
    let [rows, columns] = grid.strips(height, width);
    rows.into_iter().flat_map(|row| columns.iter().map(move |&column| Tile { row, column })).collect()
}

/// Tiles as a part of their group.
fn span(first: usize, count: usize) -> Span {
    Span { start: first as i64, length: count as i64 }
}

/// Tiles by the size of what the network sees; those of a size, and the sizes, in the order in which they come.
fn alike(tiles: Vec<Tile>) -> Vec<Vec<Tile>> {
    let mut groups: Vec<Vec<Tile>> = Vec::new();
    for tile in tiles {
        match groups.iter_mut().find(|group| group[0].size() == tile.size()) {
            Some(group) => group.push(tile),
            None => groups.push(vec![tile]),
        }
    }
    groups
}

/// The score of a whole image: the mean over its tiles, weighted by the pixels of their cores.
#[derive(Default)]
pub(super) struct Score {
    /// `[N]` each, on the device.
    scores: Vec<Tensor>,
    /// Of every tile.
    areas: Vec<f64>,
}

impl Score {
    fn add(&mut self, scores: Tensor, tiles: &[Tile]) {
        self.scores.push(scores);
        let area = |tile: &Tile| (tile.row.core.length * tile.column.core.length) as f64;
        self.areas.extend(tiles.iter().map(area));
    }

    /// Waits for the device: once, after it has got everything to do.
    pub(super) fn value(self) -> Result<f64, RenderError> {
        let scores = Vec::<f64>::try_from(Tensor::f_cat(&self.scores, 0)?)?;
        let sum: f64 = scores.iter().zip(&self.areas).map(|(score, area)| score * area).sum();
        Ok(sum / self.areas.iter().sum::<f64>())
    }
}

#[cfg(test)]
mod tests;
