//! Equal results where the map is equal.
//!
//! Where a picture is flat, windows of plain sums see the same values and give the same bits, and a maximum over them is
//! the first: that is what other programs hand gradients to. With fewer multiplications a result depends in the last
//! digit on where it lies in its window, and chance would choose: gradients then differ by a per cent. So of positions
//! that see the same as a neighbour all get the result of one.

use super::super::{Team, Value};

/// What a pixel shares with the one to its left.
const LEFT: u8 = 1;
/// What a pixel shares with the one above.
const ABOVE: u8 = 2;

/// One image of a map, and how a kernel slides over it.
#[derive(Clone, Copy)]
pub(super) struct Sight<'a, V> {
    /// Its values, and from one pixel to the next.
    pub(super) x: &'a [V],
    pub(super) step: usize,
    pub(super) channels: usize,
    /// Rows and columns.
    pub(super) size: [usize; 2],
    /// Rows and columns of zeros around it.
    pub(super) padding: [usize; 2],
    /// Taps of the kernel along an axis.
    pub(super) taps: usize,
}

impl<V: Value> Sight<'_, V> {
    /// Makes the results of positions that see the same those of one of them. `y` has `columns` to a row, and so many
    /// values to a position.
    pub(super) fn equalise(&self, team: &Team, y: &mut [V], columns: usize, kernels: usize) {
        let shared = self.shared(team);
        if shared.iter().all(|shared| *shared == 0) {
            return;
        }
        let mut origins: Vec<usize> = (0..y.len() / kernels).collect();
        for at in 0..origins.len() {
            let position = [at / columns, at % columns];
            for (with, other) in [(LEFT, at.checked_sub(1)), (ABOVE, at.checked_sub(columns))] {
                if let Some(other) = other
                    && (with == ABOVE || position[1] > 0)
                    && self.sees_the_same(&shared, position, with)
                {
                    let [one, other] = [at, other].map(|at| origin(&mut origins, at));
                    origins[one.max(other)] = one.min(other);
                }
            }
        }
        for at in 0..origins.len() {
            let from = origin(&mut origins, at);
            if from != at {
                y.copy_within(from * kernels..(from + 1) * kernels, at * kernels);
            }
        }
    }

    /// What each pixel shares with its neighbours.
    fn shared(&self, team: &Team) -> Vec<u8> {
        let width = self.size[1];
        let pixel = |at: usize| &self.x[at * self.step..][..self.channels];
        let mut shared = vec![0; self.size[0] * width];
        team.share(size_of_val(self.x), &mut shared, width, |first, shared| {
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

    /// Whether a position sees what that to its left, or above, sees. What lies outside of the map is equal to itself,
    /// and counts as different from all inside.
    fn sees_the_same(&self, shared: &[u8], [row, column]: [usize; 2], with: u8) -> bool {
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

/// The first position that sees what `at` sees; shortens the way there.
fn origin(origins: &mut [usize], mut at: usize) -> usize {
    while origins[at] != at {
        origins[at] = origins[origins[at]];
        at = origins[at];
    }
    at
}
