//! The queue on PostgreSQL, through the code that the service runs, with a server of its own. **Nothing is rendered:**
//! whoever claims a job here sleeps instead, or not even that, and says that it is done.
//!
//! ```sh
//! make bench-queue
//! ```
//!
//! The server waits for the disk with every commit, as one in production does, and shares the processors with the
//! clients. It is as it comes but for `shared_buffers`. `REVERIE_BENCH_SECONDS` is the length of each piece of a
//! measurement.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a benchmark may fail loudly")]

#[path = "../tests/common/postgres.rs"]
mod postgres;

use std::{
    collections::HashMap,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use postgres::Cluster;
use reverie::{
    clock::Clock,
    jobs::{
        Claim, Finished, JobId, JobOptions, JobQueue, JobResult, NewJob, QueueOptions,
        postgres::PostgresQueue,
    },
};
use reverie_dream::progress::Progress;
use reverie_dream::{
    model::{Catalogue, REFERENCE_MODEL},
    spec::{self, DreamSpec, InputKind},
};
use reverie_models as models;
use sqlx::{Connection, Executor, PgConnection};
use tokio::{
    task::JoinSet,
    time::{MissedTickBehavior, interval, sleep, timeout},
};
use uuid::Uuid;

/// Processes, each with ten connections.
const PROCESSES: usize = 4;

/// Workers that do nothing but claim and complete.
const BUSY: usize = 8;

/// Pieces that a measurement is cut into, to see whether the rate falls.
const PIECES: usize = 4;

/// Jobs per statement where the queue is filled up while workers empty it.
const REFILL: u64 = 1000;

/// Jobs whose pick-up is measured, one at a time.
const PICKUPS: usize = 300;

/// Tenants that wait in one of the measurements; in the others there is one. There a job whose pick-up is measured is the first of a
/// tenant of its own.
const TENANTS: u64 = 1000;

/// The simulation: so many workers, who pretend to render for so long, and the share of them that is busy.
const WORKERS: usize = 200;
const PRETENCE: Duration = Duration::from_secs(1);
const LOAD: f64 = 0.7;

/// How often they tell of their progress: as often as real ones.
const TELLS: u32 = 4;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(measure());
}

async fn measure() {
    let settings = ["-c", "fsync=on", "-c", "shared_buffers=256MB"];
    let Some(cluster) = Cluster::with(&settings) else {
        println!("there is no PostgreSQL here (scripts/test-servers fetches it)");
        return;
    };
    println!(
        "| waiting | finished | claim + complete, piece by piece | pick-up by an idle worker, p50 / p95 / p99 |"
    );
    println!("|---:|---:|---|---|");
    let young = Bench::new(&cluster).await;
    young.row(0, 0).await;
    young.fill("queued", 100_000).await;
    young.row(100_000, 0).await;
    let crowded = Bench::of_tenants(&cluster, TENANTS).await;
    crowded.fill("queued", 100_000).await;
    // All have been served before, so that a newcomer is next.
    crowded.sql("INSERT INTO turns (tenant, served) SELECT DISTINCT tenant, 1 FROM jobs").await;
    crowded.row(100_000, 0).await;
    let old = Bench::new(&cluster).await;
    old.fill("succeeded", 1_000_000).await;
    old.row(0, 1_000_000).await;
    let simulated = old.simulation().await;
    old.fill("queued", 100_000).await;
    old.row(100_000, 1_000_000).await;
    println!("\n{simulated}");
}

/// How long each piece of a measurement takes.
fn piece() -> Duration {
    let seconds = std::env::var("REVERIE_BENCH_SECONDS").ok().and_then(|seconds| seconds.parse().ok());
    Duration::from_secs(seconds.unwrap_or(10))
}

/// A database with jobs in it.
struct Bench {
    queues: Vec<Arc<PostgresQueue>>,
    spec: DreamSpec,
    url: String,
    tenants: u64,
}

impl Bench {
    async fn new(cluster: &Cluster) -> Self {
        Self::of_tenants(cluster, 1).await
    }

    async fn of_tenants(cluster: &Cluster, tenants: u64) -> Self {
        let database = cluster.database().await;
        let options = QueueOptions {
            capacity: 10_000_000,
            lease: Duration::from_secs(30),
            max_attempts: 3,
            clock: Clock::system(),
            tenants: Default::default(),
        };
        let mut queues = Vec::new();
        for _ in 0..PROCESSES {
            queues.push(Arc::new(PostgresQueue::open(&database, 10, options.clone()).await.unwrap()));
        }
        let mut catalogue = Catalogue::default();
        let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("models");
        catalogue.insert(models::load_id(std::slice::from_ref(&models), REFERENCE_MODEL).unwrap());
        let spec = spec::resolve("", serde_json::json!({ "seed": 7 }), &catalogue, InputKind::Image).unwrap();
        Self { queues, spec, url: cluster.url_of(&database), tenants }
    }

    /// Puts rows in by themselves, with specs and results like those of real jobs. What has ended did so yesterday; what
    /// waits has come one after the other.
    async fn fill(&self, state: &str, rows: u64) {
        self.insert(state, rows).await;
        self.sql("VACUUM (ANALYZE) jobs").await;
    }

    async fn insert(&self, state: &str, rows: u64) {
        let quoted = |text: String| format!("'{}'", text.replace('\'', "''"));
        let spec = quoted(serde_json::to_string(&self.spec).unwrap());
        let result = quoted(serde_json::to_string(&result(Uuid::new_v4())).unwrap());
        let tenant = match self.tenants {
            1 => "'default'".to_owned(),
            tenants => format!("'t' || (n % {tenants})"),
        };
        let (age, ended, result, attempt) = match state {
            "queued" => (0, "NULL", "NULL".to_owned(), 0),
            _ => (86_400_000, "at + 5000", result, 1),
        };
        self.sql(&format!(
            "INSERT INTO jobs (id, state, spec, not_before, created_at, updated_at, started_at, finished_at, result,
                attempt, predicted_seconds, reference_seconds, tenant)
            SELECT gen_random_uuid()::text, '{state}', {spec}, at, at, at, {ended}, {ended}, {result}, {attempt}, 5, 5, {tenant}
            FROM (SELECT n, reverie_now(NULL) - {age} - {rows} + n AS at FROM generate_series(1, {rows}) AS n) AS times",
        ))
        .await;
    }

    async fn sql(&self, statement: &str) {
        let mut connection = PgConnection::connect(&self.url).await.unwrap();
        connection.execute(sqlx::AssertSqlSafe(statement.to_owned())).await.unwrap();
        connection.close().await.unwrap();
    }

    async fn row(&self, waiting: u64, finished: u64) {
        let pickups = self.pickups().await;
        let rates = self.rates(waiting).await;
        let tenants = if self.tenants > 1 { format!(" of {} tenants", self.tenants) } else { String::new() };
        println!("| {waiting}{tenants} | {finished} | {rates} | {pickups} |");
    }

    /// How long a job waits for a worker that has nothing to do: from before it is handed to one process to when another,
    /// which was told with `NOTIFY`, has it. Whatever else waits stands behind it.
    async fn pickups(&self) -> String {
        let (api, worker) = (&self.queues[0], &self.queues[1]);
        let mut times = Vec::new();
        for number in 0..PICKUPS {
            let options = JobOptions { priority: 10, ..JobOptions::default() };
            let mut job = NewJob { options, ..NewJob::new(JobId::new(), self.spec.clone()) };
            if self.tenants > 1 {
                job.tenant = format!("new{number}").parse().unwrap();
            }
            let id = job.id;
            let working = async {
                // The net, for a hint that is lost: it would show in the figures.
                let _ = timeout(Duration::from_secs(1), worker.signals().work()).await;
                loop {
                    if let Some(claim) = worker.claim("bench").await.unwrap() {
                        let claimed = Instant::now();
                        worker.complete(claim.lease, finished(&claim)).await.unwrap();
                        if claim.job.id == id {
                            return claimed;
                        }
                    }
                }
            };
            let began = Instant::now();
            let (accepted, claimed) = tokio::join!(api.enqueue(job), working);
            accepted.unwrap();
            // The first ones open connections.
            if number >= PICKUPS / 10 {
                times.push(claimed - began);
            }
        }
        percentiles(&mut times)
    }

    /// How many jobs a second are claimed and completed by workers that do nothing else. As many as they take are put in
    /// again.
    async fn rates(&self, waiting: u64) -> String {
        self.insert("queued", 2 * REFILL).await;
        let (done, over) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let mut workers = JoinSet::new();
        for number in 0..BUSY {
            let queue = Arc::clone(&self.queues[number % PROCESSES]);
            let (done, over) = (Arc::clone(&done), Arc::clone(&over));
            workers.spawn(async move {
                while !over.load(Ordering::Relaxed) {
                    let Some(claim) = queue.claim("bench").await.unwrap() else {
                        tokio::task::yield_now().await;
                        continue;
                    };
                    queue.complete(claim.lease, finished(&claim)).await.unwrap();
                    done.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let refilling = async {
            let mut refilled = 0;
            loop {
                while done.load(Ordering::Relaxed) < refilled {
                    sleep(Duration::from_millis(5)).await;
                }
                self.insert("queued", REFILL).await;
                refilled += REFILL;
            }
        };
        let measuring = async {
            let mut rates = Vec::new();
            for _ in 0..PIECES {
                let (began, before) = (Instant::now(), done.load(Ordering::Relaxed));
                sleep(piece()).await;
                let jobs = done.load(Ordering::Relaxed) - before;
                rates.push(format!("{:.0}", jobs as f64 / began.elapsed().as_secs_f64()));
            }
            rates.join(", ") + "/s"
        };
        let rates = tokio::select! {
            rates = measuring => rates,
            () = refilling => unreachable!("it goes on for ever"),
        };
        over.store(true, Ordering::Relaxed);
        workers.join_all().await;
        // The next measurement begins with what it asks for.
        self.sql(&format!(
            "DELETE FROM jobs WHERE id IN (
                SELECT id FROM jobs WHERE state = 'queued' ORDER BY rank DESC, id DESC
                LIMIT greatest((SELECT count(*) FROM jobs WHERE state = 'queued') - {waiting}, 0))"
        ))
        .await;
        rates
    }

    /// Many workers that pretend to render, and as many jobs as keep a part of them busy.
    async fn simulation(&self) -> String {
        let over = Arc::new(AtomicBool::new(false));
        let mut workers = JoinSet::new();
        for number in 0..WORKERS {
            let (queue, over) = (Arc::clone(&self.queues[number % PROCESSES]), Arc::clone(&over));
            workers.spawn(async move {
                let mut claims = Vec::new();
                while !over.load(Ordering::Relaxed) {
                    let began = Instant::now();
                    let claim = queue.claim("bench").await.unwrap();
                    let claimed = Instant::now();
                    let Some(claim) = claim else {
                        let _ = timeout(Duration::from_secs(1), queue.signals().work()).await;
                        continue;
                    };
                    claims.push((claim.job.id, claimed, claimed - began));
                    // A render, or so it says.
                    for _ in 0..TELLS {
                        sleep(PRETENCE / TELLS).await;
                        queue.heartbeat(claim.lease, Some(progress())).await.unwrap();
                    }
                    queue.complete(claim.lease, finished(&claim)).await.unwrap();
                }
                claims
            });
        }
        let rate = WORKERS as f64 * LOAD / PRETENCE.as_secs_f64();
        let mut accepting = JoinSet::new();
        let mut arrivals = interval(Duration::from_secs_f64(1.0 / rate));
        arrivals.set_missed_tick_behavior(MissedTickBehavior::Burst);
        let began = Instant::now();
        while began.elapsed() < piece() * 2 {
            arrivals.tick().await;
            let (queue, spec) = (Arc::clone(&self.queues[0]), self.spec.clone());
            accepting.spawn(async move {
                let (id, began) = (JobId::new(), Instant::now());
                queue.enqueue(NewJob::new(id, spec)).await.unwrap();
                (id, began)
            });
        }
        let arrived: HashMap<JobId, Instant> = accepting.join_all().await.into_iter().collect();
        sleep(PRETENCE * 3).await;
        over.store(true, Ordering::Relaxed);
        let claims: Vec<_> = workers.join_all().await.into_iter().flatten().collect();
        let mut waits: Vec<Duration> = Vec::new();
        let mut takes: Vec<Duration> = Vec::new();
        for (id, claimed, took) in &claims {
            waits.extend(arrived.get(id).map(|began| claimed.saturating_duration_since(*began)));
            takes.push(*took);
        }
        format!(
            "{WORKERS} workers that sleep for {PRETENCE:?} and tell of {TELLS} steps meanwhile (nothing is rendered), {rate:.0} jobs/s, 1,000,000 \
             finished rows: {} of {} jobs taken; pick-up p50 / p95 / p99 {}; a claim {}",
            waits.len(),
            arrived.len(),
            percentiles(&mut waits),
            percentiles(&mut takes),
        )
    }
}

/// A dream that nobody has dreamed.
fn result(lease: Uuid) -> JobResult {
    JobResult {
        lease,
        media_type: "image/png".into(),
        width: 640,
        height: 480,
        score: 1.0,
        size: 500_000,
        sha256: "0".repeat(64),
        notes: Vec::new(),
    }
}

/// Somewhere in the middle.
fn progress() -> Progress {
    let (octaves, iterations) = (4, 10);
    Progress {
        fraction: 0.5,
        octave: 2,
        octaves,
        iteration: 5,
        iterations,
        iterations_per_second: 4.0,
        score: 1.0,
        ..Progress::default()
    }
}

fn finished(claim: &Claim) -> Finished {
    Finished { result: result(claim.lease.token), render_seconds: 0.0, progress: None }
}

/// p50, p95 and p99.
fn percentiles(times: &mut [Duration]) -> String {
    times.sort_unstable();
    let at = |percent: usize| times[(times.len() * percent / 100).min(times.len() - 1)].as_secs_f64() * 1e3;
    format!("{:.1} / {:.1} / {:.1} ms", at(50), at(95), at(99))
}
