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
    objective::{BoundObjective, Shares, TileObjective, gradients_by},
};

/// Kinds of pass that are kept; the one that was used longest ago goes. Pictures of all sizes have about a hundred for one
/// objective ([`Grid::uniform`](reverie_dream::plan::Grid::uniform)). They share their memory.
const KEPT: usize = 128;

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

    /// As [`gradients`](super::super::objective::gradients), which `executor` runs.
    pub(super) fn gradients(
        &self,
        executor: &Executor,
        tiles: &Tensor,
        tile_objectives: &[TileObjective<'_>],
    ) -> Result<(Tensor, Tensor), RenderError> {
        let shares = Shares::new(executor, tiles, tile_objectives)?;
        let plain = || gradients_by(executor, tiles, tile_objectives, &shares);
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
                // It says nothing about recording.
                Err(error @ RenderError::OutOfMemory(_)) => return Err(error),
                Err(error) => {
                    tracing::warn!(%error, "a pass cannot be recorded; from now on all are started operation by operation");
                    self.broken.set(true);
                    passes.clear();
                    self.tiles.take();
                    return plain();
                }
            }
        }
        let pass = &mut passes[index];
        pass.used = self.clock.get();
        let Some(Recorded { graph, tiles: own, shares: own_shares, scores }) = &mut pass.recorded else {
            return plain();
        };
        own_shares.become_those(&shares)?;
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
        !std::mem::take(&mut *self.passes.borrow_mut()).is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use reverie_dream::spec::{Objective, ObjectiveKind};

    use super::{
        super::super::{
            exec::Manner,
            tests::{objective, random_network},
        },
        *,
    };

    /// Counts; what it records is done at once, and a replay does nothing more.
    #[derive(Clone, Default)]
    struct Counting {
        recordings: Rc<Cell<usize>>,
        replays: Rc<Cell<usize>>,
        shared: Rc<Cell<usize>>,
        refuses: Rc<Cell<bool>>,
        full: Rc<Cell<bool>>,
    }

    impl Recorder for Counting {
        type Recording = Rc<Cell<usize>>;

        fn record<T>(
            &self,
            shared: Option<&Self::Recording>,
            run: impl FnOnce() -> Result<T, RenderError>,
        ) -> Result<(Self::Recording, T), RenderError> {
            let outcome = run()?;
            if self.full.get() {
                return Err(RenderError::OutOfMemory("CUDA out of memory.".into()));
            }
            if self.refuses.get() {
                return Err(RenderError::Engine("operation not permitted when stream is capturing".into()));
            }
            self.recordings.set(self.recordings.get() + 1);
            self.shared.set(self.shared.get() + usize::from(shared.is_some()));
            Ok((Rc::clone(&self.replays), outcome))
        }

        fn replay(recording: &Self::Recording) -> Result<(), RenderError> {
            recording.set(recording.get() + 1);
            Ok(())
        }
    }

    struct Subject {
        executor: Executor,
        counting: Counting,
        passes: RecordedPasses<Counting>,
    }

    impl Subject {
        fn new() -> Self {
            let counting = Counting::default();
            let manner = Manner { library_only: true, ..Manner::of(Kind::Float) };
            let executor = Executor::with_manner(random_network(), Device::Cpu, manner).unwrap();
            Self { executor, passes: RecordedPasses::with(counting.clone()), counting }
        }

        /// One pass over `count` tiles; how many were recorded and replayed since the start.
        fn pass(&self, bound: &BoundObjective, whole: Option<&[f64]>, count: i64) -> [usize; 2] {
            let tiles = Tensor::rand([count, 3, 40, 40], (Kind::Float, Device::Cpu)) * 255.0;
            let objectives = vec![TileObjective { bound, whole, tile: 0 }; count as usize];
            let (scores, gradient) = self.passes.gradients(&self.executor, &tiles, &objectives).unwrap();
            assert_eq!((scores.size(), gradient.size()), (vec![count], tiles.size()));
            [self.counting.recordings.get(), self.counting.replays.get()]
        }

        fn bound(&self, weight: f64) -> BoundObjective {
            let objective = Objective { weight, ..objective(ObjectiveKind::Mean, "sum", &[]) };
            BoundObjective::new(self.executor.network(), &[objective]).unwrap()
        }
    }

    #[test]
    fn a_pass_is_recorded_when_it_comes_again() {
        let subject = Subject::new();
        let bound = subject.bound(1.0);
        assert_eq!(subject.pass(&bound, None, 2), [0, 0]);
        assert_eq!(subject.pass(&bound, None, 2), [1, 1]);
        assert_eq!(subject.pass(&bound.clone(), None, 2), [1, 2], "the same function by another name");
        // Other numbers of tiles and other functions are other passes.
        let other = subject.bound(2.0);
        for (index, (bound, count)) in [(&bound, 1), (&other, 2)].into_iter().enumerate() {
            assert_eq!(subject.pass(bound, None, count), [1 + index, 2 + index]);
            assert_eq!(subject.pass(bound, None, count), [2 + index, 3 + index]);
        }
        assert_eq!(subject.counting.shared.get(), 2, "all but the first share memory");
        assert_eq!(subject.pass(&bound, None, 2), [3, 5]);
    }

    #[test]
    fn pictures_of_other_sizes_are_the_same_pass_with_other_shares() {
        let subject = Subject::new();
        let bound = subject.bound(1.0);
        // The layer has a quarter of the rows and columns of its tiles.
        let (one, other) = (Some(&[400.0][..]), Some(&[50.0][..]));
        subject.pass(&bound, one, 2);
        for (whole, share) in [(one, 0.25), (other, 2.0), (None, 1.0), (one, 0.25)] {
            assert_eq!(subject.pass(&bound, whole, 2)[0], 1);
            let passes = subject.passes.passes.borrow();
            let recorded = passes[0].recorded.as_ref().unwrap();
            assert_eq!(recorded.shares.on_device(), [[share, share]]);
        }
    }

    #[test]
    fn the_kinds_of_pass_that_were_used_longest_ago_are_forgotten() {
        let subject = Subject::new();
        let bound = subject.bound(1.0);
        let twice = |weight: f64| {
            let bound = subject.bound(weight);
            subject.pass(&bound, None, 1);
            subject.pass(&bound, None, 1)
        };
        subject.pass(&bound, None, 1);
        for index in 0..2 * KEPT {
            twice(2.0 + index as f64);
            // It is in use all the time.
            subject.pass(&bound, None, 1);
        }
        assert_eq!(subject.passes.passes.borrow().len(), KEPT);
        let recordings = subject.counting.recordings.get();
        assert_eq!(recordings, 1 + 2 * KEPT);
        subject.pass(&bound, None, 1);
        assert_eq!(subject.counting.recordings.get(), recordings);
        assert_eq!(twice(2.0)[0], recordings + 1, "the first ones have gone");
    }

    #[test]
    fn where_recording_fails_everything_goes_on_without() {
        let subject = Subject::new();
        let bound = subject.bound(1.0);
        subject.counting.refuses.set(true);
        for _ in 0..3 {
            assert_eq!(subject.pass(&bound, None, 2), [0, 0]);
        }
        // One failure is enough: each leaves something behind.
        subject.counting.refuses.set(false);
        assert_eq!(subject.pass(&bound, None, 2), [0, 0]);
        assert!(subject.passes.passes.borrow().is_empty());
    }

    #[test]
    fn recorded_passes_make_room_for_what_lacks_memory() {
        let subject = Subject::new();
        let bound = subject.bound(1.0);
        let missing = || RenderError::OutOfMemory("CUDA out of memory.".into());
        let lacks = |times: usize| {
            let tries = Cell::new(0);
            let outcome = subject.passes.with_room(|| {
                tries.set(tries.get() + 1);
                if tries.get() <= times { Err(missing()) } else { Ok(()) }
            });
            (outcome.is_ok(), tries.get())
        };
        assert_eq!(lacks(1), (false, 1), "there is nothing to give back");
        subject.pass(&bound, None, 2);
        subject.pass(&bound, None, 2);
        assert_eq!(lacks(0), (true, 1));
        assert_eq!(lacks(1), (true, 2));
        assert!(subject.passes.passes.borrow().is_empty() && subject.passes.tiles.borrow().is_none());
        // It is recorded again, also where it was the recording that lacked memory.
        subject.pass(&bound, None, 2);
        subject.counting.full.set(true);
        let tiles = Tensor::zeros([2, 3, 40, 40], (Kind::Float, Device::Cpu));
        let objectives = [TileObjective { bound: &bound, whole: None, tile: 0 }; 2];
        let pass = || subject.passes.gradients(&subject.executor, &tiles, &objectives);
        assert!(subject.passes.with_room(pass).is_ok());
        subject.counting.full.set(false);
        assert_eq!(subject.pass(&bound, None, 2), [2, 2]);
    }

    #[test]
    fn a_profile_sees_every_operation() {
        let subject = Subject::new();
        let bound = subject.bound(1.0);
        subject.pass(&bound, None, 1);
        subject.executor.watch();
        assert_eq!(subject.pass(&bound, None, 1), [0, 0]);
        subject.executor.watched(1.0).unwrap();
        assert_eq!(subject.pass(&bound, None, 1), [1, 1]);
    }
}
