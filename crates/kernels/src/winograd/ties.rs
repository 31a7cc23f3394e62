//! Tie-breaking: equal results where the map is equal.
//!
//! Where a picture is flat, plain sums over equal patches have equal bits, and an argmax chooses the first: its
//! gradient goes where other programs send it. With fewer multiplications a result depends in the last digit on where
//! it lies in its window, and chance would choose: gradients then differ by a per cent. So neighbours with equal
//! patches all get the result of one of them.

use super::super::{ThreadPool, value::Value};

/// What a pixel shares with the one to its left.
const LEFT: u8 = 1;
/// What a pixel shares with the one above.
const ABOVE: u8 = 2;

/// One image of a map, and the patches of it that the results of a convolution depend on.
#[derive(Clone, Copy)]
pub(super) struct PatchEquality<'a, V> {
    /// Its values.
    pub(super) x: &'a [V],
    /// Values from one pixel to the next.
    pub(super) pixel_stride: usize,
    pub(super) channels: usize,
    /// Rows and columns.
    pub(super) size: [usize; 2],
    /// Rows and columns of zeros around it.
    pub(super) padding: [usize; 2],
    /// Weights along an axis.
    pub(super) taps: usize,
}

impl<V: Value> PatchEquality<'_, V> {
    /// Gives positions with equal patches the result of one of them. `y` has `columns` positions to a row, and
    /// `outputs` values to a position.
    pub(super) fn break_ties(&self, threads: &ThreadPool, y: &mut [V], columns: usize, outputs: usize) {
        let shared = self.shared(threads);
        if shared.iter().all(|shared| *shared == 0) {
            return;
        }
        let mut origins: Vec<usize> = (0..y.len() / outputs).collect();
        for at in 0..origins.len() {
            let position = [at / columns, at % columns];
            for (with, other) in [(LEFT, at.checked_sub(1)), (ABOVE, at.checked_sub(columns))] {
                if let Some(other) = other
                    && (with == ABOVE || position[1] > 0)
                    && self.equals_neighbour(&shared, position, with)
                {
                    let [one, other] = [at, other].map(|at| origin(&mut origins, at));
                    origins[one.max(other)] = one.min(other);
                }
            }
        }
        for at in 0..origins.len() {
            let from = origin(&mut origins, at);
            if from != at {
                y.copy_within(from * outputs..(from + 1) * outputs, at * outputs);
            }
        }
    }

    /// What each pixel shares with its neighbours.
    fn shared(&self, threads: &ThreadPool) -> Vec<u8> {
        let width = self.size[1];
        let pixel = |at: usize| &self.x[at * self.pixel_stride..][..self.channels];
        let mut shared = vec![0; self.size[0] * width];
        threads.split_by_cost(size_of_val(self.x), &mut shared, width, |first, shared| {
            for (at, shared) in (first * width..).zip(shared) {
                if !at.is_multiple_of(width) && pixel(at) == pixel(at - 1) {
                    *shared |= LEFT;
                }
                if at >= width && pixel(at) == pixel(at - width) {
                    *shared |= ABOVE;
                }
            }
        });
        shared
    }

    /// Whether a position has the same patch as that to its left, or above. What lies outside of the map is equal to
    /// itself, and counts as different from all inside.
    fn equals_neighbour(&self, shared: &[u8], [row, column]: [usize; 2], with: u8) -> bool {
        let [height, width] = self.size;
        let [top, left] = self.padding;
        // Of the axis along which the neighbour lies, the first pixel is compared with one outside, and so is one that
        // would follow the last.
        let [rows, columns] =
            if with == LEFT { [0..height, 0..width + 1] } else { [0..height + 1, 0..width] };
        for down in row..row + self.taps {
            for across in column..column + self.taps {
                let at = [down.wrapping_sub(top), across.wrapping_sub(left)];
                if !rows.contains(&at[0]) || !columns.contains(&at[1]) {
                    continue;
                }
                let inside = at[0] < height && at[1] < width;
                if !inside || shared[at[0] * width + at[1]] & with == 0 {
                    return false;
                }
            }
        }
        true
    }
}

/// The first position with the patch of `at`; shortens the path there.
fn origin(origins: &mut [usize], mut at: usize) -> usize {
    while origins[at] != at {
        origins[at] = origins[origins[at]];
        at = origins[at];
    }
    at
}
