//! The workers. Each takes jobs from the queue and feeds one renderer, one job at a time; a GPU's renderer is fed by two, which
//! take turns (`turns`).
//!
//! A claim is one short transaction; a render holds no database resources. Worker ids are new at every start,
//! so nothing can be mistaken for the work of an earlier process.

mod attempt;
mod calibrate;
mod checkpoints;
mod cluster;
mod error;
mod heartbeat;
mod practice;
mod probe;
mod rescue;
mod retention;
mod retry;
mod run;
mod settle;
mod spare;
mod throughput;
mod tiles;
mod turns;

use std::{
    collections::HashMap,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{error, info};
use uuid::Uuid;

pub use calibrate::calibrate;
pub(crate) use checkpoints::delete as delete_leftovers;
pub use cluster::ClusterState;
pub use probe::{Probe, Sick};
pub use retention::Retention;
pub use throughput::{Throughput, retry_after};

use crate::{
    jobs::{Claim, JobQueue, QueueError, Rescue},
    metrics::Metrics,
    objects::Objects,
};
use cluster::WorkerRegistry;
use practice::Practice;
use reverie_dream::model::Catalogue;
use reverie_engine::Renderer;
use spare::{DeviceLoad, Look};
use turns::{Lookout, Place, Trouble, Turns, Watch, workers_of};

/// How often an idle worker polls for jobs. A notification wakes it at once; the poll finds jobs without one,
/// for example a retry whose delay has passed.
const POLL: Duration = Duration::from_secs(1);

/// Maximum delay between two probes of a sick worker; the delays are 1, 2, 4, … seconds.
const MAX_PROBE_DELAY: Duration = Duration::from_secs(30);

/// Number of failed probes after which the process ends: a restart may help.
const PROBES: u32 = 10;

/// What all workers of a process share.
#[derive(Clone)]
pub struct WorkerContext {
    /// The job queue.
    pub queue: Arc<dyn JobQueue>,
    /// The blob store for inputs and dreams.
    pub objects: Objects,
    /// The models that specs may name.
    pub catalogue: Arc<Catalogue>,
    /// Duration of a lease; a worker renews it three times within it.
    pub lease: Duration,
    /// Learns how long dreams take here.
    pub throughput: Arc<Throughput>,
    /// The metrics of this process.
    pub metrics: Arc<Metrics>,
    /// Deletes what is past its retention time.
    pub retention: Retention,
    /// Largest input in pixels.
    pub max_pixels: u64,
    /// Bytes of memory that one job may take here.
    pub memory: u64,
    /// The workers of all processes.
    pub cluster: Arc<ClusterState>,
    /// Distinguishes a sick device from a bad job.
    pub probe: Option<Arc<Probe>>,
    /// Canceled once a worker stays sick: the process is useless and must end.
    pub sick: CancellationToken,
    /// Whether workers of GPUs practise.
    pub practice: bool,
    /// Delay before a sick worker's first probe; it doubles with each failed one.
    pub first_rest: Duration,
}

/// The workers of this process and the task that rescues jobs from lost ones.
#[derive(Debug)]
pub struct Workers {
    tasks: JoinSet<()>,
    alive: Liveness,
    drain: CancellationToken,
    give_up: CancellationToken,
}

/// Number of renderers whose workers can take jobs.
#[derive(Clone, Debug, Default)]
pub struct Liveness(Arc<AtomicUsize>);

impl Liveness {
    /// The current number.
    pub fn count(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }

    /// Counts one renderer until the guard is dropped, however its workers' tasks end.
    fn guard(&self) -> AliveGuard {
        self.0.fetch_add(1, Ordering::SeqCst);
        AliveGuard(self.clone())
    }
}

struct AliveGuard(Liveness);

impl Drop for AliveGuard {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Workers {
    /// Starts the workers of each renderer, and the tasks that rescue, expire, report and delete.
    pub fn start(context: &WorkerContext, renderers: Vec<Renderer>) -> Self {
        let boot = Uuid::new_v4().simple();
        let mut workers = Self {
            tasks: JoinSet::new(),
            alive: Liveness::default(),
            drain: CancellationToken::new(),
            give_up: CancellationToken::new(),
        };
        let devices = renderers.iter().map(|renderer| renderer.device().to_owned()).collect();
        let mut loads: HashMap<String, DeviceLoad> = HashMap::new();
        // A CPU plans nothing.
        let practises = |renderer: &Renderer| context.practice && renderer.memory().is_some();
        let practice = match renderers.iter().any(practises) {
            true => Practice::of(&context.catalogue),
            false => Practice::default(),
        };
        for (index, renderer) in renderers.into_iter().enumerate() {
            // One is enough for networks that several renderers share.
            let has_another = renderer.shares_networks() && loads.contains_key(renderer.device());
            let practises = practises(&renderer) && !has_another;
            let practice = if practises { practice.clone() } else { Practice::default() };
            let turns = Turns::new(practice, workers.alive.guard());
            let load = loads.entry(renderer.device().to_owned()).or_default();
            for number in 0..workers_of(&renderer) {
                let worker = Worker {
                    id: format!("{boot}-{index}-{number}"),
                    context: context.clone(),
                    load: load.clone(),
                    turns: turns.clone(),
                    alive: workers.alive(),
                    renderer: renderer.clone(),
                    drain: workers.drain.clone(),
                    give_up: workers.give_up.clone(),
                };
                workers.tasks.spawn(worker.work());
            }
        }
        let stores = || (Arc::clone(&context.queue), Arc::clone(&context.metrics));
        let (queue, metrics) = stores();
        let rescue = rescue::rescue(queue, metrics, context.lease / 3, workers.drain.clone());
        workers.tasks.spawn(rescue);
        workers.tasks.spawn(context.retention.clone().work(workers.drain.clone()));
        let registry = WorkerRegistry {
            queue: Arc::clone(&context.queue),
            alive: workers.alive(),
            memory: context.memory,
            throughput: Arc::clone(&context.throughput),
            devices,
            cluster: Arc::clone(&context.cluster),
        };
        workers.tasks.spawn(registry.work(workers.drain.clone()));
        let (queue, metrics) = stores();
        workers.tasks.spawn(rescue::expire(queue, metrics, context.objects.clone(), workers.drain.clone()));
        workers
    }

    /// The number of renderers that can take jobs.
    pub fn alive(&self) -> Liveness {
        self.alive.clone()
    }

    /// Stops the workers: none claims another job, and the running jobs have until `grace` ends. Jobs that
    /// have not finished by then are stopped and returned to the queue, without counting the attempt.
    pub async fn stop(&mut self, grace: impl Future<Output = ()>) {
        self.drain.cancel();
        let mut grace = std::pin::pin!(grace);
        let mut over = false;
        loop {
            tokio::select! {
                ended = self.tasks.join_next() => match ended {
                    Some(Ok(())) => {}
                    Some(Err(error)) => error!(%error, "a worker task failed"),
                    None => return,
                },
                () = &mut grace, if !over => {
                    info!("the grace period is over; running jobs return to the queue");
                    self.give_up.cancel();
                    over = true;
                }
            }
        }
    }
}

/// A worker of one renderer.
struct Worker {
    id: String,
    context: WorkerContext,
    renderer: Renderer,
    /// Shared with the renderer's other workers.
    turns: Turns,
    alive: Liveness,
    /// The jobs of all workers on the same device.
    load: DeviceLoad,
    drain: CancellationToken,
    give_up: CancellationToken,
}

impl Worker {
    /// Takes jobs until the drain begins or the device stays sick.
    async fn work(self) {
        info!(worker = self.id, device = self.renderer.device(), "worker started");
        loop {
            let lookout = tokio::select! {
                biased;
                () = self.drain.cancelled() => break,
                lookout = self.turns.lookout() => lookout,
            };
            let trouble = self.turns.trouble();
            if trouble.sick {
                // The other worker may have waited in vain before.
                if self.context.sick.is_cancelled() || !self.until_recovered().await {
                    self.context.sick.cancel();
                    return;
                }
            }
            if let Some(bytes) = trouble.store_away {
                self.until_store_answers(bytes).await;
            }
            if self.drain.is_cancelled() {
                break;
            }
            self.turns.passed(trouble, || self.alive.guard());
            // Perhaps there is other trouble by now.
            if self.turns.trouble() == Trouble::default() {
                self.one(lookout).await;
            }
        }
        info!(worker = self.id, "worker stopped");
    }

    /// Waits while the blob store is unavailable and takes no job: another worker may succeed. A full store
    /// must first have room for the `bytes` that did not fit.
    async fn until_store_answers(&self, bytes: usize) {
        error!(worker = self.id, "the blob store fails; the worker takes no jobs until it recovers");
        let fails = async || {
            self.context.objects.check_now().await.is_err()
                || bytes > 0 && self.context.objects.check_room(bytes).await.is_err()
        };
        while !self.drain.is_cancelled() && fails().await {
            self.idle(std::future::pending()).await;
        }
        info!(worker = self.id, "the blob store is available; the worker takes jobs again");
    }

    /// Waits while the device is sick and takes no job. Returns whether the device recovered.
    async fn until_recovered(&self) -> bool {
        let Some(probe) = &self.context.probe else { return false };
        let mut delay = self.context.first_rest;
        for failed in 1..=PROBES {
            error!(
                worker = self.id,
                failed, "the device is sick; the worker takes no jobs until it recovers"
            );
            tokio::select! {
                () = tokio::time::sleep(delay) => {}
                () = self.drain.cancelled() => return true,
            }
            match probe.check(&self.renderer).await {
                Ok(()) => {
                    info!(worker = self.id, "the device recovered; the worker takes jobs again");
                    return true;
                }
                Err(sick) if sick.is_final(&self.renderer, failed) => {
                    error!(worker = self.id, %sick, "the device cannot recover in this process");
                    break;
                }
                Err(sick) => error!(worker = self.id, %sick, "the device is still sick"),
            }
            delay = (delay * 2).min(MAX_PROBE_DELAY);
        }
        error!(worker = self.id, "the device stays sick; the process ends");
        false
    }

    /// Looks for something to do, once, and does it; waits a little where there is nothing.
    async fn one(&self, mut lookout: Lookout) {
        match self.look(&mut lookout).await {
            Ok(Look::Job(claim)) => self.run(*claim, lookout).await,
            Ok(Look::Had(outcome)) => self.turns.found(outcome),
            Ok(Look::Nothing) => self.idle(self.wanted()).await,
            Err(error) => {
                error!(worker = self.id, %error, "a claim failed");
                self.idle(std::future::pending()).await;
            }
        }
    }

    /// Claims a job; where no job is ready, renders a tile; where no tile is wanted either, practises.
    async fn look(&self, practice: &mut Practice) -> Result<Look, QueueError> {
        if let Some(claim) = self.claim().await? {
            return Ok(Look::Job(Box::new(claim)));
        }
        Ok(match tiles::render_one(self).await? {
            Look::Nothing => practice.one(self).await,
            look => look,
        })
    }

    /// Claims a job; `None` if no job is ready.
    async fn claim(&self) -> Result<Option<Claim>, QueueError> {
        let began = Instant::now();
        let claim = self.context.queue.claim(&self.id).await?;
        if let Some(claim) = &claim {
            self.context.metrics.claimed(&claim.job, began.elapsed());
        }
        Ok(claim)
    }

    /// Runs a job to its end. Another worker of the renderer may look for work when it is nearly done.
    async fn run(&self, claim: Claim, lookout: Lookout) {
        let (_busy, _load) = (self.turns.in_hand(&self.context.metrics), self.load.begin());
        let place = Place {
            renderer: &self.renderer,
            turns: &self.turns,
            watch: Watch::keep(lookout),
            waited: OnceLock::new(),
            stopped: CancellationToken::new(),
            drain: &self.drain,
        };
        run::run(&self.context, &place, claim, &self.give_up).await;
    }

    /// Waits until a job or a tile may be there.
    async fn wanted(&self) {
        let signals = self.context.queue.signals();
        tokio::select! {
            () = signals.work() => {}
            () = signals.tile() => {}
        }
    }

    /// Waits for `notified`, the next poll, or the drain.
    async fn idle(&self, notified: impl Future<Output = ()>) {
        tokio::select! {
            () = notified => {}
            () = tokio::time::sleep(POLL) => {}
            () = self.drain.cancelled() => {}
        }
    }
}

/// Rescues every running job, at the start of the only process that uses an embedded store: each belongs to a
/// process that is gone, so there is no lease to wait for.
///
/// # Errors
/// If the store fails.
pub async fn rescue_all(queue: &dyn JobQueue) -> Result<(), QueueError> {
    rescue::report(&queue.rescue(Rescue::All).await?);
    Ok(())
}
