//! The matrix products (GEMM) between the transforms: for each of the 36 points, `[tiles, in] · [in, out]`.

use super::super::simd::{LANES, Microkernel, SimdVector};

/// `to[t, ..] = Σ from[t, c] · weights[c, ..]` for `ROWS` rows, and the sixteen columns of each of `PANELS` panels.
/// Rows of `from` and `to` are so many values apart as stands beside them.
pub(super) struct Block<'a, const ROWS: usize, const PANELS: usize> {
    pub(super) from: (&'a [f32], usize),
    pub(super) weights: [&'a [[f32; LANES]]; PANELS],
    pub(super) to: (&'a mut [f32], usize),
}

impl<S: SimdVector, const ROWS: usize, const PANELS: usize> Microkernel<S> for Block<'_, ROWS, PANELS> {
    #[inline(always)]
    fn run(self, simd: S) {
        let Self { from: (from, stride), weights, to: (to, width) } = self;
        let channels = weights[0].len();
        let mut rows = [&from[..0]; ROWS];
        for (index, row) in rows.iter_mut().enumerate() {
            *row = &from[index * stride..][..channels];
        }
        let mut panels = [&weights[0][..0]; PANELS];
        for (panel, weights) in panels.iter_mut().zip(weights) {
            *panel = &weights[..channels];
        }
        let mut sums = [[simd.splat(0.0); PANELS]; ROWS];
        for channel in 0..channels {
            let mut columns = [simd.splat(0.0); PANELS];
            for panel in 0..PANELS {
                columns[panel] = simd.load(&panels[panel][channel]);
            }
            for row in 0..ROWS {
                let value = simd.splat(rows[row][channel]);
                for panel in 0..PANELS {
                    sums[row][panel] = simd.fma(value, columns[panel], sums[row][panel]);
                }
            }
        }
        for row in 0..ROWS {
            let (lines, _) = to[row * width..].as_chunks_mut::<LANES>();
            for panel in 0..PANELS {
                simd.store(sums[row][panel], &mut lines[panel]);
            }
        }
    }
}
