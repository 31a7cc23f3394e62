//! Lanes for every processor: what registers they go into is left to the compiler.

use super::{
    super::{Half, Value},
    Kernel, LANES, Lanes,
};

/// Sixteen values in an array.
#[derive(Clone, Copy)]
pub(in super::super) struct Plain;

/// What a function makes of the values of each lane.
#[inline(always)]
fn each<T>(make: impl Fn(usize) -> T) -> [T; LANES] {
    std::array::from_fn(make)
}

impl Lanes for Plain {
    type V = [f32; LANES];
    type Bytes = [u8; LANES];
    const MANY: bool = false;

    #[inline(always)]
    fn splat(self, value: f32) -> Self::V {
        [value; LANES]
    }

    #[inline(always)]
    fn load(self, values: &[f32; LANES]) -> Self::V {
        *values
    }

    #[inline(always)]
    fn store(self, values: Self::V, to: &mut [f32; LANES]) {
        *to = values;
    }

    #[inline(always)]
    fn load_halves(self, values: &[Half; LANES]) -> Self::V {
        each(|lane| values[lane].wide())
    }

    #[inline(always)]
    fn store_halves(self, values: Self::V, to: &mut [Half; LANES]) {
        *to = each(|lane| Half::nearest(values[lane]));
    }

    #[inline(always)]
    fn add(self, a: Self::V, b: Self::V) -> Self::V {
        each(|lane| a[lane] + b[lane])
    }

    #[inline(always)]
    fn sub(self, a: Self::V, b: Self::V) -> Self::V {
        each(|lane| a[lane] - b[lane])
    }

    #[inline(always)]
    fn fma(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        each(|lane| a[lane].mul_add(b[lane], c[lane]))
    }

    #[inline(always)]
    fn clamp(self, value: Self::V, low: Self::V, high: Self::V) -> Self::V {
        // Comparisons with what is no number are false, so that it passes.
        let raised = each(|lane| if value[lane] < low[lane] { low[lane] } else { value[lane] });
        each(|lane| if raised[lane] > high[lane] { high[lane] } else { raised[lane] })
    }

    #[inline(always)]
    fn within(self, value: Self::V, shown: Self::V, limit: Self::V) -> Self::V {
        each(|lane| if shown[lane] > 0.0 && shown[lane] < limit[lane] { value[lane] } else { 0.0 })
    }

    #[inline(always)]
    fn splat_byte(self, byte: u8) -> Self::Bytes {
        [byte; LANES]
    }

    #[inline(always)]
    fn store_bytes(self, bytes: Self::Bytes, to: &mut [u8; LANES]) {
        *to = bytes;
    }

    #[inline(always)]
    fn add_where(self, sum: Self::V, value: Self::V, bytes: &[u8; LANES], byte: u8) -> Self::V {
        each(|lane| if bytes[lane] == byte { sum[lane] + value[lane] } else { sum[lane] })
    }

    #[inline(always)]
    fn larger(
        self,
        (best, which): (Self::V, Self::Bytes),
        value: Self::V,
        byte: u8,
    ) -> (Self::V, Self::Bytes) {
        let better = each(|lane| value[lane] > best[lane] || value[lane].is_nan());
        (
            each(|lane| if better[lane] { value[lane] } else { best[lane] }),
            each(|lane| if better[lane] { byte } else { which[lane] }),
        )
    }

    #[inline(always)]
    fn unless_positive(self, bytes: Self::Bytes, value: Self::V) -> Self::Bytes {
        each(|lane| if value[lane] <= 0.0 { u8::MAX } else { bytes[lane] })
    }

    #[inline(never)]
    fn call<K: Kernel<Self>>(self, kernel: K) {
        kernel.run(self);
    }
}

/// Products of pairs of halves, which this processor does not have.
#[cfg(not(target_arch = "x86_64"))]
#[derive(Clone, Copy)]
pub(in super::super) enum Dot {}

#[cfg(not(target_arch = "x86_64"))]
impl Dot {
    pub(in super::super) fn get() -> Option<Self> {
        None
    }
}
