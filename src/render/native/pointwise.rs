//! Convolutions of single pixels: a matrix of pixels times one of kernels.
//!
//! oneDNN multiplies large ones of these as fast as the processor can, but every call takes it some twenty microseconds
//! before the threads have work, for which libtorch's other layers are partly to blame; a step has a hundred calls. Here
//! it takes three, the derivative of the rectifier before comes with the way back, and bfloat16 reaches more of its rate.

use tch::{Kind, Tensor};

use super::{
    super::RenderError,
    Finish, Half, Team, Value, empty, extent_of, floats,
    lanes::{Dot, LANES, Lanes, has_lanes, in_lanes, read, write},
    pixels,
    rectifier::Rectifier,
    values, values_mut,
};

/// Pixels whose values stay in the cache while all kernels pass over them.
const CHUNK: usize = 96;

/// Values that a block computes at most.
const BLOCK: usize = 24 * LANES;

/// Kernels of one pixel.
pub(in super::super) struct Pointwise {
    channels: usize,
    kernels: usize,
    weights: Weights,
}

/// Weights of sixteen kernels after those of another sixteen, filled up with zeros.
enum Weights {
    /// For each channel.
    Singles(Vec<[f32; LANES]>),
    /// For each two channels.
    Pairs(Dot, Vec<[u32; LANES]>),
}

/// How pixels and kernels are multiplied.
trait Product: Copy + Sync {
    type V: Value;
    /// Weights of sixteen kernels that are multiplied at once.
    type Unit: Sync;

    /// `to[p, ..] = Σ from[p, c] · weights[c, ..]` for `ROWS` pixels and the kernels of `PANELS` panels. The pixels are
    /// `step` values apart, the results `width`.
    fn block<S: Lanes, const ROWS: usize, const PANELS: usize>(
        self,
        lanes: S,
        from: (&[Self::V], usize),
        weights: [&[Self::Unit]; PANELS],
        to: (&mut [f32], usize),
    );
}

/// One by one, in float32.
#[derive(Clone, Copy)]
struct Single;

impl Product for Single {
    type V = f32;
    type Unit = [f32; LANES];

    #[inline(always)]
    fn block<S: Lanes, const ROWS: usize, const PANELS: usize>(
        self,
        lanes: S,
        from: (&[f32], usize),
        weights: [&[[f32; LANES]]; PANELS],
        to: (&mut [f32], usize),
    ) {
        lanes.block::<ROWS, PANELS>(from, weights, to);
    }
}

impl Product for Dot {
    type V = Half;
    type Unit = [u32; LANES];

    #[inline(always)]
    fn block<S: Lanes, const ROWS: usize, const PANELS: usize>(
        self,
        _: S,
        from: (&[Half], usize),
        weights: [&[[u32; LANES]]; PANELS],
        to: (&mut [f32], usize),
    ) {
        Dot::block::<ROWS, PANELS>(self, from, weights, to);
    }
}

impl Pointwise {
    /// Takes over weights `[out, in, 1, 1]`; none where the loops are not for them.
    pub(in super::super) fn of(weight: &Tensor) -> Result<Option<Self>, RenderError> {
        let (kernels, channels, height, width) = weight.size4()?;
        if (height, width) != (1, 1) || !has_lanes() {
            return Ok(None);
        }
        let [kernels, channels] = [kernels, channels].map(|n| n as usize);
        let all = floats(weight)?;
        let panels = 0..kernels.div_ceil(LANES);
        let at = |panel: usize, lane: usize, channel: usize| {
            let kernel = panel * LANES + lane;
            if kernel < kernels { all[kernel * channels + channel] } else { 0.0 }
        };
        let weights = match (weight.f_kind()?, Dot::get()) {
            (Kind::Float, _) => Weights::Singles(
                panels
                    .flat_map(|panel| (0..channels).map(move |channel| (panel, channel)))
                    .map(|(panel, channel)| std::array::from_fn(|lane| at(panel, lane, channel)))
                    .collect(),
            ),
            (Kind::BFloat16, Some(dot)) if channels.is_multiple_of(2) => {
                let pair = |panel, lane, channel| {
                    let [low, high] = [0, 1].map(|next| at(panel, lane, channel + next).to_bits());
                    (low >> 16) | (high & 0xffff_0000)
                };
                let pairs = panels
                    .flat_map(|panel| (0..channels).step_by(2).map(move |channel| (panel, channel)))
                    .map(|(panel, channel)| std::array::from_fn(|lane| pair(panel, lane, channel)));
                Weights::Pairs(dot, pairs.collect())
            }
            _ => return Ok(None),
        };
        Ok(Some(Self { channels, kernels, weights }))
    }

    /// The convolution of `x`, `[N, C, H, W]`: added to `sum`, a map that nobody else looks at, where there is one, and zero
    /// where the rectifier's derivative is, where there is one; none where the loops cannot run over them.
    pub(in super::super) fn convolve(
        &self,
        team: &Team,
        x: &Tensor,
        finish: Finish<'_>,
        sum: Option<&Tensor>,
        rectifier: Option<Rectifier<'_>>,
    ) -> Result<Option<Tensor>, RenderError> {
        match &self.weights {
            Weights::Singles(weights) => self.convolve_by(Single, weights, team, x, finish, sum, rectifier),
            Weights::Pairs(dot, weights) => {
                self.convolve_by(*dot, weights, team, x, finish, sum, rectifier)
            }
        }
    }

    #[expect(clippy::too_many_arguments, reason = "those of `convolve`, and what it has chosen")]
    fn convolve_by<P: Product>(
        &self,
        product: P,
        weights: &[P::Unit],
        team: &Team,
        x: &Tensor,
        finish: Finish<'_>,
        sum: Option<&Tensor>,
        rectifier: Option<Rectifier<'_>>,
    ) -> Result<Option<Tensor>, RenderError> {
        let Self { channels, kernels, .. } = *self;
        let (images, found, height, width) = x.size4()?;
        let Some((pixels, step)) = pixels::<P::V>(x).filter(|_| found == channels as i64) else {
            return Ok(None);
        };
        let [images, height, width] = [images, height, width].map(|n| n as usize);
        let extent = [images, height, width, kernels];
        let shown = rectifier.map(|rectifier| rectifier.y);
        if [sum, shown].into_iter().flatten().any(|map| extent_of::<P::V>(map) != Some(extent)) {
            return Ok(None);
        }
        let mut bias = finish.bias.map(floats).transpose()?.unwrap_or_default();
        bias.resize(kernels.next_multiple_of(LANES), 0.0);
        let mut y = match sum {
            Some(sum) => sum.shallow_clone(),
            None => empty::<P::V>(extent)?,
        };
        let task = Task {
            product,
            weights,
            channels,
            kernels,
            x: pixels,
            step,
            bias,
            limits: [finish.low, finish.high],
            onto: sum.is_some(),
            shown: rectifier.map(|Rectifier { y, limit }| (values::<P::V>(y), limit)),
        };
        team.over(values_mut::<P::V>(&mut y), kernels, |first, y| stretch(&task, first, y));
        Ok(Some(y))
    }
}

/// One convolution.
struct Task<'a, P: Product> {
    product: P,
    weights: &'a [P::Unit],
    channels: usize,
    kernels: usize,
    x: &'a [P::V],
    /// Values from one pixel of `x` to the next.
    step: usize,
    bias: Vec<f32>,
    limits: [f32; 2],
    /// Whether to add to what is there.
    onto: bool,
    /// The rectifier's output and its limit.
    shown: Option<(&'a [P::V], f32)>,
}

in_lanes! {
    // The pixels of `y`, from `first`.
    fn stretch<P: Product>(lanes, task: &Task<'_, P>, first: usize, y: &mut [P::V]) {
        if S::MANY {
            sweep::<P, S, 12, 6, 2>(lanes, task, first, y);
        } else {
            sweep::<P, S, 6, 3, 1>(lanes, task, first, y);
        }
    }
}

/// `ROWS` pixels and the kernels of `WIDE` panels at a time fill the registers; `HALF` is half of the pixels.
#[inline(always)]
fn sweep<P: Product, S: Lanes, const ROWS: usize, const HALF: usize, const WIDE: usize>(
    lanes: S,
    task: &Task<'_, P>,
    first: usize,
    y: &mut [P::V],
) {
    let Task { channels, kernels, step, x, weights, .. } = *task;
    let (count, panels) = (y.len() / kernels, kernels.div_ceil(LANES));
    let units = weights.len() / panels;
    // Pixels that do not fill a block are taken from here, where there are enough.
    let rest = count % ROWS;
    let mut few = vec![<P::V as Value>::nearest(0.0); if rest > 0 { ROWS * channels } else { 0 }];
    for (index, to) in few.chunks_exact_mut(channels).take(rest).enumerate() {
        to.copy_from_slice(&x[(first + count - rest + index) * step..][..channels]);
    }
    let mut results = [0.0; BLOCK];
    for start in (0..count).step_by(CHUNK) {
        let end = count.min(start + CHUNK);
        for panel in (0..panels).step_by(WIDE) {
            for row in (start..end).step_by(ROWS) {
                let left = ROWS.min(end - row);
                let from = if left == ROWS { (&x[(first + row) * step..], step) } else { (&few[..], channels) };
                let of = |panel: usize| &weights[panel * units..][..units];
                if panel + WIDE <= panels {
                    let all = std::array::from_fn(|index| of(panel + index));
                    multiply::<P, S, ROWS, HALF, WIDE>(lanes, task, left, from, all, &mut results);
                    finish::<P, S, WIDE>(lanes, task, first, row, left, panel, &results, y);
                } else {
                    multiply::<P, S, ROWS, HALF, 1>(lanes, task, left, from, [of(panel)], &mut results);
                    finish::<P, S, 1>(lanes, task, first, row, left, panel, &results, y);
                }
            }
        }
    }
}

/// The products of so many pixels with the kernels of some panels.
#[inline(always)]
fn multiply<P: Product, S: Lanes, const ROWS: usize, const HALF: usize, const SOME: usize>(
    lanes: S,
    task: &Task<'_, P>,
    pixels: usize,
    from: (&[P::V], usize),
    weights: [&[P::Unit]; SOME],
    results: &mut [f32],
) {
    if pixels <= HALF {
        task.product.block::<S, HALF, SOME>(lanes, from, weights, (results, SOME * LANES));
    } else {
        task.product.block::<S, ROWS, SOME>(lanes, from, weights, (results, SOME * LANES));
    }
}

/// Takes sums to where they belong: those of `pixels` pixels from `row` of a stretch that begins with the pixel `first`, and
/// of the kernels of some panels from `panel`.
#[inline(always)]
#[expect(clippy::too_many_arguments, reason = "where from, where to")]
fn finish<P: Product, S: Lanes, const SOME: usize>(
    lanes: S,
    task: &Task<'_, P>,
    first: usize,
    row: usize,
    pixels: usize,
    panel: usize,
    results: &[f32],
    y: &mut [P::V],
) {
    let [low, high] = task.limits.map(|limit| lanes.splat(limit));
    let (bias, _) = task.bias[panel * LANES..].as_chunks();
    let (results, _) = results.as_chunks();
    for pixel in 0..pixels {
        let start = (row + pixel) * task.kernels;
        for part in 0..SOME {
            let kernel = (panel + part) * LANES;
            let here = start + kernel..start + task.kernels.min(kernel + LANES);
            let mut value = lanes.add(lanes.load(&results[pixel * SOME + part]), lanes.load(&bias[part]));
            if task.onto {
                value = lanes.add(value, read(lanes, &y[here.clone()]));
            }
            value = lanes.clamp(value, low, high);
            if let Some((shown, limit)) = task.shown {
                let shown = &shown[first * task.kernels..][here.clone()];
                value = lanes.within(value, read(lanes, shown), lanes.splat(limit));
            }
            write(lanes, value, &mut y[here]);
        }
    }
}
