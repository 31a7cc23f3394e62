//! A server put together: storage, queue, models, renderer and workers, and what the handlers see of them.

use std::{
    fs::{File, TryLockError},
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use axum::Router;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::{
    clock::Clock,
    config::Config,
    http::{self, admission::Admission},
    jobs::{JobQueue, QueueError, QueueOptions, sqlite::SqliteQueue},
    metrics::Metrics,
    models::{self, Catalogue, ModelError},
    objects::{ObjectError, Objects},
    render::{RenderError, RenderOptions, Renderer},
    worker::{self, Alive, Pace, Sweeper, WorkerContext, Workers},
};

/// Name of the job database in the storage folder.
const DATABASE: &str = "jobs.sqlite3";

/// Name of the file in the storage folder whose lock shows that a server is using it.
const LOCK: &str = "lock";

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
    /// A model cannot be loaded.
    #[error(transparent)]
    Models(#[from] ModelError),
    /// There are no models, so there is nothing to dream with.
    #[error("there are no models in {0}; name their folder in models.dir")]
    NoModels(PathBuf),
    /// The renderer cannot be started.
    #[error("the renderer cannot be started: {0}")]
    Renderer(#[from] RenderError),
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
    /// What one job may take.
    pub admission: Admission,
    /// Numbers for whoever runs the service.
    pub metrics: Arc<Metrics>,
    /// Source of timestamps.
    pub clock: Clock,
    /// Pictures that may be decoded at the same time.
    pub decoders: Arc<Semaphore>,
    alive: Alive,
    draining: CancellationToken,
}

impl AppState {
    /// Whether the server is stopping.
    pub fn is_draining(&self) -> bool {
        self.draining.is_cancelled()
    }

    /// Waits until the server is stopping: whoever keeps a client waiting answers then.
    pub async fn draining(&self) {
        self.draining.cancelled().await;
    }

    /// Number of workers that are able to take jobs.
    pub fn workers_alive(&self) -> usize {
        self.alive.count()
    }
}

/// A server without its socket.
pub struct App {
    /// What handlers see.
    pub state: AppState,
    /// Removes what is past its time; it does so by itself once a minute.
    pub sweeper: Sweeper,
    workers: Workers,
    /// Held until everything else has ended.
    _lock: File,
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
            // One besides the render at work: a job that was given up may still be winding down.
            queue: 1,
            max_pixels: config.limits.max_pixels,
        };
        let renderers = vec![Renderer::start(&options)?];
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
        let dir = &config.storage.dir;
        let lock = lock(dir)?;
        let objects = Objects::configured(&config).await?;
        let options = QueueOptions {
            capacity: config.queue.capacity,
            lease: config.queue.lease,
            max_attempts: config.queue.max_attempts,
            clock: clock.clone(),
        };
        let queue: Arc<dyn JobQueue> = Arc::new(SqliteQueue::open(&dir.join(DATABASE), options).await?);
        // The lock shows that no other process can be running any of these.
        worker::rescue_all(&*queue).await?;
        let pace = Arc::new(Pace::default());
        if let Some(renderer) = renderers.first() {
            worker::calibrate(renderer, &catalogue, &pace).await;
        }
        let admission = Admission::new(&config.limits, renderers.len());
        let metrics = Arc::new(Metrics::new(clock.now()));
        let sweeper = Sweeper::new(Arc::clone(&queue), objects.clone(), config.retention, clock.clone());
        let context = WorkerContext {
            queue: Arc::clone(&queue),
            objects: objects.clone(),
            catalogue: Arc::clone(&catalogue),
            lease: config.queue.lease,
            pace: Arc::clone(&pace),
            metrics: Arc::clone(&metrics),
            sweeper: sweeper.clone(),
        };
        let workers = Workers::start(&context, renderers);
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let state = AppState {
            config: Arc::new(config),
            queue,
            objects,
            catalogue,
            pace,
            admission,
            metrics,
            clock,
            decoders: Arc::new(Semaphore::new(cores.max(2))),
            alive: workers.alive(),
            draining: CancellationToken::new(),
        };
        Ok(Self { state, sweeper, workers, _lock: lock })
    }

    /// The routes, to be served on any listener.
    pub fn router(&self) -> Router {
        http::router(self.state.clone())
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

/// Claims the storage folder for this process; the lock goes with the process, however it ends.
fn lock(dir: &Path) -> Result<File, StartError> {
    let failed = |source| StartError::Storage { path: dir.to_owned(), source };
    std::fs::create_dir_all(dir).map_err(failed)?;
    let file = File::create(dir.join(LOCK)).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StartError::InUse(dir.to_owned())),
        Err(TryLockError::Error(source)) => Err(failed(source)),
    }
}
