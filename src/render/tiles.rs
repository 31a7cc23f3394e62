//! Gradients tile by tile: memory is bounded by the tile, not by the picture.
//!
//! In each step the tiles lie as if the image had been rolled by a random offset, so that their borders fall
//! elsewhere each time and no seam builds up. Where tiles lie is decided in [`crate::plan`].

use rand_chacha::{ChaCha8Rng, rand_core::Rng};
use tch::{Kind, Tensor};

use super::{CancelFlag, RenderError, exec::Executor, objective::Goal, resample::Rows};
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

    /// Score and gradient of the whole `image`, `[1, 3, H, W]`. The tiles lie on the image as if it had been
    /// rolled by `shift` = (x, y) first; where they reach over its edge, they go on at the opposite one. The score
    /// is the mean over the tiles, weighted by the pixels of their cores.
    ///
    /// # Errors
    /// [`RenderError::Canceled`] between tiles, otherwise what the executor says.
    pub(super) fn gradient(&self, image: &Tensor, shift: (i64, i64)) -> Result<(f64, Tensor), RenderError> {
        let (_, _, height, width) = image.size4()?;
        let gradient = image.f_zeros_like()?;
        let whole = match self.grid.tiling {
            Tiling::Even => Some(self.goal.positions(self.executor, height, width)?),
            // Each tile on its own, as the article has it.
            Tiling::Article => None,
        };
        let score = self.over_tiles(height, width, |row, column| {
            let window = gather(image, row.window, column.window, shift)?;
            let (score, tile) = self.goal.gradient(self.executor, &window, whole.as_deref())?;
            let tile = cut(&tile, inner(row), inner(column))?;
            scatter(&tile, &gradient, row.core, column.core, shift)?;
            Ok(score)
        })?;
        Ok((score, gradient))
    }

    /// One gradient of the first tile: libtorch plans and compiles its kernels at first use.
    pub(super) fn warm_up(&self, image: &dyn Rows) -> Result<(), RenderError> {
        let (height, width) = image.extent()?;
        let first = |n| self.grid.strips(n).into_iter().next();
        if let (Some(row), Some(column)) = (first(height), first(width)) {
            let rows = image.rows(row.window)?.f_to_kind(Kind::Float)?;
            let tile = rows.f_narrow(3, column.window.start, column.window.length)?;
            drop(self.goal.gradient(self.executor, &tile, None)?);
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

/// Where a span of an axis of `n` pixels lies before the axis was rolled by `shift`: the part of it (in its own
/// coordinates) and the place of that part. Two parts where it crosses the end of the axis.
fn unrolled(span: Span, shift: i64, n: i64) -> impl Iterator<Item = (Span, Span)> + Clone {
    let start = (span.start - shift).rem_euclid(n);
    let before = span.length.min(n - start);
    let parts = [(0, start, before), (before, 0, span.length - before)];
    parts
        .into_iter()
        .filter(|(_, _, length)| *length > 0)
        .map(|(part, place, length)| (Span { start: part, length }, Span { start: place, length }))
}

/// One tile of the rolled image: a view, or a copy where it crosses an edge.
fn gather(image: &Tensor, row: Span, column: Span, (x, y): (i64, i64)) -> Result<Tensor, RenderError> {
    let (_, _, height, width) = image.size4()?;
    let join = |parts: Vec<Tensor>, dimension| match &parts[..] {
        [whole] => Ok(whole.shallow_clone()),
        parts => Tensor::f_cat(parts, dimension),
    };
    let columns = unrolled(column, x, width);
    let rows = unrolled(row, y, height).map(|(_, row)| -> Result<Tensor, RenderError> {
        let parts = columns.clone().map(|(_, column)| cut(image, row, column));
        Ok(join(parts.collect::<Result<_, _>>()?, 3)?)
    });
    Ok(join(rows.collect::<Result<_, _>>()?, 2)?)
}

/// Writes the tile at `row` and `column` of the rolled image.
fn scatter(
    tile: &Tensor,
    image: &Tensor,
    row: Span,
    column: Span,
    (x, y): (i64, i64),
) -> Result<(), RenderError> {
    let (_, _, height, width) = image.size4()?;
    for (part_row, row) in unrolled(row, y, height) {
        for (part_column, column) in unrolled(column, x, width) {
            cut(image, row, column)?.f_copy_(&cut(tile, part_row, part_column)?)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind};

    use super::*;

    #[test]
    fn tiles_lie_as_if_the_image_had_been_rolled() {
        let image = Tensor::rand([1, 3, 5, 7], (Kind::Float, Device::Cpu));
        for shift in [(0, 0), (2, 1), (6, 4), (23, 19)] {
            let (x, y) = shift;
            let rolled = image.roll([y, x], [2, 3]);
            let back = image.zeros_like();
            for (row, column) in [(0, 0), (0, 3), (2, 0), (2, 3)] {
                let row = Span { start: row, length: if row == 0 { 2 } else { 3 } };
                let column = Span { start: column, length: if column == 0 { 3 } else { 4 } };
                let tile = gather(&image, row, column, shift).unwrap();
                assert_eq!(tile, cut(&rolled, row, column).unwrap());
                scatter(&tile, &back, row, column, shift).unwrap();
            }
            assert_eq!(back, image);
        }
    }
}
