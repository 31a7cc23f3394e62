//! Workers: each takes jobs from the queue and feeds one renderer, one job at a time.
//!
//! A claim is one short statement; nothing of the database is held during a render. Worker ids are new with
//! every start, so nothing can be mistaken for the work of an earlier process.

mod attempt;
mod calibrate;
mod checkpoints;
mod cluster;
mod error;
mod heartbeat;
mod probe;
mod rescue;
mod retention;
mod retry;
mod run;
mod settle;
mod throughput;

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{error, info};
use uuid::Uuid;

pub use calibrate::calibrate;
pub use cluster::ClusterState;
pub use probe::{Probe, Sick};
pub use retention::Retention;
pub use throughput::{Throughput, retry_after};

use crate::{
    jobs::{JobQueue, QueueError, Rescue},
    metrics::Metrics,
    objects::Objects,
};
use cluster::WorkerRegistry;
use reverie_dream::model::Catalogue;
use reverie_engine::Renderer;
use run::Outcome;

/// How often an idle worker looks for jobs unasked. It is told of new ones at once; this finds the ones that
/// nobody told it of, such as a retry whose rest is over.
const POLL: Duration = Duration::from_secs(1);

/// A sick worker looks whether it is well again after 1, 2, 4, … seconds, at most this many times apart.
const LONGEST_REST: Duration = Duration::from_secs(30);

/// So many looks that find it sick are enough: a process that starts anew may be better off.
const PROBES: u32 = 10;

/// What all workers of a process share.
#[derive(Clone)]
pub struct WorkerContext {
    /// Where jobs come from.
    pub queue: Arc<dyn JobQueue>,
    /// Where inputs and dreams are.
    pub objects: Objects,
    /// The models that specs name.
    pub catalogue: Arc<Catalogue>,
    /// How long a lease lasts; it is renewed three times in that span.
    pub lease: Duration,
    /// Learns how long dreams take.
    pub throughput: Arc<Throughput>,
    /// Counts what is done.
    pub metrics: Arc<Metrics>,
    /// Removes what is past its time.
    pub retention: Retention,
    /// Bytes of memory that one job may take here.
    pub memory: u64,
    /// What is heard of the workers of all processes.
    pub cluster: Arc<ClusterState>,
    /// Tells a sick device from a job that cannot be done.
    pub probe: Option<Arc<Probe>>,
    /// Canceled once a worker has given up getting well: the process is of no use as it is.
    pub sick: CancellationToken,
    /// How a sick worker's rests between two looks begin; each is twice the one before.
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

/// Number of workers that are able to take jobs.
#[derive(Clone, Debug, Default)]
pub struct Liveness(Arc<AtomicUsize>);

impl Liveness {
    /// The number at this moment.
    pub fn count(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }

    /// Counts one worker for as long as the guard lives, however its task ends.
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
    /// Starts one worker per renderer, and the rescue of jobs whose worker is lost.
    pub fn start(context: &WorkerContext, renderers: Vec<Renderer>) -> Self {
        let boot = Uuid::new_v4().simple();
        let mut workers = Self {
            tasks: JoinSet::new(),
            alive: Liveness::default(),
            drain: CancellationToken::new(),
            give_up: CancellationToken::new(),
        };
        for (index, renderer) in renderers.into_iter().enumerate() {
            let worker = Worker {
                id: format!("{boot}-{index}"),
                context: context.clone(),
                renderer,
                drain: workers.drain.clone(),
                give_up: workers.give_up.clone(),
            };
            let (alive, guard) = (workers.alive.clone(), workers.alive.guard());
            workers.tasks.spawn(async move { worker.work(alive, guard).await });
        }
        let stores = || (Arc::clone(&context.queue), Arc::clone(&context.metrics));
        let (queue, metrics) = stores();
        let rescue = rescue::rescue(queue, metrics, context.lease / 3, workers.drain.clone());
        workers.tasks.spawn(rescue);
        workers.tasks.spawn(context.retention.clone().work(workers.drain.clone()));
        let exchange = WorkerRegistry {
            queue: Arc::clone(&context.queue),
            alive: workers.alive(),
            memory: context.memory,
            throughput: Arc::clone(&context.throughput),
            cluster: Arc::clone(&context.cluster),
        };
        workers.tasks.spawn(exchange.work(workers.drain.clone()));
        let (queue, metrics) = stores();
        workers.tasks.spawn(rescue::expire(queue, metrics, workers.drain.clone()));
        workers
    }

    /// Tells how many workers are able to take jobs.
    pub fn alive(&self) -> Liveness {
        self.alive.clone()
    }

    /// Stops: no job is claimed from now on, and the ones at work have until `grace` is over. What is not
    /// finished by then is stopped and given back to the queue with its attempt restored.
    pub async fn stop(&mut self, grace: impl Future<Output = ()>) {
        self.drain.cancel();
        let mut grace = std::pin::pin!(grace);
        let mut over = false;
        loop {
            tokio::select! {
                ended = self.tasks.join_next() => match ended {
                    Some(Ok(())) => {}
                    Some(Err(error)) => error!(%error, "a worker did not end well"),
                    None => return,
                },
                () = &mut grace, if !over => {
                    info!("the grace period is over: jobs at work are given back");
                    self.give_up.cancel();
                    over = true;
                }
            }
        }
    }
}

/// One renderer's worker.
struct Worker {
    id: String,
    context: WorkerContext,
    renderer: Renderer,
    drain: CancellationToken,
    give_up: CancellationToken,
}

impl Worker {
    /// Takes jobs until told to stop, or until it is sick for good. `guard` counts it as able to take jobs.
    async fn work(self, alive: Liveness, mut guard: AliveGuard) {
        info!(worker = self.id, device = self.renderer.device(), "worker started");
        while !self.drain.is_cancelled() {
            match self.one().await {
                Ok(Some(Outcome::Sick)) => {
                    drop(guard);
                    if !self.until_well().await {
                        self.context.sick.cancel();
                        return;
                    }
                    guard = alive.guard();
                }
                Ok(Some(Outcome::StoreAway { bytes })) => {
                    drop(guard);
                    self.until_store_answers(bytes).await;
                    guard = alive.guard();
                }
                Ok(Some(Outcome::Done)) => {}
                Ok(None) => self.rest(self.context.queue.signals().work()).await,
                Err(error) => {
                    error!(worker = self.id, %error, "no job could be claimed");
                    self.rest(std::future::pending()).await;
                }
            }
        }
        drop(guard);
        info!(worker = self.id, "worker stopped");
    }

    /// Takes no job while none could be done: another worker may be better off. A store that was full must have room
    /// for what did not fit.
    async fn until_store_answers(&self, bytes: usize) {
        error!(worker = self.id, "the blob store fails; no jobs are taken until it does not");
        let fails = async || {
            self.context.objects.check_now().await.is_err()
                || bytes > 0 && self.context.objects.check_room(bytes).await.is_err()
        };
        while !self.drain.is_cancelled() && fails().await {
            self.rest(std::future::pending()).await;
        }
        info!(worker = self.id, "jobs are taken again");
    }

    /// Takes no job while the device is sick; whether it has got well.
    async fn until_well(&self) -> bool {
        let Some(probe) = &self.context.probe else { return false };
        let mut rest = self.context.first_rest;
        for failed in 1..=PROBES {
            error!(worker = self.id, failed, "the device is sick; no jobs are taken until it is well");
            tokio::select! {
                () = tokio::time::sleep(rest) => {}
                () = self.drain.cancelled() => return true,
            }
            match probe.check(&self.renderer).await {
                Ok(()) => {
                    info!(worker = self.id, "the device is well again: jobs are taken");
                    return true;
                }
                Err(sick) if sick.is_final() => break,
                Err(sick) => error!(worker = self.id, %sick, "the device is still sick"),
            }
            rest = (rest * 2).min(LONGEST_REST);
        }
        error!(worker = self.id, "the device does not get well; the process ends");
        false
    }

    /// Claims a job and sees it through; `None` when there was none.
    async fn one(&self) -> Result<Option<Outcome>, QueueError> {
        let began = Instant::now();
        let Some(claim) = self.context.queue.claim(&self.id).await? else {
            return Ok(None);
        };
        let metrics = &self.context.metrics;
        metrics.claimed(&claim.job, began.elapsed());
        let _busy = metrics.busy();
        Ok(Some(run::run(&self.context, &self.renderer, claim, &self.give_up).await))
    }

    /// Waits for `hint`, the next poll, or the end.
    async fn rest(&self, hint: impl Future<Output = ()>) {
        tokio::select! {
            () = hint => {}
            () = tokio::time::sleep(POLL) => {}
            () = self.drain.cancelled() => {}
        }
    }
}

/// At the start of the only process that uses an embedded store: every running job belongs to a process that
/// is gone, so there is no lease to wait for.
///
/// # Errors
/// When the store fails.
pub async fn rescue_all(queue: &dyn JobQueue) -> Result<(), QueueError> {
    rescue::report(&queue.rescue(Rescue::All).await?);
    Ok(())
}
