//! The types of values that maps hold: float32, and bfloat16 computed with in float32.

use super::{
    map::{ValueKind, Values},
    simd::{LANES, SimdVector},
};

/// A value to compute with.
pub(crate) trait Value: Copy + PartialEq + Send + Sync {
    const KIND: ValueKind;

    fn to_f32(self) -> f32;

    /// Rounds to the nearest value of this type.
    fn from_f32(value: f32) -> Self;

    /// A SIMD vector of sixteen, to compute with.
    fn load<S: SimdVector>(simd: S, values: &[Self; LANES]) -> S::V;

    /// Rounds a SIMD vector.
    fn store<S: SimdVector>(simd: S, values: S::V, to: &mut [Self; LANES]);

    /// The values, if they are of this type.
    fn from_values(values: Values<'_>) -> Option<&[Self]>;
}

impl Value for f32 {
    const KIND: ValueKind = ValueKind::F32;

    #[inline(always)]
    fn to_f32(self) -> f32 {
        self
    }

    #[inline(always)]
    fn from_f32(value: f32) -> Self {
        value
    }

    #[inline(always)]
    fn load<S: SimdVector>(simd: S, values: &[Self; LANES]) -> S::V {
        simd.load(values)
    }

    #[inline(always)]
    fn store<S: SimdVector>(simd: S, values: S::V, to: &mut [Self; LANES]) {
        simd.store(values, to);
    }

    fn from_values(values: Values<'_>) -> Option<&[Self]> {
        if let Values::F32(values) = values { Some(values) } else { None }
    }
}

/// A bfloat16: the upper half of a float32.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub struct Bf16(u16);

impl Bf16 {
    /// The bits of NaN.
    pub(crate) const NAN: i32 = 0x7fc0;

    /// Rounds to nearest, ties to even. NaN propagates: rounding could carry into its sign.
    #[inline(always)]
    #[must_use]
    pub fn from_f32(value: f32) -> Self {
        let bits = value.to_bits();
        let rounded = bits.wrapping_add(0x7fff + ((bits >> 16) & 1)) >> 16;
        let nan = u32::from(value.is_nan()).wrapping_neg();
        Self(((rounded & !nan) | (Self::NAN.cast_unsigned() & nan)) as u16)
    }

    /// The same value as a float32.
    #[inline(always)]
    #[must_use]
    pub fn to_f32(self) -> f32 {
        f32::from_bits(u32::from(self.0) << 16)
    }
}

impl Value for Bf16 {
    const KIND: ValueKind = ValueKind::Bf16;

    #[inline(always)]
    fn to_f32(self) -> f32 {
        self.to_f32()
    }

    #[inline(always)]
    fn from_f32(value: f32) -> Self {
        Self::from_f32(value)
    }

    #[inline(always)]
    fn load<S: SimdVector>(simd: S, values: &[Self; LANES]) -> S::V {
        simd.load_bf16(values)
    }

    #[inline(always)]
    fn store<S: SimdVector>(simd: S, values: S::V, to: &mut [Self; LANES]) {
        simd.store_bf16(values, to);
    }

    fn from_values(values: Values<'_>) -> Option<&[Self]> {
        if let Values::Bf16(values) = values { Some(values) } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bfloat16_is_rounded_to_nearest_ties_to_even() {
        // Miri, which is a thousand times as slow, takes some.
        for upper in (0..=u16::MAX).step_by(if cfg!(miri) { 251 } else { 1 }) {
            let [below, above] = [upper, upper.wrapping_add(1)].map(|bits| Bf16(bits).to_f32());
            // Exact, just below halfway, halfway, just above, and just below the next.
            for lower in [0, 0x7fff, 0x8000, 0x8001, 0xffff] {
                let value = f32::from_bits(u32::from(upper) << 16 | lower);
                let rounded = Bf16::from_f32(value);
                if value.is_nan() {
                    assert!(rounded.to_f32().is_nan(), "{value:e}");
                    continue;
                }
                let up = lower > 0x8000 || (lower == 0x8000 && upper & 1 == 1);
                let expected = if up { above } else { below };
                assert_eq!(rounded.to_f32().to_bits(), expected.to_bits(), "{value:e}");
            }
        }
    }
}
