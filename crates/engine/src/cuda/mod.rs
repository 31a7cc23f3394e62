//! What libtorch's CUDA half can do and tch has no functions for: streams, graphs of recorded work, and what a GPU is; and
//! [kernels] of our own, where libtorch's are slow.
//!
//! A GPU is told what to do operation by operation, which takes the processor 5 to 10 µs each. A gradient step has 200 to 300
//! operations, many of which the card finishes in less. So a pass that comes again is recorded once as a
//! [`Graph`], and started as a whole from then on.
//!
//! Nothing here is linked against: the functions are looked up in the library that
//! [`device`](super::device) has loaded. Where one is missing there are no graphs and no streams of our own, and everything
//! runs as before.

mod gpu;
mod graph;
mod kernels;
mod stream;
mod symbols;

pub(super) use gpu::{address, choose, memory, refusal};
pub(super) use graph::{Graph, replayed};
pub(super) use kernels::{GpuDepthwise, GpuKernels, GpuPyramid};
pub(super) use stream::Stream;
