//! Assembles a server: storage, queue, models, renderer, workers and routes.

mod bootstrap;
mod store;

use std::{collections::HashSet, fs::File, io, path::PathBuf, sync::Arc, time::Duration};

use axum::Router;
use tokio::{sync::Semaphore, task::JoinSet, time::timeout};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::{
    admission::{self, Admission},
    auth::{Authenticator, Rates},
    clock::Clock,
    config::Config,
    egress::{Egress, EgressError},
    http::{
        self, decoders::Decoders, extract::JSON_WEIGHT, follow::FollowedJobs, state::AppState,
        uploads::Uploads,
    },
    jobs::{Job, QueueError},
    metrics::Metrics,
    objects::{ObjectError, Objects},
    webhooks::Deliverer,
    worker::{self, ClusterState, Probe, Retention, Sick, Throughput, WorkerContext, Workers},
};
use reverie_dream::model::Catalogue;
use reverie_engine::{RenderError, RenderOptions, Renderer};
use reverie_models::{self as models, ModelError};

pub use store::{migrate, open_keys};

/// Delay before a sick worker's first probe; later delays are longer.
const FIRST_PROBE_DELAY: Duration = Duration::from_secs(1);

/// Requests that may read stored pictures whole at the same time.
const REREADING: usize = 2;

/// How long a stop waits for webhooks that are being delivered, after the workers have stopped.
const DELIVERY_GRACE: Duration = Duration::from_secs(2);

/// Why a server cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The storage folder is unusable.
    #[error("the storage folder {path} cannot be used: {source}")]
    Storage {
        /// The folder.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// Another server uses the storage folder.
    #[error("the storage folder {0} is in use by another server; give each its own (storage.dir)")]
    InUse(PathBuf),
    /// The blob store is unusable.
    #[error(transparent)]
    Objects(#[from] ObjectError),
    /// The job store is unusable.
    #[error(transparent)]
    Queue(#[from] QueueError),
    /// The job store was unreachable for too long.
    #[error("{source}; gave up after {seconds} seconds (storage.connect_timeout_seconds)")]
    NoDatabase {
        /// Configured time limit.
        seconds: u64,
        /// The last error.
        source: QueueError,
    },
    /// A model cannot be loaded.
    #[error(transparent)]
    Models(#[from] ModelError),
    /// There are no models.
    #[error("there are no models; name their folder in models.dir")]
    NoModels,
    /// The renderer cannot start.
    #[error("the renderer cannot be started: {0}")]
    Renderer(#[from] RenderError),
    /// A device cannot render a small dream.
    #[error("the device {device} cannot be used: {sick} (worker.device)")]
    Sick {
        /// Which one.
        device: String,
        /// Why.
        sick: Sick,
    },
    /// The bootstrap key cannot be read.
    #[error("the bootstrap key in {path} cannot be used: {problem} (auth.bootstrap_key_file)")]
    Bootstrap {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// The client for requests to other servers cannot be made.
    #[error(transparent)]
    Egress(#[from] EgressError),
    /// A startup task was aborted.
    #[error("the startup was aborted: {0}")]
    CutOff(#[from] tokio::task::JoinError),
}

/// A server without its socket.
pub struct App {
    /// The state of the handlers.
    pub state: AppState,
    /// Deletes what is past its retention time; runs by itself once a minute.
    pub retention: Retention,
    workers: Workers,
    /// Delivers webhooks, if there are secrets to sign them.
    deliverer: JoinSet<()>,
    /// Ends the deliveries.
    stop_deliveries: CancellationToken,
    sick: CancellationToken,
    /// Held until everything else has ended.
    _lock: Option<File>,
}

/// The renderers of all workers: as many on each device as `worker.count` says.
fn renderers(config: &Config) -> Result<Vec<Renderer>, RenderError> {
    let worker = &config.worker;
    let mut renderers = vec![];
    if worker.count == 0 {
        return Ok(renderers);
    }
    for device in reverie_engine::devices(&worker.device)? {
        let options = RenderOptions {
            device,
            threads: worker.threads,
            kernels: worker.kernels,
            sharing: worker.count,
            // One besides the running render: a canceled job may still be winding down.
            queue: 1,
            max_pixels: config.limits.max_pixels,
            profile: false,
        };
        if worker.dynamic_batching {
            renderers.extend(Renderer::start_batched(&options, worker.count)?);
        } else {
            for _ in 0..worker.count {
                renderers.push(Renderer::start(&options)?);
            }
        }
    }
    Ok(renderers)
}

impl App {
    /// Loads the models and starts everything.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn start(config: Config) -> Result<Self, StartError> {
        let folders = models::folders(config.models.dir.as_deref());
        let loading = tokio::task::spawn_blocking(move || models::load_folders(&folders));
        let models::Folder { catalogue, refused } = loading.await??;
        for error in refused {
            warn!("a model file is left out: {error}");
        }
        let renderers = renderers(&config)?;
        Self::assemble(config, Arc::new(catalogue), renderers, Clock::system()).await
    }

    /// Starts everything around existing models and renderers; one worker per renderer.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn assemble(
        config: Config,
        catalogue: Arc<Catalogue>,
        renderers: Vec<Renderer>,
        clock: Clock,
    ) -> Result<Self, StartError> {
        if catalogue.ids().is_empty() {
            return Err(StartError::NoModels);
        }
        let store::Opened { queue, lock } = store::open(&config, &clock).await?;
        let objects = Objects::configured(&config).await?;
        let throughput = Arc::new(Throughput::default());
        let mut probe = None;
        if let Some(first) = renderers.first() {
            let on = |renderer: &Renderer| {
                let device = renderer.device().to_owned();
                move |sick| StartError::Sick { device, sick }
            };
            probe = Probe::learn(first, &catalogue).await.map_err(on(first))?.map(Arc::new);
            if let Some(probe) = &probe {
                // Every other device has to give what the first one does.
                let mut known = HashSet::from([first.device()]);
                for renderer in renderers.iter().filter(|renderer| known.insert(renderer.device())) {
                    probe.check(renderer).await.map_err(on(renderer))?;
                }
            }
            worker::calibrate(first, &catalogue, &throughput).await;
        }
        let own_memory = renderers.iter().filter_map(Renderer::memory).min();
        let admission = Admission::new(&config.limits, renderers.len(), own_memory);
        let devices: Vec<&str> = renderers.iter().map(Renderer::device).collect();
        let metrics = Arc::new(Metrics::new(clock.now(), &devices));
        // From here on the store's clock, which may be another machine's.
        let clock = queue.clock().clone();
        let retention = Retention::new(Arc::clone(&queue), objects.clone(), config.retention, clock.clone());
        let cluster = Arc::new(ClusterState::default());
        let context = WorkerContext {
            queue: Arc::clone(&queue),
            objects: objects.clone(),
            catalogue: Arc::clone(&catalogue),
            lease: config.queue.lease,
            throughput: Arc::clone(&throughput),
            metrics: Arc::clone(&metrics),
            retention: retention.clone(),
            max_pixels: config.limits.max_pixels,
            memory: admission.memory(),
            cluster: Arc::clone(&cluster),
            probe,
            sick: CancellationToken::new(),
            practice: config.worker.practice,
            first_rest: FIRST_PROBE_DELAY,
        };
        let workers = Workers::start(&context, renderers);
        let uploads = Uploads::new(
            config.limits.max_uploads_mb,
            config.limits.max_body_bytes.saturating_mul(JSON_WEIGHT),
        );
        let decoders = Decoders::new(&config.limits, admission::memory_here());
        bootstrap::add_key(&*queue, &config.auth).await?;
        let auth = Arc::new(Authenticator::new(Arc::clone(&queue), clock.clone()));
        let rates = Arc::new(Rates::new(config.quotas.requests_per_second));
        let egress = Egress::new(&config.egress)?;
        let draining = CancellationToken::new();
        let (mut deliverer, stop_deliveries) = (JoinSet::new(), CancellationToken::new());
        if !config.webhooks.secrets.is_empty() {
            let base = config.server.public_url.clone();
            let deliveries = Deliverer {
                queue: Arc::clone(&queue),
                egress: egress.clone(),
                secrets: Arc::new(config.webhooks.clone()),
                body: Arc::new(move |job: &Job| http::message(job, &base)),
                metrics: Arc::clone(&metrics),
            };
            deliverer.spawn(deliveries.work(stop_deliveries.clone()));
        }
        let followed = FollowedJobs::start(Arc::clone(&queue));
        let state = AppState {
            config: Arc::new(config),
            queue,
            auth,
            rates,
            egress,
            objects,
            catalogue,
            throughput,
            own_admission: admission,
            cluster,
            metrics,
            clock,
            uploads,
            decoders,
            followed,
            alive: workers.alive(),
            draining,
            rereading: Arc::new(Semaphore::new(REREADING)),
            written: Arc::default(),
        };
        Ok(Self { state, retention, workers, deliverer, stop_deliveries, sick: context.sick, _lock: lock })
    }

    /// The routes, for any listener.
    pub fn router(&self) -> Router {
        http::router(self.state.clone())
    }

    /// Completes once a worker stays sick: the process should then be restarted.
    pub fn sick(&self) -> impl Future<Output = ()> + use<> {
        self.sick.clone().cancelled_owned()
    }

    /// Stops the workers: new jobs are refused, running jobs have until `grace` ends, and unfinished ones
    /// return to the queue. The API continues to answer.
    pub async fn stop(&mut self, grace: impl Future<Output = ()>) {
        self.state.draining.cancel();
        self.workers.stop(grace).await;
        // After the last jobs, whose ends are told too.
        self.stop_deliveries.cancel();
        // An attempt that takes longer is made again: its claim runs out.
        let _ = timeout(DELIVERY_GRACE, async { while self.deliverer.join_next().await.is_some() {} }).await;
        self.deliverer.shutdown().await;
    }

    /// Closes the job store, after everything else.
    pub async fn close(self) {
        self.state.queue.close().await;
    }
}
