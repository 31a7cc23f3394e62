//! Max-pooling, with any padding, and its way back.

use tch::{Kind, Tensor};

use reverie_graph::Window;

use super::{
    super::RenderError,
    Half, Team, Value, added_to, empty, extent_of,
    lanes::{LANES, Lanes, in_lanes, read, write},
    values, values_mut,
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
            gather_rows(self, channels, (gradient, taps), first, fresh, back);
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

/// What a window sees, or who sees a place: where its values begin, and the number of the tap in between.
type Seen = (usize, u8);

in_lanes! {
    // A row of `y` and `taps`, the one of this number among all images'.
    fn pool_row<V: Value>(lanes, pool: &Pool, channels: usize, x: &[V], row: usize, y: &mut [V], taps: &mut [u8]) {
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
            let mut start = 0;
            while start < channels {
                let length = together::<S>(channels - start);
                let (y, taps) = (&mut y[start..][..length], &mut taps[start..][..length]);
                match length {
                    FOUR => maxima::<V, S, 4>(lanes, &seen, pool.rectified, &x[start..], y, taps),
                    TWO => maxima::<V, S, 2>(lanes, &seen, pool.rectified, &x[start..], y, taps),
                    _ => maxima::<V, S, 1>(lanes, &seen, pool.rectified, &x[start..], y, taps),
                }
                start += length;
            }
        }
    }
}

const FOUR: usize = 4 * LANES;
const TWO: usize = 2 * LANES;

/// Of so many channels that are left, how many are computed at once, in registers.
#[inline(always)]
fn together<S: Lanes>(left: usize) -> usize {
    let most = if S::MANY { FOUR } else { TWO };
    if left >= most { most } else { left.min(LANES) }
}

/// The maxima of `WIDE` times sixteen channels, or of fewer than sixteen, and their taps.
#[inline(always)]
fn maxima<V: Value, S: Lanes, const WIDE: usize>(
    lanes: S,
    seen: &[Seen],
    rectified: bool,
    x: &[V],
    y: &mut [V],
    taps: &mut [u8],
) {
    let mut best = [(lanes.splat(f32::NEG_INFINITY), lanes.splat_byte(0)); WIDE];
    for (at, tap) in seen {
        let values = &x[*at..][..y.len()];
        for part in 0..WIDE {
            best[part] = lanes.larger(best[part], read(lanes, &values[part * LANES..]), *tap);
        }
    }
    for part in 0..WIDE {
        let (values, mut which) = best[part];
        if rectified {
            which = lanes.unless_positive(which, values);
        }
        write(lanes, values, &mut y[part * LANES..]);
        let mut bytes = [0; LANES];
        lanes.store_bytes(which, &mut bytes);
        let taps = &mut taps[part * LANES..];
        let few = taps.len().min(LANES);
        taps[..few].copy_from_slice(&bytes[..few]);
    }
}

in_lanes! {
    // The rows of `back`, from `first`, gather what the windows that see them hand on (gradients and taps), in the order of
    // the windows.
    fn gather_rows<V: Value>(
        lanes,
        pool: &Pool,
        channels: usize,
        handed: (&[V], &[u8]),
        first: usize,
        fresh: bool,
        back: &mut [V],
    ) {
        let (gradient, taps) = handed;
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
                let mut start = 0;
                while start < channels {
                    let length = together::<S>(channels - start);
                    let back = &mut back[start..][..length];
                    let (gradient, taps) = (&gradient[start..], &taps[start..]);
                    match length {
                        FOUR => gather::<V, S, 4>(lanes, &seen, gradient, taps, fresh, back),
                        TWO => gather::<V, S, 2>(lanes, &seen, gradient, taps, fresh, back),
                        _ => gather::<V, S, 1>(lanes, &seen, gradient, taps, fresh, back),
                    }
                    start += length;
                }
            }
        }
    }
}

/// The gradient of `WIDE` times sixteen channels of a place, or of fewer than sixteen.
#[inline(always)]
fn gather<V: Value, S: Lanes, const WIDE: usize>(
    lanes: S,
    seen: &[Seen],
    gradient: &[V],
    taps: &[u8],
    fresh: bool,
    back: &mut [V],
) {
    let mut sums = [lanes.splat(0.0); WIDE];
    if !fresh {
        for part in 0..WIDE {
            sums[part] = read(lanes, &back[part * LANES..]);
        }
    }
    for (at, tap) in seen {
        let (gradient, taps) = (&gradient[*at..][..back.len()], &taps[*at..][..back.len()]);
        for part in 0..WIDE {
            let mut few = [NOWHERE; LANES];
            let taps = &taps[part * LANES..];
            let taps = taps.first_chunk().unwrap_or_else(|| {
                few[..taps.len()].copy_from_slice(taps);
                &few
            });
            sums[part] = lanes.add_where(sums[part], read(lanes, &gradient[part * LANES..]), taps, *tap);
        }
    }
    for part in 0..WIDE {
        write(lanes, sums[part], &mut back[part * LANES..]);
    }
}
