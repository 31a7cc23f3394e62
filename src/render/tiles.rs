//! Gradients tile by tile: memory is bounded by the tile, not by the picture.
//!
//! Before each step the image is rolled by a random offset, so that tile borders fall elsewhere each time
//! and no seam builds up.

use rand_chacha::{ChaCha8Rng, rand_core::Rng};
use tch::Tensor;

use super::{CancelFlag, RenderError, exec::Executor, objective::Goal};
use crate::spec::Tiling;

/// One axis of a tile: `start..start + length`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) start: i64,
    pub(super) length: i64,
}

/// Cuts an axis of `n` pixels into spans.
///
/// [`Tiling::Even`]: as few near-equal spans as possible, none longer than `tile`; they cover everything.
/// [`Tiling::Article`]: `range(0, max(n − tile/2, tile), tile)`; up to half a tile is left out at the end.
pub(super) fn spans(n: i64, tile: i64, tiling: Tiling) -> Vec<Span> {
    match tiling {
        Tiling::Even => {
            let count = (n + tile - 1) / tile;
            let edge = |index: i64| index * n / count;
            (0..count)
                .map(|index| Span { start: edge(index), length: edge(index + 1) - edge(index) })
                .collect()
        }
        Tiling::Article => {
            let starts = (0..(n - tile / 2).max(tile)).step_by(usize::try_from(tile).unwrap_or(usize::MAX));
            starts.map(|start| Span { start, length: tile.min(n - start) }).collect()
        }
    }
}

/// A random offset `(x, y)`, each uniform in `0..tile`.
pub(super) fn jitter(rng: &mut ChaCha8Rng, tile: i64) -> (i64, i64) {
    // Multiply-shift maps 32 random bits to the range; its bias is below 2⁻²⁰ for any tile we allow.
    let mut draw = || ((u64::from(rng.next_u32()) * tile as u64) >> 32) as i64;
    (draw(), draw())
}

/// What a gradient step needs besides the image.
pub(super) struct Walk<'a> {
    pub(super) executor: &'a Executor,
    pub(super) goal: &'a Goal,
    pub(super) tile: i64,
    pub(super) tiling: Tiling,
    pub(super) cancel: &'a CancelFlag,
}

impl Walk<'_> {
    /// Score and gradient of the whole `image`, `[1, 3, H, W]`, which is rolled by `shift` = (x, y) first
    /// and back afterwards. The score is the mean over the tiles, weighted by their pixels.
    ///
    /// # Errors
    /// [`RenderError::Canceled`] between tiles, otherwise what the executor says.
    pub(super) fn gradient(&self, image: &Tensor, shift: (i64, i64)) -> Result<(f64, Tensor), RenderError> {
        let (_, _, height, width) = image.size4()?;
        let rolled = roll(image, shift)?;
        let gradient = rolled.f_zeros_like()?;
        let (mut score, mut pixels) = (0.0, 0.0);
        for row in spans(height, self.tile, self.tiling) {
            for column in spans(width, self.tile, self.tiling) {
                if self.cancel.is_canceled() {
                    return Err(RenderError::Canceled);
                }
                let (tile_score, tile_gradient) =
                    self.goal.gradient(self.executor, &cut(&rolled, row, column)?)?;
                cut(&gradient, row, column)?.f_copy_(&tile_gradient)?;
                let area = (row.length * column.length) as f64;
                score += tile_score * area;
                pixels += area;
            }
        }
        Ok((score / pixels, roll(&gradient, (-shift.0, -shift.1))?))
    }

    /// One gradient of the first tile: libtorch plans and compiles its kernels at first use.
    pub(super) fn warm_up(&self, image: &Tensor) -> Result<(), RenderError> {
        let (_, _, height, width) = image.size4()?;
        let first = |n| spans(n, self.tile, self.tiling).into_iter().next();
        if let (Some(row), Some(column)) = (first(height), first(width)) {
            drop(self.goal.gradient(self.executor, &cut(image, row, column)?)?);
        }
        Ok(())
    }

    /// Score of the whole image, tiles as in [`Self::gradient`] without a shift.
    pub(super) fn score(&self, image: &Tensor) -> Result<f64, RenderError> {
        let (_, _, height, width) = image.size4()?;
        let (mut score, mut pixels) = (0.0, 0.0);
        for row in spans(height, self.tile, self.tiling) {
            for column in spans(width, self.tile, self.tiling) {
                let area = (row.length * column.length) as f64;
                score +=
                    self.goal.score(self.executor, &cut(image, row, column)?)?.f_double_value(&[])? * area;
                pixels += area;
            }
        }
        Ok(score / pixels)
    }
}

/// A view of one tile.
pub(super) fn cut(image: &Tensor, row: Span, column: Span) -> Result<Tensor, RenderError> {
    Ok(image.f_narrow(2, row.start, row.length)?.f_narrow(3, column.start, column.length)?)
}

fn roll(image: &Tensor, (x, y): (i64, i64)) -> Result<Tensor, RenderError> {
    if (x, y) == (0, 0) { Ok(image.shallow_clone()) } else { Ok(image.f_roll([y, x], [2, 3])?) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn even_spans_cover_every_pixel_once() {
        for tile in [64, 100, 512] {
            for n in 1..1500 {
                let spans = spans(n, tile, Tiling::Even);
                let mut next = 0;
                for span in &spans {
                    assert_eq!(span.start, next);
                    assert!((1..=tile).contains(&span.length));
                    next += span.length;
                }
                assert_eq!(next, n);
                assert_eq!(spans.len() as i64, (n + tile - 1) / tile);
            }
        }
    }

    #[test]
    fn article_spans_are_those_of_the_article() {
        let of = |n| {
            spans(n, 512, Tiling::Article).iter().map(|span| (span.start, span.length)).collect::<Vec<_>>()
        };
        assert_eq!(of(359), [(0, 359)]);
        assert_eq!(of(640), [(0, 512)]);
        assert_eq!(of(769), [(0, 512), (512, 257)]);
        assert_eq!(of(1280), [(0, 512), (512, 512)]);
    }
}
