//! Max-pooling, with any padding, and its way back.

use tch::{Kind, Tensor};

use crate::graph::Window;

use super::{
    super::RenderError, Half, Team, Value, added_to, empty, extent_of, values, values_mut, vectorised,
};

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
    /// Whether the input comes from a rectifier that nobody else reads. Then the way back is through both: a maximum
    /// that is not positive hands nothing on, and nobody has to look at the rectifier's output again.
    pub(in super::super) rectified: bool,
}

/// The tap of a maximum that hands nothing on.
const NOWHERE: u8 = 255;

impl Pool {
    /// The windows over a map of so many rows and columns; none where they do not fit.
    pub(in super::super) fn of(input: [i64; 2], window: Window, rectified: bool) -> Option<Self> {
        let Window { kernel, stride, padding } = window;
        let input = input.map(|n| n as usize);
        let [rows, columns] = [0, 1].map(|axis| padding.resolve(input[axis], kernel[axis], stride[axis]));
        let ((height, top, _), (width, left, _)) = (rows?, columns?);
        Some(Self { kernel, stride, before: [top, left], input, output: [height, width], rectified })
    }

    /// Maxima, and which tap of each window they are (counted row by row, the first of equals): one byte each. Only
    /// where the loops can run over `x`.
    pub(in super::super) fn forward(
        &self,
        team: &Team,
        x: &Tensor,
    ) -> Result<Option<(Tensor, Tensor)>, RenderError> {
        match x.f_kind()? {
            Kind::BFloat16 => self.forward_of::<Half>(team, x),
            _ => self.forward_of::<f32>(team, x),
        }
    }

    fn forward_of<V: Value>(&self, team: &Team, x: &Tensor) -> Result<Option<(Tensor, Tensor)>, RenderError> {
        let few = self.kernel[0] * self.kernel[1] <= usize::from(NOWHERE);
        let Some([images, _, _, channels]) = extent_of::<V>(x).filter(|_| few) else {
            return Ok(None);
        };
        let [height, width] = self.output;
        let mut y = empty::<V>([images, height, width, channels])?;
        let mut taps = empty::<u8>([images, height, width, channels])?;
        let from = values::<V>(x);
        let row = width * channels;
        let mut both: Vec<(&mut [V], &mut [u8])> = values_mut::<V>(&mut y)
            .chunks_mut(row)
            .zip(values_mut::<u8>(&mut taps).chunks_mut(row))
            .collect();
        team.share(size_of::<V>() * images * height * row, &mut both, 1, |first, rows| {
            for (index, (y, taps)) in rows.iter_mut().enumerate() {
                pool_row(self, channels, from, first + index, y, taps);
            }
        });
        Ok(Some((y, taps)))
    }

    /// The gradient of the input, given that of the output and its taps; where the loops can run over it. It is added
    /// to `sum`, a map that nobody else looks at, where there is one.
    pub(in super::super) fn backward(
        &self,
        team: &Team,
        gradient: &Tensor,
        taps: &Tensor,
        sum: Option<Tensor>,
    ) -> Result<Option<Tensor>, RenderError> {
        match gradient.f_kind()? {
            Kind::BFloat16 => self.backward_of::<Half>(team, gradient, taps, sum),
            _ => self.backward_of::<f32>(team, gradient, taps, sum),
        }
    }

    fn backward_of<V: Value>(
        &self,
        team: &Team,
        gradient: &Tensor,
        taps: &Tensor,
        sum: Option<Tensor>,
    ) -> Result<Option<Tensor>, RenderError> {
        let Some([images, _, _, channels]) = extent_of::<V>(gradient) else { return Ok(None) };
        let [height, width] = self.input;
        let (onto, apart) = match sum {
            Some(sum) if extent_of::<V>(&sum) == Some([images, height, width, channels]) => (Some(sum), None),
            other => (None, other),
        };
        let fresh = onto.is_none();
        let mut back = match onto {
            Some(sum) => sum,
            None => empty::<V>([images, height, width, channels])?,
        };
        let (gradient, taps) = (values::<V>(gradient), values::<u8>(taps));
        team.over(values_mut(&mut back), width * channels, |first, back| {
            gather_rows(self, channels, gradient, taps, first, fresh, back);
        });
        Ok(Some(added_to(apart, back)?))
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

    /// Windows that see the place `at` of an axis.
    #[inline(always)]
    fn seen_by(&self, axis: usize, at: usize) -> std::ops::Range<usize> {
        let reach = at + self.before[axis];
        let last = (reach / self.stride[axis] + 1).min(self.output[axis]);
        let first = (reach + 1).saturating_sub(self.kernel[axis]).div_ceil(self.stride[axis]);
        first.min(last)..last
    }
}

/// Channels that are computed together: so many values and taps fit the registers of any processor.
const BLOCK: usize = 32;

/// Where a window lies in the values of a map, and the number of the tap that counts there.
type Seen = (usize, u8);

vectorised! {
    fn pool_row<V: Value>(pool: &Pool, channels: usize, x: &[V], row: usize, y: &mut [V], taps: &mut [u8]) {
        let mut seen: Vec<Seen> = Vec::with_capacity(pool.kernel[0] * pool.kernel[1]);
        let (image, row) = (row / pool.output[0], row % pool.output[0]);
        let x = &x[image * pool.input[0] * pool.input[1] * channels..];
        let outputs = y.chunks_exact_mut(channels).zip(taps.chunks_exact_mut(channels));
        for (column, (y, taps)) in outputs.enumerate() {
            seen.clear();
            for down in pool.inside(0, row) {
                for across in pool.inside(1, column) {
                    let at = pool.place(0, row, down) * pool.input[1] + pool.place(1, column, across);
                    seen.push((at * channels, (down * pool.kernel[1] + across) as u8));
                }
            }
            for start in (0..channels).step_by(BLOCK) {
                // The last block reaches back into the one before, which finds the same again.
                let start = start.min(channels.saturating_sub(BLOCK));
                let length = BLOCK.min(channels);
                let (mut best, mut which) = ([f32::NEG_INFINITY; BLOCK], [0; BLOCK]);
                for (at, tap) in &seen {
                    let values = &x[at + start..][..length];
                    if let Some(values) = values.first_chunk() {
                        keep(&mut best, &mut which, values, *tap);
                    } else {
                        let mut few = [V::nearest(f32::NEG_INFINITY); BLOCK];
                        few[..length].copy_from_slice(values);
                        keep(&mut best, &mut which, &few, *tap);
                    }
                }
                if pool.rectified {
                    for (which, best) in which.iter_mut().zip(&best) {
                        *which |= u8::from(*best <= 0.0).wrapping_neg() & NOWHERE;
                    }
                }
                for (y, best) in y[start..][..length].iter_mut().zip(&best) {
                    *y = V::nearest(*best);
                }
                taps[start..][..length].copy_from_slice(&which[..length]);
            }
        }
    }
}

/// Keeps what is larger. What is no number wins, so that it is noticed. With a choice between values instead of masks the
/// compiler would keep the best ones in memory.
#[inline(always)]
fn keep<V: Value>(best: &mut [f32; BLOCK], which: &mut [u8; BLOCK], values: &[V; BLOCK], tap: u8) {
    for ((best, which), value) in best.iter_mut().zip(which.iter_mut()).zip(values) {
        let value = value.wide();
        let better = (value > *best) | value.is_nan();
        let mask = u32::from(better).wrapping_neg();
        *best = f32::from_bits((value.to_bits() & mask) | (best.to_bits() & !mask));
        *which = if better { tap } else { *which };
    }
}

vectorised! {
    // The rows of `back`, from `first`, gather what the windows that see them hand on, in the order of the windows.
    fn gather_rows<V: Value>(
        pool: &Pool,
        channels: usize,
        gradient: &[V],
        taps: &[u8],
        first: usize,
        fresh: bool,
        back: &mut [V],
    ) {
        let width = pool.input[1];
        // Divisions would take longer than the sums of few channels.
        let mut columns = Vec::with_capacity(width);
        for column in 0..width {
            columns.push(pool.seen_by(1, column));
        }
        let mut seen: Vec<Seen> = Vec::with_capacity(pool.kernel[0] * pool.kernel[1]);
        for (index, line) in back.chunks_exact_mut(width * channels).enumerate() {
            let (image, row) = ((first + index) / pool.input[0], (first + index) % pool.input[0]);
            let rows = pool.seen_by(0, row);
            for ((column, windows), back) in columns.iter().enumerate().zip(line.chunks_exact_mut(channels)) {
                seen.clear();
                for down in rows.clone() {
                    let place = (row + pool.before[0] - down * pool.stride[0]) * pool.kernel[1];
                    let start = (image * pool.output[0] + down) * pool.output[1];
                    for across in windows.clone() {
                        let tap = place + column + pool.before[1] - across * pool.stride[1];
                        seen.push(((start + across) * channels, tap as u8));
                    }
                }
                for (block, back) in back.chunks_mut(BLOCK).enumerate() {
                    gather(&seen, gradient, taps, block * BLOCK, fresh, back);
                }
            }
        }
    }
}

/// The gradient of some channels of a place, from channel `start`.
#[inline(always)]
fn gather<V: Value>(seen: &[Seen], gradient: &[V], taps: &[u8], start: usize, fresh: bool, back: &mut [V]) {
    let mut sums = [0.0; BLOCK];
    if !fresh {
        for (sum, back) in sums.iter_mut().zip(&*back) {
            *sum = back.wide();
        }
    }
    for (at, tap) in seen {
        let here = at + start..at + start + back.len();
        let (gradient, taps) = (&gradient[here.clone()], &taps[here]);
        if let (Some(gradient), Some(taps)) = (gradient.first_chunk(), taps.first_chunk()) {
            add_from(&mut sums, gradient, taps, *tap);
        } else {
            let (mut few, mut which) = ([V::nearest(0.0); BLOCK], [NOWHERE; BLOCK]);
            few[..back.len()].copy_from_slice(gradient);
            which[..back.len()].copy_from_slice(taps);
            add_from(&mut sums, &few, &which, *tap);
        }
    }
    for (back, sum) in back.iter_mut().zip(&sums) {
        *back = V::nearest(*sum);
    }
}

/// Adds what a window hands on through a tap.
#[inline(always)]
fn add_from<V: Value>(sums: &mut [f32; BLOCK], gradient: &[V; BLOCK], which: &[u8; BLOCK], tap: u8) {
    for ((sum, gradient), which) in sums.iter_mut().zip(gradient).zip(which) {
        let mask = u32::from(*which == tap).wrapping_neg();
        *sum += f32::from_bits(gradient.wide().to_bits() & mask);
    }
}
