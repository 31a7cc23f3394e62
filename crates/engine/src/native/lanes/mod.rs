//! Sixteen float32 side by side, in the registers that a processor has.
//!
//! A token of each kind exists only where its instructions do, so that what takes one can be called without further
//! checks; the one for every processor leaves the instructions to the compiler. Code over tokens has to be inlined into a
//! function compiled for them ([`in_lanes`], [`Kernel`]), and must not hide them in closures, which are compiled for every
//! processor.

mod plain;
#[cfg(test)]
mod tests;
#[cfg(target_arch = "x86_64")]
pub(super) mod x86;

use super::{Half, Value};
#[cfg(not(target_arch = "x86_64"))]
pub(super) use plain::Dot;
pub(super) use plain::Plain;
#[cfg(target_arch = "x86_64")]
pub(super) use x86::Dot;

/// How many.
pub(super) const LANES: usize = 16;

/// Arithmetic on sixteen values; each is rounded once.
pub(super) trait Lanes: Copy {
    /// Sixteen values.
    type V: Copy;
    /// A byte for each of them.
    type Bytes: Copy;
    /// Whether there are registers for some twenty of these; otherwise it is half of that.
    const MANY: bool;

    fn splat(self, value: f32) -> Self::V;
    fn load(self, values: &[f32; LANES]) -> Self::V;
    fn store(self, values: Self::V, to: &mut [f32; LANES]);
    fn load_halves(self, values: &[Half; LANES]) -> Self::V;
    /// The nearest ones, as [`Value::nearest`](super::Value::nearest) has it.
    fn store_halves(self, values: Self::V, to: &mut [Half; LANES]);
    fn add(self, a: Self::V, b: Self::V) -> Self::V;
    fn sub(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a · b + c`.
    fn fma(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// `min(max(value, low), high)`; what is no number stays so.
    fn clamp(self, value: Self::V, low: Self::V, high: Self::V) -> Self::V;
    /// `value` where `0 < shown < limit`, zero elsewhere.
    fn within(self, value: Self::V, shown: Self::V, limit: Self::V) -> Self::V;
    fn splat_byte(self, byte: u8) -> Self::Bytes;
    fn store_bytes(self, bytes: Self::Bytes, to: &mut [u8; LANES]);
    /// `sum + value` where `bytes` has `byte`, and `sum` elsewhere.
    fn add_where(self, sum: Self::V, value: Self::V, bytes: &[u8; LANES], byte: u8) -> Self::V;
    /// `value` and `byte` where that is larger than `best` or no number; `best` and its byte elsewhere.
    fn larger(self, best: (Self::V, Self::Bytes), value: Self::V, byte: u8) -> (Self::V, Self::Bytes);
    /// 255 where `value` is zero or less, `bytes` elsewhere.
    fn unless_positive(self, bytes: Self::Bytes, value: Self::V) -> Self::Bytes;
    /// Runs a kernel as a function of its own.
    fn call<K: Kernel<Self>>(self, kernel: K);
}

/// An innermost loop, whose sums would not stay in the registers within a larger function. What it does has to be inlined.
pub(super) trait Kernel<S> {
    fn run(self, lanes: S);
}

/// Compiles the body of a function over lanes, of type `S`, for each kind that there is, and runs the widest that the
/// processor has.
macro_rules! in_lanes {
    (
        $(#[$about:meta])*
        $visibility:vis fn $name:ident $(<$value:ident: $bound:ident>)? (
            $lanes:ident,
            $($argument:ident: $type:ty),* $(,)?
        ) $body:block
    ) => {
        $(#[$about])*
        $visibility fn $name$(<$value: $bound>)?($($argument: $type),*) {
            use $crate::native::lanes::{Lanes, Plain};

            #[inline(always)]
            fn body<$($value: $bound,)? S: Lanes>($lanes: S, $($argument: $type),*) $body

            #[cfg(target_arch = "x86_64")]
            {
                use $crate::native::lanes::x86::{Avx2, Avx512};
                #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
                fn widest$(<$value: $bound>)?(lanes: Avx512, $($argument: $type),*) {
                    body::<$($value,)? Avx512>(lanes, $($argument),*);
                }
                #[target_feature(enable = "avx2,fma")]
                fn wide$(<$value: $bound>)?(lanes: Avx2, $($argument: $type),*) {
                    body::<$($value,)? Avx2>(lanes, $($argument),*);
                }
                if let Some(lanes) = Avx512::get() {
                    // SAFETY: the processor has what the function needs.
                    #[allow(unsafe_code, reason = "only a check at run time can know the processor")]
                    return unsafe { widest$(::<$value>)?(lanes, $($argument),*) };
                }
                if let Some(lanes) = Avx2::get() {
                    // SAFETY: as above.
                    #[allow(unsafe_code, reason = "only a check at run time can know the processor")]
                    return unsafe { wide$(::<$value>)?(lanes, $($argument),*) };
                }
            }
            body::<$($value,)? Plain>(Plain, $($argument),*);
        }
    };
}
pub(super) use in_lanes;

/// Whether this processor is known to have registers for lanes, and to multiply and add at once. Sums of products would
/// take longer than libtorch's where it has not.
pub(super) fn has_lanes() -> bool {
    #[cfg(target_arch = "x86_64")]
    return x86::Avx2::get().is_some();
    #[cfg(not(target_arch = "x86_64"))]
    false
}

/// The first sixteen values, or all that there are and zeros.
#[inline(always)]
pub(super) fn read<V: Value, S: Lanes>(lanes: S, values: &[V]) -> S::V {
    let Some(values) = values.first_chunk() else {
        let mut few = [V::nearest(0.0); LANES];
        few[..values.len()].copy_from_slice(values);
        return V::load(lanes, &few);
    };
    V::load(lanes, values)
}

/// Sets the first sixteen values, or all that there are.
#[inline(always)]
pub(super) fn write<V: Value, S: Lanes>(lanes: S, values: S::V, to: &mut [V]) {
    if let Some(to) = to.first_chunk_mut() {
        V::store(lanes, values, to);
    } else {
        let mut few = [V::nearest(0.0); LANES];
        V::store(lanes, values, &mut few);
        to.copy_from_slice(&few[..to.len()]);
    }
}
