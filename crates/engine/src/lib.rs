//! The renderer: gradient ascent on the activations of a network, on libtorch. Encoded bytes and a spec go in, an encoded
//! dream comes out.
//!
//! ```text
//! backend ─► engine ─► dream: octave by octave ─► tiles: one gradient step ─► batch ─► exec: forward and backward pass
//!                        │                          └─► objective: what is maximised, and its derivative
//!                        └─► laplacian, resample, pyramid, mask, finish: what happens to the picture
//! ```
//!
//! - [`Renderer`] and [`Backend`] are the interface to the service: see `backend`.
//! - `exec` runs a network node by node, on loops of our own where they are faster and on libtorch's operations elsewhere
//!   (see [`Kernels`]).
//! - [`verify`] compares activations and gradients with references from TensorFlow and PyTorch.
//!
//! This is the only crate that knows libtorch, and only its fallible functions (`f_…`) are called.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod abi;
mod backend;
mod bands;
mod batch;
mod beside;
mod checkpoint;
mod cuda;
mod decoded;
mod device;
mod dream;
mod engine;
mod error;
mod exec;
mod finish;
mod fourier;
mod guide;
mod input;
mod kernels;
mod laplacian;
mod library;
mod mask;
mod motion;
mod notes;
mod objective;
mod original;
mod owned_thread;
#[doc(hidden)]
pub mod parts;
mod penalty;
mod picks;
mod places;
mod precision;
mod pyramid;
mod reports;
mod request;
mod resample;
pub mod seams;
mod spotlight;
mod stages;
mod start;
mod stepper;
pub mod steps;
#[cfg(test)]
mod tests;
mod tile;
mod tiles;
mod transfer;
mod transformation;
mod unencoded;
pub mod verify;

pub use backend::{Backend, Health, Renderer};
pub use decoded::Decoded;
pub use device::{bus_address, devices, has_gpu_kernels, has_pinned_memory, memory_in_use, replayed_passes};
pub use error::RenderError;
pub use exec::{NodeProfile, Profile};
pub use library::Kernels;
pub use request::{CancelFlag, FinishedOctave, OnBegin, PreviewSink, Recipe, RenderRequest, Rendered};
pub use start::RenderOptions;
pub use unencoded::Unencoded;
