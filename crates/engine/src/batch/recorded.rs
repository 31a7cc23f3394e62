//! Passes that a GPU has recorded: see [`cuda`](super::super::cuda).
//!
//! A pass is known by its objective and by the shape of its tiles, whatever pictures they are part of. The first one of a kind runs operation by
//! operation, since libraries load their kernels and plan at first use; the second is recorded; from then on it is started as a whole.
//! A recorded pass runs the same kernels over the same numbers, and gives the same bits.

use std::cell::{Cell, RefCell};

use tch::{Device, Kind, Tensor};

use super::super::{
    RenderError,
    cuda::{Graph, Stream},
    exec::Executor,
    library::copy,
    objective::{BoundObjective, Shares, TileObjective, gradients, gradients_by},
};

/// Kinds of pass that are kept; the one that was used longest ago goes. Pictures of all sizes have about 150 for one
/// objective ([`Grid::uniform`](reverie_dream::plan::Grid::uniform)). They share their memory.
const KEPT: usize = 256;

/// Something that records work; tests have another one than a GPU's stream.
pub(in super::super) trait Recorder {
    /// Recorded work.
    type Recording;

    /// See [`Graph::record`].
    fn record<T>(
        &self,
        shared: Option<&Self::Recording>,
        run: impl FnOnce() -> Result<T, RenderError>,
    ) -> Result<(Self::Recording, T), RenderError>;

    /// See [`Graph::replay`].
    fn replay(recording: &Self::Recording) -> Result<(), RenderError>;
}

impl Recorder for Stream {
    type Recording = Graph;

    fn record<T>(
        &self,
        shared: Option<&Graph>,
        run: impl FnOnce() -> Result<T, RenderError>,
    ) -> Result<(Graph, T), RenderError> {
        Graph::record(self, shared, run)
    }

    fn replay(recording: &Graph) -> Result<(), RenderError> {
        recording.replay()
    }
}

/// The recorded passes of one network.
pub(super) struct RecordedPasses<R: Recorder = Stream> {
    recorder: R,
    passes: RefCell<Vec<Pass<R::Recording>>>,
    /// Where the tiles of all passes lie: float32, as many as the largest so far had.
    tiles: RefCell<Option<Tensor>>,
    /// Counts passes.
    clock: Cell<u64>,
    /// Nothing is recorded any more once that has failed.
    broken: Cell<bool>,
}

/// One kind of pass.
struct Pass<G> {
    bound: BoundObjective,
    /// `[N, 3, H, W]`.
    shape: Vec<i64>,
    used: u64,
    recorded: Option<Recorded<G>>,
}

struct Recorded<G> {
    graph: G,
    /// In [`Pass::shape`]: the tiles before a replay, their gradients after it.
    tiles: Tensor,
    /// Read by a replay.
    shares: Shares,
    /// `[N]` float64.
    scores: Tensor,
}

impl RecordedPasses<Stream> {
    /// For networks on `device`; none where nothing can be recorded.
    pub(super) fn new(device: Device) -> Result<Option<Self>, RenderError> {
        let Device::Cuda(index) = device else { return Ok(None) };
        Ok(Stream::for_recording(index)?.map(Self::with))
    }
}

impl<R: Recorder> RecordedPasses<R> {
    /// Of what `recorder` records.
    fn with(recorder: R) -> Self {
        Self {
            recorder,
            passes: RefCell::default(),
            tiles: RefCell::default(),
            clock: Cell::default(),
            broken: Cell::default(),
        }
    }

    /// As [`gradients`], which `executor` runs.
    pub(super) fn gradients(
        &self,
        executor: &Executor,
        tiles: &Tensor,
        tile_objectives: &[TileObjective<'_>],
    ) -> Result<(Tensor, Tensor), RenderError> {
        let plain = || gradients(executor, tiles, tile_objectives);
        let Some((TileObjective { bound, .. }, rest)) = tile_objectives.split_first() else { return plain() };
        // What is lit comes once.
        if bound.is_lit()
            || self.broken.get()
            || executor.is_watched()
            || !rest.iter().all(|other| bound.is_same(other.bound))
        {
            return plain();
        }
        self.clock.set(self.clock.get() + 1);
        let mut passes = self.passes.borrow_mut();
        let shape = tiles.size();
        let known = passes.iter().position(|pass| {
            pass.shape == shape && pass.bound.layers() == bound.layers() && pass.bound.is_same(bound)
        });
        let Some(index) = known else {
            let outcome = plain();
            if outcome.is_ok() {
                self.remember(&mut passes, bound, shape);
            }
            return outcome;
        };
        if passes[index].recorded.is_none() {
            match self.record(executor, &passes, index, tile_objectives) {
                Ok(recorded) => passes[index].recorded = Some(recorded),
                Err(error) => {
                    tracing::warn!(%error, "a pass cannot be recorded; from now on all are started operation by operation");
                    self.broken.set(true);
                    drop(passes);
                    self.forget();
                    return plain();
                }
            }
        }
        let pass = &mut passes[index];
        pass.used = self.clock.get();
        let Some(Recorded { graph, tiles: own, shares, scores }) = &mut pass.recorded else {
            return plain();
        };
        shares.become_those(Shares::numbers(executor, tiles, tile_objectives)?)?;
        let mut own = own.shallow_clone();
        own.f_copy_(tiles)?;
        R::replay(graph)?;
        // The next pass writes over both.
        Ok((copy(scores)?, copy(&own)?))
    }

    /// Records the pass of `passes` at `index`, which has been run before.
    fn record(
        &self,
        executor: &Executor,
        passes: &[Pass<R::Recording>],
        index: usize,
        tile_objectives: &[TileObjective<'_>],
    ) -> Result<Recorded<R::Recording>, RenderError> {
        let pass = &passes[index];
        let mut tiles = self.tiles(&pass.shape, executor.device())?;
        let input = tiles.shallow_clone();
        // It reads these ever after.
        let shares = Shares::new(executor, &tiles, tile_objectives)?;
        let tile_objective = TileObjective { bound: &pass.bound, whole: None, tile: 0 };
        let tile_objectives = vec![tile_objective; tile_objectives.len()];
        let shared = passes.iter().find_map(|pass| pass.recorded.as_ref()).map(|recorded| &recorded.graph);
        let (graph, scores) = self.recorder.record(shared, || {
            let (scores, gradient) = gradients_by(executor, &input, &tile_objectives, &shares)?;
            tiles.f_copy_(&gradient)?;
            Ok(scores)
        })?;
        Ok(Recorded { graph, tiles: input, shares, scores })
    }

    /// Memory for tiles of `shape`. That of smaller ones is part of it: passes run one after the other.
    fn tiles(&self, shape: &[i64], device: Device) -> Result<Tensor, RenderError> {
        let count = shape.iter().product::<i64>();
        let mut tiles = self.tiles.borrow_mut();
        let all = match tiles.take().filter(|tiles| tiles.numel() as i64 >= count) {
            Some(tiles) => tiles,
            // Passes that are recorded already keep what they have.
            None => Tensor::f_empty([count], (Kind::Float, device))?,
        };
        let all = tiles.insert(all);
        Ok(all.f_narrow(0, 0, count)?.f_view(shape)?)
    }

    /// Remembers a kind of pass, in the place of the one that was used longest ago.
    fn remember(&self, passes: &mut Vec<Pass<R::Recording>>, bound: &BoundObjective, shape: Vec<i64>) {
        if passes.len() >= KEPT
            && let Some((oldest, _)) = passes.iter().enumerate().min_by_key(|(_, pass)| pass.used)
        {
            passes.swap_remove(oldest);
        }
        passes.push(Pass { bound: bound.clone(), shape, used: self.clock.get(), recorded: None });
    }

    /// Runs `run`; if memory is missing, once more after the recorded passes have given theirs back.
    pub(super) fn with_room<T>(&self, run: impl Fn() -> Result<T, RenderError>) -> Result<T, RenderError> {
        match run() {
            Err(RenderError::OutOfMemory(reason)) if self.forget() => {
                tracing::warn!(reason, "recorded passes give their memory back");
                run()
            }
            outcome => outcome,
        }
    }

    /// Gives the memory of all recorded passes back; false if there are none.
    fn forget(&self) -> bool {
        self.tiles.take();
        std::mem::take(&mut *self.passes.borrow_mut()).iter().any(|pass| pass.recorded.is_some())
    }
}

#[cfg(test)]
mod tests;
