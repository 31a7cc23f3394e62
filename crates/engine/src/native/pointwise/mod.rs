//! Convolutions of single pixels: a matrix of pixels times one of kernels.
//!
//! oneDNN multiplies large ones of these as fast as the processor can, but on the smallest maps a call takes it twenty
//! microseconds, most of them on one thread before the others have work, and a step has tens of calls. Here a call costs
//! less, bias, activation, sum and the derivative of the rectifier before come with it, and the products of bfloat16 reach
//! more of their rate.

mod block;
#[cfg(test)]
mod tests;

use tch::{Kind, Tensor};

use super::{
    super::RenderError,
    Finish, Stored, Team, empty, extent_of, floats,
    lanes::{Dot, LANES, has_lanes},
    pixels,
    rectifier::Rectifier,
    values, values_mut,
};
use block::{Task, in_pairs, in_singles};

/// Products that take about as long as other loops' work on a byte; only the order of magnitude matters.
const PER_BYTE: usize = 16;

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
    /// For each two channels, the first in the lower bits.
    Pairs(Dot, Vec<[u32; LANES]>),
}

/// What is done besides multiplying.
#[derive(Clone, Copy)]
pub(in super::super) struct Besides<'a> {
    pub(in super::super) finish: Finish<'a>,
    /// A map that nobody else looks at, to add to.
    pub(in super::super) sum: Option<&'a Tensor>,
    /// The rectifier whose derivative the results are taken through.
    pub(in super::super) rectifier: Option<Rectifier<'a>>,
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
        let at = |kernel: usize, channel: usize| {
            if kernel < kernels { all[kernel * channels + channel] } else { 0.0 }
        };
        let weights = match (weight.f_kind()?, Dot::get()) {
            (Kind::Float, _) => Weights::Singles(packed(kernels, channels, 1, at)),
            (Kind::BFloat16, Some(dot)) if channels.is_multiple_of(2) => {
                let pair = |kernel, channel| {
                    let [low, high] = [0, 1].map(|next| at(kernel, channel + next).to_bits());
                    (low >> 16) | (high & 0xffff_0000)
                };
                Weights::Pairs(dot, packed(kernels, channels, 2, pair))
            }
            _ => return Ok(None),
        };
        Ok(Some(Self { channels, kernels, weights }))
    }

    /// The convolution of `x`, `[N, C, H, W]`; none where the loops cannot run over it.
    pub(in super::super) fn convolve(
        &self,
        team: &Team,
        x: &Tensor,
        besides: Besides<'_>,
    ) -> Result<Option<Tensor>, RenderError> {
        match &self.weights {
            Weights::Singles(weights) => self.run(team, x, besides, weights, in_singles),
            Weights::Pairs(dot, weights) => {
                self.run(team, x, besides, weights, |task, first, y| in_pairs(*dot, task, first, y))
            }
        }
    }

    fn run<V: Stored, U: Sync>(
        &self,
        team: &Team,
        x: &Tensor,
        besides: Besides<'_>,
        weights: &[U],
        sweep: impl Fn(&Task<'_, V, U>, usize, &mut [V]) + Sync,
    ) -> Result<Option<Tensor>, RenderError> {
        let Self { channels, kernels, .. } = *self;
        let Besides { finish: Finish { bias, low, high }, sum, rectifier } = besides;
        let (images, found, height, width) = x.size4()?;
        let Some((pixels, step)) = pixels::<V>(x).filter(|_| found == channels as i64) else {
            return Ok(None);
        };
        let [images, height, width] = [images, height, width].map(|n| n as usize);
        let extent = [images, height, width, kernels];
        let shown = rectifier.map(|rectifier| rectifier.y);
        if [sum, shown].into_iter().flatten().any(|map| extent_of::<V>(map) != Some(extent)) {
            return Ok(None);
        }
        let mut bias = bias.map(floats).transpose()?.unwrap_or_default();
        bias.resize(kernels.next_multiple_of(LANES), 0.0);
        let mut y = match sum {
            Some(sum) => sum.shallow_clone(),
            None => empty::<V>(extent)?,
        };
        let shown = rectifier.map(|Rectifier { y, limit }| (values::<V>(y), limit));
        let onto = sum.is_some();
        let task =
            Task { weights, channels, kernels, x: pixels, step, bias, limits: [low, high], onto, shown };
        // As much work as a loop has that writes so many bytes and does little for each.
        let work = images * height * width * kernels * channels / PER_BYTE;
        team.share(work, values_mut::<V>(&mut y), kernels, |first, y| sweep(&task, first, y));
        Ok(Some(y))
    }
}

/// What `unit` makes of a kernel and the first of `count` channels: for sixteen kernels side by side, `count` channels after
/// the others, and then for the next sixteen kernels.
fn packed<U>(
    kernels: usize,
    channels: usize,
    count: usize,
    unit: impl Fn(usize, usize) -> U,
) -> Vec<[U; LANES]> {
    let mut units = Vec::with_capacity(kernels.div_ceil(LANES) * channels / count);
    for panel in (0..kernels).step_by(LANES) {
        for channel in (0..channels).step_by(count) {
            units.push(std::array::from_fn(|lane| unit(panel + lane, channel)));
        }
    }
    units
}
