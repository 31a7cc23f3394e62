//! Windows of 6×6 values to their values at 6×6 points, and back to results.
//!
//! A correlation of 6 values `d` with `t` weights `g` has `7 − t` results, which are coefficients of a product of
//! polynomials: `Aᵀ [(G g) ∘ (Bᵀ d)]`, with the product of each pair at six points, where their values determine it
//! (Toom and Cook; for images Winograd, and Lavin and Gray, arXiv:1509.09308). The points are 0, ±2/3, ±3/2 and
//! infinity: powers of these stay near 1, so that sums lose little, and results in float32 are about as far from the
//! exact ones as those of plain sums are (the usual 0, ±1, ±2 and infinity lose four times as much).

use super::super::simd::SimdVector;

/// Points along an axis, and values along a window.
pub(super) const POINTS: usize = 6;

const A: f64 = 2.0 / 3.0;
const B: f64 = 1.5;

/// `G g Gᵀ`: the values of weights, row by row and as many in each, at the points.
pub(super) fn weights(taps: &[f32], extent: usize) -> [[f64; POINTS]; POINTS] {
    let columns: Vec<[f64; POINTS]> = (0..extent)
        .map(|column| at_points((0..extent).map(|row| f64::from(taps[row * extent + column]))))
        .collect();
    let mut points = [[0.0; POINTS]; POINTS];
    for (point, row) in points.iter_mut().enumerate() {
        *row = at_points(columns.iter().map(|column| column[point]));
    }
    points
}

/// `G g`. Each value is divided by what [`InputTransform::window`] leaves out: the distances of its point from the
/// others, multiplied.
fn at_points(taps: impl DoubleEndedIterator<Item = f64> + Clone) -> [f64; POINTS] {
    let value = |point: f64, distances: f64| {
        taps.clone().rev().fold(0.0, |value, tap| value * point + tap) / distances
    };
    let near = 2.0 * A * A * (A * A - B * B);
    let far = 2.0 * B * B * (B * B - A * A);
    let last = taps.clone().next_back().unwrap_or(0.0);
    [value(0.0, A * A * B * B), value(A, near), value(-A, near), value(B, far), value(-B, far), last]
}

/// Constants of the input transform.
#[derive(Clone, Copy)]
pub(super) struct InputTransform<V> {
    a: V,
    minus_a: V,
    b: V,
    minus_b: V,
    minus_a2: V,
    minus_b2: V,
    minus_both: V,
}

/// Constants of the output transform.
#[derive(Clone, Copy)]
pub(super) struct OutputTransform<V> {
    a: V,
    b: V,
    a2: V,
    b2: V,
    a3: V,
    b3: V,
    none: V,
}

impl<V: Copy> InputTransform<V> {
    #[inline(always)]
    pub(super) fn new<S: SimdVector<V = V>>(simd: S) -> Self {
        Self {
            a: simd.splat(A as f32),
            minus_a: simd.splat(-A as f32),
            b: simd.splat(B as f32),
            minus_b: simd.splat(-B as f32),
            minus_a2: simd.splat((-A * A) as f32),
            minus_b2: simd.splat((-B * B) as f32),
            minus_both: simd.splat((-A * A - B * B) as f32),
        }
    }

    /// `Bᵀ d`. The rows are the products of `x − q` over the other points `q`; with `a · b = 1` they share most of
    /// their terms.
    #[inline(always)]
    pub(super) fn window<S: SimdVector<V = V>>(&self, simd: S, d: [V; POINTS]) -> [V; POINTS] {
        let even_a = simd.fma(d[2], self.minus_b2, d[4]);
        let odd_a = simd.fma(d[1], self.minus_b2, d[3]);
        let even_b = simd.fma(d[2], self.minus_a2, d[4]);
        let odd_b = simd.fma(d[1], self.minus_a2, d[3]);
        [
            simd.fma(d[2], self.minus_both, simd.add(d[0], d[4])),
            simd.fma(odd_a, self.a, even_a),
            simd.fma(odd_a, self.minus_a, even_a),
            simd.fma(odd_b, self.b, even_b),
            simd.fma(odd_b, self.minus_b, even_b),
            simd.fma(d[3], self.minus_both, simd.add(d[1], d[5])),
        ]
    }
}

impl<V: Copy> OutputTransform<V> {
    #[inline(always)]
    pub(super) fn new<S: SimdVector<V = V>>(simd: S) -> Self {
        Self {
            a: simd.splat(A as f32),
            b: simd.splat(B as f32),
            a2: simd.splat((A * A) as f32),
            b2: simd.splat((B * B) as f32),
            a3: simd.splat((A * A * A) as f32),
            b3: simd.splat((B * B * B) as f32),
            none: simd.splat(0.0),
        }
    }

    /// `Aᵀ m`: 2 to 4 results.
    #[inline(always)]
    pub(super) fn results<S: SimdVector<V = V>, const RESULTS: usize>(
        &self,
        simd: S,
        m: [V; POINTS],
    ) -> [V; RESULTS] {
        let (even_a, odd_a) = (simd.add(m[1], m[2]), simd.sub(m[1], m[2]));
        let (even_b, odd_b) = (simd.add(m[3], m[4]), simd.sub(m[3], m[4]));
        let mut results = [simd.add(m[0], simd.add(even_a, even_b)); RESULTS];
        for (result, value) in results.iter_mut().enumerate().skip(1) {
            // Infinity has a part in the last only.
            let there = if result + 1 == RESULTS { m[5] } else { self.none };
            let (a, b, a_power, b_power) = match result {
                1 => (odd_a, odd_b, self.a, self.b),
                2 => (even_a, even_b, self.a2, self.b2),
                _ => (odd_a, odd_b, self.a3, self.b3),
            };
            *value = simd.fma(b, b_power, simd.fma(a, a_power, there));
        }
        results
    }
}
