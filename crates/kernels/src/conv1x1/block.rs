//! The products of [`super`], block by block: some pixels and some outputs whose sums fill the registers.

use super::super::{
    Bf16,
    instruction_set::dispatch,
    simd::{Bf16Dot, LANES, Microkernel, SimdVector, read, write},
    value::Value,
};

/// One convolution; `U` are the weights of sixteen outputs that are multiplied at once.
pub(super) struct Task<'a, V, U> {
    pub(super) weights: &'a [U],
    pub(super) channels: usize,
    pub(super) outputs: usize,
    pub(super) x: &'a [V],
    /// Values from one pixel of `x` to the next.
    pub(super) pixel_stride: usize,
    /// As many as there are weights side by side.
    pub(super) bias: Vec<f32>,
    pub(super) limits: [f32; 2],
    /// Whether to add to the values of the result.
    pub(super) accumulate: bool,
    /// The output of the ReLU, and its limit.
    pub(super) relu: Option<(&'a [V], f32)>,
}

/// How pixels and weights are multiplied, and results are stored.
trait Product<S: SimdVector>: Copy {
    type V: Value;
    /// Values of a pixel that are multiplied at once.
    type Part;
    /// Weights of sixteen outputs for them.
    type Unit;
    /// Either in registers.
    type Factor: Copy;

    fn parts(values: &[Self::V]) -> &[Self::Part];
    fn splat(self, simd: S, part: &Self::Part) -> Self::Factor;
    fn load(self, simd: S, unit: &Self::Unit) -> Self::Factor;
    /// `part · unit + sum`.
    fn add(self, simd: S, part: Self::Factor, unit: Self::Factor, sum: S::V) -> S::V;
    fn store(self, simd: S, values: S::V, to: &mut [Self::V; LANES]);
    fn call<K: Microkernel<S>>(self, simd: S, microkernel: K);
}

/// One by one, in float32.
#[derive(Clone, Copy)]
struct F32Product;

impl<S: SimdVector> Product<S> for F32Product {
    type V = f32;
    type Part = f32;
    type Unit = [f32; LANES];
    type Factor = S::V;

    #[inline(always)]
    fn parts(values: &[f32]) -> &[f32] {
        values
    }

    #[inline(always)]
    fn splat(self, simd: S, part: &f32) -> S::V {
        simd.splat(*part)
    }

    #[inline(always)]
    fn load(self, simd: S, unit: &[f32; LANES]) -> S::V {
        simd.load(unit)
    }

    #[inline(always)]
    fn add(self, simd: S, part: S::V, unit: S::V, sum: S::V) -> S::V {
        simd.fma(part, unit, sum)
    }

    #[inline(always)]
    fn store(self, simd: S, values: S::V, to: &mut [f32; LANES]) {
        simd.store(values, to);
    }

    #[inline(always)]
    fn call<K: Microkernel<S>>(self, simd: S, microkernel: K) {
        simd.call(microkernel);
    }
}

#[cfg(target_arch = "x86_64")]
mod pairs {
    use std::arch::x86_64::__m512i;

    use super::{super::super::simd::x86::Avx512, Bf16, Bf16Dot, LANES, Microkernel, Product, SimdVector};

    impl Product<Avx512> for Bf16Dot {
        type V = Bf16;
        type Part = [Bf16; 2];
        type Unit = [u32; LANES];
        type Factor = __m512i;

        #[inline(always)]
        fn parts(values: &[Bf16]) -> &[[Bf16; 2]] {
            values.as_chunks().0
        }

        #[inline(always)]
        fn splat(self, _: Avx512, part: &[Bf16; 2]) -> __m512i {
            self.splat(part)
        }

        #[inline(always)]
        fn load(self, _: Avx512, unit: &[u32; LANES]) -> __m512i {
            self.load(unit)
        }

        #[inline(always)]
        fn add(
            self,
            _: Avx512,
            part: __m512i,
            unit: __m512i,
            sum: <Avx512 as SimdVector>::V,
        ) -> <Avx512 as SimdVector>::V {
            self.add(part, unit, sum)
        }

        #[inline(always)]
        fn store(self, _: Avx512, values: <Avx512 as SimdVector>::V, to: &mut [Bf16; LANES]) {
            self.store(values, to);
        }

        #[inline(always)]
        fn call<K: Microkernel<Avx512>>(self, _: Avx512, microkernel: K) {
            self.call(microkernel);
        }
    }
}

dispatch! {
    /// The pixels of `y`, from `first`, in float32.
    pub(super) fn multiply_f32(simd, task: &Task<'_, f32, [f32; LANES]>, first: usize, y: &mut [f32]) {
        if S::MANY_REGISTERS {
            multiply::<F32Product, S, 12, 6, 2>(F32Product, simd, task, first, y);
        } else {
            multiply::<F32Product, S, 6, 3, 1>(F32Product, simd, task, first, y);
        }
    }
}

/// The pixels of `y`, from `first`, in bfloat16.
pub(super) fn multiply_bf16_pairs(
    dot: Bf16Dot,
    task: &Task<'_, Bf16, [u32; LANES]>,
    first: usize,
    y: &mut [Bf16],
) {
    #[cfg(target_arch = "x86_64")]
    multiply::<Bf16Dot, _, 12, 6, 2>(dot, dot.vector(), task, first, y);
    #[cfg(not(target_arch = "x86_64"))]
    match (dot, task, first, y) {}
}

/// `ROWS` pixels and the outputs of `WIDE` panels at a time fill the registers; `HALF` is half of the pixels.
#[inline(always)]
fn multiply<P: Product<S>, S: SimdVector, const ROWS: usize, const HALF: usize, const WIDE: usize>(
    product: P,
    simd: S,
    task: &Task<'_, P::V, P::Unit>,
    first: usize,
    y: &mut [P::V],
) {
    let Task { channels, outputs, pixel_stride: step, x, .. } = *task;
    let count = y.len() / outputs;
    // The last pixels, which do not fill a block: taken from here, where there are enough.
    let rest = count % ROWS;
    let mut few = vec![P::V::from_f32(0.0); if rest > 0 { ROWS * channels } else { 0 }];
    for (index, to) in few.chunks_exact_mut(channels).take(rest).enumerate() {
        to.copy_from_slice(&x[(first + count - rest + index) * step..][..channels]);
    }
    for (index, y) in y.chunks_mut(ROWS * outputs).enumerate() {
        let pixel = first + index * ROWS;
        let relu = task.relu.map(|(relu, limit)| (&relu[pixel * outputs..][..y.len()], limit));
        let (x, step) =
            if y.len() == ROWS * outputs { (&x[pixel * step..], step) } else { (&few[..], channels) };
        if y.len() <= HALF * outputs {
            product.call(simd, Block::<_, _, _, HALF, WIDE> { product, task, x, step, relu, y });
        } else {
            product.call(simd, Block::<_, _, _, ROWS, WIDE> { product, task, x, step, relu, y });
        }
    }
}

/// `ROWS` pixels, whose sums with the outputs of `WIDE` panels fill the registers.
struct Block<'a, P, V, U, const ROWS: usize, const WIDE: usize> {
    product: P,
    task: &'a Task<'a, V, U>,
    x: &'a [V],
    /// Values from one pixel of `x` to the next.
    step: usize,
    /// Of the same pixels.
    relu: Option<(&'a [V], f32)>,
    /// All results of so many of the pixels.
    y: &'a mut [V],
}

impl<P, S, const ROWS: usize, const WIDE: usize> Microkernel<S> for Block<'_, P, P::V, P::Unit, ROWS, WIDE>
where
    P: Product<S>,
    S: SimdVector,
{
    #[inline(always)]
    fn run(mut self, simd: S) {
        let Task { weights, channels, ref bias, .. } = *self.task;
        let panels = bias.len() / LANES;
        let units = weights.len() / panels;
        let mut rows = [&P::parts(self.x)[..0]; ROWS];
        for (index, row) in rows.iter_mut().enumerate() {
            *row = &P::parts(&self.x[index * self.step..][..channels])[..units];
        }
        for panel in (0..panels).step_by(WIDE) {
            if panel + WIDE <= panels {
                self.panels::<S, WIDE>(simd, &rows, panel);
            } else {
                for panel in panel..panels {
                    self.panels::<S, 1>(simd, &rows, panel);
                }
            }
        }
        // In one go from the first value to the last: the processor sees what will be read.
        let Some((relu, limit)) = self.relu else { return };
        let limit = simd.splat(limit);
        for (y, relu) in self.y.chunks_mut(LANES).zip(relu.chunks(LANES)) {
            let value = simd.mask_relu(read(simd, y), read(simd, relu), limit);
            write(simd, value, y);
        }
    }
}

impl<P, V, U, const ROWS: usize, const WIDE: usize> Block<'_, P, V, U, ROWS, WIDE> {
    /// The results of the outputs of some panels, from the first of them.
    #[inline(always)]
    fn panels<S: SimdVector, const PANELS: usize>(&mut self, simd: S, rows: &[&[P::Part]; ROWS], panel: usize)
    where
        P: Product<S, V = V, Unit = U>,
        V: Value,
    {
        let Task { weights, outputs, ref bias, limits, accumulate, .. } = *self.task;
        let units = rows[0].len();
        let mut panels = [&weights[..0]; PANELS];
        for (index, panels) in panels.iter_mut().enumerate() {
            *panels = &weights[(panel + index) * units..][..units];
        }
        let (bias, _) = bias[panel * LANES..].as_chunks();
        let mut start = [simd.splat(0.0); PANELS];
        for part in 0..PANELS {
            start[part] = simd.load(&bias[part]);
        }
        let mut sums = [start; ROWS];
        for unit in 0..units {
            let mut columns = [self.product.load(simd, &panels[0][unit]); PANELS];
            for part in 1..PANELS {
                columns[part] = self.product.load(simd, &panels[part][unit]);
            }
            for row in 0..ROWS {
                let value = self.product.splat(simd, &rows[row][unit]);
                for part in 0..PANELS {
                    sums[row][part] = self.product.add(simd, value, columns[part], sums[row][part]);
                }
            }
        }
        // All at once and to one place: with more than that in sight, the compiler would keep the sums in memory.
        let mut all = [[[0.0; LANES]; PANELS]; ROWS];
        for row in 0..ROWS {
            for part in 0..PANELS {
                simd.store(sums[row][part], &mut all[row][part]);
            }
        }
        let (low, high) = (simd.splat(limits[0]), simd.splat(limits[1]));
        let first = panel * LANES;
        let end = outputs.min(first + PANELS * LANES);
        for (sums, line) in all.iter().zip(self.y.chunks_exact_mut(outputs)) {
            let (line, rest) = line[first..end].as_chunks_mut();
            for (to, sum) in line.iter_mut().zip(sums) {
                let mut value = simd.load(sum);
                if accumulate {
                    value = simd.add(value, V::load(simd, to));
                }
                value = simd.clamp(value, low, high);
                self.product.store(simd, value, to);
            }
            if !rest.is_empty() {
                let mut value = simd.load(&sums[line.len()]);
                if accumulate {
                    value = simd.add(value, read(simd, rest));
                }
                value = simd.clamp(value, low, high);
                let mut few = [V::from_f32(0.0); LANES];
                self.product.store(simd, value, &mut few);
                rest.copy_from_slice(&few[..rest.len()]);
            }
        }
    }
}
