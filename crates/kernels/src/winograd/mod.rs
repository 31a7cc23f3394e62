//! Winograd convolutions: a quarter of the multiplications for 3×3 and 4×4 weights, 9/25 for 5×5.
//!
//! The input transform takes each window of 6×6 values to its values at 36 points ([`transform`]), where the
//! convolution is a product of matrices for each point ([`matmul`]); the output transform takes the products to
//! results. For 3×3 that is 36 multiplications in place of 144 for 16 results. Maps are in channels-last memory, so
//! sixteen channels lie side by side and are transformed at once. A thread takes some tens of windows through all three
//! stages ([`stages`]) before it goes on, so that what lies between stays in its cache.
//!
//! A result has the same bits whatever else is computed with it. Where the map is flat, results may differ in the last
//! digit, where plain sums would not; where that matters, tie-breaking makes them equal ([`ties`]).

mod matmul;
mod stages;
mod ties;
mod transform;

use std::{cell::RefCell, mem::take};

use super::{
    Epilogue, KernelError, Map, MapMut, Shape, ThreadPool,
    map::{check_length, check_shape, for_kind},
    simd::LANES,
    value::Value,
};
use stages::{Span, Task, run_stages};
use ties::PatchEquality;
use transform::POINTS;

/// Points of a window.
const ALL: usize = POINTS * POINTS;

/// Windows side by side that are handed out together.
const SPAN: usize = 6;

/// Spans per block: their windows go through the stages together.
const SPANS: usize = 6;

/// Panels of sixteen outputs whose products are found before they are transformed back.
const PANELS: usize = 2;

/// Weights that there are kernels for, along an axis.
const TAPS: std::ops::RangeInclusive<usize> = 3..=5;

/// Results of a window along an axis, at the most.
const MAX_RESULTS: usize = 4;

/// The weights of a convolution, at the points.
pub struct Winograd {
    channels: usize,
    outputs: usize,
    /// Results of a window along an axis.
    results: usize,
    /// Whether results are equal where the map is, except where a result is added to `y`.
    tie_exact: bool,
    /// `[⌈outputs / 16⌉, 36, channels]` of sixteen outputs.
    weights: Vec<[f32; LANES]>,
}

impl Winograd {
    /// Whether there is a kernel for weights `[outputs, channels, rows, columns]` of a convolution without groups,
    /// strides or dilation. Where it pays is for the caller to know.
    pub fn fits([outputs, channels, rows, columns]: [usize; 4]) -> bool {
        rows == columns
            && TAPS.contains(&rows)
            && channels > 0
            && channels.is_multiple_of(LANES)
            && outputs > 0
    }

    /// Prepares weights `[outputs, channels, taps, taps]`; `tie_exact`: results of equal windows are equal bit by
    /// bit, for an argmax to choose the first.
    ///
    /// # Errors
    /// [`KernelError`] for shapes that [`Self::fits`] has not, or another number of weights.
    pub fn new(weights: &[f32], shape: [usize; 4], tie_exact: bool) -> Result<Self, KernelError> {
        let [outputs, channels, taps, _] = shape;
        if !Self::fits(shape) {
            return Err(KernelError::Unsupported("weights that Winograd convolutions are not for"));
        }
        check_length("weights", weights.len(), shape.iter().product())?;
        let mut at_points = vec![[0.0; LANES]; outputs.div_ceil(LANES) * ALL * channels];
        for (index, weights) in weights.chunks_exact(taps * taps).enumerate() {
            let (output, channel) = (index / channels, index % channels);
            let panel = output / LANES * ALL;
            for (point, value) in transform::weights(weights, taps).iter().flatten().enumerate() {
                at_points[(panel + point) * channels + channel][output % LANES] = *value as f32;
            }
        }
        Ok(Self { channels, outputs, results: POINTS + 1 - taps, tie_exact, weights: at_points })
    }

    /// Channels of the input.
    pub fn channels(&self) -> usize {
        self.channels
    }

    /// The shape of the result for an input of this shape with so many rows and columns of zeros around it.
    pub fn output_shape(&self, [images, rows, columns, _]: Shape, padding: [usize; 2]) -> Shape {
        let [rows, columns] = output_size([rows, columns], padding, self.taps());
        [images, rows, columns, self.outputs]
    }

    fn taps(&self) -> usize {
        POINTS + 1 - self.results
    }

    /// The convolution of `x` with so many rows and columns of zeros around it; added to what `y` holds if `accumulate`
    /// says so, before the epilogue clamps.
    ///
    /// # Errors
    /// [`KernelError`] unless both maps are of one kind, and `y` of the shape that [`Self::output_shape`] says.
    pub fn convolve(
        &self,
        threads: &ThreadPool,
        x: Map<'_>,
        padding: [usize; 2],
        epilogue: Epilogue<&[f32]>,
        accumulate: bool,
        y: MapMut<'_>,
    ) -> Result<(), KernelError> {
        let [images, height, width, _] = x.shape();
        check_shape("input", x.shape(), [images, height, width, self.channels])?;
        let shape = y.shape();
        check_shape("result", shape, self.output_shape(x.shape(), padding))?;
        for_kind!(y.values, y => {
            let task = Task {
                winograd: self,
                x: x.of()?,
                pixel_stride: x.pixel_stride(),
                height,
                width,
                padding,
                bias: epilogue.padded_bias(self.outputs)?,
                low: epilogue.low,
                high: epilogue.high,
                accumulate,
            };
            self.run(threads, &task, shape, y);
            Ok(())
        })
    }

    fn run<V: Value>(&self, threads: &ThreadPool, task: &Task<'_, V>, shape: Shape, y: &mut [V]) {
        let bytes = size_of_val(y);
        let mut spans = spans(y, shape, self.results);
        threads.split_by_cost(bytes, &mut spans, 1, |_, spans| {
            SCRATCH.with_borrow_mut(|scratch| {
                for spans in spans.chunks_mut(SPANS) {
                    run_stages(threads.isa(), task, spans, scratch);
                }
            });
        });
        if !self.tie_exact || task.accumulate {
            return;
        }
        let Task { x, pixel_stride, height, width, padding, .. } = *task;
        let [_, rows, columns, outputs] = shape;
        for (image, y) in y.chunks_exact_mut(rows * columns * outputs).enumerate() {
            let x = &x[image * height * width * pixel_stride..];
            let (channels, size, taps) = (self.channels, [height, width], self.taps());
            let equality = PatchEquality { x, pixel_stride, channels, size, padding, taps };
            equality.break_ties(threads, y, columns, outputs);
        }
    }
}

/// Rows and columns of the results.
fn output_size(size: [usize; 2], padding: [usize; 2], taps: usize) -> [usize; 2] {
    [0, 1].map(|axis| (size[axis] + 2 * padding[axis] + 1).saturating_sub(taps))
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
            let mut rest: [&mut [V]; MAX_RESULTS] = Default::default();
            for line in rest.iter_mut().take(results.min(height - row)) {
                *line = lines.next().unwrap_or_default();
            }
            for index in 0..count {
                let [first, last] = [index, index + 1].map(|index| index * across / count);
                let columns = (last * results).min(width) - first * results;
                let mut rows: [&mut [V]; MAX_RESULTS] = Default::default();
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
