//! SimdVector for every processor: what registers they go into is left to the compiler.

use super::{super::value::Bf16, LANES, Microkernel, SimdVector};

/// Sixteen values in an array.
#[derive(Clone, Copy)]
pub(crate) struct Plain;

/// What a function makes of each lane.
#[inline(always)]
fn each<T>(make: impl Fn(usize) -> T) -> [T; LANES] {
    std::array::from_fn(make)
}

impl SimdVector for Plain {
    type V = [f32; LANES];
    type Bytes = [u8; LANES];
    const MANY_REGISTERS: bool = false;

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
    fn load_bf16(self, values: &[Bf16; LANES]) -> Self::V {
        each(|lane| values[lane].to_f32())
    }

    #[inline(always)]
    fn store_bf16(self, values: Self::V, to: &mut [Bf16; LANES]) {
        *to = each(|lane| Bf16::from_f32(values[lane]));
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
        // Comparisons with NaN are false, so that it propagates.
        let raised = each(|lane| if value[lane] < low[lane] { low[lane] } else { value[lane] });
        each(|lane| if raised[lane] > high[lane] { high[lane] } else { raised[lane] })
    }

    #[inline(always)]
    fn mask_relu(self, value: Self::V, relu_output: Self::V, limit: Self::V) -> Self::V {
        each(
            |lane| if relu_output[lane] > 0.0 && relu_output[lane] < limit[lane] { value[lane] } else { 0.0 },
        )
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
    fn add_if_equal(self, sum: Self::V, value: Self::V, bytes: &[u8; LANES], byte: u8) -> Self::V {
        each(|lane| if bytes[lane] == byte { sum[lane] + value[lane] } else { sum[lane] })
    }

    #[inline(always)]
    fn max_with_index(
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
    fn clear_unless_positive(self, bytes: Self::Bytes, value: Self::V) -> Self::Bytes {
        each(|lane| if value[lane] <= 0.0 { u8::MAX } else { bytes[lane] })
    }

    #[inline(never)]
    fn call<K: Microkernel<Self>>(self, microkernel: K) {
        microkernel.run(self);
    }
}

/// Dot products of bfloat16 pairs, which this architecture does not have.
#[cfg(not(target_arch = "x86_64"))]
#[derive(Clone, Copy)]
pub(crate) enum Bf16Dot {}

#[cfg(not(target_arch = "x86_64"))]
impl Bf16Dot {
    pub(crate) fn get() -> Option<Self> {
        None
    }
}
