//! Sixteen float32 side by side, in the registers that a processor has.
//!
//! A token of each kind exists only where its instructions do, so that what takes one can be called without further
//! checks. Code over tokens has to be inlined into a function compiled for them ([`in_lanes`]), and must not hide
//! them in closures, which are compiled for every processor.

use super::Value;

/// How many.
pub(super) const LANES: usize = 16;

/// Arithmetic on sixteen values; each is rounded once.
pub(super) trait Lanes: Copy {
    /// Sixteen values.
    type V: Copy;
    /// Whether there are registers for some twenty of these; otherwise it is half of that.
    const MANY: bool;

    fn splat(self, value: f32) -> Self::V;
    fn load(self, values: &[f32; LANES]) -> Self::V;
    fn store(self, values: Self::V, to: &mut [f32; LANES]);
    fn add(self, a: Self::V, b: Self::V) -> Self::V;
    fn sub(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a · b + c`.
    fn fma(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// `min(max(value, low), high)`; what is no number stays so.
    fn clamp(self, value: Self::V, low: Self::V, high: Self::V) -> Self::V;
    /// `value` where `0 < shown < limit`, zero elsewhere.
    fn within(self, value: Self::V, shown: Self::V, limit: Self::V) -> Self::V;
    /// [`block`](super::winograd::block), as a function of its own: within a larger one its sums would not stay in the registers.
    fn block<const ROWS: usize, const PANELS: usize>(
        self,
        from: (&[f32], usize),
        weights: [&[[f32; LANES]]; PANELS],
        to: (&mut [f32], usize),
    );
}

#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code, reason = "instructions that only a check at run time can find; a token is that check")]
pub(super) mod x86 {
    use std::arch::x86_64::*;

    use super::{super::winograd::block, LANES, Lanes};

    /// Two registers of AVX2, with fused multiply-adds.
    #[derive(Clone, Copy)]
    pub(in super::super) struct Avx2(());

    impl Avx2 {
        pub(in super::super) fn get() -> Option<Self> {
            (is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma")).then_some(Self(()))
        }
    }

    /// One register of AVX-512.
    #[derive(Clone, Copy)]
    pub(in super::super) struct Avx512(());

    impl Avx512 {
        pub(in super::super) fn get() -> Option<Self> {
            let all = is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512dq")
                && is_x86_feature_detected!("avx512vl");
            all.then_some(Self(()))
        }
    }

    // SAFETY of all below: the token says that the processor has the instructions, and the references are to as many
    // values as are read or written.
    impl Lanes for Avx2 {
        type V = [__m256; 2];
        const MANY: bool = false;

        #[inline(always)]
        fn splat(self, value: f32) -> Self::V {
            unsafe { [_mm256_set1_ps(value); 2] }
        }

        #[inline(always)]
        fn load(self, values: &[f32; LANES]) -> Self::V {
            let from = values.as_ptr();
            unsafe { [_mm256_loadu_ps(from), _mm256_loadu_ps(from.add(8))] }
        }

        #[inline(always)]
        fn store(self, values: Self::V, to: &mut [f32; LANES]) {
            let to = to.as_mut_ptr();
            unsafe {
                _mm256_storeu_ps(to, values[0]);
                _mm256_storeu_ps(to.add(8), values[1]);
            }
        }

        #[inline(always)]
        fn add(self, a: Self::V, b: Self::V) -> Self::V {
            unsafe { [_mm256_add_ps(a[0], b[0]), _mm256_add_ps(a[1], b[1])] }
        }

        #[inline(always)]
        fn sub(self, a: Self::V, b: Self::V) -> Self::V {
            unsafe { [_mm256_sub_ps(a[0], b[0]), _mm256_sub_ps(a[1], b[1])] }
        }

        #[inline(always)]
        fn fma(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V {
            unsafe { [_mm256_fmadd_ps(a[0], b[0], c[0]), _mm256_fmadd_ps(a[1], b[1], c[1])] }
        }

        #[inline(always)]
        fn clamp(self, value: Self::V, low: Self::V, high: Self::V) -> Self::V {
            // Of a number and none, these give the second.
            unsafe {
                [
                    _mm256_min_ps(high[0], _mm256_max_ps(low[0], value[0])),
                    _mm256_min_ps(high[1], _mm256_max_ps(low[1], value[1])),
                ]
            }
        }

        #[inline(always)]
        fn within(self, value: Self::V, shown: Self::V, limit: Self::V) -> Self::V {
            let mut values = value;
            for half in 0..2 {
                unsafe {
                    let above = _mm256_cmp_ps::<_CMP_GT_OQ>(shown[half], _mm256_setzero_ps());
                    let below = _mm256_cmp_ps::<_CMP_LT_OQ>(shown[half], limit[half]);
                    values[half] = _mm256_and_ps(value[half], _mm256_and_ps(above, below));
                }
            }
            values
        }

        #[inline(always)]
        fn block<const ROWS: usize, const PANELS: usize>(
            self,
            from: (&[f32], usize),
            weights: [&[[f32; LANES]]; PANELS],
            to: (&mut [f32], usize),
        ) {
            #[inline(never)]
            #[target_feature(enable = "avx2,fma")]
            fn run<const ROWS: usize, const PANELS: usize>(
                lanes: Avx2,
                from: (&[f32], usize),
                weights: [&[[f32; LANES]]; PANELS],
                to: (&mut [f32], usize),
            ) {
                block::<Avx2, ROWS, PANELS>(lanes, from, weights, to);
            }
            unsafe { run::<ROWS, PANELS>(self, from, weights, to) }
        }
    }

    impl Lanes for Avx512 {
        type V = __m512;
        const MANY: bool = true;

        #[inline(always)]
        fn splat(self, value: f32) -> Self::V {
            unsafe { _mm512_set1_ps(value) }
        }

        #[inline(always)]
        fn load(self, values: &[f32; LANES]) -> Self::V {
            unsafe { _mm512_loadu_ps(values.as_ptr()) }
        }

        #[inline(always)]
        fn store(self, values: Self::V, to: &mut [f32; LANES]) {
            unsafe { _mm512_storeu_ps(to.as_mut_ptr(), values) }
        }

        #[inline(always)]
        fn add(self, a: Self::V, b: Self::V) -> Self::V {
            unsafe { _mm512_add_ps(a, b) }
        }

        #[inline(always)]
        fn sub(self, a: Self::V, b: Self::V) -> Self::V {
            unsafe { _mm512_sub_ps(a, b) }
        }

        #[inline(always)]
        fn fma(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V {
            unsafe { _mm512_fmadd_ps(a, b, c) }
        }

        #[inline(always)]
        fn clamp(self, value: Self::V, low: Self::V, high: Self::V) -> Self::V {
            unsafe { _mm512_min_ps(high, _mm512_max_ps(low, value)) }
        }

        #[inline(always)]
        fn within(self, value: Self::V, shown: Self::V, limit: Self::V) -> Self::V {
            unsafe {
                let above = _mm512_cmp_ps_mask::<_CMP_GT_OQ>(shown, _mm512_setzero_ps());
                let below = _mm512_cmp_ps_mask::<_CMP_LT_OQ>(shown, limit);
                _mm512_maskz_mov_ps(above & below, value)
            }
        }

        #[inline(always)]
        fn block<const ROWS: usize, const PANELS: usize>(
            self,
            from: (&[f32], usize),
            weights: [&[[f32; LANES]]; PANELS],
            to: (&mut [f32], usize),
        ) {
            #[inline(never)]
            #[target_feature(enable = "avx512f")]
            fn run<const ROWS: usize, const PANELS: usize>(
                lanes: Avx512,
                from: (&[f32], usize),
                weights: [&[[f32; LANES]]; PANELS],
                to: (&mut [f32], usize),
            ) {
                block::<Avx512, ROWS, PANELS>(lanes, from, weights, to);
            }
            unsafe { run::<ROWS, PANELS>(self, from, weights, to) }
        }
    }
}

/// Compiles the body of a function over lanes, of type `S`, for each kind that there is, and runs the widest that the
/// processor has. It runs none where there is none: [`has_lanes`] tells.
macro_rules! in_lanes {
    (
        $(#[$about:meta])*
        $visibility:vis fn $name:ident<$value:ident: $bound:ident>(
            $lanes:ident,
            $($argument:ident: $type:ty),* $(,)?
        ) $body:block
    ) => {
        $(#[$about])*
        $visibility fn $name<$value: $bound>($($argument: $type),*) {
            #[inline(always)]
            #[cfg_attr(not(target_arch = "x86_64"), allow(dead_code, reason = "there are no lanes"))]
            fn body<$value: $bound, S: $crate::render::native::lanes::Lanes>($lanes: S, $($argument: $type),*) $body

            #[cfg(target_arch = "x86_64")]
            {
                use $crate::render::native::lanes::x86::{Avx2, Avx512};
                #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
                fn widest<$value: $bound>(lanes: Avx512, $($argument: $type),*) {
                    body::<$value, Avx512>(lanes, $($argument),*);
                }
                #[target_feature(enable = "avx2,fma")]
                fn wide<$value: $bound>(lanes: Avx2, $($argument: $type),*) {
                    body::<$value, Avx2>(lanes, $($argument),*);
                }
                #[allow(unsafe_code, reason = "only a check at run time can know the processor")]
                if let Some(lanes) = Avx512::get() {
                    // SAFETY: the processor has what the function needs.
                    unsafe { widest::<$value>(lanes, $($argument),*) }
                } else if let Some(lanes) = Avx2::get() {
                    // SAFETY: as above.
                    unsafe { wide::<$value>(lanes, $($argument),*) }
                }
            }
            #[cfg(not(target_arch = "x86_64"))]
            let _ = ($($argument,)*);
        }
    };
}
pub(super) use in_lanes;

/// Whether this processor has one kind of lanes.
pub(super) fn has_lanes() -> bool {
    #[cfg(target_arch = "x86_64")]
    return x86::Avx2::get().is_some();
    #[cfg(not(target_arch = "x86_64"))]
    false
}

/// Sixteen values, rounded to what a map holds.
#[inline(always)]
pub(super) fn put<V: Value, S: Lanes>(lanes: S, values: S::V, to: &mut [V; LANES]) {
    let mut exact = [0.0; LANES];
    lanes.store(values, &mut exact);
    for (to, value) in to.iter_mut().zip(exact) {
        *to = V::nearest(value);
    }
}

/// Sixteen values in float32.
#[inline(always)]
pub(super) fn wide<V: Value>(values: &[V; LANES]) -> [f32; LANES] {
    let mut wide = [0.0; LANES];
    for (wide, value) in wide.iter_mut().zip(values) {
        *wide = value.wide();
    }
    wide
}
