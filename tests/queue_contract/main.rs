//! What every job store must do, as one list of cases that runs on each of them.
//!
//! Time is driven by hand and nothing sleeps. A case that a new store fails is a mistake in the store; a
//! change of the queue's behaviour starts here.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may fail loudly")]

#[path = "../common/catalogue.rs"]
mod catalogue;
mod claims;
mod endings;
#[path = "../common/postgres.rs"]
mod postgres;
mod retention;
mod wishes;

use std::{collections::HashSet, sync::Arc, time::Duration};

use async_trait::async_trait;
use reverie::{
    clock::{Clock, Timestamp},
    graph::Op,
    jobs::{
        Claim, Counts, Event, FailureKind, Finished, Forecast, Job, JobError, JobId, JobOptions, JobQueue,
        JobResult, JobState, Lease, NewJob, QueueError, QueueOptions, Rescue,
        postgres::{PostgresQueue, PostgresUrl},
        sqlite::SqliteQueue,
    },
    render::Progress,
    spec::{self, DreamSpec},
};
use tokio::task::JoinSet;

use claims::*;
use endings::*;
use retention::*;
use wishes::*;

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
    async fn new(_case: &str) -> Option<Self> {
        Some(Self(tempfile::tempdir().unwrap()))
    }
}

/// A database of its own on the server that the cases of this process share.
struct Postgres(PostgresUrl);

impl Postgres {
    /// None where there is no server to be had.
    async fn new(case: &str) -> Option<Self> {
        Some(Self(postgres::cluster(case)?.database().await))
    }
}

#[async_trait]
impl Factory for Postgres {
    async fn open(&self, options: QueueOptions) -> Arc<dyn JobQueue> {
        Arc::new(PostgresQueue::open(&self.0, 8, options).await.unwrap())
    }
}

#[async_trait]
impl Factory for Sqlite {
    async fn open(&self, options: QueueOptions) -> Arc<dyn JobQueue> {
        Arc::new(SqliteQueue::open(&self.0.path().join("jobs"), options).await.unwrap())
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
        let options = QueueOptions { capacity: CAPACITY, lease: LEASE, max_attempts: 3, clock };
        Self { queue: factory.open(options.clone()).await, options }
    }

    /// The same data through a store opened anew, as after a restart.
    async fn reopened(self, factory: &dyn Factory) -> Self {
        self.queue.close().await;
        Self { queue: factory.open(self.options.clone()).await, options: self.options }
    }

    fn pass(&self, time: Duration) {
        self.options.clock.advance(time);
    }

    async fn add(&self) -> JobId {
        let id = JobId::new();
        self.queue.enqueue(NewJob::new(id, spec())).await.unwrap();
        id
    }

    /// A job with wishes.
    async fn add_with(&self, options: JobOptions) -> JobId {
        let id = JobId::new();
        self.queue.enqueue(NewJob { options, ..NewJob::new(id, spec()) }).await.unwrap();
        id
    }

    async fn claim(&self) -> Claim {
        self.queue.claim("worker").await.unwrap().expect("there is a job to claim")
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
            JobState::Expired => drop(self.queue.expired(lease).await.unwrap()),
            JobState::Queued => unreachable!(),
        }
        (id, Some(lease))
    }
}

/// A complete spec, from a network that needs no file.
fn spec() -> DreamSpec {
    let catalogue = catalogue::of_one_layer("tiny", Op::Relu);
    spec::resolve("", serde_json::json!({ "seed": 7 }), &catalogue, spec::Start::Image).unwrap()
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
            notes: vec!["faint".into()],
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
        iterations_per_second: 2.5,
        score: 0.5,
        resumed_from: 0.25,
    }
}

fn broken() -> JobError {
    JobError { kind: FailureKind::RenderFailed, detail: "the gradient stopped being finite".into() }
}

fn is_lost<T>(outcome: Result<T, QueueError>) -> bool {
    matches!(outcome, Err(QueueError::LeaseLost))
}

/// Runs every case on each store.
macro_rules! contract {
    ($($case:ident),+ $(,)?) => {
        contract!(@on sqlite Sqlite $($case)+);
        contract!(@on postgresql Postgres $($case)+);
    };
    (@on $module:ident $store:ident $($case:ident)+) => {
        mod $module {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $case() {
                    let case = concat!("queue_contract::", stringify!($module), "::", stringify!($case));
                    if let Some(factory) = super::$store::new(case).await {
                        super::$case(&factory).await;
                    }
                }
            )+
        }
    };
}

contract!(
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
    jobs_are_counted,
    forecasts_add_up,
    what_another_process_writes_is_seen_at_once,
    a_newcomer_may_stand_anywhere,
    previews_are_noted_by_the_holder_alone,
    unknown_jobs_are_not_found,
    pictures_go_before_their_jobs,
    only_finished_jobs_are_forgotten,
    a_trace_stays_with_its_job,
    work_is_announced,
    priority_is_worth_minutes,
    a_deadline_passes_in_the_queue,
    a_deadline_passes_while_running,
    a_lost_job_past_its_deadline_is_not_run_again,
    a_key_makes_one_job,
    one_key_under_concurrent_requests,
    jobs_are_listed_page_by_page,
    a_forgotten_job_is_gone,
    changes_are_announced,
);
