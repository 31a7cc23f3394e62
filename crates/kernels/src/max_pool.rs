//! Max-pooling with any padding, and its backward pass.

use super::{
    KernelError, Map, MapMut, Shape, ThreadPool,
    instruction_set::dispatch,
    map::{check_length, check_shape, for_kind},
    simd::{LANES, SimdVector, read, write},
    value::Value,
};

/// Where the windows of a max-pooling lie, `[rows, columns]` throughout.
#[derive(Clone, Copy, Debug)]
pub struct MaxPool {
    /// Extent of a window.
    pub kernel: [usize; 2],
    /// From one window to the next.
    pub stride: [usize; 2],
    /// Positions that the first window reaches over the edge.
    pub before: [usize; 2],
    /// Of the input.
    pub input: [usize; 2],
    /// Of the output.
    pub output: [usize; 2],
    /// Whether the backward pass includes that of a ReLU whose output is the input, and which nothing else reads: no
    /// gradient passes through a maximum of zero or less. The forward pass marks those as `NOWHERE`, and the backward pass
    /// skips them, so the ReLU's output need not be read again.
    pub through_relu: bool,
}

/// The argmax of a window through which no gradient passes.
const NOWHERE: u8 = 255;

impl MaxPool {
    /// Whether the kernel is small enough for argmax indices of one byte.
    pub fn fits(kernel: [usize; 2]) -> bool {
        kernel[0].saturating_mul(kernel[1]) <= usize::from(NOWHERE)
    }

    /// Writes the maximum of every window to `y`, and to `argmax`, of the same shape, which position of the window it
    /// is: counted row by row, the first of equals, but the last NaN; 0 where nothing exceeds −∞; `NOWHERE` where
    /// [`Self::through_relu`] says so.
    ///
    /// # Errors
    /// [`KernelError`] unless the maps are dense and of one kind, and of the shapes that this pooling says.
    pub fn forward(
        &self,
        threads: &ThreadPool,
        x: Map<'_>,
        y: MapMut<'_>,
        argmax: &mut [u8],
    ) -> Result<(), KernelError> {
        let [images, .., channels] = y.shape();
        let row = self.output[1] * channels;
        self.check([images, channels], y.shape(), argmax.len())?;
        for_kind!(y.values, y => {
            let x = x.dense_of("input", self.map(images, self.input, channels))?;
            let bytes = size_of_val(y);
            let mut both: Vec<_> = y.chunks_mut(row).zip(argmax.chunks_mut(row)).collect();
            threads.split_by_cost(bytes, &mut both, 1, |first, rows| {
                for (index, (y, argmax)) in rows.iter_mut().enumerate() {
                    pool_row(threads.isa(), self, channels, x, first + index, y, argmax);
                }
            });
            Ok(())
        })
    }

    /// The gradient of the input, given that of the output and its argmax indices; added to what `back` holds if
    /// `accumulate` says so.
    ///
    /// # Errors
    /// As [`Self::forward`].
    pub fn backward(
        &self,
        threads: &ThreadPool,
        gradient: Map<'_>,
        argmax: &[u8],
        accumulate: bool,
        back: MapMut<'_>,
    ) -> Result<(), KernelError> {
        let [images, .., channels] = back.shape();
        self.check([images, channels], gradient.shape(), argmax.len())?;
        check_shape("gradient of the input", back.shape(), self.map(images, self.input, channels))?;
        for_kind!(back.values, back => {
            let gradient = gradient.dense_of("gradient", gradient.shape())?;
            threads.split(back, self.input[1] * channels, |first, back| {
                gather_rows(threads.isa(), self, channels, (gradient, argmax), first, accumulate, back);
            });
            Ok(())
        })
    }

    fn map(&self, images: usize, [rows, columns]: [usize; 2], channels: usize) -> Shape {
        [images, rows, columns, channels]
    }

    /// Whether the parameters make sense and the output and its argmax indices fit.
    fn check(&self, [images, channels]: [usize; 2], output: Shape, argmax: usize) -> Result<(), KernelError> {
        if self.kernel.contains(&0) || self.stride.contains(&0) || !Self::fits(self.kernel) {
            return Err(KernelError::Unsupported(
                "a pooling window of no or more than 255 positions, or without stride",
            ));
        }
        check_shape("output", output, self.map(images, self.output, channels))?;
        check_length("argmax", argmax, output.iter().product())
    }

    /// Indices within the window at `position` that lie inside the map, along an axis.
    #[inline(always)]
    fn inside(&self, axis: usize, position: usize) -> std::ops::Range<usize> {
        let start = position * self.stride[axis];
        let first = self.before[axis].saturating_sub(start);
        let last = (self.input[axis] + self.before[axis]).saturating_sub(start).min(self.kernel[axis]);
        first..last.max(first)
    }

    /// The position in the map of an index within a window.
    #[inline(always)]
    fn position(&self, axis: usize, window: usize, index: usize) -> usize {
        window * self.stride[axis] + index - self.before[axis]
    }

    /// The windows over the position `at` of an axis.
    #[inline(always)]
    fn windows_over(&self, axis: usize, at: usize) -> std::ops::Range<usize> {
        let reach = at + self.before[axis];
        let last = (reach / self.stride[axis] + 1).min(self.output[axis]);
        let first = (reach + 1).saturating_sub(self.kernel[axis]).div_ceil(self.stride[axis]);
        first.min(last)..last
    }
}

/// A position of a window, or a window over a position: where the values begin, and the index within the window.
type Entry = (usize, u8);

dispatch! {
    // A row of `y` and `argmax`, the one of this number among all images'.
    fn pool_row<V: Value>(simd, pool: &MaxPool, channels: usize, x: &[V], row: usize, y: &mut [V], argmax: &mut [u8]) {
        let mut entries: Vec<Entry> = Vec::with_capacity(pool.kernel[0] * pool.kernel[1]);
        let (image, row) = (row / pool.output[0], row % pool.output[0]);
        let x = &x[image * pool.input[0] * pool.input[1] * channels..];
        let outputs = y.chunks_exact_mut(channels).zip(argmax.chunks_exact_mut(channels));
        for (column, (y, argmax)) in outputs.enumerate() {
            entries.clear();
            for down in pool.inside(0, row) {
                for across in pool.inside(1, column) {
                    let at = pool.position(0, row, down) * pool.input[1] + pool.position(1, column, across);
                    entries.push((at * channels, (down * pool.kernel[1] + across) as u8));
                }
            }
            let mut start = 0;
            while start < channels {
                let length = channels_at_once::<S>(channels - start);
                let (y, argmax) = (&mut y[start..][..length], &mut argmax[start..][..length]);
                match length {
                    FOUR => maxima::<V, S, 4>(simd, &entries, pool.through_relu, &x[start..], y, argmax),
                    TWO => maxima::<V, S, 2>(simd, &entries, pool.through_relu, &x[start..], y, argmax),
                    _ => maxima::<V, S, 1>(simd, &entries, pool.through_relu, &x[start..], y, argmax),
                }
                start += length;
            }
        }
    }
}

const FOUR: usize = 4 * LANES;
const TWO: usize = 2 * LANES;

/// How many of the channels that are left are computed at once, in registers.
#[inline(always)]
fn channels_at_once<S: SimdVector>(left: usize) -> usize {
    let most = if S::MANY_REGISTERS { FOUR } else { TWO };
    if left >= most { most } else { left.min(LANES) }
}

/// The maxima of `WIDE` SIMD vectors of channels, or of fewer than sixteen, and their argmax indices.
#[inline(always)]
fn maxima<V: Value, S: SimdVector, const WIDE: usize>(
    simd: S,
    entries: &[Entry],
    through_relu: bool,
    x: &[V],
    y: &mut [V],
    argmax: &mut [u8],
) {
    let mut best = [(simd.splat(f32::NEG_INFINITY), simd.splat_byte(0)); WIDE];
    for (at, index) in entries {
        let values = &x[*at..][..y.len()];
        for part in 0..WIDE {
            best[part] = simd.max_with_index(best[part], read(simd, &values[part * LANES..]), *index);
        }
    }
    for part in 0..WIDE {
        let (values, mut which) = best[part];
        if through_relu {
            which = simd.clear_unless_positive(which, values);
        }
        write(simd, values, &mut y[part * LANES..]);
        let mut bytes = [0; LANES];
        simd.store_bytes(which, &mut bytes);
        let argmax = &mut argmax[part * LANES..];
        let few = argmax.len().min(LANES);
        argmax[..few].copy_from_slice(&bytes[..few]);
    }
}

dispatch! {
    // The rows of `back`, from `first`, gather the gradients of the windows over them (gradients and argmax indices),
    // in the order of the windows.
    fn gather_rows<V: Value>(
        simd,
        pool: &MaxPool,
        channels: usize,
        outputs: (&[V], &[u8]),
        first: usize,
        accumulate: bool,
        back: &mut [V],
    ) {
        let (gradient, argmax) = outputs;
        let width = pool.input[1];
        // Divisions would take longer than the sums of few channels.
        let mut columns = Vec::with_capacity(width);
        for column in 0..width {
            columns.push(pool.windows_over(1, column));
        }
        let mut entries: Vec<Entry> = Vec::with_capacity(pool.kernel[0] * pool.kernel[1]);
        for (index, line) in back.chunks_exact_mut(width * channels).enumerate() {
            let (image, row) = ((first + index) / pool.input[0], (first + index) % pool.input[0]);
            let rows = pool.windows_over(0, row);
            for ((column, windows), back) in columns.iter().enumerate().zip(line.chunks_exact_mut(channels)) {
                entries.clear();
                for down in rows.clone() {
                    let place = (row + pool.before[0] - down * pool.stride[0]) * pool.kernel[1];
                    let start = (image * pool.output[0] + down) * pool.output[1];
                    for across in windows.clone() {
                        let index = place + column + pool.before[1] - across * pool.stride[1];
                        entries.push(((start + across) * channels, index as u8));
                    }
                }
                let mut start = 0;
                while start < channels {
                    let length = channels_at_once::<S>(channels - start);
                    let back = &mut back[start..][..length];
                    let (gradient, argmax) = (&gradient[start..], &argmax[start..]);
                    match length {
                        FOUR => gather::<V, S, 4>(simd, &entries, gradient, argmax, accumulate, back),
                        TWO => gather::<V, S, 2>(simd, &entries, gradient, argmax, accumulate, back),
                        _ => gather::<V, S, 1>(simd, &entries, gradient, argmax, accumulate, back),
                    }
                    start += length;
                }
            }
        }
    }
}

/// The gradient of `WIDE` SIMD vectors of channels of a position, or of fewer than sixteen.
#[inline(always)]
fn gather<V: Value, S: SimdVector, const WIDE: usize>(
    simd: S,
    entries: &[Entry],
    gradient: &[V],
    argmax: &[u8],
    accumulate: bool,
    back: &mut [V],
) {
    let mut sums = [simd.splat(0.0); WIDE];
    if accumulate {
        for part in 0..WIDE {
            sums[part] = read(simd, &back[part * LANES..]);
        }
    }
    for (at, index) in entries {
        let (gradient, argmax) = (&gradient[*at..][..back.len()], &argmax[*at..][..back.len()]);
        for part in 0..WIDE {
            let mut few = [NOWHERE; LANES];
            let argmax = &argmax[part * LANES..];
            let argmax = argmax.first_chunk().unwrap_or_else(|| {
                few[..argmax.len()].copy_from_slice(argmax);
                &few
            });
            sums[part] = simd.add_if_equal(sums[part], read(simd, &gradient[part * LANES..]), argmax, *index);
        }
    }
    for part in 0..WIDE {
        write(simd, sums[part], &mut back[part * LANES..]);
    }
}
