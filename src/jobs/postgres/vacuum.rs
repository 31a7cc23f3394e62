//! Vacuums the dead index entries that claims leave behind.
//!
//! A claim takes the first entry out of the queue's index. PostgreSQL leaves a dead entry there until the
//! table is vacuumed, and every later claim reads over it. Autovacuum runs once a minute; by then a fast
//! queue has left tens of thousands of dead entries. So the processes that use the queue check every few
//! seconds, and one of them vacuums when it pays off.

use std::time::Duration;

use sqlx::{Connection, Executor, PgPool, postgres::PgConnectOptions};
use tokio::time::{MissedTickBehavior, interval};
use tracing::debug;

/// How often each process checks.
const EVERY: Duration = Duration::from_secs(5);

/// Number of dead rows that justify a vacuum: claims read one more page per hundred or so.
const MIN_DEAD_ROWS: i64 = 20_000;

/// Key of the lock that the vacuuming process holds.
const LOCK: i64 = i64::from_be_bytes(*b"\0revtidy");

const DEAD: &str = "SELECT n_dead_tup FROM pg_stat_user_tables WHERE relid = 'jobs'::regclass";

/// Skips the table if another vacuum, such as autovacuum, holds it.
const VACUUM: &str = "VACUUM (INDEX_CLEANUP ON, TRUNCATE OFF, SKIP_LOCKED) jobs";

/// Checks and vacuums, for ever.
pub(super) async fn run(pool: PgPool, options: PgConnectOptions) {
    let mut rounds = interval(EVERY);
    rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        rounds.tick().await;
        if let Err(error) = round(&pool, &options).await {
            debug!(%error, "a vacuum failed; autovacuum has to suffice");
        }
    }
}

async fn round(pool: &PgPool, options: &PgConnectOptions) -> Result<(), sqlx::Error> {
    let dead: Option<i64> = sqlx::query_scalar(DEAD).fetch_optional(pool).await?;
    if dead.unwrap_or_default() < MIN_DEAD_ROWS {
        return Ok(());
    }
    // A connection of its own: the vacuum may take seconds, and the lock ends with the connection.
    let mut connection = sqlx::PgConnection::connect_with(options).await?;
    connection.execute("SET statement_timeout = 0").await?;
    let locked = sqlx::query_scalar("SELECT pg_try_advisory_lock($1)").bind(LOCK);
    if locked.fetch_one(&mut connection).await? {
        connection.execute(VACUUM).await?;
    }
    connection.close().await
}
