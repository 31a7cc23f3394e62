//! Gradients tile by tile: memory is bounded by the tile, not by the picture.
//!
//! Before each step the image is rolled by a random offset, so that tile borders fall elsewhere each time
//! and no seam builds up. Where tiles lie is decided in [`crate::plan`].

use rand_chacha::{ChaCha8Rng, rand_core::Rng};
use tch::Tensor;

use super::{CancelFlag, RenderError, exec::Executor, objective::Goal};
use crate::{
    plan::{Grid, Span, Strip},
    spec::{DreamSpec, Tiling},
};

/// A random offset `(x, y)`, each uniform in `0..tile`.
fn jitter(rng: &mut ChaCha8Rng, tile: i64) -> (i64, i64) {
    // Multiply-shift maps 32 random bits to the range; its bias is below 2⁻²⁰ for any tile we allow.
    let mut draw = || ((u64::from(rng.next_u32()) * tile as u64) >> 32) as i64;
    (draw(), draw())
}

/// What a gradient step needs besides the image.
pub(super) struct Walk<'a> {
    executor: &'a Executor,
    goal: &'a Goal,
    grid: Grid,
    cancel: &'a CancelFlag,
}

/// Score and gradient of one tile's core are parts of a whole; so is its share of the pixels.
struct Part {
    score: f64,
    area: f64,
}

impl<'a> Walk<'a> {
    pub(super) fn new(
        executor: &'a Executor,
        goal: &'a Goal,
        spec: &DreamSpec,
        cancel: &'a CancelFlag,
    ) -> Self {
        let grid = Grid::of(spec, goal.stride(executor));
        Self::over(executor, goal, grid, cancel)
    }

    /// As [`Self::new`], over a grid of one's own.
    pub(super) fn over(executor: &'a Executor, goal: &'a Goal, grid: Grid, cancel: &'a CancelFlag) -> Self {
        Self { executor, goal, grid, cancel }
    }

    /// A random offset for [`Self::gradient`].
    pub(super) fn jitter(&self, rng: &mut ChaCha8Rng) -> (i64, i64) {
        jitter(rng, self.grid.tile)
    }

    /// Whether every tile of an image of this size is large enough for the network.
    pub(super) fn fits(&self, height: i64, width: i64) -> bool {
        self.goal.fits(self.executor, self.grid.least(height), self.grid.least(width))
    }

    /// Score and gradient of the whole `image`, `[1, 3, H, W]`, which is rolled by `shift` = (x, y) first
    /// and back afterwards. The score is the mean over the tiles, weighted by the pixels of their cores.
    ///
    /// # Errors
    /// [`RenderError::Canceled`] between tiles, otherwise what the executor says.
    pub(super) fn gradient(&self, image: &Tensor, shift: (i64, i64)) -> Result<(f64, Tensor), RenderError> {
        let (_, _, height, width) = image.size4()?;
        let rolled = roll(image, shift)?;
        let gradient = rolled.f_zeros_like()?;
        let score = self.over_tiles(height, width, |row, column| {
            let window = cut(&rolled, row.window, column.window)?;
            let (score, tile) = self.goal.gradient(self.executor, &window)?;
            let tile = cut(&tile, inner(row), inner(column))?;
            let tile = match self.grid.tiling {
                // An objective is a mean over its window, so the derivative shrinks as the window grows: in the
                // units of the whole image, tiles of different sizes agree.
                Tiling::Even => {
                    let window = (row.window.length * column.window.length) as f64;
                    tile.f_mul_scalar(window / (height * width) as f64)?
                }
                Tiling::Article => tile,
            };
            cut(&gradient, row.core, column.core)?.f_copy_(&tile)?;
            Ok(score)
        })?;
        Ok((score, roll(&gradient, (-shift.0, -shift.1))?))
    }

    /// One gradient of the first tile: libtorch plans and compiles its kernels at first use.
    pub(super) fn warm_up(&self, image: &Tensor) -> Result<(), RenderError> {
        let (_, _, height, width) = image.size4()?;
        let first = |n| self.grid.strips(n).into_iter().next();
        if let (Some(row), Some(column)) = (first(height), first(width)) {
            drop(self.goal.gradient(self.executor, &cut(image, row.window, column.window)?)?);
        }
        Ok(())
    }

    /// Score of the whole image, tiles as in [`Self::gradient`] without a shift.
    pub(super) fn score(&self, image: &Tensor) -> Result<f64, RenderError> {
        let (_, _, height, width) = image.size4()?;
        self.over_tiles(height, width, |row, column| {
            let window = cut(image, row.window, column.window)?;
            Ok(self.goal.score(self.executor, &window)?.f_double_value(&[])?)
        })
    }

    /// Mean of what `visit` says of each tile, weighted by the pixels of its core.
    fn over_tiles(
        &self,
        height: i64,
        width: i64,
        mut visit: impl FnMut(Strip, Strip) -> Result<f64, RenderError>,
    ) -> Result<f64, RenderError> {
        let mut whole = Part { score: 0.0, area: 0.0 };
        for row in self.grid.strips(height) {
            for column in self.grid.strips(width) {
                if self.cancel.is_canceled() {
                    return Err(RenderError::Canceled);
                }
                let area = (row.core.length * column.core.length) as f64;
                whole.score += visit(row, column)? * area;
                whole.area += area;
            }
        }
        Ok(whole.score / whole.area)
    }
}

/// The core in the coordinates of its window.
fn inner(strip: Strip) -> Span {
    Span { start: strip.core.start - strip.window.start, length: strip.core.length }
}

/// A view of one tile.
pub(super) fn cut(image: &Tensor, row: Span, column: Span) -> Result<Tensor, RenderError> {
    Ok(image.f_narrow(2, row.start, row.length)?.f_narrow(3, column.start, column.length)?)
}

fn roll(image: &Tensor, (x, y): (i64, i64)) -> Result<Tensor, RenderError> {
    if (x, y) == (0, 0) { Ok(image.shallow_clone()) } else { Ok(image.f_roll([y, x], [2, 3])?) }
}
