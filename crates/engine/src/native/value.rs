//! The kinds of values that the loops run over: float32, and bfloat16 computed with in float32.

use tch::Kind;

use super::lanes::{LANES, Lanes};

/// A value as it lies in the memory of a tensor.
pub(super) trait Stored: Copy + PartialEq + Send + Sync {
    const KIND: Kind;
}

/// A value to compute with.
pub(super) trait Value: Stored {
    fn wide(self) -> f32;

    /// The nearest value of this kind.
    fn nearest(value: f32) -> Self;

    /// Sixteen of them, to compute with.
    fn load<S: Lanes>(lanes: S, values: &[Self; LANES]) -> S::V;

    /// Sixteen of the nearest.
    fn store<S: Lanes>(lanes: S, values: S::V, to: &mut [Self; LANES]);
}

impl Stored for u8 {
    const KIND: Kind = Kind::Uint8;
}

impl Stored for f32 {
    const KIND: Kind = Kind::Float;
}

impl Value for f32 {
    #[inline(always)]
    fn wide(self) -> f32 {
        self
    }

    #[inline(always)]
    fn nearest(value: f32) -> Self {
        value
    }

    #[inline(always)]
    fn load<S: Lanes>(lanes: S, values: &[Self; LANES]) -> S::V {
        lanes.load(values)
    }

    #[inline(always)]
    fn store<S: Lanes>(lanes: S, values: S::V, to: &mut [Self; LANES]) {
        lanes.store(values, to);
    }
}

/// A bfloat16: the upper half of a float32.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub(super) struct Half(u16);

impl Half {
    /// The bits of what is no number.
    pub(super) const NAN: i32 = 0x7fc0;
}

impl Stored for Half {
    const KIND: Kind = Kind::BFloat16;
}

impl Value for Half {
    #[inline(always)]
    fn wide(self) -> f32 {
        f32::from_bits(u32::from(self.0) << 16)
    }

    /// Halfway cases go to the even one. What is no number stays so: rounding could carry into its sign.
    #[inline(always)]
    fn nearest(value: f32) -> Self {
        let bits = value.to_bits();
        let rounded = bits.wrapping_add(0x7fff + ((bits >> 16) & 1)) >> 16;
        let nan = u32::from(value.is_nan()).wrapping_neg();
        Self(((rounded & !nan) | (Self::NAN.cast_unsigned() & nan)) as u16)
    }

    #[inline(always)]
    fn load<S: Lanes>(lanes: S, values: &[Self; LANES]) -> S::V {
        lanes.load_halves(values)
    }

    #[inline(always)]
    fn store<S: Lanes>(lanes: S, values: S::V, to: &mut [Self; LANES]) {
        lanes.store_halves(values, to);
    }
}

#[cfg(test)]
mod tests {
    use tch::Tensor;

    use super::*;

    #[test]
    fn halves_are_rounded_as_libtorch_rounds_them() {
        let mut bits: Vec<u32> = (0..=u16::MAX).map(|upper| u32::from(upper) << 16).collect();
        // Exact, just below halfway, halfway, just above, and just below the next.
        bits = bits
            .iter()
            .flat_map(|upper| [0, 0x7fff, 0x8000, 0x8001, 0xffff].map(|lower| upper | lower))
            .collect();
        let floats: Vec<f32> = bits.into_iter().map(f32::from_bits).collect();
        let theirs = Tensor::from_slice(&floats).to_kind(Kind::BFloat16).to_kind(Kind::Float);
        let theirs = Vec::<f32>::try_from(theirs).unwrap();
        for (float, theirs) in floats.into_iter().zip(theirs) {
            let ours = Half::nearest(float).wide();
            assert!(ours.to_bits() == theirs.to_bits() || (ours.is_nan() && theirs.is_nan()), "{float:e}");
        }
    }
}
