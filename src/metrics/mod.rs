//! Metrics for operators, in the text format of Prometheus (OpenMetrics 1.0).
//!
//! Events are counted where they happen; states (depth of the queue, memory) are read at each scrape. Every
//! label has a small, fixed set of values: routes appear as templates, never as paths.

mod busy;
mod gpus;
mod process;

pub use process::peak_memory;

use std::time::Duration;

use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
        info::Info,
    },
    registry::Registry,
};

use busy::Busy;
pub use busy::BusyGuard;

use crate::{
    clock::Timestamp,
    jobs::{Counts, DeliveryState, Job, JobState},
};
use reverie_fields::choice::Choices;

/// Media type of the exposition.
pub const MEDIA_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

type Seconds = Gauge<f64, std::sync::atomic::AtomicU64>;

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ByStatus {
    status: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ByRoute {
    method: &'static str,
    route: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ByAnswer {
    method: &'static str,
    route: String,
    status: u16,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ByOutcome {
    outcome: &'static str,
}

/// How a worker's attempt at a tile ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TileOutcome {
    /// It is in the blob store.
    Rendered,
    /// A job came.
    GivenUp,
    /// It could not be rendered or stored.
    Failed,
}

impl TileOutcome {
    const ALL: [Self; 3] = [Self::Rendered, Self::GivenUp, Self::Failed];

    fn label(self) -> ByOutcome {
        let outcome = match self {
            Self::Rendered => "rendered",
            Self::GivenUp => "given_up",
            Self::Failed => "failed",
        };
        ByOutcome { outcome }
    }
}

/// The state of the queue at a scrape.
#[derive(Clone, Copy, Debug)]
pub struct QueueNow {
    /// Number of jobs in each state.
    pub counts: Counts,
    /// Waiting time of the oldest queued job in seconds; 0 if none waits.
    pub oldest_seconds: f64,
    /// Capacity of the queue.
    pub capacity: u32,
    /// Workers that can take jobs.
    pub workers: usize,
}

/// All metrics of one server.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    jobs: Family<ByStatus, Gauge>,
    oldest: Seconds,
    capacity: Gauge,
    workers: Gauge,
    ended: Family<ByStatus, Counter>,
    claim: Histogram,
    wait: Histogram,
    render: Histogram,
    total: Histogram,
    pixels: Counter,
    iterations: Counter,
    busy: Busy,
    requests: Family<ByAnswer, Counter>,
    answer: Family<ByRoute, Histogram, fn() -> Histogram>,
    in_flight: Gauge,
    webhooks: Family<ByStatus, Counter>,
    webhook: Histogram,
    tiles: Family<ByOutcome, Counter>,
}

/// Buckets for jobs: 50 ms to nearly an hour.
fn job_times() -> Histogram {
    Histogram::new(exponential_buckets(0.05, 2.0, 16))
}

/// Buckets for a request or a statement: a quarter of a millisecond to 8 seconds.
fn short_times() -> Histogram {
    Histogram::new(exponential_buckets(0.000_25, 2.0, 16))
}

impl Metrics {
    /// All metrics at zero. `start` is the start of the process, `devices` are those of its workers.
    pub fn new(start: Timestamp, devices: &[&str]) -> Self {
        let mut metrics = Self {
            registry: Registry::default(),
            jobs: Family::default(),
            oldest: Seconds::default(),
            capacity: Gauge::default(),
            workers: Gauge::default(),
            ended: Family::default(),
            claim: short_times(),
            wait: job_times(),
            render: job_times(),
            total: job_times(),
            pixels: Counter::default(),
            iterations: Counter::default(),
            busy: Busy::default(),
            requests: Family::default(),
            answer: Family::new_with_constructor(short_times),
            in_flight: Gauge::default(),
            webhooks: Family::default(),
            webhook: short_times(),
            tiles: Family::default(),
        };
        // A series that starts with its first event hides that event from rates.
        for state in JobState::ALL.into_iter().filter(|state| *state != JobState::Running) {
            metrics.ended.get_or_create(&ByStatus { status: state.as_str() }).inc_by(0);
        }
        for state in <DeliveryState as Choices>::ALL {
            metrics.webhooks.get_or_create(&ByStatus { status: state.as_str() }).inc_by(0);
        }
        for outcome in TileOutcome::ALL {
            metrics.tiles.get_or_create(&outcome.label()).inc_by(0);
        }
        metrics.register(start, devices);
        metrics
    }

    fn register(&mut self, start: Timestamp, devices: &[&str]) {
        let mut registry = Registry::default();
        let ours = registry.sub_registry_with_prefix("reverie");
        ours.register(
            "build",
            "Version of the service.",
            Info::new([("version", env!("CARGO_PKG_VERSION"))]),
        );
        ours.register("jobs", "Jobs in the store, by status.", self.jobs.clone());
        ours.register("queue_oldest_seconds", "Wait of the oldest queued job so far.", self.oldest.clone());
        ours.register("queue_capacity", "Jobs that may wait.", self.capacity.clone());
        ours.register("workers", "Workers that are able to take jobs.", self.workers.clone());
        ours.register(
            "jobs_ended",
            "Ends of attempts, and of jobs that waited, by the status they led to.",
            self.ended.clone(),
        );
        ours.register("claim_seconds", "Time to take a job from the store.", self.claim.clone());
        ours.register("job_wait_seconds", "From acceptance to the claim.", self.wait.clone());
        ours.register("job_render_seconds", "Pure rendering of a finished dream.", self.render.clone());
        ours.register("job_total_seconds", "From acceptance to the finished dream.", self.total.clone());
        ours.register("rendered_pixels", "Pixels of finished dreams.", self.pixels.clone());
        ours.register("iterations", "Gradient steps.", self.iterations.clone());
        ours.register(
            "worker_busy_seconds",
            "Time that workers spent on jobs; its rate over reverie_workers is their utilisation.",
            self.busy.clone(),
        );
        ours.register("http_requests", "Requests, by route and status.", self.requests.clone());
        ours.register(
            "http_request_seconds",
            "From the head of a request to the head of its answer.",
            self.answer.clone(),
        );
        ours.register("http_requests_in_flight", "Requests being answered.", self.in_flight.clone());
        ours.register(
            "webhook_attempts",
            "Attempts to deliver webhooks, by the status they led to: pending ones are tried again.",
            self.webhooks.clone(),
        );
        ours.register("webhook_attempt_seconds", "From an attempt to its answer.", self.webhook.clone());
        ours.register(
            "layer_tiles",
            "Attempts of idle workers at tiles of layers and channels, by how they ended.",
            self.tiles.clone(),
        );
        if let Some(gpus) = gpus::Gpus::new(devices) {
            ours.register_collector(Box::new(gpus));
        }
        registry.register_collector(Box::new(process::Process::new(start)));
        self.registry = registry;
    }

    /// Counts a claim, which took `took`.
    pub fn claimed(&self, job: &Job, took: Duration) {
        self.claim.observe(took.as_secs_f64());
        if let Some(started) = job.started_at {
            self.wait.observe(started.seconds_since(job.created_at));
        }
    }

    /// Counts a job that ended while queued, or was taken from a lost worker, by its new state.
    pub fn left(&self, state: JobState) {
        self.ended.get_or_create(&ByStatus { status: state.as_str() }).inc();
    }

    /// Counts an ended attempt, by the job's new state.
    pub fn ended(&self, job: &Job) {
        self.left(job.state);
        if let (JobState::Succeeded, Some(result), Some(finished)) = (job.state, &job.result, job.finished_at)
        {
            self.total.observe(finished.seconds_since(job.created_at));
            self.render.observe(job.render_seconds.unwrap_or_default());
            self.pixels.inc_by(u64::from(result.width) * u64::from(result.height));
        }
    }

    /// Counts one gradient step.
    pub fn stepped(&self) {
        self.iterations.inc();
    }

    /// Counts an attempt to deliver a webhook, by where the delivery stands after it.
    pub fn told(&self, state: DeliveryState, took: Duration) {
        self.webhooks.get_or_create(&ByStatus { status: state.as_str() }).inc();
        self.webhook.observe(took.as_secs_f64());
    }

    /// Counts an attempt at a tile.
    pub fn tile(&self, outcome: TileOutcome) {
        self.tiles.get_or_create(&outcome.label()).inc();
    }

    /// Counts a worker as busy until the guard is dropped.
    pub fn busy(&self) -> BusyGuard {
        self.busy.start()
    }

    /// Counts a request as in flight until the guard is dropped.
    pub fn in_flight(&self) -> InFlight {
        self.in_flight.inc();
        InFlight(self.in_flight.clone())
    }

    /// Counts an answered request.
    pub fn answered(&self, method: &'static str, route: &str, status: u16, took: Duration) {
        let route = route.to_owned();
        self.answer.get_or_create(&ByRoute { method, route: route.clone() }).observe(took.as_secs_f64());
        self.requests.get_or_create(&ByAnswer { method, route, status }).inc();
    }

    /// All metrics as text. Values from the store are missing if it could not be read.
    pub fn text(&self, queue: Option<QueueNow>) -> Result<String, std::fmt::Error> {
        if let Some(now) = queue {
            for state in JobState::ALL {
                let jobs = i64::try_from(now.counts.of(state)).unwrap_or(i64::MAX);
                self.jobs.get_or_create(&ByStatus { status: state.as_str() }).set(jobs);
            }
            self.oldest.set(now.oldest_seconds);
            self.capacity.set(now.capacity.into());
            self.workers.set(i64::try_from(now.workers).unwrap_or(i64::MAX));
        } else {
            // Old values would look current.
            self.jobs.clear();
            self.oldest.set(f64::NAN);
        }
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

/// See [`Metrics::in_flight`].
#[derive(Debug)]
pub struct InFlight(Gauge);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.dec();
    }
}
