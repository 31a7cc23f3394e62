//! CPU kernels: loops over slices and shapes, where libtorch's operations take several times what the memory or the
//! arithmetic asks for. No tensors, no I/O, no dependency on libtorch.
//!
//! # What a kernel is
//! A function that reads and writes maps, or plain slices where noted: it reads [`Map`]s (slices of float32 or bfloat16 in channels-last memory, with a shape) and writes a
//! [`MapMut`] that the caller allocated: convolutions ([`Winograd`], [`Conv1x1`], [`Depthwise`]) with an [`Epilogue`],
//! [`MaxPool`], [`LrnParams`], [`relu`], [`pixel_shuffle`], and passes over images ([`image`], [`downsample`], [`Similarity`]). It
//! checks shapes, lengths and kinds first, and returns a [`KernelError`] where they do not fit. It computes in float32.
//!
//! # From the processor's features to a loop
//! 1. [`InstructionSet`] names what loops are compiled for: plain, AVX2, AVX-512, AVX-512 with bfloat16.
//! 2. [`ThreadPool`] carries one of them, by default the widest that the processor has, and shares the rows of the
//!    result among OpenMP's threads. Any other available one can be forced.
//! 3. The macro `dispatch!` compiles the body of a loop once for every instruction set, over a SIMD vector of sixteen
//!    float32 (`simd`), and runs the version that the pool says. Where sums have to stay in registers, the body calls a
//!    `Microkernel`. Loops that the compiler vectorises well by itself are written plainly
//!    (`dispatch_autovectorized!`).
//!
//! The proof that a processor has the instructions is a token, made by a check at run time only. So all `unsafe` for SIMD is
//! in this crate: in the two macros, the SIMD vectors in `simd/x86.rs`, and the call of OpenMP.
//!
//! # What results promise
//! Every value is computed by the same operations in the same order, on any number of threads and any instruction set,
//! and whatever else is in the batch: results have the same bits. The only exception are dot products of bfloat16,
//! which few processors have.
//!
//! # How it is tested
//! Property tests (`tests`) draw shapes, strides, padding, NaN and ties, and run every kernel on every available
//! instruction set: bit-equal to each other, and equal to a plain loop or within a bound of one in float64. The
//! engine's tests compare the same kernels with libtorch.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod conv1x1;
mod depthwise;
pub mod downsample;
mod epilogue;
mod error;
pub mod image;
mod instruction_set;
mod lrn;
mod map;
mod max_pool;
pub mod pixel_shuffle;
pub mod relu;
mod simd;
mod similarity;
#[cfg(test)]
mod tests;
mod thread_pool;
mod value;
mod winograd;

pub use conv1x1::Conv1x1;
pub use depthwise::{ConvShape, Depthwise};
pub use downsample::GaussianPyramidLevel;
pub use epilogue::{Epilogue, ReluMask};
pub use error::KernelError;
pub use instruction_set::InstructionSet;
pub use lrn::LrnParams;
pub use map::{Map, MapMut, Shape, ValueKind, Values, ValuesMut};
pub use max_pool::MaxPool;
pub use similarity::Similarity;
pub use thread_pool::ThreadPool;
pub use value::Bf16;
pub use winograd::Winograd;
