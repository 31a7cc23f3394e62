//! Recorded passes, with a recorder that counts.

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
}

impl Recorder for Counting {
    type Recording = Rc<Cell<usize>>;

    fn record<T>(
        &self,
        shared: Option<&Self::Recording>,
        run: impl FnOnce() -> Result<T, RenderError>,
    ) -> Result<(Self::Recording, T), RenderError> {
        let outcome = run()?;
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
    assert_eq!(lacks(1), (false, 1), "nothing is recorded any more");
    // It comes, and comes again.
    subject.pass(&bound, None, 2);
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
