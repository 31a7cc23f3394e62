//! A network on the thread that owns it: a render thread, or that of `shared_executor`.

use std::{sync::Arc, time::Instant};

use tch::{Kind, Tensor};

use super::{
    super::{
        CancelFlag, Profile, RenderError,
        cuda::GpuKernels,
        device::Processor,
        error::caught,
        exec::{Executor, Manner},
        library::Kernels,
        objective::{BoundObjective, TileObjective, gradients},
    },
    GradientSource,
    autotune::Autotuner,
    recorded::RecordedPasses,
};
use reverie_dream::{model::Model, spec::Precision};
use reverie_graph::{Network, NodeId};

/// An executor, and what is known about batches on it.
pub(in super::super) struct LocalExecutor {
    /// On a GPU. They use what the executor has, so they go first.
    recorded: Option<RecordedPasses>,
    executor: Executor,
    autotuner: Autotuner,
}

impl LocalExecutor {
    /// Uploads the weights of `model`.
    pub(in super::super) fn load(
        model: &Arc<Model>,
        processor: Processor,
        precision: Precision,
    ) -> Result<Self, RenderError> {
        let Processor { device, kernels, memory } = processor;
        let kind = match precision {
            Precision::Auto | Precision::Fp32 | Precision::Tf32 => Kind::Float,
            Precision::Bf16 => Kind::BFloat16,
        };
        let manner = Manner {
            library_only: processor.is_library(),
            tf32: precision == Precision::Tf32,
            gpu: processor.gpu_kernels(),
            ..Manner::of(kind)
        };
        let recorded = match kernels {
            Kernels::Auto => RecordedPasses::new(device)?,
            Kernels::Library => None,
        };
        let plain = Self::new(Executor::with_manner(Arc::clone(model), device, manner)?);
        let autotuner = memory.map_or(plain.autotuner, Autotuner::of_gpu);
        Ok(Self { recorded, autotuner, executor: plain.executor })
    }

    pub(in super::super) fn new(executor: Executor) -> Self {
        Self { recorded: None, autotuner: Autotuner::new(executor.is_library()), executor }
    }

    pub(in super::super) fn executor(&self) -> &Executor {
        &self.executor
    }

    /// What is known about batches here.
    pub(super) fn autotuner(&self) -> &Autotuner {
        &self.autotuner
    }

    /// [`gradients`], timed; all tiles go into one pass.
    pub(super) fn pass(
        &self,
        tiles: &Tensor,
        tile_objectives: &[TileObjective<'_>],
    ) -> Result<(Tensor, Tensor), RenderError> {
        let (_, _, height, width) = tiles.size4()?;
        let began = Instant::now();
        let outcome = self.with_room(|| match &self.recorded {
            Some(recorded) => recorded.gradients(&self.executor, tiles, tile_objectives),
            None => gradients(&self.executor, tiles, tile_objectives),
        });
        if let Some(TileObjective { bound, .. }) = tile_objectives.first() {
            let (layers, size, count) = (bound.layers(), [height, width], tile_objectives.len());
            match &outcome {
                Ok(_) => self.autotuner.note(layers, size, count, began.elapsed().as_secs_f64()),
                Err(_) => self.autotuner.fail(layers, size, count),
            }
        }
        outcome
    }

    /// Runs `run`, for which recorded passes give up their memory if it lacks any.
    fn with_room<T>(&self, run: impl Fn() -> Result<T, RenderError>) -> Result<T, RenderError> {
        match &self.recorded {
            Some(recorded) => recorded.with_room(run),
            None => run(),
        }
    }
}

impl GradientSource for LocalExecutor {
    fn network(&self) -> &Network {
        self.executor.network()
    }

    fn is_library(&self) -> bool {
        self.executor.is_library()
    }

    fn gpu_kernels(&self) -> Option<GpuKernels> {
        self.executor.gpu_kernels()
    }

    fn at_once(&self, bound: &BoundObjective, size: [i64; 2], tiles: usize) -> usize {
        self.autotuner.at_once(bound.layers(), size, tiles)
    }

    fn gradients(
        &self,
        tiles: Tensor,
        bound: &BoundObjective,
        whole: Option<&[f64]>,
        _cancel: &CancelFlag,
    ) -> Result<(Tensor, Tensor), RenderError> {
        let count = usize::try_from(tiles.size4()?.0).unwrap_or(0);
        let tiles_of = |tile| TileObjective { bound, whole, tile };
        self.pass(&tiles, &(0..count).map(tiles_of).collect::<Vec<_>>())
    }

    fn scores(
        &self,
        tiles: Tensor,
        bound: &BoundObjective,
        _cancel: &CancelFlag,
    ) -> Result<Tensor, RenderError> {
        self.with_room(|| caught(|| bound.scores(&self.executor, &tiles)))
    }

    fn features(&self, image: Tensor, layers: &[NodeId]) -> Result<Vec<Tensor>, RenderError> {
        let _ungraded = tch::no_grad_guard();
        self.with_room(|| caught(|| self.executor.forward(&image, layers)))
    }

    fn watch(&self) {
        self.executor.watch();
    }

    fn watched(&self, seconds: f64) -> Result<Option<Profile>, RenderError> {
        self.executor.watched(seconds)
    }
}
