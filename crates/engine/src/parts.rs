//! Parts of a render by themselves, for `benches/parts.rs` only: the crate offers whole renders.

use std::sync::Arc;

use tch::Tensor;

use super::{
    CancelFlag, RenderError,
    batch::{GradientSource, LocalExecutor},
    device::{self, Processor},
    kernels::thread_pool,
    laplacian::Laplacian,
    library::Kernels,
    objective::BoundObjective,
    resample,
    tiles::TiledGradient,
    transformation::Transformation,
};
use reverie_dream::{
    model::Model,
    spec::{DreamSpec, Precision},
};

/// A model, ready to compute gradients of a spec's objectives.
pub struct Gradients {
    own: LocalExecutor,
    bound: BoundObjective,
    spec: DreamSpec,
    cancel: CancelFlag,
}

impl Gradients {
    /// On the CPU, in float32.
    ///
    /// # Errors
    /// What the engine says.
    pub fn new(model: &Arc<Model>, spec: &DreamSpec) -> Result<Self, RenderError> {
        device::set_threads(0);
        let own =
            LocalExecutor::load(model, Processor::new(tch::Device::Cpu, Kernels::Auto), Precision::Fp32)?;
        let bound = BoundObjective::new(own.network(), &spec.objectives)?;
        Ok(Self { own, bound, spec: spec.clone(), cancel: CancelFlag::default() })
    }

    /// Of one tile, `[1, 3, H, W]`, as large as it comes.
    ///
    /// # Errors
    /// What the engine says.
    pub fn of_tile(&self, tile: &Tensor) -> Result<Tensor, RenderError> {
        Ok(self.bound.gradient(self.own.executor(), tile)?.1)
    }

    /// Of an image, `[1, 3, H, W]`, tile by tile, the tiles moved by `shift` pixels to the right and down.
    ///
    /// # Errors
    /// What the engine says.
    pub fn of_image(&self, image: &Tensor, shift: (i64, i64)) -> Result<Tensor, RenderError> {
        Ok(TiledGradient::new(&self.own, &self.bound, &self.spec, &self.cancel).gradient(image, shift)?.1)
    }
}

/// `image`, `[1, 3, H, W]`, in another size, as between octaves.
///
/// # Errors
/// What the engine says.
pub fn resize(image: &Tensor, height: i64, width: i64) -> Result<Tensor, RenderError> {
    resample::resize(image, height, width)
}

/// Normalises a gradient, `[1, 3, H, W]`, in place, band by band.
///
/// # Errors
/// What the engine says.
pub fn normalize(gradient: &Tensor, levels: u32) -> Result<(), RenderError> {
    Laplacian::new(gradient.device(), false, None)?.normalize(gradient, levels)
}

/// A gradient, `[1, 3, H, W]`, of a step whose network sees the image a little larger and turned: there and back again. Where
/// `library` says so, by libtorch's operations.
///
/// # Errors
/// What the engine says.
pub fn transform(image: &Tensor, library: bool) -> Result<Tensor, RenderError> {
    let seen = Transformation::by(1.05, 0.05);
    let threads = (!library).then(thread_pool);
    seen.adjoint(&seen.apply(image, threads.as_ref())?, threads.as_ref())
}
