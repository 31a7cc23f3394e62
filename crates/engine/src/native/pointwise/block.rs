//! The products of [`super`], block by block: some pixels and some kernels whose sums fill the registers.

use super::super::{
    Half, Value,
    lanes::{Dot, Kernel, LANES, Lanes, in_lanes, read, write},
};

/// One convolution; `U` are the weights of sixteen kernels that are multiplied at once.
pub(super) struct Task<'a, V, U> {
    pub(super) weights: &'a [U],
    pub(super) channels: usize,
    pub(super) kernels: usize,
    pub(super) x: &'a [V],
    /// Values from one pixel of `x` to the next.
    pub(super) step: usize,
    /// As many as there are weights side by side.
    pub(super) bias: Vec<f32>,
    pub(super) limits: [f32; 2],
    /// Whether to add to what is there.
    pub(super) onto: bool,
    /// The rectifier's output and its limit.
    pub(super) shown: Option<(&'a [V], f32)>,
}

/// How pixels and weights are multiplied, and results are stored.
trait Product<S: Lanes>: Copy {
    type V: Value;
    /// Values of a pixel that are multiplied at once.
    type Part;
    /// Weights of sixteen kernels for them.
    type Unit;
    /// Either in registers.
    type Factor: Copy;

    fn parts(values: &[Self::V]) -> &[Self::Part];
    fn splat(self, lanes: S, part: &Self::Part) -> Self::Factor;
    fn load(self, lanes: S, unit: &Self::Unit) -> Self::Factor;
    /// `part · unit + sum`.
    fn add(self, lanes: S, part: Self::Factor, unit: Self::Factor, sum: S::V) -> S::V;
    fn store(self, lanes: S, values: S::V, to: &mut [Self::V; LANES]);
    fn call<K: Kernel<S>>(self, lanes: S, kernel: K);
}

/// One by one, in float32.
#[derive(Clone, Copy)]
struct Single;

impl<S: Lanes> Product<S> for Single {
    type V = f32;
    type Part = f32;
    type Unit = [f32; LANES];
    type Factor = S::V;

    #[inline(always)]
    fn parts(values: &[f32]) -> &[f32] {
        values
    }

    #[inline(always)]
    fn splat(self, lanes: S, part: &f32) -> S::V {
        lanes.splat(*part)
    }

    #[inline(always)]
    fn load(self, lanes: S, unit: &[f32; LANES]) -> S::V {
        lanes.load(unit)
    }

    #[inline(always)]
    fn add(self, lanes: S, part: S::V, unit: S::V, sum: S::V) -> S::V {
        lanes.fma(part, unit, sum)
    }

    #[inline(always)]
    fn store(self, lanes: S, values: S::V, to: &mut [f32; LANES]) {
        lanes.store(values, to);
    }

    #[inline(always)]
    fn call<K: Kernel<S>>(self, lanes: S, kernel: K) {
        lanes.call(kernel);
    }
}

#[cfg(target_arch = "x86_64")]
mod pairs {
    use std::arch::x86_64::__m512i;

    use super::{super::super::lanes::x86::Avx512, Dot, Half, Kernel, LANES, Lanes, Product};

    impl Product<Avx512> for Dot {
        type V = Half;
        type Part = [Half; 2];
        type Unit = [u32; LANES];
        type Factor = __m512i;

        #[inline(always)]
        fn parts(values: &[Half]) -> &[[Half; 2]] {
            values.as_chunks().0
        }

        #[inline(always)]
        fn splat(self, _: Avx512, part: &[Half; 2]) -> __m512i {
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
            sum: <Avx512 as Lanes>::V,
        ) -> <Avx512 as Lanes>::V {
            self.add(part, unit, sum)
        }

        #[inline(always)]
        fn store(self, _: Avx512, values: <Avx512 as Lanes>::V, to: &mut [Half; LANES]) {
            self.store(values, to);
        }

        #[inline(always)]
        fn call<K: Kernel<Avx512>>(self, _: Avx512, kernel: K) {
            self.call(kernel);
        }
    }
}

in_lanes! {
    /// The pixels of `y`, from `first`, in float32.
    pub(super) fn in_singles(lanes, task: &Task<'_, f32, [f32; LANES]>, first: usize, y: &mut [f32]) {
        if S::MANY {
            sweep::<Single, S, 12, 6, 2>(Single, lanes, task, first, y);
        } else {
            sweep::<Single, S, 6, 3, 1>(Single, lanes, task, first, y);
        }
    }
}

/// The pixels of `y`, from `first`, in bfloat16.
pub(super) fn in_pairs(dot: Dot, task: &Task<'_, Half, [u32; LANES]>, first: usize, y: &mut [Half]) {
    #[cfg(target_arch = "x86_64")]
    sweep::<Dot, _, 12, 6, 2>(dot, dot.lanes(), task, first, y);
    #[cfg(not(target_arch = "x86_64"))]
    match (dot, task, first, y) {}
}

/// `ROWS` pixels and the kernels of `WIDE` panels at a time fill the registers; `HALF` is half of the pixels.
#[inline(always)]
fn sweep<P: Product<S>, S: Lanes, const ROWS: usize, const HALF: usize, const WIDE: usize>(
    product: P,
    lanes: S,
    task: &Task<'_, P::V, P::Unit>,
    first: usize,
    y: &mut [P::V],
) {
    let Task { channels, kernels, step, x, .. } = *task;
    let count = y.len() / kernels;
    // The last pixels, which do not fill a block: taken from here, where there are enough.
    let rest = count % ROWS;
    let mut few = vec![P::V::nearest(0.0); if rest > 0 { ROWS * channels } else { 0 }];
    for (index, to) in few.chunks_exact_mut(channels).take(rest).enumerate() {
        to.copy_from_slice(&x[(first + count - rest + index) * step..][..channels]);
    }
    for (index, y) in y.chunks_mut(ROWS * kernels).enumerate() {
        let pixel = first + index * ROWS;
        let shown = task.shown.map(|(shown, limit)| (&shown[pixel * kernels..][..y.len()], limit));
        let (x, step) =
            if y.len() == ROWS * kernels { (&x[pixel * step..], step) } else { (&few[..], channels) };
        if y.len() <= HALF * kernels {
            product.call(lanes, Block::<_, _, _, HALF, WIDE> { product, task, x, step, shown, y });
        } else {
            product.call(lanes, Block::<_, _, _, ROWS, WIDE> { product, task, x, step, shown, y });
        }
    }
}

/// `ROWS` pixels, whose sums with the kernels of `WIDE` panels fill the registers.
struct Block<'a, P, V, U, const ROWS: usize, const WIDE: usize> {
    product: P,
    task: &'a Task<'a, V, U>,
    x: &'a [V],
    /// Values from one pixel of `x` to the next.
    step: usize,
    /// Of the same pixels.
    shown: Option<(&'a [V], f32)>,
    /// All results of so many of the pixels.
    y: &'a mut [V],
}

impl<P, S, const ROWS: usize, const WIDE: usize> Kernel<S> for Block<'_, P, P::V, P::Unit, ROWS, WIDE>
where
    P: Product<S>,
    S: Lanes,
{
    #[inline(always)]
    fn run(mut self, lanes: S) {
        let Task { weights, channels, ref bias, .. } = *self.task;
        let panels = bias.len() / LANES;
        let units = weights.len() / panels;
        let mut rows = [&P::parts(self.x)[..0]; ROWS];
        for (index, row) in rows.iter_mut().enumerate() {
            *row = &P::parts(&self.x[index * self.step..][..channels])[..units];
        }
        for panel in (0..panels).step_by(WIDE) {
            if panel + WIDE <= panels {
                self.panels::<S, WIDE>(lanes, &rows, panel);
            } else {
                for panel in panel..panels {
                    self.panels::<S, 1>(lanes, &rows, panel);
                }
            }
        }
        // In one go from the first value to the last: the processor sees what will be read.
        let Some((shown, limit)) = self.shown else { return };
        let limit = lanes.splat(limit);
        for (y, shown) in self.y.chunks_mut(LANES).zip(shown.chunks(LANES)) {
            let value = lanes.within(read(lanes, y), read(lanes, shown), limit);
            write(lanes, value, y);
        }
    }
}

impl<P, V, U, const ROWS: usize, const WIDE: usize> Block<'_, P, V, U, ROWS, WIDE> {
    /// The results of the kernels of some panels, from the first of them.
    #[inline(always)]
    fn panels<S: Lanes, const PANELS: usize>(&mut self, lanes: S, rows: &[&[P::Part]; ROWS], panel: usize)
    where
        P: Product<S, V = V, Unit = U>,
        V: Value,
    {
        let Task { weights, kernels, ref bias, limits, onto, .. } = *self.task;
        let units = rows[0].len();
        let mut panels = [&weights[..0]; PANELS];
        for (index, panels) in panels.iter_mut().enumerate() {
            *panels = &weights[(panel + index) * units..][..units];
        }
        let (bias, _) = bias[panel * LANES..].as_chunks();
        let mut start = [lanes.splat(0.0); PANELS];
        for part in 0..PANELS {
            start[part] = lanes.load(&bias[part]);
        }
        let mut sums = [start; ROWS];
        for unit in 0..units {
            let mut columns = [self.product.load(lanes, &panels[0][unit]); PANELS];
            for part in 1..PANELS {
                columns[part] = self.product.load(lanes, &panels[part][unit]);
            }
            for row in 0..ROWS {
                let value = self.product.splat(lanes, &rows[row][unit]);
                for part in 0..PANELS {
                    sums[row][part] = self.product.add(lanes, value, columns[part], sums[row][part]);
                }
            }
        }
        // All at once and to one place: with more than that in sight, the compiler would keep the sums in memory.
        let mut all = [[[0.0; LANES]; PANELS]; ROWS];
        for row in 0..ROWS {
            for part in 0..PANELS {
                lanes.store(sums[row][part], &mut all[row][part]);
            }
        }
        let (low, high) = (lanes.splat(limits[0]), lanes.splat(limits[1]));
        let first = panel * LANES;
        let end = kernels.min(first + PANELS * LANES);
        for (sums, line) in all.iter().zip(self.y.chunks_exact_mut(kernels)) {
            let (line, rest) = line[first..end].as_chunks_mut();
            for (to, sum) in line.iter_mut().zip(sums) {
                let mut value = lanes.load(sum);
                if onto {
                    value = lanes.add(value, V::load(lanes, to));
                }
                value = lanes.clamp(value, low, high);
                self.product.store(lanes, value, to);
            }
            if !rest.is_empty() {
                let mut value = lanes.load(&sums[line.len()]);
                if onto {
                    value = lanes.add(value, read(lanes, rest));
                }
                value = lanes.clamp(value, low, high);
                let mut few = [V::nearest(0.0); LANES];
                self.product.store(lanes, value, &mut few);
                rest.copy_from_slice(&few[..rest.len()]);
            }
        }
    }
}
