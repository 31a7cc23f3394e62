//! Depthwise convolutions, of every channel by itself, and their backward pass.
//!
//! These read and write a lot for the little that they compute, and libtorch adds to that: uneven padding as a copy of
//! the map, the backward pass through a stride value by value, the gradient of a ReLU as one more pass. Here a few
//! neighbouring results of sixteen channels are summed up in registers, where the map lies.

use super::{
    Epilogue, KernelError, Map, MapMut, ReluMask, ThreadPool,
    instruction_set::dispatch,
    map::{check_length, check_shape, for_kind},
    simd::{LANES, SimdVector},
    value::Value,
};

/// Results side by side that share the weights in the registers.
const SIDE: usize = 4;

/// The weights of a depthwise convolution.
pub struct Depthwise {
    channels: usize,
    kernel: [usize; 2],
    /// `[kh · kw, C]`.
    weights: Vec<f32>,
}

/// How a convolution moves over a map, `[rows, columns]` throughout.
#[derive(Clone, Copy, Debug)]
pub struct ConvShape {
    /// From one window to the next.
    pub stride: [usize; 2],
    /// Rows and columns of zeros before the map.
    pub before: [usize; 2],
    /// Of the input.
    pub input: [usize; 2],
    /// Of the output.
    pub output: [usize; 2],
}

impl Depthwise {
    /// Whether there is a kernel for so many channels.
    pub fn fits(channels: usize) -> bool {
        channels > 0 && channels.is_multiple_of(LANES)
    }

    /// Takes over weights `[kh, kw, channels]`.
    ///
    /// # Errors
    /// [`KernelError`] for other numbers of channels than [`Self::fits`] has, no weights, or another number of them.
    pub fn new(weights: Vec<f32>, kernel: [usize; 2], channels: usize) -> Result<Self, KernelError> {
        if !Self::fits(channels) || kernel.contains(&0) {
            return Err(KernelError::Unsupported("channels that are no multiple of 16, or no weights"));
        }
        check_length("weights", weights.len(), kernel[0] * kernel[1] * channels)?;
        Ok(Self { channels, kernel, weights })
    }

    /// How many.
    pub fn channels(&self) -> usize {
        self.channels
    }

    /// The convolution of `x`.
    ///
    /// # Errors
    /// [`KernelError`] unless the maps are dense and of one kind, and of the shapes that `shape` says.
    pub fn forward(
        &self,
        threads: &ThreadPool,
        x: Map<'_>,
        shape: ConvShape,
        epilogue: Epilogue<&[f32]>,
        y: MapMut<'_>,
    ) -> Result<(), KernelError> {
        self.pass(shape, epilogue, false)?.run(threads, x, None, y)
    }

    /// The gradient of the input, given that of the output, or of the input of the ReLU before it.
    ///
    /// # Errors
    /// As [`Self::forward`].
    pub fn backward(
        &self,
        threads: &ThreadPool,
        gradient: Map<'_>,
        shape: ConvShape,
        relu: Option<ReluMask<Map<'_>>>,
        back: MapMut<'_>,
    ) -> Result<(), KernelError> {
        self.pass(shape, Epilogue::NONE, true)?.run(threads, gradient, relu, back)
    }

    fn pass(
        &self,
        shape: ConvShape,
        epilogue: Epilogue<&[f32]>,
        backward: bool,
    ) -> Result<Pass<'_>, KernelError> {
        if shape.stride.contains(&0) {
            return Err(KernelError::Unsupported("a convolution without stride"));
        }
        let bias = epilogue.padded_bias(self.channels)?;
        Ok(Pass { depthwise: self, shape, backward, bias, low: epilogue.low, high: epilogue.high })
    }
}

/// A convolution, or its backward pass.
struct Pass<'a> {
    depthwise: &'a Depthwise,
    shape: ConvShape,
    backward: bool,
    /// `[C]`.
    bias: Vec<f32>,
    low: f32,
    high: f32,
}

/// A product of a sum: a position of the map, and a weight.
type Term = (usize, usize);

impl Pass<'_> {
    fn run(
        &self,
        threads: &ThreadPool,
        x: Map<'_>,
        relu: Option<ReluMask<Map<'_>>>,
        y: MapMut<'_>,
    ) -> Result<(), KernelError> {
        let ConvShape { input, output, .. } = self.shape;
        let (from, to) = if self.backward { (output, input) } else { (input, output) };
        let (channels, images) = (self.depthwise.channels, y.shape()[0]);
        let shape = [images, to[0], to[1], channels];
        check_shape("result", y.shape(), shape)?;
        let (row, image) = (to[1] * channels, from[0] * from[1] * channels);
        for_kind!(y.values, y => {
            let x = x.dense_of("input", [images, from[0], from[1], channels])?;
            let relu = relu.map(|relu| relu.values(shape)).transpose()?;
            threads.split(y, row, |first, y| {
                for (index, y) in (first..).zip(y.chunks_exact_mut(row)) {
                    let x = &x[index / to[0] * image..][..image];
                    let relu = relu.map(|(output, limit)| (&output[index * row..][..row], limit));
                    convolve_row(threads.isa(), self, x, index % to[0], relu, y);
                }
            });
            Ok(())
        })
    }

    /// How far apart results lie that use the same weights, and how far apart the values are that they read.
    #[inline(always)]
    fn steps(&self) -> (usize, usize) {
        let [_, stride] = self.shape.stride;
        if self.backward { (stride, 1) } else { (1, stride) }
    }

    /// The terms of the result at a position, in values.
    #[inline(always)]
    fn all_terms(&self, at: [usize; 2], terms: &mut Vec<Term>) {
        let Depthwise { channels, kernel, .. } = *self.depthwise;
        let [_, width] = if self.backward { self.shape.output } else { self.shape.input };
        terms.clear();
        for (down, tap_down) in self.terms(0, at[0]) {
            for (across, tap) in self.terms(1, at[1]) {
                terms.push(((down * width + across) * channels, (tap_down * kernel[1] + tap) * channels));
            }
        }
    }

    /// Whether no term of the result at `at` of an axis lies outside of the map: its neighbours then use the same
    /// weights.
    #[inline(always)]
    fn takes_all(&self, axis: usize, at: usize) -> bool {
        let ConvShape { stride, before, input, output } = self.shape;
        let (stride, before, kernel) = (stride[axis], before[axis], self.depthwise.kernel[axis]);
        if self.backward {
            let reach = at + before;
            reach + 1 >= kernel && reach / stride < output[axis]
        } else {
            at * stride >= before && at * stride + kernel <= input[axis] + before
        }
    }

    /// The terms of the results at `at` of an axis.
    #[inline(always)]
    fn terms(&self, axis: usize, at: usize) -> impl Iterator<Item = Term> {
        let ConvShape { stride, before, input, output } = self.shape;
        let (stride, before, backward) = (stride[axis], before[axis], self.backward);
        let end = if backward { output[axis] } else { input[axis] };
        (0..self.depthwise.kernel[axis]).filter_map(move |tap| {
            let place = if backward {
                // The window at `place` reads `at` with this weight.
                let reach = (at + before).checked_sub(tap).filter(|reach| reach.is_multiple_of(stride));
                reach.map(|reach| reach / stride)
            } else {
                (at * stride + tap).checked_sub(before)
            };
            place.filter(|place| *place < end).map(|place| (place, tap))
        })
    }
}

dispatch! {
    fn convolve_row<V: Value>(
        simd,
        pass: &Pass<'_>,
        x: &[V],
        row: usize,
        relu: Option<(&[V], f32)>,
        y: &mut [V],
    ) {
        let channels = pass.depthwise.channels;
        let (step, apart) = pass.steps();
        let mut terms = Vec::new();
        let columns = y.len() / channels;
        for phase in 0..step {
            // The terms of the first results that use all weights are those of the others, moved.
            let mut first = None;
            let mut column = phase;
            while column < columns {
                let end = column + (SIDE - 1) * step;
                let side = end < columns && pass.takes_all(1, column) && pass.takes_all(1, end);
                let moved = match first {
                    Some(first) if side => (column - first) / step * apart * channels,
                    _ => {
                        pass.all_terms([row, column], &mut terms);
                        first = side.then_some(column);
                        0
                    }
                };
                let start = column * channels;
                let relu = relu.map(|(relu, limit)| (&relu[start..], limit));
                let (apart, across) = (apart * channels, step * channels);
                let sums = Sums { pass, terms: &terms, relu, apart, step: across };
                let (x, y) = (&x[moved.min(x.len())..], &mut y[start..]);
                if !side {
                    results::<V, S, 1, 1>(simd, &sums, x, y);
                } else if S::MANY_REGISTERS && channels.is_multiple_of(4 * LANES) {
                    results::<V, S, SIDE, 4>(simd, &sums, x, y);
                } else if S::MANY_REGISTERS && channels.is_multiple_of(3 * LANES) {
                    results::<V, S, SIDE, 3>(simd, &sums, x, y);
                } else if S::MANY_REGISTERS && channels.is_multiple_of(2 * LANES) {
                    results::<V, S, SIDE, 2>(simd, &sums, x, y);
                } else {
                    results::<V, S, SIDE, 1>(simd, &sums, x, y);
                }
                column += if side { SIDE * step } else { step };
            }
        }
    }
}

/// The sums of results side by side, and what is done to them; all positions and distances in values.
struct Sums<'a, V> {
    pass: &'a Pass<'a>,
    terms: &'a [Term],
    relu: Option<(&'a [V], f32)>,
    /// From the values that one result reads to those of the next.
    apart: usize,
    /// From one result to the next.
    step: usize,
}

/// `COUNT` results, `WIDE` SIMD vectors of channels at once; the channels are a multiple of that.
#[inline(always)]
fn results<V: Value, S: SimdVector, const COUNT: usize, const WIDE: usize>(
    simd: S,
    task: &Sums<'_, V>,
    x: &[V],
    y: &mut [V],
) {
    let Pass { depthwise, ref bias, low, high, .. } = *task.pass;
    let (low, high) = (simd.splat(low), simd.splat(high));
    for channel in (0..bias.len()).step_by(WIDE * LANES) {
        let (bias, _) = bias[channel..][..WIDE * LANES].as_chunks();
        let mut sums = [[simd.splat(0.0); WIDE]; COUNT];
        for sums in &mut sums {
            for part in 0..WIDE {
                sums[part] = simd.load(&bias[part]);
            }
        }
        for (place, tap) in task.terms {
            let (weights, _) = depthwise.weights[tap + channel..][..WIDE * LANES].as_chunks();
            let mut taps = [simd.splat(0.0); WIDE];
            for part in 0..WIDE {
                taps[part] = simd.load(&weights[part]);
            }
            for (index, sums) in sums.iter_mut().enumerate() {
                let (values, _) = x[place + index * task.apart + channel..][..WIDE * LANES].as_chunks();
                for part in 0..WIDE {
                    sums[part] = simd.fma(V::load(simd, &values[part]), taps[part], sums[part]);
                }
            }
        }
        for (index, sums) in sums.iter().enumerate() {
            let at = index * task.step + channel;
            let (results, _) = y[at..][..WIDE * LANES].as_chunks_mut();
            for part in 0..WIDE {
                let mut sum = simd.clamp(sums[part], low, high);
                if let Some((relu, limit)) = task.relu {
                    let (relu, _) = relu[at..][..WIDE * LANES].as_chunks();
                    sum = simd.mask_relu(sum, V::load(simd, &relu[part]), simd.splat(limit));
                }
                V::store(simd, sum, &mut results[part]);
            }
        }
    }
}
