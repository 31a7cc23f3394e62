//! The workers of one renderer, and whose turn it is.
//!
//! A GPU's renderer has two workers. While the job of one is on the device, the other one encodes and stores what it has dreamed,
//! and fetches and decodes what comes next. One of them at a time looks for work, and one at a time has a job on the device. The
//! other looks for work only when that job is nearly done: a job that is claimed too early would wait here, while another machine
//! might have time for it.
//!
//! A CPU's renderer has one worker, which always has its turn: encoding takes the same cores as dreaming.

use std::{
    sync::{Arc, Mutex as Lock, MutexGuard, OnceLock, PoisonError, Weak},
    time::{Duration, Instant},
};

use tokio::sync::{Mutex, OwnedMutexGuard};
use tokio_util::sync::CancellationToken;

use super::{AliveGuard, error::AttemptError, practice::Practice};
use crate::metrics::{BusyGuard, Metrics};
use reverie_engine::{RenderError, Renderer};

/// A dream is nearly done when it is expected to take no longer than this: time to fetch and decode the next job's images.
const LEAD: Duration = Duration::from_millis(500);

/// Workers of a GPU's renderer.
const OF_A_GPU: usize = 2;

/// How many workers a renderer has.
pub(super) fn workers_of(renderer: &Renderer) -> usize {
    // Those that share networks are as many as the device can use.
    if renderer.memory().is_some() && !renderer.shares_networks() { OF_A_GPU } else { 1 }
}

/// What a worker found while it did something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The worker can do the next thing.
    Done,
    /// The device is sick: the renderer cannot do any job until it recovers.
    Sick,
    /// The blob store is unreachable or full: no worker of the renderer can do any job until it recovers.
    StoreAway {
        /// Bytes that did not fit; 0 if the store is not full.
        bytes: usize,
    },
}

/// What the workers of one renderer share. Clones share it.
#[derive(Clone)]
pub(super) struct Turns {
    /// Held by the worker that looks for work, with what it practises while nobody wants anything.
    lookout: Arc<Mutex<Practice>>,
    device: Arc<Mutex<()>>,
    state: Arc<Lock<State>>,
    /// Counts the renderer as busy as long as it has a job in hand.
    busy: Arc<Lock<Weak<BusyGuard>>>,
}

struct State {
    trouble: Trouble,
    /// Counts the renderer as able to take jobs, as long as it has no trouble.
    alive: Option<AliveGuard>,
}

/// Why no worker of a renderer may take a job. Whoever looks for work next waits until that has passed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Trouble {
    /// The device was found sick.
    pub(super) sick: bool,
    /// The blob store is unreachable, or has no room for so many bytes.
    pub(super) store_away: Option<usize>,
}

/// The right to look for work, and what to practise.
pub(super) type Lookout = OwnedMutexGuard<Practice>;

/// The turn of a job on the device, until it is dropped.
pub(super) struct Turn {
    _device: OwnedMutexGuard<()>,
}

impl Turns {
    pub(super) fn new(practice: Practice, alive: AliveGuard) -> Self {
        let state = State { trouble: Trouble::default(), alive: Some(alive) };
        Self {
            lookout: Arc::new(Mutex::new(practice)),
            device: Arc::default(),
            state: Arc::new(Lock::new(state)),
            busy: Arc::default(),
        }
    }

    /// Waits until no other worker of the renderer looks for work. Each has its turn in the order in which they ask.
    pub(super) async fn lookout(&self) -> Lookout {
        Arc::clone(&self.lookout).lock_owned().await
    }

    /// Waits until no other job is on the device; `None` if the device was found sick meanwhile.
    pub(super) async fn turn(&self) -> Option<Turn> {
        let device = Arc::clone(&self.device).lock_owned().await;
        (!self.trouble().sick).then_some(Turn { _device: device })
    }

    /// The renderer has a job in hand until this is dropped, and is busy.
    pub(super) fn in_hand(&self, metrics: &Metrics) -> Arc<BusyGuard> {
        let mut busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        busy.upgrade().unwrap_or_else(|| {
            let guard = Arc::new(metrics.busy());
            *busy = Arc::downgrade(&guard);
            guard
        })
    }

    /// What is known of the renderer's troubles.
    pub(super) fn trouble(&self) -> Trouble {
        self.state().trouble
    }

    /// What a worker found: while there is trouble, the renderer does not count as able to take jobs.
    pub(super) fn found(&self, outcome: Outcome) {
        let mut state = self.state();
        match outcome {
            Outcome::Done => return,
            Outcome::Sick => state.trouble.sick = true,
            // Room for the larger is room for the smaller.
            Outcome::StoreAway { bytes } => {
                state.trouble.store_away = state.trouble.store_away.max(Some(bytes));
            }
        }
        state.alive = None;
    }

    /// The trouble that was waited for has passed; what was found meanwhile has not. Where there is none, `alive` counts the
    /// renderer again.
    pub(super) fn passed(&self, waited: Trouble, alive: impl FnOnce() -> AliveGuard) {
        let mut state = self.state();
        state.trouble.sick &= !waited.sick;
        state.trouble.store_away = state.trouble.store_away.filter(|&bytes| waited.store_away < Some(bytes));
        if state.trouble == Trouble::default() {
            state.alive.get_or_insert_with(alive);
        }
    }

    /// Nothing panics while it holds the lock.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where a job is dreamed.
pub(super) struct Place<'a> {
    pub(super) renderer: &'a Renderer,
    pub(super) turns: &'a Turns,
    pub(super) watch: Arc<Watch>,
    /// How long the job has waited for its turn.
    pub(super) waited: OnceLock<Duration>,
    /// Canceled when the job is to stop, for whatever reason.
    pub(super) stopped: CancellationToken,
    /// Canceled when the process takes no more jobs.
    pub(super) drain: &'a CancellationToken,
}

impl Place<'_> {
    /// Waits for the job's turn.
    ///
    /// # Errors
    /// If the device is found sick meanwhile, or the job or the process is to stop.
    pub(super) async fn turn(&self) -> Result<Turn, AttemptError> {
        let asked = Instant::now();
        let turn = tokio::select! {
            biased;
            () = self.stopped.cancelled() => return Err(RenderError::Canceled.into()),
            turn = self.turns.turn() => turn.ok_or(AttemptError::NotBegun),
            () = self.drain.cancelled() => Err(AttemptError::NotBegun),
        };
        // Only the first time is one before the dream.
        let _ = self.waited.set(asked.elapsed());
        turn
    }
}

/// Kept by a job from its claim until it is nearly done: nobody else looks for work.
pub(super) struct Watch(Lock<Option<Lookout>>);

impl Watch {
    pub(super) fn keep(lookout: Lookout) -> Arc<Self> {
        Arc::new(Self(Lock::new(Some(lookout))))
    }

    /// Another worker may look for work.
    pub(super) fn release(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

/// Tells when a dream is nearly done.
#[derive(Default)]
pub(super) struct Pace(Option<(Instant, f64)>);

impl Pace {
    /// Whether what is left, as a `fraction` is done by now, is short.
    pub(super) fn is_nearly_done(&mut self, fraction: f64) -> bool {
        let (began, at) = *self.0.get_or_insert((Instant::now(), fraction));
        left(began.elapsed(), at, fraction).is_some_and(|left| left <= LEAD)
    }
}

/// Time that is left if the dream goes on as from fraction `from` to `to`, which took `took`; none where that says nothing.
fn left(took: Duration, from: f64, to: f64) -> Option<Duration> {
    let seconds = took.as_secs_f64() / (to - from) * (1.0 - to);
    Duration::try_from_secs_f64(seconds).ok()
}

#[cfg(test)]
mod tests {
    use super::{super::Liveness, *};

    #[test]
    fn a_dream_is_nearly_done_when_little_time_is_left() {
        let left = |took, from, to| left(Duration::from_secs(took), from, to).map(|left| left.as_secs_f64());
        assert_eq!(left(10, 0.0, 0.5), Some(10.0));
        assert_eq!(left(3, 0.25, 0.5), Some(6.0));
        assert_eq!(left(3, 0.25, 1.0), Some(0.0));
        // The first step says nothing, nor does one of another world.
        assert_eq!(left(0, 0.25, 0.25), None);
        assert_eq!(left(1, 0.25, 0.25), None);
        assert_eq!(left(1, f64::NAN, 0.5), None);
        let mut pace = Pace::default();
        assert!(!pace.is_nearly_done(0.1));
        assert!(pace.is_nearly_done(0.999));
    }

    fn turns() -> (Turns, Liveness) {
        let alive = Liveness::default();
        (Turns::new(Practice::default(), alive.guard()), alive)
    }

    #[tokio::test]
    async fn a_job_that_waits_for_a_device_that_is_found_sick_has_no_turn() {
        let (turns, alive) = turns();
        let first = turns.turn().await.unwrap();
        let waiting = tokio::spawn({
            let turns = turns.clone();
            async move { turns.turn().await.is_some() }
        });
        turns.found(Outcome::Sick);
        assert_eq!(alive.count(), 0);
        drop(first);
        assert!(!waiting.await.unwrap());
        turns.passed(turns.trouble(), || alive.guard());
        assert!(turns.turn().await.is_some());
        assert_eq!(alive.count(), 1);
    }

    #[test]
    fn what_is_found_while_another_trouble_is_waited_for_stays() {
        let (turns, alive) = turns();
        let passed = |waited| turns.passed(waited, || alive.guard());
        turns.found(Outcome::StoreAway { bytes: 0 });
        let waited = turns.trouble();
        turns.found(Outcome::StoreAway { bytes: 500 });
        turns.found(Outcome::StoreAway { bytes: 100 });
        passed(waited);
        assert_eq!((turns.trouble().store_away, alive.count()), (Some(500), 0));
        turns.found(Outcome::Sick);
        passed(Trouble { sick: false, store_away: Some(500) });
        assert_eq!((turns.trouble(), alive.count()), (Trouble { sick: true, store_away: None }, 0));
        passed(turns.trouble());
        assert_eq!((turns.trouble(), alive.count()), (Trouble::default(), 1));
        turns.found(Outcome::Done);
        assert_eq!(alive.count(), 1);
    }

    #[test]
    fn a_renderer_with_two_jobs_in_hand_is_busy_once() {
        let (turns, _) = turns();
        let metrics = Metrics::new(crate::clock::Clock::system().now(), &[]);
        let (one, other) = (turns.in_hand(&metrics), turns.in_hand(&metrics));
        assert!(Arc::ptr_eq(&one, &other));
        drop(one);
        assert!(Arc::ptr_eq(&turns.in_hand(&metrics), &other));
    }
}
