//! SIMD vectors: sixteen float32 side by side, in the registers that a processor has.
//!
//! A token of each type exists only where its instructions do, so that what takes one can be called without further
//! checks; [`Plain`], for every processor, leaves the instructions to the compiler. Code over tokens has to be inlined
//! into a function that is compiled for them ([`dispatch`](super::instruction_set::dispatch), [`Microkernel`]), and
//! must not hide them in closures, which are compiled for every processor. Why not `pulp`: `docs/decisions.md`.

mod plain;
#[cfg(test)]
mod tests;
#[cfg(target_arch = "x86_64")]
pub(crate) mod x86;

use super::value::{Bf16, Value};
#[cfg(not(target_arch = "x86_64"))]
pub(crate) use plain::Bf16Dot;
pub(crate) use plain::Plain;
#[cfg(target_arch = "x86_64")]
pub(crate) use x86::Bf16Dot;

/// Values of a SIMD vector.
pub(crate) const LANES: usize = 16;

/// Arithmetic on sixteen values; each is rounded once.
pub(crate) trait SimdVector: Copy {
    /// Sixteen values.
    type V: Copy;
    /// A byte for each of them.
    type Bytes: Copy;
    /// Whether there are registers for some twenty of these; otherwise for half of that.
    const MANY_REGISTERS: bool;

    fn splat(self, value: f32) -> Self::V;
    fn load(self, values: &[f32; LANES]) -> Self::V;
    fn store(self, values: Self::V, to: &mut [f32; LANES]);
    fn load_bf16(self, values: &[Bf16; LANES]) -> Self::V;
    /// Rounds to nearest, as [`Value::from_f32`](super::value::Value::from_f32) does.
    fn store_bf16(self, values: Self::V, to: &mut [Bf16; LANES]);
    fn add(self, a: Self::V, b: Self::V) -> Self::V;
    fn sub(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a · b + c`.
    fn fma(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// `min(max(value, low), high)`; NaN propagates.
    fn clamp(self, value: Self::V, low: Self::V, high: Self::V) -> Self::V;
    /// The gradient of a ReLU: `value` where `0 < relu_output < limit`, zero elsewhere.
    fn mask_relu(self, value: Self::V, relu_output: Self::V, limit: Self::V) -> Self::V;
    fn splat_byte(self, byte: u8) -> Self::Bytes;
    fn store_bytes(self, bytes: Self::Bytes, to: &mut [u8; LANES]);
    /// `sum + value` where `bytes` has `byte`, and `sum` elsewhere.
    fn add_if_equal(self, sum: Self::V, value: Self::V, bytes: &[u8; LANES], byte: u8) -> Self::V;
    /// `value` and `byte` where the value is larger than `best` or NaN; `best` and its byte elsewhere.
    fn max_with_index(self, best: (Self::V, Self::Bytes), value: Self::V, byte: u8)
    -> (Self::V, Self::Bytes);
    /// 255 (the argmax through which no gradient passes) where `value` is zero or less, `bytes` elsewhere and where it is NaN.
    fn clear_unless_positive(self, bytes: Self::Bytes, value: Self::V) -> Self::Bytes;
    /// Runs a microkernel as a function of its own.
    fn call<K: Microkernel<Self>>(self, microkernel: K);
}

/// An innermost loop, whose sums would not stay in the registers within a larger function. What it does has to be
/// inlined.
pub(crate) trait Microkernel<S> {
    fn run(self, simd: S);
}

/// The first sixteen values, or all that there are and zeros.
#[inline(always)]
pub(crate) fn read<V: Value, S: SimdVector>(simd: S, values: &[V]) -> S::V {
    let Some(values) = values.first_chunk() else {
        let mut few = [V::from_f32(0.0); LANES];
        few[..values.len()].copy_from_slice(values);
        return V::load(simd, &few);
    };
    V::load(simd, values)
}

/// Sets the first sixteen values, or all that there are.
#[inline(always)]
pub(crate) fn write<V: Value, S: SimdVector>(simd: S, values: S::V, to: &mut [V]) {
    if let Some(to) = to.first_chunk_mut() {
        V::store(simd, values, to);
    } else {
        let mut few = [V::from_f32(0.0); LANES];
        V::store(simd, values, &mut few);
        to.copy_from_slice(&few[..to.len()]);
    }
}
