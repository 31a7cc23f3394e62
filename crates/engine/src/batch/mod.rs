//! Several tiles in one pass of a network: those of one render ([`local_executor`]), or of several ([`shared_executor`]).
//!
//! A pass has costs of its own: operations are started, weights are read, and small maps leave most of a processor
//! idle. Tiles of the same size can share them. Whether that pays depends on the machine, the network and the size, and
//! is found by trying ([`autotune`]).
//!
//! On the CPU a tile's gradient has the same bits whatever else is in the batch (a test says so). On a GPU it may not:
//! libraries choose their kernels by the size of a batch. On the [library path](super::library) the size of a batch is
//! therefore never found by trying: as many tiles go together as [`plan::LIBRARY_BATCH`](reverie_dream::plan::LIBRARY_BATCH)
//! allows, so that a job with a network of its own has the same batches, and gives the same bytes, whenever it runs.

mod autotune;
mod batch_queue;
mod local_executor;
mod recorded;
mod shared_executor;
#[cfg(test)]
mod tests;

use tch::Tensor;

use super::{CancelFlag, Profile, RenderError, cuda::GpuKernels, objective::BoundObjective};
use reverie_dream::spec::Precision;
use reverie_graph::{Network, NodeId};

pub(super) use local_executor::LocalExecutor;
pub(super) use shared_executor::SharedExecutor;

/// Runs a network over tiles.
pub(super) trait GradientSource {
    /// The network.
    fn network(&self) -> &Network;

    /// Whether libtorch's operations alone compute: see [`library`](super::library).
    fn is_library(&self) -> bool;

    /// Our own kernels for a GPU, where they may be used.
    fn gpu_kernels(&self) -> Option<GpuKernels>;

    /// How many of `tiles` tiles of `[H, W]` pixels to hand over at once; at least 1.
    fn at_once(&self, bound: &BoundObjective, size: [i64; 2], tiles: usize) -> usize;

    /// Scores of `tiles`, `[N, 3, H, W]` in 0–255, as `[N]` float64, and their gradients, `[N, 3, H, W]`; `whole` is that
    /// of [`TileObjective`](super::objective::TileObjective).
    fn gradients(
        &self,
        tiles: Tensor,
        bound: &BoundObjective,
        whole: Option<&[f64]>,
        cancel: &CancelFlag,
    ) -> Result<(Tensor, Tensor), RenderError>;

    /// Scores of `tiles`, `[N, 3, H, W]`, as `[N]` float64.
    fn scores(
        &self,
        tiles: Tensor,
        bound: &BoundObjective,
        cancel: &CancelFlag,
    ) -> Result<Tensor, RenderError>;

    /// Activations of `layers` for one image, `[1, 3, H, W]` in 0–255.
    fn features(&self, image: Tensor, layers: &[NodeId]) -> Result<Vec<Tensor>, RenderError>;

    /// From now on notes where the time goes.
    fn watch(&self) {}

    /// What was noted since [`Self::watch`], in a render of so many seconds.
    fn watched(&self, _seconds: f64) -> Result<Option<Profile>, RenderError> {
        Ok(None)
    }
}

/// What networks are kept by: a model replaced under the same id is another model.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct NetworkKey {
    /// Digest of the model file.
    pub(super) model: String,
    /// Never [`Precision::Auto`].
    pub(super) precision: Precision,
}
