//! Where in the picture an objective counts: a Gaussian about a place, as weights of a layer's positions.
//!
//! The place is one of the picture, whatever tiles lie on it and wherever jitter has moved them: each row and column of a
//! window is traced back to the picture's before it gets its weight. A position of a layer sees a cell of the window, and has
//! the mean over it; so of a coarse layer the nearest position counts, however small the radius is.
//!
//! Weights have a mean of 1 over the picture: the objective is a weighted mean over all of its positions, and the sum over tiles
//! is that of the whole.

use reverie_dream::{plan::Span, spec::Spot};

/// Smallest standard deviation in pixels: below it, the weights of a small picture would all be 0.
const LEAST: f64 = 0.5;

/// The weights of a picture's pixels: those of a row times those of a column.
pub(super) struct Spotlight {
    pub(super) rows: Axis,
    pub(super) columns: Axis,
}

/// Weights along one axis; their mean is 1.
pub(super) struct Axis(Vec<f64>);

impl Spotlight {
    /// Of a picture of `height × width` pixels.
    pub(super) fn new(spot: &Spot, height: i64, width: i64) -> Self {
        let deviation = (spot.radius * height.min(width) as f64).max(LEAST);
        let axis = |centre: f64, extent: i64| Axis::new(centre * extent as f64, deviation, extent);
        Self { rows: axis(spot.y, height), columns: axis(spot.x, width) }
    }
}

impl Axis {
    fn new(centre: f64, deviation: f64, extent: i64) -> Self {
        let weight = |index: i64| (-((index as f64 + 0.5 - centre) / deviation).powi(2) / 2.0).exp();
        let weights: Vec<f64> = (0..extent).map(weight).collect();
        let mean = weights.iter().sum::<f64>() / weights.len().max(1) as f64;
        Self(weights.into_iter().map(|weight| weight / mean).collect())
    }

    /// Weights of `positions` that see the `window` of an axis that was rolled by `shift`, in their order.
    pub(super) fn of_window(&self, window: Span, shift: i64, positions: usize) -> Vec<f64> {
        let Self(weights) = self;
        let extent = weights.len() as i64;
        let at = |pixel: i64| weights[(window.start + pixel - shift).rem_euclid(extent) as usize];
        let count = positions.max(1) as i64;
        let cell = |index: i64| {
            let from = index * window.length / count;
            let to = ((index + 1) * window.length + count - 1) / count;
            let to = to.max(from + 1);
            (from..to).map(at).sum::<f64>() / (to - from) as f64
        };
        (0..count).map(cell).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_have_a_mean_of_one_and_are_the_pictures_wherever_windows_lie() {
        let spot = Spot { x: 0.25, y: 0.75, radius: 0.1 };
        let Spotlight { rows, columns } = Spotlight::new(&spot, 120, 200);
        for (Axis(weights), centre) in [(&rows, 90), (&columns, 50)] {
            assert!((weights.iter().sum::<f64>() / weights.len() as f64 - 1.0).abs() < 1e-12);
            let largest = weights.iter().copied().fold(0.0, f64::max);
            assert!((weights[centre] - largest).abs() < 1e-9, "{centre}");
            // At one standard deviation.
            assert!((weights[centre + 12] / largest - (-0.5_f64).exp()).abs() < 0.1);
        }
        // Every pixel a position: the window's are those of the picture, over its edge too.
        let window = Span { start: 150, length: 80 };
        let found = columns.of_window(window, 17, 80);
        let expected: Vec<f64> = (0..80).map(|index| columns.0[(150 + index - 17) % 200]).collect();
        assert_eq!(found, expected);
        // Fewer positions than pixels: means over cells, which keep the mean.
        let coarse = columns.of_window(Span { start: 0, length: 200 }, 0, 25);
        assert!((coarse.iter().sum::<f64>() / 25.0 - 1.0).abs() < 1e-12);
        assert_eq!(coarse.iter().enumerate().max_by(|one, other| one.1.total_cmp(other.1)).unwrap().0, 6);
    }

    #[test]
    fn a_small_radius_still_has_its_nearest_position() {
        for (height, width) in [(1, 1), (2, 3), (40, 7), (640, 480)] {
            let spot = Spot { x: 0.3, y: 1.0, radius: 0.005 };
            let Spotlight { rows, columns } = Spotlight::new(&spot, height, width);
            for (axis, extent) in [(&rows, height), (&columns, width)] {
                let found =
                    axis.of_window(Span { start: 0, length: extent }, 0, (extent as usize).div_ceil(16));
                assert!(found.iter().all(|weight| weight.is_finite()));
                assert!(found.iter().sum::<f64>() / found.len() as f64 > 0.5, "{height}×{width}: {found:?}");
            }
        }
    }
}
