//! What every job store must do, as one list of cases that runs on each of them.
//!
//! Time is driven by hand and nothing sleeps. A case that a new store fails is a mistake in the store; a
//! change of the queue's behaviour starts here.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests may fail loudly"
)]

use std::{collections::HashSet, sync::Arc, time::Duration};

use async_trait::async_trait;
use reverie::{
    clock::{Clock, Timestamp},
    graph::{Network, Node, Op},
    jobs::{
        Claim, Counts, Event, FailureKind, Finished, Job, JobError, JobId, JobQueue, JobResult,
        JobState, Lease, NewJob, QueueError, QueueOptions, Rescue, sqlite::SqliteQueue,
    },
    models::{Catalogue, Model, Preprocessing},
    render::Progress,
    spec::{self, DreamSpec},
};
use tokio::task::JoinSet;

const LEASE: Duration = Duration::from_secs(30);
const CAPACITY: u32 = 10;

/// Opens stores that share their data.
#[async_trait]
trait Factory: Sync {
    async fn open(&self, options: QueueOptions) -> Arc<dyn JobQueue>;
}

/// SQLite in a folder of its own.
struct Sqlite(tempfile::TempDir);

impl Sqlite {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }
}

#[async_trait]
impl Factory for Sqlite {
    async fn open(&self, options: QueueOptions) -> Arc<dyn JobQueue> {
        Arc::new(
            SqliteQueue::open(&self.0.path().join("jobs"), options)
                .await
                .unwrap(),
        )
    }
}

/// A store under test and the clock that drives it.
struct Bench {
    queue: Arc<dyn JobQueue>,
    options: QueueOptions,
}

impl Bench {
    async fn new(factory: &dyn Factory) -> Self {
        let clock = Clock::driven(Timestamp::from_millis(1_700_000_000_000));
        let options = QueueOptions {
            capacity: CAPACITY,
            lease: LEASE,
            max_attempts: 3,
            clock,
        };
        Self {
            queue: factory.open(options.clone()).await,
            options,
        }
    }

    /// The same data through a store opened anew, as after a restart.
    async fn reopened(self, factory: &dyn Factory) -> Self {
        self.queue.close().await;
        Self {
            queue: factory.open(self.options.clone()).await,
            options: self.options,
        }
    }

    fn pass(&self, time: Duration) {
        self.options.clock.advance(time);
    }

    async fn add(&self) -> JobId {
        let id = JobId::new();
        self.queue
            .enqueue(NewJob { id, spec: spec() })
            .await
            .unwrap();
        id
    }

    async fn claim(&self) -> Claim {
        self.queue
            .claim("worker")
            .await
            .unwrap()
            .expect("there is a job to claim")
    }

    async fn get(&self, id: JobId) -> Job {
        self.queue.get(id).await.unwrap()
    }

    /// A job in each state that can be reached, with the lease it last had.
    async fn in_state(&self, state: JobState) -> (JobId, Option<Lease>) {
        let id = self.add().await;
        if state == JobState::Queued {
            return (id, None);
        }
        let lease = self.claim().await.lease;
        assert_eq!(lease.job, id, "there are other jobs in the queue");
        match state {
            JobState::Running => {}
            JobState::Succeeded => drop(self.queue.complete(lease, finished(lease)).await.unwrap()),
            JobState::Failed => drop(self.queue.fail(lease, broken(), false).await.unwrap()),
            JobState::Canceled => drop(self.queue.stopped(lease).await.unwrap()),
            JobState::Queued | JobState::Expired => unreachable!(),
        }
        (id, Some(lease))
    }
}

/// A complete spec, from a network that needs no file.
fn spec() -> DreamSpec {
    let nodes = vec![
        Node {
            name: "image".into(),
            op: Op::Input { channels: 3 },
            inputs: Vec::new(),
        },
        Node {
            name: "relu".into(),
            op: Op::Relu,
            inputs: vec![reverie::graph::NodeId(0)],
        },
    ];
    let mut catalogue = Catalogue::default();
    catalogue.insert(Model {
        id: "tiny".into(),
        description: String::new(),
        path: "tiny".into(),
        sha256: String::new(),
        network: Network::new(nodes).unwrap(),
        preprocessing: Preprocessing {
            mean: 0.0,
            scale: 1.0,
        },
        default_layer: "relu".into(),
        class_layer: None,
        channel_layer: "relu".into(),
    });
    spec::resolve("", serde_json::json!({ "seed": 7 }), &catalogue).unwrap()
}

fn finished(lease: Lease) -> Finished {
    Finished {
        result: JobResult {
            lease: lease.token,
            media_type: "image/png".into(),
            width: 4,
            height: 3,
            score: 1.5,
            size: 12,
            sha256: "abc".into(),
        },
        render_seconds: 2.5,
        progress: Some(progress(1.0)),
    }
}

fn progress(fraction: f64) -> Progress {
    Progress {
        fraction,
        octave: 1,
        octaves: 2,
        iteration: 3,
        iterations: 10,
        score: 0.5,
    }
}

fn broken() -> JobError {
    JobError {
        kind: FailureKind::RenderFailed,
        detail: "the gradient stopped being finite".into(),
    }
}

fn is_lost<T>(outcome: Result<T, QueueError>) -> bool {
    matches!(outcome, Err(QueueError::LeaseLost))
}

/// Runs every case on a store.
macro_rules! contract {
    ($store:ident: $($case:ident),+ $(,)?) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                let factory = $store::new();
                cases::$case(&factory).await;
            }
        )+
    };
}

mod sqlite {
    use super::{Sqlite, cases};

    contract!(Sqlite:
        a_job_keeps_what_it_was_given,
        jobs_are_claimed_in_order,
        positions_count_from_the_front,
        two_claimers_never_get_the_same_job,
        the_bound_holds_under_concurrent_enqueues,
        a_claim_does_what_the_rules_say,
        beats_keep_the_lease_and_show_progress,
        a_dream_ends_the_job,
        versions_grow_with_visible_changes_only,
        a_lost_lease_writes_nothing,
        a_failure_is_retried_after_a_rest,
        a_permanent_failure_is_final,
        a_released_job_keeps_its_attempts,
        an_expired_lease_gives_the_job_to_another,
        a_job_that_kills_its_workers_fails,
        cancel_in_every_state,
        a_canceled_job_whose_worker_is_lost_is_canceled,
        everything_survives_a_restart,
        counts_and_recent_seconds,
        unknown_jobs_are_not_found,
        work_is_announced,
    );
}

mod cases {
    use super::*;

    pub async fn a_job_keeps_what_it_was_given(factory: &dyn Factory) {
        let bench = Bench::new(factory).await;
        let id = JobId::new();
        let job = bench
            .queue
            .enqueue(NewJob { id, spec: spec() })
            .await
            .unwrap();
        assert_eq!(
            (job.id, job.state, job.version, job.attempt),
            (id, JobState::Queued, 1, 0)
        );
        assert_eq!(job.spec, spec());
        assert_eq!(job.created_at, bench.options.clock.now());
        assert_eq!(
            (job.started_at, job.finished_at, job.queue_position),
            (None, None, Some(1))
        );
        assert_eq!(bench.get(id).await, job);
    }

    pub async fn jobs_are_claimed_in_order(factory: &dyn Factory) {
        let bench = Bench::new(factory).await;
        let mut ids = Vec::new();
        for _ in 0..5 {
            ids.push(bench.add().await);
            bench.pass(Duration::from_millis(1));
        }
        // Within one millisecond the ids decide.
        ids.push(bench.add().await);
        ids.push(bench.add().await);
        for id in ids {
            assert_eq!(bench.claim().await.job.id, id);
        }
        assert!(bench.queue.claim("worker").await.unwrap().is_none());
    }

    pub async fn positions_count_from_the_front(factory: &dyn Factory) {
        let bench = Bench::new(factory).await;
        let ids = [bench.add().await, bench.add().await, bench.add().await];
        for (id, place) in ids.iter().zip(1..) {
            assert_eq!(bench.get(*id).await.queue_position, Some(place));
        }
        bench.claim().await;
        for (id, place) in ids.iter().zip([None, Some(1), Some(2)]) {
            assert_eq!(bench.get(*id).await.queue_position, place);
        }
    }

    pub async fn two_claimers_never_get_the_same_job(factory: &dyn Factory) {
        let bench = Bench::new(factory).await;
        // Two stores on the same data, as two processes would have.
        let other = factory.open(bench.options.clone()).await;
        for _ in 0..CAPACITY {
            bench.add().await;
        }
        let mut claimers = JoinSet::new();
        for number in 0..8 {
            let queue = if number % 2 == 0 {
                &bench.queue
            } else {
                &other
            };
            let queue = Arc::clone(queue);
            claimers.spawn(async move {
                let mut claimed = Vec::new();
                while let Some(claim) = queue.claim("worker").await.unwrap() {
                    claimed.push(claim.job.id);
                }
                claimed
            });
        }
        let claimed = claimers.join_all().await.concat();
        assert_eq!(claimed.len(), CAPACITY as usize);
        assert_eq!(claimed.iter().collect::<HashSet<_>>().len(), claimed.len());
    }

    pub async fn the_bound_holds_under_concurrent_enqueues(factory: &dyn Factory) {
        let bench = Bench::new(factory).await;
        let other = factory.open(bench.options.clone()).await;
        let mut clients = JoinSet::new();
        for number in 0..4 * CAPACITY {
            let queue = if number % 2 == 0 {
                &bench.queue
            } else {
                &other
            };
            let queue = Arc::clone(queue);
            clients.spawn(async move {
                match queue
                    .enqueue(NewJob {
                        id: JobId::new(),
                        spec: spec(),
                    })
                    .await
                {
                    Ok(_) => 1,
                    Err(QueueError::Full { capacity: CAPACITY }) => 0,
                    Err(error) => panic!("{error}"),
                }
            });
        }
        let accepted: u32 = clients.join_all().await.iter().sum();
        assert_eq!(accepted, CAPACITY);
        assert_eq!(bench.queue.depth().await.unwrap(), u64::from(CAPACITY));
        // A claimed job leaves its place to another.
        bench.claim().await;
        bench.add().await;
    }

    pub async fn a_claim_does_what_the_rules_say(factory: &dyn Factory) {
        let bench = Bench::new(factory).await;
        let id = bench.add().await;
        let before = bench.get(id).await;
        bench.pass(Duration::from_secs(2));
        let claim = bench.claim().await;
        assert_eq!(
            claim.job.facts(),
            before.facts().next(Event::Claimed, 3).unwrap()
        );
        assert_eq!(claim.job.started_at, Some(bench.options.clock.now()));
        assert_eq!(claim.lease.job, id);
        assert_eq!(bench.get(id).await, claim.job);
    }

    pub async fn beats_keep_the_lease_and_show_progress(factory: &dyn Factory) {
        let bench = Bench::new(factory).await;
        let id = bench.add().await;
        let lease = bench.claim().await.lease;
        for _ in 0..4 {
            bench.pass(LEASE / 2);
            assert!(
                !bench
                    .queue
                    .beat(lease, None)
                    .await
                    .unwrap()
                    .cancel_requested
            );
            assert!(
                bench
                    .queue
                    .rescue(Rescue::Expired)
                    .await
                    .unwrap()
                    .is_empty()
            );
        }
        bench.queue.beat(lease, Some(progress(0.25))).await.unwrap();
        // A beat without progress leaves the last one in place.
        bench.queue.beat(lease, None).await.unwrap();
        assert_eq!(bench.get(id).await.progress, Some(progress(0.25)));
    }

    pub async fn a_dream_ends_the_job(factory: &dyn Factory) {
        let bench = Bench::new(factory).await;
        let id = bench.add().await;
        let lease = bench.claim().await.lease;
        bench.pass(Duration::from_secs(3));
        let job = bench.queue.complete(lease, finished(lease)).await.unwrap();
        assert_eq!(
            (job.state, job.finished_at),
            (JobState::Succeeded, Some(bench.options.clock.now()))
        );
        assert_eq!(job.result, Some(finished(lease).result));
        assert_eq!(
            (job.render_seconds, job.progress),
            (Some(2.5), Some(progress(1.0)))
        );
        assert_eq!(bench.get(id).await, job);
    }

    pub async fn versions_grow_with_visible_changes_only(factory: &dyn Factory) {
        let bench = Bench::new(factory).await;
        let id = bench.add().await;
        let lease = bench.claim().await.lease;
        assert_eq!(bench.get(id).await.version, 2);
        bench.queue.beat(lease, None).await.unwrap();
        assert_eq!(bench.get(id).await.version, 2);
        bench.queue.beat(lease, Some(progress(0.5))).await.unwrap();
        assert_eq!(bench.get(id).await.version, 3);
        bench.queue.complete(lease, finished(lease)).await.unwrap();
        assert_eq!(bench.get(id).await.version, 4);
    }

    pub async fn a_lost_lease_writes_nothing(factory: &dyn Factory) {
        let bench = Bench::new(factory).await;
        let id = bench.add().await;
        let lost = bench.claim().await.lease;
        bench.pass(LEASE);
        assert_eq!(bench.queue.rescue(Rescue::Expired).await.unwrap().len(), 1);
        let holder = bench.claim().await.lease;
        let before = bench.get(id).await;
        assert!(is_lost(bench.queue.beat(lost, Some(progress(0.9))).await));
        assert!(is_lost(bench.queue.complete(lost, finished(lost)).await));
        assert!(is_lost(bench.queue.fail(lost, broken(), true).await));
        assert!(is_lost(bench.queue.release(lost).await));
        assert!(is_lost(bench.queue.stopped(lost).await));
        assert_eq!(bench.get(id).await, before);
        bench
            .queue
            .complete(holder, finished(holder))
            .await
            .unwrap();
        // Nor does anyone write to a finished job.
        assert!(is_lost(bench.queue.beat(holder, None).await));
        assert!(is_lost(
            bench.queue.complete(holder, finished(holder)).await
        ));
    }

    pub async fn a_failure_is_retried_after_a_rest(factory: &dyn Factory) {
        let bench = Bench::new(factory).await;
        let id = bench.add().await;
        for attempt in 1..=3 {
            let claim = bench.claim().await;
            assert_eq!((claim.job.attempt, claim.job.progress), (attempt, None));
            bench
                .queue
                .beat(claim.lease, Some(progress(0.5)))
                .await
                .unwrap();
            bench.queue.fail(claim.lease, broken(), true).await.unwrap();
            let rests = bench.queue.claim("worker").await.unwrap().is_none();
            assert!(rests, "attempt {attempt} was followed by another at once");
            bench.pass(Duration::from_secs(60));
        }
        let job = bench.get(id).await;
        assert_eq!(
            (job.state, job.attempt, job.error),
            (JobState::Failed, 3, Some(broken()))
        );
        assert!(bench.queue.claim("worker").await.unwrap().is_none());
    }

    pub async fn a_permanent_failure_is_final(factory: &dyn Factory) {
        let bench = Bench::new(factory).await;
        let (id, _) = bench.in_state(JobState::Failed).await;
        let job = bench.get(id).await;
        assert_eq!(
            (job.state, job.attempt, job.error),
            (JobState::Failed, 1, Some(broken()))
        );
        assert!(job.finished_at.is_some());
    }

    pub async fn a_released_job_keeps_its_attempts(factory: &dyn Factory) {
        let bench = Bench::new(factory).await;
        let id = bench.add().await;
        for _ in 0..5 {
            let claim = bench.claim().await;
            assert_eq!((claim.job.id, claim.job.attempt), (id, 1));
            let job = bench.queue.release(claim.lease).await.unwrap();
            assert_eq!(
                (job.state, job.attempt, job.started_at),
                (JobState::Queued, 0, None)
            );
        }
    }

    pub async fn an_expired_lease_gives_the_job_to_another(factory: &dyn Factory) {
        let bench = Bench::new(factory).await;
        let id = bench.add().await;
        bench.claim().await;
        bench.pass(LEASE - Duration::from_millis(1));
        assert!(
            bench
                .queue
                .rescue(Rescue::Expired)
                .await
                .unwrap()
                .is_empty()
        );
        bench.pass(Duration::from_millis(1));
        let rescued = bench.queue.rescue(Rescue::Expired).await.unwrap();
        assert_eq!(
            (rescued[0].id, rescued[0].facts.state),
            (id, JobState::Queued)
        );
        assert_eq!(bench.claim().await.job.attempt, 2);
    }

    pub async fn a_job_that_kills_its_workers_fails(factory: &dyn Factory) {
        let bench = Bench::new(factory).await;
        let id = bench.add().await;
        for _ in 0..3 {
            bench.claim().await;
            bench.pass(LEASE);
            bench.queue.rescue(Rescue::Expired).await.unwrap();
        }
        let job = bench.get(id).await;
        assert_eq!((job.state, job.attempt), (JobState::Failed, 3));
        assert_eq!(job.error, Some(JobError::attempts_exhausted(3)));
        assert!(bench.queue.claim("worker").await.unwrap().is_none());
    }

    pub async fn cancel_in_every_state(factory: &dyn Factory) {
        let bench = Bench::new(factory).await;
        for state in [JobState::Succeeded, JobState::Failed] {
            let (id, _) = bench.in_state(state).await;
            let refused = bench.queue.cancel(id).await;
            assert!(
                matches!(refused, Err(QueueError::Finished(found)) if found == state),
                "{refused:?}"
            );
        }
        let (id, _) = bench.in_state(JobState::Canceled).await;
        assert_eq!(
            bench.queue.cancel(id).await.unwrap().state,
            JobState::Canceled
        );

        let (id, _) = bench.in_state(JobState::Queued).await;
        let canceled = bench.queue.cancel(id).await.unwrap();
        assert_eq!(
            (canceled.state, canceled.started_at),
            (JobState::Canceled, None)
        );
        assert!(canceled.finished_at.is_some());
        assert_eq!(bench.queue.cancel(id).await.unwrap(), canceled);
        assert!(bench.queue.claim("worker").await.unwrap().is_none());

        let (id, lease) = bench.in_state(JobState::Running).await;
        let lease = lease.unwrap();
        let heard = bench.queue.signals().listen(id);
        let asked = bench.queue.cancel(id).await.unwrap();
        assert_eq!(
            (asked.state, asked.cancel_requested),
            (JobState::Running, true)
        );
        assert_eq!(bench.queue.cancel(id).await.unwrap(), asked);
        heard.canceled().await;
        assert!(
            bench
                .queue
                .beat(lease, None)
                .await
                .unwrap()
                .cancel_requested
        );
        assert_eq!(
            bench.queue.stopped(lease).await.unwrap().state,
            JobState::Canceled
        );
    }

    pub async fn a_canceled_job_whose_worker_is_lost_is_canceled(factory: &dyn Factory) {
        let bench = Bench::new(factory).await;
        let (id, _) = bench.in_state(JobState::Running).await;
        bench.queue.cancel(id).await.unwrap();
        bench.pass(LEASE);
        bench.queue.rescue(Rescue::Expired).await.unwrap();
        let job = bench.get(id).await;
        assert_eq!((job.state, job.error), (JobState::Canceled, None));
    }

    pub async fn everything_survives_a_restart(factory: &dyn Factory) {
        let mut bench = Bench::new(factory).await;
        let mut jobs = Vec::new();
        for state in [
            JobState::Succeeded,
            JobState::Failed,
            JobState::Canceled,
            JobState::Running,
        ] {
            let (id, _) = bench.in_state(state).await;
            jobs.push(bench.get(id).await);
        }
        let waiting = bench.add().await;
        jobs.push(bench.get(waiting).await);
        bench = bench.reopened(factory).await;
        for job in &jobs {
            assert_eq!(&bench.get(job.id).await, job);
        }
        // The only process on this store starts: what was running belongs to nobody.
        let rescued = bench.queue.rescue(Rescue::All).await.unwrap();
        assert_eq!(rescued.len(), 1);
        let next = bench.claim().await.job;
        assert_eq!((next.id, next.attempt), (jobs[3].id, 2));
        assert_eq!(bench.claim().await.job.id, waiting);
    }

    pub async fn counts_and_recent_seconds(factory: &dyn Factory) {
        let bench = Bench::new(factory).await;
        assert_eq!(bench.queue.counts().await.unwrap(), Counts::default());
        assert_eq!(bench.queue.recent_seconds().await.unwrap(), None);
        for seconds in [2, 4] {
            bench.add().await;
            let lease = bench.claim().await.lease;
            bench.pass(Duration::from_secs(seconds));
            bench.queue.complete(lease, finished(lease)).await.unwrap();
        }
        bench.in_state(JobState::Failed).await;
        bench.in_state(JobState::Canceled).await;
        bench.in_state(JobState::Running).await;
        bench.add().await;
        let expected = Counts {
            queued: 1,
            running: 1,
            succeeded: 2,
            failed: 1,
            canceled: 1,
            expired: 0,
        };
        assert_eq!(bench.queue.counts().await.unwrap(), expected);
        assert_eq!(bench.queue.depth().await.unwrap(), 1);
        assert_eq!(bench.queue.recent_seconds().await.unwrap(), Some(3.0));
    }

    pub async fn unknown_jobs_are_not_found(factory: &dyn Factory) {
        let bench = Bench::new(factory).await;
        let id = JobId::new();
        assert!(
            matches!(bench.queue.get(id).await, Err(QueueError::NotFound(found)) if found == id)
        );
        assert!(matches!(
            bench.queue.cancel(id).await,
            Err(QueueError::NotFound(_))
        ));
    }

    pub async fn work_is_announced(factory: &dyn Factory) {
        let bench = Bench::new(factory).await;
        bench.add().await;
        bench.queue.signals().work().await;
        let lease = bench.claim().await.lease;
        bench.queue.release(lease).await.unwrap();
        bench.queue.signals().work().await;
    }
}
