//! A server put together: storage, queue, models, renderer and workers, and what the handlers see of them.

mod decoders;
mod store;

use std::{fs::File, io, net::IpAddr, path::PathBuf, sync::Arc, time::Duration};

use axum::Router;
use tokio_util::sync::CancellationToken;

use crate::{
    clock::Clock,
    config::Config,
    http::{
        self,
        admission::Admission,
        extract::{BodyLimits, JSON_WEIGHT},
        uploads::Uploads,
    },
    jobs::{JobQueue, QueueError},
    metrics::Metrics,
    objects::{ObjectError, Objects},
    recent::Recent,
    worker::{self, Alive, Everywhere, Pace, Probe, Sick, Sweeper, WorkerContext, Workers},
};
use reverie_dream::model::Catalogue;
use reverie_engine::{RenderError, RenderOptions, Renderer};
use reverie_models::{self as models, ModelError};

pub use decoders::Decoders;
pub use store::migrate;

/// A sick worker looks after this time whether it is well again, and then ever more seldom.
const FIRST_REST: Duration = Duration::from_secs(1);

/// Why a server cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The storage folder cannot be used.
    #[error("the storage folder {path} cannot be used: {source}")]
    Storage {
        /// The folder.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// Another server is using the storage folder.
    #[error("the storage folder {0} is in use by another server; give each its own (storage.dir)")]
    InUse(PathBuf),
    /// The blob store cannot be used.
    #[error(transparent)]
    Objects(#[from] ObjectError),
    /// The job store cannot be used.
    #[error(transparent)]
    Queue(#[from] QueueError),
    /// The job store could not be reached for too long.
    #[error("{source}; gave up after {seconds} seconds (storage.patience_seconds)")]
    Patience {
        /// As configured.
        seconds: u64,
        /// The last failure.
        source: QueueError,
    },
    /// A model cannot be loaded.
    #[error(transparent)]
    Models(#[from] ModelError),
    /// There are no models, so there is nothing to dream with.
    #[error("there are no models in {0}; name their folder in models.dir")]
    NoModels(PathBuf),
    /// The renderer cannot be started.
    #[error("the renderer cannot be started: {0}")]
    Renderer(#[from] RenderError),
    /// The device does not render a small dream.
    #[error("the device cannot be used: {0} (worker.device)")]
    Sick(#[from] Sick),
    /// Start-up work was cut off.
    #[error("start-up was cut off: {0}")]
    CutOff(#[from] tokio::task::JoinError),
}

/// What handlers see. Clones are cheap and share everything.
#[derive(Clone)]
pub struct AppState {
    /// Settings.
    pub config: Arc<Config>,
    /// Jobs.
    pub queue: Arc<dyn JobQueue>,
    /// Pictures.
    pub objects: Objects,
    /// Models.
    pub catalogue: Arc<Catalogue>,
    /// How long dreams take here.
    pub pace: Arc<Pace>,
    /// What one job may take here; see [`AppState::admission`].
    admission: Admission,
    /// What is known of the workers of all processes.
    everywhere: Arc<Everywhere>,
    /// Numbers for whoever runs the service.
    pub metrics: Arc<Metrics>,
    /// Source of timestamps.
    pub clock: Clock,
    /// The memory that request bodies may take.
    pub uploads: Uploads,
    /// Memory for the pictures that are decoded at the same time.
    pub decoders: Decoders,
    alive: Alive,
    draining: CancellationToken,
    /// Whether something could be written to the job store lately.
    written: Arc<Recent>,
}

impl AppState {
    /// Whether the job store answers, and takes writes or did so a moment ago.
    ///
    /// # Errors
    /// The reason why not, in words.
    pub async fn check_queue(&self) -> Result<(), String> {
        self.queue.ping().await.map_err(|error| error.to_string())?;
        self.written.ask(false, async { self.queue.probe().await.map_err(|error| error.to_string()) }).await
    }

    /// Whether the server is stopping.
    pub fn is_draining(&self) -> bool {
        self.draining.is_cancelled()
    }

    /// Waits until the server is stopping: whoever keeps a client waiting answers then.
    pub async fn draining(&self) {
        self.draining.cancelled().await;
    }

    /// Number of workers of this process that are able to take jobs.
    pub fn workers_alive(&self) -> usize {
        self.alive.count()
    }

    /// Number of workers that share the queue, in all processes.
    pub fn workers_everywhere(&self) -> usize {
        self.workers_alive().max(self.everywhere.workers())
    }

    /// Whether this process is to work on jobs, and not only to accept them.
    pub fn is_to_work(&self) -> bool {
        self.config.worker.count > 0
    }

    /// What the body of a client's request may take.
    pub fn body_limits(&self, client: Option<IpAddr>) -> BodyLimits {
        let limits = &self.config.limits;
        BodyLimits {
            body: limits.max_body_bytes,
            json: limits.max_json_bytes,
            uploads: self.uploads.clone(),
            client,
        }
    }

    /// What one job may take: where this process has no workers and no limit is configured, as much memory as there
    /// is on each of the machines that have some.
    pub fn admission(&self) -> Admission {
        let here = self.is_to_work() || self.config.limits.max_job_memory_mb.is_some();
        match self.everywhere.memory() {
            Some(memory) if !here => self.admission.with_memory(memory),
            _ => self.admission,
        }
    }
}

/// A server without its socket.
pub struct App {
    /// What handlers see.
    pub state: AppState,
    /// Removes what is past its time; it does so by itself once a minute.
    pub sweeper: Sweeper,
    workers: Workers,
    sick: CancellationToken,
    /// Held until everything else has ended.
    _lock: Option<File>,
}

impl App {
    /// Loads the models and starts everything.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn start(config: Config) -> Result<Self, StartError> {
        let dir = config.models.dir.clone();
        let loading = tokio::task::spawn_blocking(move || models::load_dir(&dir));
        let catalogue = loading.await??;
        let options = RenderOptions {
            device: config.worker.device.clone(),
            threads: config.worker.threads,
            kernels: config.worker.kernels,
            // One besides the render at work: a job that was given up may still be winding down.
            queue: 1,
            max_pixels: config.limits.max_pixels,
            profile: false,
        };
        let count = config.worker.count;
        let renderers = if config.worker.together && count > 0 {
            Renderer::start_together(&options, count)?
        } else {
            (0..count).map(|_| Renderer::start(&options)).collect::<Result<Vec<_>, _>>()?
        };
        Self::assemble(config, Arc::new(catalogue), renderers, Clock::system()).await
    }

    /// Starts everything around models and renderers that are there already; one worker per renderer.
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
            return Err(StartError::NoModels(config.models.dir));
        }
        let store::Opened { queue, lock } = store::open(&config, &clock).await?;
        let objects = Objects::configured(&config).await?;
        let pace = Arc::new(Pace::default());
        let mut probe = None;
        if let Some(renderer) = renderers.first() {
            probe = Probe::learn(renderer, &catalogue).await?.map(Arc::new);
            worker::calibrate(renderer, &catalogue, &pace).await;
        }
        let admission = Admission::new(&config.limits, renderers.len());
        let metrics = Arc::new(Metrics::new(clock.now()));
        // From here on what the store goes by, which may be another machine's.
        let clock = queue.clock().clone();
        let sweeper = Sweeper::new(Arc::clone(&queue), objects.clone(), config.retention, clock.clone());
        let everywhere = Arc::new(Everywhere::default());
        let context = WorkerContext {
            queue: Arc::clone(&queue),
            objects: objects.clone(),
            catalogue: Arc::clone(&catalogue),
            lease: config.queue.lease,
            pace: Arc::clone(&pace),
            metrics: Arc::clone(&metrics),
            sweeper: sweeper.clone(),
            memory: admission.memory(),
            everywhere: Arc::clone(&everywhere),
            probe,
            sick: CancellationToken::new(),
            first_rest: FIRST_REST,
        };
        let workers = Workers::start(&context, renderers);
        let uploads = Uploads::new(
            config.limits.max_uploads_mb,
            config.limits.max_body_bytes.saturating_mul(JSON_WEIGHT),
        );
        let decoders = Decoders::new(&config.limits, http::admission::memory_here());
        let state = AppState {
            config: Arc::new(config),
            queue,
            objects,
            catalogue,
            pace,
            admission,
            everywhere,
            metrics,
            clock,
            uploads,
            decoders,
            alive: workers.alive(),
            draining: CancellationToken::new(),
            written: Arc::default(),
        };
        Ok(Self { state, sweeper, workers, sick: context.sick, _lock: lock })
    }

    /// The routes, to be served on any listener.
    pub fn router(&self) -> Router {
        http::router(self.state.clone())
    }

    /// Ends once a worker is sick for good: whoever runs the server should start it anew.
    pub fn sick(&self) -> impl Future<Output = ()> + use<> {
        self.sick.clone().cancelled_owned()
    }

    /// Stops the work: new jobs are refused, jobs under way have until `grace` is over, and what is not
    /// finished then goes back into the queue. The API goes on answering.
    pub async fn stop(&mut self, grace: impl Future<Output = ()>) {
        self.state.draining.cancel();
        self.workers.stop(grace).await;
    }

    /// Closes the job store, after everything else.
    pub async fn close(self) {
        self.state.queue.close().await;
    }
}
