//! Why a kernel refuses to run.
//!
//! Callers look at layout and shapes before they call, so these are mistakes of theirs. A kernel checks nevertheless:
//! inside the loops a wrong length would be a panic.

use super::{InstructionSet, Shape, ValueKind};

/// A kernel got maps that do not fit together, or instructions that the processor lacks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KernelError {
    /// A map has another shape than the operation and the other maps ask for.
    #[error("{what}: the shape is {found:?}, expected {expected:?} ([images, rows, columns, channels])")]
    Shape {
        /// Which map.
        what: &'static str,
        /// Its shape.
        found: Shape,
        /// What fits.
        expected: Shape,
    },
    /// A slice has another number of values than its shape says.
    #[error("{what}: {found} values, expected {expected}")]
    Length {
        /// Which slice.
        what: &'static str,
        /// Its values.
        found: usize,
        /// What fits.
        expected: usize,
    },
    /// Maps of different kinds meet.
    #[error("a map of {found:?} meets maps of {expected:?}")]
    Kind {
        /// The kind of the map.
        found: ValueKind,
        /// The kind of the others.
        expected: ValueKind,
    },
    /// A parameter is outside of what the kernel is for.
    #[error("unsupported parameter: {0}")]
    Unsupported(&'static str),
    /// The processor, or the thread pool, lacks these instructions.
    #[error("the instruction set {0} is not available here")]
    InstructionSet(InstructionSet),
}
