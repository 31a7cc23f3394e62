//! Our own CPU kernels on tensors.
//!
//! The arithmetic is in the crate [`reverie_kernels`], which knows slices and shapes. Here a tensor's layout and kind
//! decide whether a kernel can run over it ([`view`]), and results are allocated. Where a kernel cannot run, these
//! functions return none, and libtorch's operations do the same: on GPUs, for other layouts, and for autograd, which
//! the tests compare with. The library path ([`library`](super::library)) calls none of them.

mod conv;
mod image;
mod maps;
#[cfg(test)]
mod tests;
mod view;

use std::sync::OnceLock;

use reverie_kernels::{InstructionSet, KernelError, ThreadPool};

use super::RenderError;

pub(super) use conv::{Conv1x1, Depthwise, Epilogue, PostOps, ReluMask, Winograd};
pub(super) use image::{Pyramid, add_scaled, prepare, sum_abs, turned, turned_back};
pub(super) use maps::{
    SavedLrn, add_to, lrn_backward, lrn_forward, max_pool_backward, max_pool_forward, pixel_shuffle,
    pool_geometry, relu_backward,
};
pub(super) use view::{Geometry, is_supported, overlap};

/// The widest instructions that kernels may use, by the name of an [`InstructionSet`]: to find out whether a fault is
/// that of one version of the loops.
const INSTRUCTION_SET: &str = "REVERIE_KERNELS_ISA";

/// As many threads as libtorch uses, which are the same ones.
pub(super) fn thread_pool() -> ThreadPool {
    let pool = || ThreadPool::new(usize::try_from(tch::get_num_threads()).unwrap_or(1));
    pool().with_instruction_set(instruction_set()).unwrap_or_else(|_| pool())
}

/// The instructions that kernels use: the widest that the processor has, unless the environment says otherwise.
fn instruction_set() -> InstructionSet {
    static CHOSEN: OnceLock<InstructionSet> = OnceLock::new();
    *CHOSEN.get_or_init(|| {
        let Some(name) = std::env::var_os(INSTRUCTION_SET) else { return InstructionSet::widest() };
        match available(&name.to_string_lossy()) {
            Ok(set) => {
                tracing::info!(instruction_set = %set, "kernels use the instruction set of {INSTRUCTION_SET}");
                set
            }
            Err(error) => {
                let set = InstructionSet::widest();
                tracing::warn!(instruction_set = %set, "{INSTRUCTION_SET} is ignored: {error}");
                set
            }
        }
    })
}

/// The instruction set of this name, if the processor has it.
fn available(name: &str) -> Result<InstructionSet, String> {
    let set = name.parse::<InstructionSet>()?;
    if set.is_available() { Ok(set) } else { Err(format!("this processor lacks {set}")) }
}

/// Maps that do not fit together are a mistake of ours.
fn mistake(error: KernelError) -> RenderError {
    RenderError::Engine(format!("a kernel cannot run: {error}"))
}
