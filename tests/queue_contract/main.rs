//! The contract of a job store: one list of cases that runs on every store.
//!
//! Tests drive the time by hand and never sleep. If a new store fails a case, the store is wrong; a change of
//! the queue's behaviour starts here.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may fail loudly")]

#[path = "../common/catalogue.rs"]
mod catalogue;
mod claims;
mod deliveries;
mod endings;
mod job_options;
mod keys;
mod newer;
mod pauses;
#[path = "../common/postgres.rs"]
mod postgres;
mod refresh;
mod retention;
mod steering;
mod stored;
mod tenants;
mod tiles;
mod turns;
mod uploads;
mod usage;

use std::{collections::HashSet, sync::Arc, time::Duration};

use async_trait::async_trait;
use reverie::{
    clock::{Clock, Timestamp},
    config::PostgresUrl,
    jobs::{
        Claim, Counts, Event, FailureKind, Finished, Forecast, Job, JobError, JobId, JobOptions, JobQueue,
        JobResult, JobState, Lease, NewJob, QueueError, QueueOptions, Rescue, TenantOptions,
        postgres::PostgresQueue, sqlite::SqliteQueue,
    },
    keys::Tenant,
};
use reverie_dream::progress::Progress;
use reverie_dream::spec::{self, DreamSpec, Precision};
use reverie_graph::Op;
use sqlx::{AssertSqlSafe, Connection, PgConnection, SqliteConnection, sqlite::SqliteConnectOptions};
use tokio::task::JoinSet;

use claims::*;
use deliveries::*;
use endings::*;
use job_options::*;
use keys::*;
use newer::*;
use pauses::*;
use refresh::*;
use retention::*;
use steering::*;
use stored::*;
use tenants::*;
use tiles::*;
use turns::*;
use uploads::*;
use usage::*;

const LEASE: Duration = Duration::from_secs(30);
const CAPACITY: u32 = 10;

/// Opens stores that share their data.
#[async_trait]
trait Factory: Sync {
    async fn try_open(&self, options: QueueOptions) -> Result<Arc<dyn JobQueue>, QueueError>;

    async fn open(&self, options: QueueOptions) -> Arc<dyn JobQueue> {
        self.try_open(options).await.unwrap()
    }

    /// Does something to the data past the store; it must have been opened.
    async fn execute(&self, statement: &str);

    /// As [`Factory::execute`], where the checks of the table would not allow it.
    async fn unchecked(&self, statement: &str);

    /// The only value of a query.
    async fn text(&self, query: &str) -> String;

    /// An empty byte string, as the dialect writes it.
    fn no_bytes(&self) -> &'static str;
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
    async fn try_open(&self, options: QueueOptions) -> Result<Arc<dyn JobQueue>, QueueError> {
        Ok(Arc::new(PostgresQueue::open(&self.0, 8, options).await?))
    }

    async fn execute(&self, statement: &str) {
        let mut connection = self.connect().await;
        sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut connection).await.unwrap();
    }

    async fn unchecked(&self, statement: &str) {
        self.execute("ALTER TABLE jobs DROP CONSTRAINT jobs_state_check").await;
        self.execute(statement).await;
    }

    async fn text(&self, query: &str) -> String {
        let mut connection = self.connect().await;
        sqlx::query_scalar(AssertSqlSafe(query)).fetch_one(&mut connection).await.unwrap()
    }

    fn no_bytes(&self) -> &'static str {
        "''::bytea"
    }
}

impl Postgres {
    async fn connect(&self) -> PgConnection {
        postgres::cluster("queue_contract").unwrap().connect(&self.0).await
    }
}

impl Sqlite {
    async fn connect(&self) -> SqliteConnection {
        let options = SqliteConnectOptions::new().filename(self.0.path().join("jobs"));
        SqliteConnection::connect_with(&options.busy_timeout(Duration::from_secs(10))).await.unwrap()
    }
}

#[async_trait]
impl Factory for Sqlite {
    async fn try_open(&self, options: QueueOptions) -> Result<Arc<dyn JobQueue>, QueueError> {
        Ok(Arc::new(SqliteQueue::open(&self.0.path().join("jobs"), options).await?))
    }

    async fn execute(&self, statement: &str) {
        sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut self.connect().await).await.unwrap();
    }

    async fn unchecked(&self, statement: &str) {
        self.execute(&format!("PRAGMA ignore_check_constraints = ON; {statement}")).await;
    }

    async fn text(&self, query: &str) -> String {
        sqlx::query_scalar(AssertSqlSafe(query)).fetch_one(&mut self.connect().await).await.unwrap()
    }

    fn no_bytes(&self) -> &'static str {
        "x''"
    }
}

/// A store under test and the clock that drives it.
struct Bench {
    queue: Arc<dyn JobQueue>,
    options: QueueOptions,
}

impl Bench {
    async fn new(factory: &dyn Factory) -> Self {
        Self::with(factory, Self::options()).await
    }

    /// The options of most cases.
    fn options() -> QueueOptions {
        let clock = Clock::driven(Timestamp::from_millis(1_700_000_000_000));
        let tenants = TenantOptions::default();
        QueueOptions { capacity: CAPACITY, lease: LEASE, max_attempts: 3, clock, tenants }
    }

    async fn with(factory: &dyn Factory, options: QueueOptions) -> Self {
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

    /// A job with job_options.
    async fn add_with(&self, options: JobOptions) -> JobId {
        let id = JobId::new();
        self.queue.enqueue(NewJob { options, ..NewJob::new(id, spec()) }).await.unwrap();
        id
    }

    async fn claim(&self) -> Claim {
        self.queue.claim("worker").await.unwrap().expect("there is a job to claim")
    }

    async fn get(&self, id: JobId) -> Job {
        self.queue.get(&Tenant::DEFAULT, id).await.unwrap()
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
            JobState::Paused => {
                self.queue.pause(&Tenant::DEFAULT, id).await.unwrap();
                self.queue.paused(lease).await.unwrap();
            }
            JobState::Queued => unreachable!(),
        }
        (id, Some(lease))
    }
}

/// A complete spec, from a network that needs no file.
fn spec() -> DreamSpec {
    let catalogue = catalogue::of_one_layer("tiny", Op::Relu);
    spec::resolve("", serde_json::json!({ "seed": 7 }), &catalogue, spec::InputKind::Image).unwrap()
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
        ..Progress::default()
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
    jobs_are_looked_at_again_together,
    unknown_members_are_ignored_and_kept,
    what_cannot_be_read_is_left_to_others,
    what_cannot_be_read_holds_nothing_up,
    a_state_of_tomorrow_is_nobodys_business,
    a_newer_schema_is_lived_with_unless_it_breaks,
    pausing_and_resuming_follow_the_rules,
    a_pause_takes_the_job_out_of_the_queue_and_keeps_its_place,
    a_running_job_is_paused_whatever_becomes_of_its_worker,
    a_pause_ends_at_the_deadline_or_after_a_week,
    paused_jobs_count_towards_the_bounds,
    a_change_holds_from_the_next_octave_on,
    a_change_of_a_job_that_went_on_is_not_written,
    a_lost_worker_begins_nothing_and_the_next_goes_by_the_schedule,
    the_last_who_asks_wins_wherever_a_lost_attempt_had_begun,
    a_spared_job_keeps_its_attempts_and_is_counted,
    what_a_job_computes_with_is_decided_once,
    erased_pictures_are_swept_until_they_are_gone,
    chores_are_done_by_one_for_all,
    a_probe_writes_and_disturbs_nobody,
    the_words_or_what_they_mean_are_enough,
    a_job_of_another_tenant_does_not_exist,
    tenants_list_their_own_jobs,
    tenants_choose_their_keys_for_themselves,
    workers_serve_all_tenants,
    what_the_version_before_accepts_is_the_default_tenants,
    a_key_is_kept_without_its_secret,
    keys_are_listed_and_revoked,
    the_use_of_a_key_is_noted_to_the_minute,
    a_crowd_delays_another_tenant_by_one_job,
    workers_are_shared_by_weight,
    priorities_count_within_a_tenant,
    one_tenant_has_a_part_of_the_queue,
    one_tenant_waits_and_runs_within_its_bounds,
    every_end_of_a_job_is_told_in_its_commit,
    a_delivery_is_made_by_one_at_a_time,
    receivers_are_left_out_and_attempts_remembered,
    deliveries_are_replayed_and_go_with_their_jobs,
    what_a_tenant_uses_is_counted_by_day_and_kept,
    what_a_tenant_stores_is_counted_until_it_is_deleted,
    one_tenant_stores_within_its_bound,
    counting_for_many_tenants_never_locks_up,
    places_are_in_the_order_of_the_claims,
    very_many_tenants_take_turns,
    an_upload_is_its_tenants_until_it_expires,
    one_tenant_sends_ahead_within_its_bounds,
    tiles_are_wanted_once_and_within_a_bound,
    a_tile_is_rendered_by_one_worker_at_a_time,
);
