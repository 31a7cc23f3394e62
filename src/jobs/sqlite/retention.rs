//! The statements that give finished jobs up, a few at a time, so that no other writer waits long.

use sqlx::SqlitePool;

use super::row;
use crate::{
    clock::Timestamp,
    jobs::{Erased, JobId, QueueError},
};

/// Clients see it, so the version grows.
const GIVE_UP: &str = "
    UPDATE jobs SET erased_at = ?3, version = version + 1, updated_at = ?3
    WHERE id IN (
        SELECT id FROM jobs WHERE finished_at < ?1 AND finished_at IS NOT NULL AND erased_at IS NULL
        ORDER BY finished_at LIMIT ?2
    )
    RETURNING id, result";

const ENDED: &str = "
    SELECT id, result FROM jobs WHERE finished_at < ?1 AND finished_at IS NOT NULL ORDER BY finished_at LIMIT ?2";

const FORGET: &str = "DELETE FROM jobs WHERE id = ?1 AND finished_at IS NOT NULL";

pub(super) async fn give_up_pictures(
    writer: &SqlitePool,
    before: Timestamp,
    limit: u32,
    now: Timestamp,
) -> Result<Vec<Erased>, QueueError> {
    let given_up = sqlx::query(GIVE_UP).bind(before.as_millis()).bind(limit).bind(now.as_millis());
    given_up.fetch_all(writer).await?.iter().map(row::erased).collect()
}

pub(super) async fn ended_before(
    readers: &SqlitePool,
    before: Timestamp,
    limit: u32,
) -> Result<Vec<Erased>, QueueError> {
    let ended = sqlx::query(ENDED).bind(before.as_millis()).bind(limit);
    ended.fetch_all(readers).await?.iter().map(row::erased).collect()
}

pub(super) async fn forget_ended(writer: &SqlitePool, ids: &[JobId]) -> Result<u64, QueueError> {
    let mut transaction = writer.begin_with("BEGIN IMMEDIATE").await?;
    let mut forgotten = 0;
    for id in ids {
        let deleted = sqlx::query(FORGET).bind(id.to_string()).execute(&mut *transaction).await?;
        forgotten += deleted.rows_affected();
    }
    transaction.commit().await?;
    Ok(forgotten)
}
