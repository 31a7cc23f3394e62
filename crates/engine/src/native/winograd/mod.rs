//! Convolutions with fewer multiplications: a quarter for kernels of 3×3 and 4×4, 9/25 for 5×5.
//!
//! Each window of 6×6 values is taken to its values at 36 points ([`transform`]), where the convolution is a product of
//! matrices for each point ([`product`]), and taken back: for 3×3 that is 36 multiplications in place of 144 for 16
//! results. Maps are in channels-last memory, so sixteen channels lie side by side and are transformed at once. A thread
//! takes some tens of windows through all three steps before it goes on, so that what lies between stays in its cache.
//!
//! A result has the same bits whatever else is computed with it. Where the map is flat, results may differ in the last
//! digit, where plain sums would not; where that matters they are made equal ([`equals`]).

mod equals;
mod product;
mod strip;
#[cfg(test)]
mod tests;
mod transform;

use std::{cell::RefCell, mem::take};

use tch::{Kind, Tensor};

use super::{
    super::RenderError,
    Finish, Half, Team, Value, empty, extent_of, floats,
    lanes::{LANES, has_lanes},
    pixels, values_mut,
};
use equals::Sight;
use strip::{Span, Task, strip};
use transform::POINTS;

/// Points of a window.
const ALL: usize = POINTS * POINTS;

/// Windows side by side that are handed out together.
const SPAN: usize = 6;

/// So many times as many go through the steps together.
const SPANS: usize = 6;

/// Panels of sixteen kernels whose products are found before they are taken back.
const PANELS: usize = 2;

/// Kernels that these loops have, along an axis.
const TAPS: std::ops::RangeInclusive<i64> = 3..=5;

/// Results of a window along an axis, at the most.
const MOST: usize = 4;

/// Results of an image below which reading the weights, of which there are up to four times as many, takes longer than
/// is saved: on a Zen 4 EPYC 8×8 took as long either way, 10×10 two thirds, 40×40 less than half.
const LEAST: i64 = 80;

/// The same for bfloat16, which that processor multiplies at twice the rate of the float32 that is computed with here:
/// 16×16 took a tenth longer, 20×20 a fifth less, 40×40 a third less; kernels of 5×5 took longer at any size.
const LEAST_HALVES: i64 = 400;

/// The weights of a convolution, at the points.
pub(in super::super) struct Winograd {
    channels: usize,
    kernels: usize,
    /// Results of a window along an axis.
    results: usize,
    /// Whether results have to be equal where the map is.
    equal: bool,
    /// `[⌈kernels / 16⌉, 36, channels]` of sixteen kernels.
    weights: Vec<[f32; LANES]>,
}

impl Winograd {
    /// Whether these loops can take over weights `[kernels, channels, t, t]` of a convolution without groups, strides or
    /// dilation, and are faster with them than plain sums for maps like `x` with so much padding. The number of images does
    /// not matter: what an image gives must not depend on what else is in the batch.
    pub(in super::super) fn pays(
        weight: &Tensor,
        x: &Tensor,
        padding: [i64; 2],
    ) -> Result<bool, RenderError> {
        let (kernels, channels, height, width) = weight.size4()?;
        let fits = height == width && TAPS.contains(&height) && channels > 0 && channels % LANES as i64 == 0;
        if !fits || !has_lanes() || kernels < LANES as i64 {
            return Ok(false);
        }
        let (_, _, rows, columns) = x.size4()?;
        let [rows, columns] =
            [rows + 2 * padding[0], columns + 2 * padding[1]].map(|n| (n + 1 - height).max(0));
        Ok(match x.f_kind()? {
            Kind::BFloat16 => rows * columns >= LEAST_HALVES && height < 5,
            _ => rows * columns >= LEAST,
        })
    }

    /// Takes over weights for which it may pay; `equal`: whether somebody chooses among the results, so that those of equal
    /// neighbourhoods have to be equal.
    pub(in super::super) fn of(weight: &Tensor, equal: bool) -> Result<Self, RenderError> {
        let (kernels, channels, height, _) = weight.size4()?;
        let flat = floats(weight)?;
        let [kernels, channels, extent] = [kernels, channels, height].map(|n| n as usize);
        let mut weights = vec![[0.0; LANES]; kernels.div_ceil(LANES) * ALL * channels];
        for (index, taps) in flat.chunks_exact(extent * extent).enumerate() {
            let (kernel, channel) = (index / channels, index % channels);
            let panel = kernel / LANES * ALL;
            for (point, value) in transform::weights(taps, extent).iter().flatten().enumerate() {
                weights[(panel + point) * channels + channel][kernel % LANES] = *value as f32;
            }
        }
        Ok(Self { channels, kernels, results: POINTS + 1 - extent, equal, weights })
    }

    /// The convolution of `x`, `[N, C, H, W]`, with so many rows and columns of zeros around it; added to `sum`, a map
    /// that nobody else looks at, where there is one. None where the loops cannot run over `x`.
    pub(in super::super) fn convolve(
        &self,
        team: &Team,
        x: &Tensor,
        padding: [i64; 2],
        finish: Finish<'_>,
        sum: Option<&Tensor>,
    ) -> Result<Option<Tensor>, RenderError> {
        match x.f_kind()? {
            Kind::Float => self.convolve_of::<f32>(team, x, padding, finish, sum),
            Kind::BFloat16 => self.convolve_of::<Half>(team, x, padding, finish, sum),
            _ => Ok(None),
        }
    }

    fn convolve_of<V: Value>(
        &self,
        team: &Team,
        x: &Tensor,
        padding: [i64; 2],
        Finish { bias, low, high }: Finish<'_>,
        sum: Option<&Tensor>,
    ) -> Result<Option<Tensor>, RenderError> {
        let Some((values, step)) = pixels::<V>(x) else { return Ok(None) };
        let (images, channels, height, width) = x.size4()?;
        let [images, channels, height, width] = [images, channels, height, width].map(|n| n as usize);
        let padding = padding.map(|n| n as usize);
        let taps = POINTS + 1 - self.results;
        let out = [height + 2 * padding[0], width + 2 * padding[1]].map(|n| (n + 1).saturating_sub(taps));
        if channels != self.channels || out.contains(&0) {
            return Ok(None);
        }
        let extent = [images, out[0], out[1], self.kernels];
        let mut y = match sum {
            Some(sum) if extent_of::<V>(sum) == Some(extent) => sum.shallow_clone(),
            Some(_) => return Ok(None),
            None => empty::<V>(extent)?,
        };
        let mut bias = bias.map(floats).transpose()?.unwrap_or_default();
        bias.resize(self.kernels.next_multiple_of(LANES), 0.0);
        let onto = sum.is_some();
        let task = Task { winograd: self, x: values, step, height, width, padding, bias, low, high, onto };
        let bytes = size_of::<V>() * images * out[0] * out[1] * self.kernels;
        let mut spans = spans(values_mut::<V>(&mut y), extent, self.results);
        team.share(bytes, &mut spans, 1, |_, spans| {
            SCRATCH.with_borrow_mut(|scratch| {
                for spans in spans.chunks_mut(SPANS) {
                    strip(&task, spans, scratch);
                }
            });
        });
        if self.equal && !onto {
            let (x, size) = (values, [height, width]);
            let images = values_mut::<V>(&mut y).chunks_exact_mut(out[0] * out[1] * self.kernels);
            for (image, y) in images.enumerate() {
                let x = &x[image * height * width * step..];
                let sight = Sight { x, step, channels, size, padding, taps };
                sight.equalise(team, y, out[1], self.kernels);
            }
        }
        Ok(Some(y))
    }
}

thread_local! {
    /// Memory for what lies between the steps: new memory would have to be cleared every time.
    static SCRATCH: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

/// Cuts a map `[N, H, W, C]` into spans.
fn spans<V>(y: &mut [V], [images, height, width, channels]: [usize; 4], results: usize) -> Vec<Span<'_, V>> {
    let across = width.div_ceil(results);
    let count = across.div_ceil(SPAN);
    let mut lines = y.chunks_exact_mut(width * channels);
    let mut spans = Vec::with_capacity(images * height.div_ceil(results) * count);
    for image in 0..images {
        for row in (0..height).step_by(results) {
            let mut rest: [&mut [V]; MOST] = Default::default();
            for line in rest.iter_mut().take(results.min(height - row)) {
                *line = lines.next().unwrap_or_default();
            }
            for index in 0..count {
                let [first, last] = [index, index + 1].map(|index| index * across / count);
                let columns = (last * results).min(width) - first * results;
                let mut rows: [&mut [V]; MOST] = Default::default();
                for (row, line) in rows.iter_mut().zip(&mut rest) {
                    let length = (columns * channels).min(line.len());
                    (*row, *line) = take(line).split_at_mut(length);
                }
                spans.push(Span { image, row, column: first * results, windows: last - first, rows });
            }
        }
    }
    spans
}
