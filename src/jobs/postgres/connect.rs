//! Opens a database: connections, schema, and the settings that all processes must agree on.

use std::time::Duration;

use sqlx::{
    ConnectOptions, Connection, PgPool, Row,
    postgres::{PgConnectOptions, PgPoolOptions},
};

use crate::config::PostgresUrl;
use crate::{
    clock::{Clock, Timestamp},
    jobs::{QueueError, QueueOptions, schema, transition::millis},
};

/// How long to wait for a connection while all are busy or the server is down.
const ACQUIRE: Duration = Duration::from_secs(4);

/// Server-side limits for a process that hangs in the middle of a transaction (as after SIGSTOP), so it does
/// not block the others. None of our statements takes a second.
const LIMITS: [(&str, &str); 3] =
    [("statement_timeout", "15s"), ("lock_timeout", "5s"), ("idle_in_transaction_session_timeout", "10s")];

/// Options of every connection.
pub(super) fn options(url: &PostgresUrl) -> Result<PgConnectOptions, sqlx::Error> {
    let options = url.options()?;
    let named = options.get_application_name().is_some();
    let options = if named { options } else { options.application_name("reverie") };
    Ok(options.options(LIMITS))
}

/// A pool of at most `connections` connections, opened when needed.
pub(super) fn pool(options: &PgConnectOptions, connections: u32) -> PgPool {
    PgPoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(ACQUIRE)
        .connect_lazy_with(options.clone())
}

/// Migrates the schema. Any number of processes may do so at once: they take turns. Returns a pool of one
/// connection for the rest of the startup.
pub(super) async fn migrate(url: &PostgresUrl) -> Result<PgPool, QueueError> {
    let away = |source| QueueError::Unreachable { place: url.to_string(), source };
    // No time limits: a migration takes as long as it takes, and so does waiting for another process's.
    let options = url.options().map_err(away)?;
    // Connect directly first: a pool would report only a timeout, not its cause.
    options.connect().await.map_err(away)?.close().await.map_err(away)?;
    let pool = PgPoolOptions::new().max_connections(1).connect_with(options).await.map_err(away)?;
    let migrating = async {
        schema::beside_newer(&schema::POSTGRES).run(&pool).await.map_err(schema::failed)?;
        schema::check(&schema::POSTGRES, &sqlx::query_as(schema::RUN).fetch_all(&pool).await?)
    };
    match migrating.await {
        Ok(()) => Ok(pool),
        Err(error) => {
            // The lock ends with the connection.
            pool.close().await;
            Err(error)
        }
    }
}

/// The settings that all processes must agree on.
fn agreements(options: &QueueOptions) -> [(&'static str, i64); 3] {
    [
        ("queue.capacity", i64::from(options.capacity)),
        ("queue.lease_seconds", millis(options.lease) / 1000),
        ("queue.max_attempts", i64::from(options.max_attempts)),
    ]
}

/// Compares the settings with those of the process that started first.
pub(super) async fn agree(pool: &PgPool, options: &QueueOptions) -> Result<(), QueueError> {
    for (setting, here) in agreements(options) {
        let first = "INSERT INTO settings (name, value) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING";
        sqlx::query(first).bind(setting).bind(here).execute(pool).await?;
        let stored = sqlx::query("SELECT value FROM settings WHERE name = $1").bind(setting);
        let there = stored.fetch_one(pool).await?.try_get("value")?;
        if here != there {
            return Err(QueueError::Disagree { setting, here, there });
        }
    }
    Ok(())
}

/// Stores these settings for all processes. Returns the changed ones, with the old and the new value.
pub(super) async fn impose(
    pool: &PgPool,
    options: &QueueOptions,
) -> Result<Vec<(&'static str, i64, i64)>, QueueError> {
    let mut changed = Vec::new();
    for (setting, here) in agreements(options) {
        let stored = sqlx::query("SELECT value FROM settings WHERE name = $1").bind(setting);
        let there = stored.fetch_optional(pool).await?.map(|row| row.try_get("value")).transpose()?;
        let set = "INSERT INTO settings (name, value) VALUES ($1, $2)
            ON CONFLICT (name) DO UPDATE SET value = excluded.value";
        sqlx::query(set).bind(setting).bind(here).execute(pool).await?;
        changed.extend(there.filter(|there| *there != here).map(|there| (setting, there, here)));
    }
    Ok(changed)
}

/// The time of the server's clock.
pub(super) async fn server_time(connection: impl sqlx::PgExecutor<'_>) -> Result<Timestamp, sqlx::Error> {
    let now = sqlx::query_scalar::<_, i64>("SELECT reverie_now(NULL)").fetch_one(connection).await?;
    Ok(Timestamp::from_millis(now))
}

/// The clock that the store uses: a test's, or the server's.
pub(super) async fn clock(pool: &PgPool, options: &QueueOptions) -> Result<Clock, QueueError> {
    match options.clock.by_hand() {
        Some(_) => Ok(options.clock.clone()),
        None => Ok(Clock::remote(server_time(pool).await?)),
    }
}
