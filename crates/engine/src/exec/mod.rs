//! Executes a [`Network`] on libtorch, forward and backward.
//!
//! Weights are uploaded once, when the executor is made, in every form that a pass needs ([`params`]). A forward pass
//! ([`forward`]) runs only the nodes that the wanted layers need, fused where they can be ([`plan`]), and drops each
//! activation after its last reader. An operation writes over its input where nothing else has that memory
//! ([`ownership`]). Where a gradient follows, it saves what the backward pass needs, which is less
//! than the activations. The [`backward`] pass leads to the image only, never to the weights. It does without
//! libtorch's autograd, which would keep every activation alive and has no cheap derivative for some operations.
//! Autograd stays as the oracle of the tests ([`Executor::forward`] is differentiable).
//!
//! On the CPU, most operations wait for memory, so each value is touched as seldom as possible. A convolution has an
//! epilogue (bias, ReLU, a sum of gradients) for the values in its registers, and is a Winograd convolution where that
//! pays ([`convolution`]). Pooling, normalisation and depthwise convolutions, which libtorch is slow at, run in our own
//! [`kernels`], and their backward passes include that of a ReLU before them. Gradients overwrite what nothing reads
//! again. [`profile`] shows what is left. A CPU where [`Manner::library_only`] says so, runs libtorch's
//! operations only; so does a GPU, but for the [kernels](super::cuda) that it has where libtorch is slow.
//!
//! Maps are `[N, C, H, W]` in channels-last memory; rows are `[rows, features]`.

mod backward;
mod convolution;
mod elementwise;
mod forward;
mod ownership;
mod params;
mod plan;
mod preparation;
mod profile;
mod repeated;
mod window;

use std::{cell::RefCell, sync::Arc, time::Instant};

use reverie_kernels::ThreadPool;
use tch::{Device, Kind, Tensor};

use super::{
    RenderError,
    cuda::GpuKernels,
    kernels::{self, thread_pool},
};
use forward::SavedForBackward;
use params::NodeParams;
use preparation::Preparation;
pub(super) use profile::settle;
pub use profile::{NodeProfile, Profile};
use reverie_dream::model::Model;
use reverie_graph::{Network, NodeId};

/// How maps lie in memory. The results differ in the last digit only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    /// Channels fastest: what oneDNN and cuDNN convolve without reordering.
    ChannelsLast,
    /// As [`Self::ChannelsLast`], but every operation by itself, as TensorFlow has them: other roundings, to compare
    /// with.
    Separate,
    /// Columns fastest, and every operation by itself: another order of summation, to compare with.
    Contiguous,
}

impl Layout {
    /// The same `[N, C, H, W]` tensor in this layout.
    pub(super) fn arrange(self, map: &Tensor) -> Result<Tensor, RenderError> {
        Ok(match self {
            Layout::ChannelsLast | Layout::Separate => {
                map.f_permute([0, 2, 3, 1])?.f_contiguous()?.f_permute([0, 3, 1, 2])?
            }
            Layout::Contiguous => map.f_contiguous()?,
        })
    }
}

/// How an executor computes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Manner {
    /// `Float` or `BFloat16`; `Double` for tests.
    pub(super) kind: Kind,
    pub(super) layout: Layout,
    /// Whether on libtorch's operations alone; always so on a GPU. See [`library`](super::library).
    pub(super) library_only: bool,
    /// Whether a GPU may compute convolutions of float32 in TF32.
    pub(super) tf32: bool,
    /// A GPU's own kernels, where they may be used.
    pub(super) gpu: Option<GpuKernels>,
}

impl Manner {
    /// The fastest.
    pub(super) fn of(kind: Kind) -> Self {
        Self { kind, layout: Layout::ChannelsLast, library_only: false, tf32: false, gpu: None }
    }
}

/// A model on a device, in one precision.
pub(super) struct Executor {
    model: Arc<Model>,
    preparation: Preparation,
    /// What each node computes with.
    params: Vec<NodeParams>,
    /// Runs the kernels.
    threads: ThreadPool,
    device: Device,
    kind: Kind,
    layout: Layout,
    /// See [`Manner`].
    library_only: bool,
    gpu: Option<GpuKernels>,
    /// Present when the render is profiled.
    profile: RefCell<Option<Profile>>,
}

/// Activations of wanted layers, and what is needed to find the gradient of a function of them.
pub(super) struct Tape<'a> {
    executor: &'a Executor,
    wanted: Vec<NodeId>,
    saved: Vec<SavedForBackward>,
    /// In the order of `wanted`.
    pub(super) activations: Vec<Tensor>,
}

impl Executor {
    /// Uploads the weights of `model`; `kind` is `Float` or `BFloat16`.
    pub(super) fn new(model: Arc<Model>, device: Device, kind: Kind) -> Result<Self, RenderError> {
        Self::with_manner(model, device, Manner::of(kind))
    }

    /// As [`Self::new`], in another manner than the fastest.
    pub(super) fn with_manner(
        model: Arc<Model>,
        device: Device,
        manner: Manner,
    ) -> Result<Self, RenderError> {
        let manner = Manner { library_only: manner.library_only || device != Device::Cpu, ..manner };
        let network = &model.network;
        let params = (0..network.nodes().len())
            .map(|index| NodeParams::upload(network, NodeId(index), manner, device))
            .collect::<Result<_, _>>()?;
        let Manner { kind, layout, library_only, gpu, .. } = manner;
        let (threads, profile) = (thread_pool(), RefCell::default());
        let preparation = Preparation::new(&model.preprocessing, device)?;
        Ok(Self { model, preparation, params, threads, device, kind, layout, library_only, gpu, profile })
    }

    /// Whether libtorch's operations alone compute here.
    pub(super) fn is_library(&self) -> bool {
        self.library_only
    }

    /// Our own kernels for a GPU, where they may be used.
    pub(super) fn gpu_kernels(&self) -> Option<GpuKernels> {
        self.gpu
    }

    /// The network that runs here.
    pub(super) fn network(&self) -> &Network {
        &self.model.network
    }

    /// Activations of `wanted` for `image`, `[N, 3, H, W]` in 0–255, float32.
    ///
    /// # Errors
    /// [`RenderError::Shape`] when the image is too small for a needed layer.
    pub(super) fn forward(&self, image: &Tensor, wanted: &[NodeId]) -> Result<Vec<Tensor>, RenderError> {
        Ok(self.run(image, wanted, false)?.1)
    }

    /// As [`Self::forward`], ready for the backward pass.
    ///
    /// # Errors
    /// As [`Self::forward`].
    pub(super) fn forward_with_tape(
        &self,
        image: &Tensor,
        wanted: &[NodeId],
    ) -> Result<Tape<'_>, RenderError> {
        // A guard, not a closure: a panic must not leave the thread without derivatives.
        let _ungraded = tch::no_grad_guard();
        let (saved, activations) = self.run(image, wanted, true)?;
        Ok(Tape { executor: self, wanted: wanted.to_vec(), saved, activations })
    }

    /// The device that it computes on.
    pub(super) fn device(&self) -> Device {
        self.device
    }

    /// Whether it notes where the time goes.
    pub(super) fn is_watched(&self) -> bool {
        self.profile.borrow().is_some()
    }

    /// From now on notes where the time goes.
    pub(super) fn watch(&self) {
        *self.profile.borrow_mut() = Some(Profile::of(self.network()));
    }

    /// What was noted since [`Self::watch`], in a render of so many seconds.
    pub(super) fn watched(&self, seconds: f64) -> Result<Option<Profile>, RenderError> {
        let profile = self.profile.take();
        profile.map(|profile| Profile { seconds, ..profile }.finish(self.device, self.kind)).transpose()
    }

    /// Runs one node's share of a pass, and has `note` record how long that took when the render is profiled.
    fn timed<T>(
        &self,
        run: impl FnOnce() -> Result<T, RenderError>,
        note: impl FnOnce(&mut Profile, f64),
    ) -> Result<T, RenderError> {
        match &mut *self.profile.borrow_mut() {
            None => run(),
            Some(profile) => {
                let began = Instant::now();
                let value = run()?;
                profile::settle(self.device);
                note(profile, began.elapsed().as_secs_f64());
                Ok(value)
            }
        }
    }

    /// The image as the network wants it, in the executor's precision and memory layout.
    fn prepare(&self, tile: &Tensor) -> Result<Tensor, RenderError> {
        if let Preparation::Uniform { mean, scale } = self.preparation
            && !self.library_only
            && self.layout != Layout::Contiguous
            && let Some(map) = kernels::prepare(&self.threads, tile, mean, scale, self.kind)?
        {
            return Ok(map);
        }
        self.layout.arrange(&self.preparation.apply(tile)?.f_to_kind(self.kind)?)
    }
}

impl Tape<'_> {
    /// Gradient with respect to the image, `[N, 3, H, W]` float32, of a function whose derivatives with respect to
    /// [`Self::activations`] are `seeds`.
    pub(super) fn gradient(self, seeds: Vec<Tensor>) -> Result<Tensor, RenderError> {
        let Self { executor, wanted, saved, activations } = self;
        drop(activations);
        let _ungraded = tch::no_grad_guard();
        let gradient = executor.back(saved, &wanted, seeds)?;
        executor.preparation.backward(gradient.f_to_kind(Kind::Float)?)
    }
}

/// `rows · matrix`, row by row: of several at once a library adds up in another order, and what a tile gives must not
/// depend on what else is in the batch.
fn product(rows: &Tensor, matrix: &Tensor) -> Result<Tensor, RenderError> {
    let (count, _) = rows.size2()?;
    let products = (0..count).map(|row| rows.f_narrow(0, row, 1)?.f_matmul(matrix));
    Ok(Tensor::f_cat(&products.collect::<Result<Vec<_>, _>>()?, 0)?)
}

fn ints(pair: [usize; 2]) -> [i64; 2] {
    pair.map(|value| value as i64)
}
