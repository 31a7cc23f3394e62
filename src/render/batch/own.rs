//! A network that one render thread has to itself.

use std::{sync::Arc, time::Instant};

use tch::{Device, Kind, Tensor};

use super::{
    super::{
        CancelFlag, Profile, RenderError,
        exec::Executor,
        objective::{Climb, Goal, gradients},
    },
    Passes,
    trial::Trials,
};
use crate::{graph::Network, models::Model, spec::Precision};

/// An executor, and what is known about batches on it.
pub(in super::super) struct Own {
    executor: Executor,
    trials: Trials,
}

impl Own {
    /// Uploads the weights of `model`.
    pub(in super::super) fn load(
        model: &Arc<Model>,
        device: Device,
        precision: Precision,
    ) -> Result<Self, RenderError> {
        let kind = match precision {
            Precision::Auto | Precision::Fp32 => Kind::Float,
            Precision::Bf16 => Kind::BFloat16,
        };
        Ok(Self::new(Executor::new(Arc::clone(model), device, kind)?))
    }

    pub(in super::super) fn new(executor: Executor) -> Self {
        Self { trials: Trials::on(executor.device()), executor }
    }

    pub(in super::super) fn executor(&self) -> &Executor {
        &self.executor
    }

    /// What is known about batches here.
    pub(super) fn trials(&self) -> &Trials {
        &self.trials
    }

    /// [`gradients`], timed; all tiles go into one pass.
    pub(super) fn pass(
        &self,
        tiles: &Tensor,
        climbs: &[Climb<'_>],
    ) -> Result<(Vec<f64>, Tensor), RenderError> {
        let (_, _, height, width) = tiles.size4()?;
        let began = Instant::now();
        let outcome = gradients(&self.executor, tiles, climbs);
        if let Some(Climb { goal, .. }) = climbs.first() {
            let (layers, size, count) = (goal.layers(), [height, width], climbs.len());
            match &outcome {
                Ok(_) => self.trials.note(layers, size, count, began.elapsed().as_secs_f64()),
                Err(_) => self.trials.fail(layers, size, count),
            }
        }
        outcome
    }
}

impl Passes for Own {
    fn network(&self) -> &Network {
        self.executor.network()
    }

    fn at_once(&self, goal: &Goal, size: [i64; 2], tiles: usize) -> usize {
        match self.executor.device() {
            Device::Cpu => self.trials.at_once(goal.layers(), size, tiles),
            // The same job, the same bytes: see the introduction of this room.
            _ => 1,
        }
    }

    fn gradients(
        &self,
        tiles: Tensor,
        goal: &Goal,
        whole: Option<&[f64]>,
        _cancel: &CancelFlag,
    ) -> Result<(Vec<f64>, Tensor), RenderError> {
        let count = usize::try_from(tiles.size4()?.0).unwrap_or(0);
        self.pass(&tiles, &vec![Climb { goal, whole }; count])
    }

    fn score(&self, tile: Tensor, goal: &Goal, _cancel: &CancelFlag) -> Result<f64, RenderError> {
        Ok(goal.score(&self.executor, &tile)?.f_double_value(&[])?)
    }

    fn watch(&self) {
        self.executor.watch();
    }

    fn watched(&self, seconds: f64) -> Result<Option<Profile>, RenderError> {
        self.executor.watched(seconds)
    }
}
