//! Clearing away what claims leave behind.
//!
//! A claim takes the first entry out of the index of the queue, and PostgreSQL leaves a dead one there until the table is
//! vacuumed: every later claim walks over it. The server's own vacuum looks once a minute, by when a fast queue has left
//! tens of thousands of them. So the processes that use the queue look every few seconds, and one of them vacuums where it
//! is worth it.

use std::time::Duration;

use sqlx::{Connection, Executor, PgPool, postgres::PgConnectOptions};
use tokio::time::{MissedTickBehavior, interval};
use tracing::debug;

/// How often everybody looks.
const EVERY: Duration = Duration::from_secs(5);

/// So many dead rows are worth it: claims walk over a page for each hundred or so.
const ENOUGH: i64 = 20_000;

/// Number of the lock that whoever is at it holds.
const LOCK: i64 = i64::from_be_bytes(*b"\0revtidy");

const DEAD: &str = "SELECT n_dead_tup FROM pg_stat_user_tables WHERE relid = 'jobs'::regclass";

/// Whoever else is at the table, such as the server's own, goes first.
const VACUUM: &str = "VACUUM (INDEX_CLEANUP ON, TRUNCATE OFF, SKIP_LOCKED) jobs";

/// Looks, for ever.
pub(super) async fn tidy(pool: PgPool, options: PgConnectOptions) {
    let mut rounds = interval(EVERY);
    rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        rounds.tick().await;
        if let Err(error) = round(&pool, &options).await {
            debug!(%error, "the server's own vacuum has to do");
        }
    }
}

async fn round(pool: &PgPool, options: &PgConnectOptions) -> Result<(), sqlx::Error> {
    let dead: Option<i64> = sqlx::query_scalar(DEAD).fetch_optional(pool).await?;
    if dead.unwrap_or_default() < ENOUGH {
        return Ok(());
    }
    // A connection of its own: this may take seconds, and the lock goes with it.
    let mut connection = sqlx::PgConnection::connect_with(options).await?;
    connection.execute("SET statement_timeout = 0").await?;
    let mine = sqlx::query_scalar("SELECT pg_try_advisory_lock($1)").bind(LOCK);
    if mine.fetch_one(&mut connection).await? {
        connection.execute(VACUUM).await?;
    }
    connection.close().await
}
