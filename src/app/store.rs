//! Opens the configured job store, and waits for a database server that is still starting.

use std::{
    fs::{File, TryLockError},
    path::Path,
    sync::Arc,
    time::Duration,
};

use tracing::warn;

use super::StartError;
use crate::{
    clock::Clock,
    config::{Config, Database},
    jobs::{
        DeliveryStore, JobQueue, QueueError, QueueOptions, TenantOptions, postgres::PostgresQueue,
        sqlite::SqliteQueue,
    },
    private,
    retry::retry_with_backoff,
    worker,
};

/// Name of the job database in the storage folder.
const DATABASE: &str = "jobs.sqlite3";

/// Name of the lock file in the storage folder; its lock shows that a server uses the folder.
const LOCK: &str = "lock";

/// Connections for the management of keys.
const KEY_CONNECTIONS: u32 = 2;

/// An open store, and the lock of the storage folder if the store is for one process.
pub(super) struct Opened {
    pub queue: Arc<dyn JobQueue>,
    pub lock: Option<File>,
}

/// Opens the store.
pub(super) async fn open(config: &Config, clock: &Clock) -> Result<Opened, StartError> {
    let options = options(config, clock);
    let dir = &config.storage.dir;
    match &config.storage.database {
        Database::Sqlite => {
            let lock = lock(dir)?;
            let queue = SqliteQueue::open(&dir.join(DATABASE), options).await?;
            // The lock proves that no other process can be running any of these.
            worker::rescue_all(&queue).await?;
            queue.release_deliveries().await?;
            Ok(Opened { queue: Arc::new(queue), lock: Some(lock) })
        }
        Database::Postgres(url) => {
            let connections = config.storage.connections;
            let open = || PostgresQueue::open(url, connections, options.clone());
            let queue = connect(config.storage.connect_timeout, open).await?;
            Ok(Opened { queue: Arc::new(queue), lock: None })
        }
    }
}

/// Migrates the schema and makes the settings of this configuration those of all processes. Returns one line
/// per action.
///
/// # Errors
/// See [`StartError`].
pub async fn migrate(config: &Config) -> Result<Vec<String>, StartError> {
    let options = options(config, &Clock::system());
    match &config.storage.database {
        Database::Sqlite => {
            let file = config.storage.dir.join(DATABASE);
            let _lock = lock(&config.storage.dir)?;
            SqliteQueue::open(&file, options).await?.close().await;
            Ok(vec![format!("the schema of {} is up to date", file.display())])
        }
        Database::Postgres(url) => {
            let migrate = || PostgresQueue::migrate(url, &options);
            let changed = connect(config.storage.connect_timeout, migrate).await?;
            let mut lines = vec![format!("the schema of the database {url} is up to date")];
            for (setting, old, new) in changed {
                lines.push(format!(
                    "{setting} was {old} and is {new} from now on: restart every process with this configuration"
                ));
            }
            Ok(lines)
        }
    }
}

/// Opens the store to manage API keys, beside a server that may be running.
///
/// # Errors
/// See [`StartError`].
pub async fn open_keys(config: &Config) -> Result<Arc<dyn JobQueue>, StartError> {
    let options = options(config, &Clock::system());
    match &config.storage.database {
        Database::Sqlite => {
            let dir = &config.storage.dir;
            let failed = |source| StartError::Storage { path: dir.clone(), source };
            private::folder(dir).map_err(failed)?;
            Ok(Arc::new(SqliteQueue::open(&dir.join(DATABASE), options).await?))
        }
        Database::Postgres(url) => {
            let open = || PostgresQueue::open(url, KEY_CONNECTIONS, options.clone());
            Ok(Arc::new(connect(config.storage.connect_timeout, open).await?))
        }
    }
}

fn options(config: &Config, clock: &Clock) -> QueueOptions {
    QueueOptions {
        capacity: config.queue.capacity,
        lease: config.queue.lease,
        max_attempts: config.queue.max_attempts,
        clock: clock.clone(),
        tenants: TenantOptions {
            capacity: config.quotas.max_waiting_jobs,
            waiting_seconds: config.quotas.max_waiting_seconds,
            running: config.quotas.max_running_jobs,
            stored_bytes: config.quotas.max_stored_bytes(),
            weights: config.quotas.weights.clone(),
        },
    }
}

/// Retries with growing delays while the database server is unreachable, until `timeout`.
async fn connect<T, F>(timeout: Duration, attempt: impl Fn() -> F) -> Result<T, StartError>
where
    F: Future<Output = Result<T, QueueError>>,
{
    let report = |error: &QueueError| warn!(%error, "the start waits for the database");
    let outcome = retry_with_backoff(timeout, attempt, QueueError::is_down, report).await;
    outcome.map_err(|error| match error {
        source if source.is_down() => StartError::NoDatabase { seconds: timeout.as_secs(), source },
        error => error.into(),
    })
}

/// Locks the storage folder for this process; the lock ends with the process, however it ends.
fn lock(dir: &Path) -> Result<File, StartError> {
    let failed = |source| StartError::Storage { path: dir.to_owned(), source };
    private::folder(dir).map_err(failed)?;
    for name in [DATABASE, "jobs.sqlite3-wal", "jobs.sqlite3-shm", LOCK, "store-id"] {
        private::tighten(&dir.join(name)).map_err(failed)?;
    }
    let file = File::create(dir.join(LOCK)).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StartError::InUse(dir.to_owned())),
        Err(TryLockError::Error(source)) => Err(failed(source)),
    }
}
