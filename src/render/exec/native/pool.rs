//! Max-pooling, with any padding, and its way back.

use tch::{Kind, Tensor};

use crate::graph::Window;

use super::{super::super::RenderError, Team, empty, extent, values, values_mut, vectorised};

/// Where the windows of a pooling lie, `[rows, columns]` throughout.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Pool {
    pub(in super::super) kernel: [usize; 2],
    pub(in super::super) stride: [usize; 2],
    /// Positions that the first window reaches over the edge.
    pub(in super::super) before: [usize; 2],
    /// Of the input.
    pub(in super::super) input: [usize; 2],
    /// Of the output.
    pub(in super::super) output: [usize; 2],
}

impl Pool {
    /// The windows over a map of so many rows and columns; none where they do not fit.
    pub(in super::super) fn of(input: [i64; 2], window: Window) -> Option<Self> {
        let Window { kernel, stride, padding } = window;
        let input = input.map(|n| n as usize);
        let [rows, columns] = [0, 1].map(|axis| padding.resolve(input[axis], kernel[axis], stride[axis]));
        let ((height, top, _), (width, left, _)) = (rows?, columns?);
        Some(Self { kernel, stride, before: [top, left], input, output: [height, width] })
    }

    /// Maxima, and which tap of each window they are (counted row by row, the first of equals): one byte each. Only
    /// where the loops can run over `x`.
    pub(in super::super) fn forward(
        &self,
        team: &Team,
        x: &Tensor,
    ) -> Result<Option<(Tensor, Tensor)>, RenderError> {
        let Some([_, _, channels]) = extent(x).filter(|_| self.kernel[0] * self.kernel[1] <= 256) else {
            return Ok(None);
        };
        let [height, width] = self.output;
        let mut y = empty([height, width, channels], Kind::Float)?;
        let mut taps = empty([height, width, channels], Kind::Uint8)?;
        let from = values::<f32>(x);
        let row = width * channels;
        let mut both: Vec<(&mut [f32], &mut [u8])> = values_mut::<f32>(&mut y)
            .chunks_mut(row)
            .zip(values_mut::<u8>(&mut taps).chunks_mut(row))
            .collect();
        team.over(&mut both, 1, |first, rows| {
            for (index, (y, taps)) in rows.iter_mut().enumerate() {
                pool_row(self, channels, from, first + index, y, taps);
            }
        });
        Ok(Some((y, taps)))
    }

    /// The gradient of the input, given that of the output and its taps; where the loops can run over it.
    pub(in super::super) fn backward(
        &self,
        team: &Team,
        gradient: &Tensor,
        taps: &Tensor,
    ) -> Result<Option<Tensor>, RenderError> {
        let Some([_, _, channels]) = extent(gradient) else { return Ok(None) };
        let [height, width] = self.input;
        let mut back = empty([height, width, channels], Kind::Float)?;
        let (gradient, taps) = (values::<f32>(gradient), values::<u8>(taps));
        team.over(values_mut(&mut back), width * channels, |first, back| {
            spread(self, channels, gradient, taps, first, back);
        });
        Ok(Some(back))
    }

    /// Taps of the window at `position` that lie inside the map along an axis.
    #[inline(always)]
    fn inside(&self, axis: usize, position: usize) -> std::ops::Range<usize> {
        let start = position * self.stride[axis];
        let first = self.before[axis].saturating_sub(start);
        let last = (self.input[axis] + self.before[axis]).saturating_sub(start).min(self.kernel[axis]);
        first..last.max(first)
    }

    /// Where a tap lies in the map.
    #[inline(always)]
    fn place(&self, axis: usize, position: usize, tap: usize) -> usize {
        position * self.stride[axis] + tap - self.before[axis]
    }
}

/// Channels whose maxima are found together: so many values and taps fit the registers.
const BLOCK: usize = 16;

vectorised! {
    fn pool_row(pool: &Pool, channels: usize, x: &[f32], row: usize, y: &mut [f32], taps: &mut [u8]) {
        let outputs = y.chunks_exact_mut(channels).zip(taps.chunks_exact_mut(channels));
        for (column, (y, taps)) in outputs.enumerate() {
            let (down, across) = (pool.inside(0, row), pool.inside(1, column));
            for start in (0..channels).step_by(BLOCK) {
                // The last block reaches back into the one before, which finds the same again.
                let start = start.min(channels.saturating_sub(BLOCK));
                let length = BLOCK.min(channels);
                let (mut best, mut which) = ([f32::NEG_INFINITY; BLOCK], [0u32; BLOCK]);
                for down in down.clone() {
                    for across in across.clone() {
                        let at = pool.place(0, row, down) * pool.input[1] + pool.place(1, column, across);
                        let tap = (down * pool.kernel[1] + across) as u32;
                        let values = &x[at * channels + start..][..length];
                        if let Some(values) = values.first_chunk() {
                            keep(&mut best, &mut which, values, tap);
                        } else {
                            let mut few = [f32::NEG_INFINITY; BLOCK];
                            few[..length].copy_from_slice(values);
                            keep(&mut best, &mut which, &few, tap);
                        }
                    }
                }
                y[start..][..length].copy_from_slice(&best[..length]);
                for (tap, which) in taps[start..][..length].iter_mut().zip(&which) {
                    *tap = *which as u8;
                }
            }
        }
    }
}

/// Keeps what is larger. What is no number wins, so that it is noticed. Written with masks, one step at a time: of a
/// choice between values the compiler makes branches, which take five times as long.
#[inline(always)]
fn keep(best: &mut [f32; BLOCK], which: &mut [u32; BLOCK], values: &[f32; BLOCK], tap: u32) {
    let mut better = [0u32; BLOCK];
    for (better, (value, best)) in better.iter_mut().zip(values.iter().zip(best.iter())) {
        *better = u32::from((value > best) | value.is_nan()).wrapping_neg();
    }
    for (best, (value, better)) in best.iter_mut().zip(values.iter().zip(&better)) {
        *best = f32::from_bits((value.to_bits() & better) | (best.to_bits() & !better));
    }
    for (which, better) in which.iter_mut().zip(&better) {
        *which = (tap & better) | (*which & !better);
    }
}

vectorised! {
    // The rows of `back`, from `first`, gather what the windows that see them hand on: always in the same order,
    // whichever rows are done together.
    fn spread(pool: &Pool, channels: usize, gradient: &[f32], taps: &[u8], first: usize, back: &mut [f32]) {
        back.fill(0.0);
        let width = pool.input[1];
        let rows = first..first + back.len() / (width * channels);
        let mut which = vec![0u32; channels];
        for row in 0..pool.output[0] {
            let down = pool.inside(0, row);
            let ours = down.filter(|&tap| rows.contains(&pool.place(0, row, tap)));
            if ours.clone().next().is_none() {
                continue;
            }
            for column in 0..pool.output[1] {
                let at = (row * pool.output[1] + column) * channels;
                let gradient = &gradient[at..][..channels];
                for (which, tap) in which.iter_mut().zip(&taps[at..][..channels]) {
                    *which = u32::from(*tap);
                }
                for down in ours.clone() {
                    for across in pool.inside(1, column) {
                        let tap = (down * pool.kernel[1] + across) as u32;
                        let to = (pool.place(0, row, down) - first) * width + pool.place(1, column, across);
                        let sums = &mut back[to * channels..][..channels];
                        for ((sum, gradient), which) in sums.iter_mut().zip(gradient).zip(&which) {
                            *sum += if *which == tap { *gradient } else { 0.0 };
                        }
                    }
                }
            }
        }
    }
}
