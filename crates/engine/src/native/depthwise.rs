//! Convolutions of every channel by itself, and their way back.
//!
//! These read and write a lot for the little that they compute, and libtorch adds to that: uneven padding as a copy of the
//! map, the way back through a stride value by value, a rectifier's derivative as one more pass. Here a few neighbouring
//! results of sixteen channels are summed up in registers, where the map lies.

use tch::{Kind, Tensor};

use super::{
    super::RenderError,
    Finish, Half, Team, Value, empty, extent_of, floats,
    lanes::{LANES, Lanes, has_lanes, in_lanes},
    rectifier::Rectifier,
    values, values_mut,
};

/// Results side by side that share the weights in the registers.
const SIDE: usize = 4;

/// The kernels of all channels.
pub(in super::super) struct Depthwise {
    channels: usize,
    kernel: [usize; 2],
    /// `[kh · kw, C]`.
    weights: Vec<f32>,
}

/// How a kernel slides over a map, `[rows, columns]` throughout.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Stride {
    pub(in super::super) stride: [usize; 2],
    /// Rows and columns of zeros before the map.
    pub(in super::super) before: [usize; 2],
    /// Of the input.
    pub(in super::super) input: [usize; 2],
    /// Of the output.
    pub(in super::super) output: [usize; 2],
}

impl Depthwise {
    /// Takes over weights `[C, 1, kh, kw]` of a convolution in so many groups; none where the loops are not for it.
    pub(in super::super) fn of(weight: &Tensor, groups: usize) -> Result<Option<Self>, RenderError> {
        let (channels, shared, height, width) = weight.size4()?;
        if channels != groups as i64 || shared != 1 || channels % LANES as i64 != 0 || !has_lanes() {
            return Ok(None);
        }
        let weights = floats(&weight.f_permute([2, 3, 0, 1])?)?;
        let [channels, height, width] = [channels, height, width].map(|n| n as usize);
        Ok(Some(Self { channels, kernel: [height, width], weights }))
    }

    /// The convolution of `x`, `[N, C, H, W]`; none where the loops cannot run over it.
    pub(in super::super) fn forward(
        &self,
        team: &Team,
        x: &Tensor,
        stride: Stride,
        finish: Finish<'_>,
    ) -> Result<Option<Tensor>, RenderError> {
        self.sweep(stride, finish, false)?.run(team, x, None)
    }

    /// The gradient of the input, given that of the output, or of the input of the rectifier before it; none where the
    /// loops cannot run over them.
    pub(in super::super) fn backward(
        &self,
        team: &Team,
        gradient: &Tensor,
        stride: Stride,
        rectifier: Option<Rectifier<'_>>,
    ) -> Result<Option<Tensor>, RenderError> {
        self.sweep(stride, Finish::NONE, true)?.run(team, gradient, rectifier)
    }

    fn sweep(&self, stride: Stride, finish: Finish<'_>, back: bool) -> Result<Sweep<'_>, RenderError> {
        let Finish { bias, low, high } = finish;
        let bias = bias.map(floats).transpose()?.unwrap_or_else(|| vec![0.0; self.channels]);
        Ok(Sweep { depthwise: self, stride, back, bias, low, high })
    }
}

/// A convolution, or its way back.
struct Sweep<'a> {
    depthwise: &'a Depthwise,
    stride: Stride,
    back: bool,
    /// `[C]`.
    bias: Vec<f32>,
    low: f32,
    high: f32,
}

/// Where a sum takes a value: at which place of the map, with which tap.
type Term = (usize, usize);

impl Sweep<'_> {
    fn run(
        &self,
        team: &Team,
        x: &Tensor,
        rectifier: Option<Rectifier<'_>>,
    ) -> Result<Option<Tensor>, RenderError> {
        match x.f_kind()? {
            Kind::BFloat16 => self.run_over::<Half>(team, x, rectifier),
            _ => self.run_over::<f32>(team, x, rectifier),
        }
    }

    fn run_over<V: Value>(
        &self,
        team: &Team,
        x: &Tensor,
        rectifier: Option<Rectifier<'_>>,
    ) -> Result<Option<Tensor>, RenderError> {
        let Stride { input, output, .. } = self.stride;
        let (from, to) = if self.back { (output, input) } else { (input, output) };
        let Some([images, rows, columns, channels]) = extent_of::<V>(x) else { return Ok(None) };
        if [rows, columns] != from || channels != self.depthwise.channels {
            return Ok(None);
        }
        let mut y = empty::<V>([images, to[0], to[1], channels])?;
        let shown = match rectifier {
            Some(Rectifier { y: shown, .. }) if extent_of::<V>(shown) != extent_of::<V>(&y) => {
                return Ok(None);
            }
            Some(Rectifier { y: shown, limit }) => Some((values::<V>(shown), limit)),
            None => None,
        };
        let (row, image) = (to[1] * channels, from[0] * from[1] * channels);
        let x = values::<V>(x);
        team.over(values_mut::<V>(&mut y), row, |first, y| {
            for (index, y) in (first..).zip(y.chunks_exact_mut(row)) {
                let x = &x[index / to[0] * image..][..image];
                let shown = shown.map(|(shown, limit)| (&shown[index * row..][..row], limit));
                sweep_row(self, x, index % to[0], shown, y);
            }
        });
        Ok(Some(y))
    }

    /// How far apart results lie that take the same taps, and how far apart what they see.
    #[inline(always)]
    fn steps(&self) -> (usize, usize) {
        let [_, stride] = self.stride.stride;
        if self.back { (stride, 1) } else { (1, stride) }
    }

    /// What the result at a position sums up, in values.
    #[inline(always)]
    fn all_terms(&self, at: [usize; 2], terms: &mut Vec<Term>) {
        let Depthwise { channels, kernel, .. } = *self.depthwise;
        let [_, width] = if self.back { self.stride.output } else { self.stride.input };
        terms.clear();
        for (down, tap_down) in self.terms(0, at[0]) {
            for (across, tap) in self.terms(1, at[1]) {
                terms.push(((down * width + across) * channels, (tap_down * kernel[1] + tap) * channels));
            }
        }
    }

    /// Whether no term of the result at `at` of an axis lies outside of the map: its neighbours then take the same taps.
    #[inline(always)]
    fn takes_all(&self, axis: usize, at: usize) -> bool {
        let Stride { stride, before, input, output } = self.stride;
        let (stride, before, kernel) = (stride[axis], before[axis], self.depthwise.kernel[axis]);
        if self.back {
            let reach = at + before;
            reach + 1 >= kernel && reach / stride < output[axis]
        } else {
            at * stride >= before && at * stride + kernel <= input[axis] + before
        }
    }

    /// What the results at `at` of an axis sum up.
    #[inline(always)]
    fn terms(&self, axis: usize, at: usize) -> impl Iterator<Item = Term> {
        let Stride { stride, before, input, output } = self.stride;
        let (stride, before, back) = (stride[axis], before[axis], self.back);
        let end = if back { output[axis] } else { input[axis] };
        (0..self.depthwise.kernel[axis]).filter_map(move |tap| {
            let place = if back {
                // The window at `place` sees `at` through this tap.
                let reach = (at + before).checked_sub(tap).filter(|reach| reach.is_multiple_of(stride));
                reach.map(|reach| reach / stride)
            } else {
                (at * stride + tap).checked_sub(before)
            };
            place.filter(|place| *place < end).map(|place| (place, tap))
        })
    }
}

in_lanes! {
    fn sweep_row<V: Value>(
        lanes,
        sweep: &Sweep<'_>,
        x: &[V],
        row: usize,
        shown: Option<(&[V], f32)>,
        y: &mut [V],
    ) {
        let channels = sweep.depthwise.channels;
        let (step, apart) = sweep.steps();
        let mut terms = Vec::new();
        let columns = y.len() / channels;
        for phase in 0..step {
            // The terms of the first results that take all taps are those of the others, moved.
            let mut first = None;
            let mut column = phase;
            while column < columns {
                let end = column + (SIDE - 1) * step;
                let side = end < columns && sweep.takes_all(1, column) && sweep.takes_all(1, end);
                let moved = match first {
                    Some(first) if side => (column - first) / step * apart * channels,
                    _ => {
                        sweep.all_terms([row, column], &mut terms);
                        first = side.then_some(column);
                        0
                    }
                };
                let start = column * channels;
                let shown = shown.map(|(shown, limit)| (&shown[start..], limit));
                let (apart, across) = (apart * channels, step * channels);
                let sums = Sums { sweep, terms: &terms, shown, apart, step: across };
                let (x, y) = (&x[moved.min(x.len())..], &mut y[start..]);
                if !side {
                    results::<V, S, 1, 1>(lanes, &sums, x, y);
                } else if S::MANY && channels.is_multiple_of(4 * LANES) {
                    results::<V, S, SIDE, 4>(lanes, &sums, x, y);
                } else if S::MANY && channels.is_multiple_of(3 * LANES) {
                    results::<V, S, SIDE, 3>(lanes, &sums, x, y);
                } else if S::MANY && channels.is_multiple_of(2 * LANES) {
                    results::<V, S, SIDE, 2>(lanes, &sums, x, y);
                } else {
                    results::<V, S, SIDE, 1>(lanes, &sums, x, y);
                }
                column += if side { SIDE * step } else { step };
            }
        }
    }
}

/// What results side by side sum up, and what is done to them; all places and distances in values.
struct Sums<'a, V> {
    sweep: &'a Sweep<'a>,
    terms: &'a [Term],
    shown: Option<(&'a [V], f32)>,
    /// From what one result sees to what the next one sees.
    apart: usize,
    /// From one result to the next.
    step: usize,
}

/// `COUNT` results, of `WIDE` times sixteen channels at once, of which their number is a multiple.
#[inline(always)]
fn results<V: Value, S: Lanes, const COUNT: usize, const WIDE: usize>(
    lanes: S,
    task: &Sums<'_, V>,
    x: &[V],
    y: &mut [V],
) {
    let Sweep { depthwise, ref bias, low, high, .. } = *task.sweep;
    let (low, high) = (lanes.splat(low), lanes.splat(high));
    for channel in (0..bias.len()).step_by(WIDE * LANES) {
        let (bias, _) = bias[channel..][..WIDE * LANES].as_chunks();
        let mut sums = [[lanes.splat(0.0); WIDE]; COUNT];
        for sums in &mut sums {
            for part in 0..WIDE {
                sums[part] = lanes.load(&bias[part]);
            }
        }
        for (place, tap) in task.terms {
            let (weights, _) = depthwise.weights[tap + channel..][..WIDE * LANES].as_chunks();
            let mut taps = [lanes.splat(0.0); WIDE];
            for part in 0..WIDE {
                taps[part] = lanes.load(&weights[part]);
            }
            for (index, sums) in sums.iter_mut().enumerate() {
                let (values, _) = x[place + index * task.apart + channel..][..WIDE * LANES].as_chunks();
                for part in 0..WIDE {
                    sums[part] = lanes.fma(V::load(lanes, &values[part]), taps[part], sums[part]);
                }
            }
        }
        for (index, sums) in sums.iter().enumerate() {
            let at = index * task.step + channel;
            let (results, _) = y[at..][..WIDE * LANES].as_chunks_mut();
            for part in 0..WIDE {
                let mut sum = lanes.clamp(sums[part], low, high);
                if let Some((shown, limit)) = task.shown {
                    let (shown, _) = shown[at..][..WIDE * LANES].as_chunks();
                    sum = lanes.within(sum, V::load(lanes, &shown[part]), lanes.splat(limit));
                }
                V::store(lanes, sum, &mut results[part]);
            }
        }
    }
}
