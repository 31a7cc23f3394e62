//! The housekeeping statements: expire the pictures of finished jobs and delete the jobs, a few at a time so
//! no other writer waits long; list the owners of pictures; take chores that one process does for all.

use std::time::Duration;

use sqlx::SqlitePool;

use super::writer::Writer;
use crate::{
    clock::Timestamp,
    jobs::{Erased, JobId, Owner, QueueError, row, sql, transition::millis, unreadable::Unreadable},
};

const EXPIRE_BLOBS: &str = sql::expire_blobs!("$3", "");
const BLOBS_DELETED: &str = sql::blobs_deleted!("$2", "id IN (SELECT value FROM json_each($1))");
const OWNERS: &str = sql::owners!("id IN (SELECT value FROM json_each($1))");
const CHORE: &str = sql::chore!("$3");
const PROBE: &str = sql::probe!("$1");

pub(super) async fn expire_blobs(
    writer: &Writer,
    unreadable: &Unreadable,
    before: Timestamp,
    limit: u32,
    now: Timestamp,
) -> Result<Vec<Erased>, QueueError> {
    let mut transaction = writer.begin().await?;
    let expired =
        sqlx::query(EXPIRE_BLOBS).bind(before.as_millis()).bind(i64::from(limit)).bind(now.as_millis());
    let expired = expired.fetch_all(&mut *transaction).await?;
    writer.commit(transaction).await?;
    row::all_erased(&expired, unreadable)
}

pub(super) async fn blobs_to_delete(
    readers: &SqlitePool,
    unreadable: &Unreadable,
    behind: Option<JobId>,
    limit: u32,
) -> Result<Vec<Erased>, QueueError> {
    let behind = behind.map(|id| id.to_string()).unwrap_or_default();
    let found =
        sqlx::query(sql::BLOBS_TO_DELETE).bind(behind).bind(i64::from(limit)).fetch_all(readers).await?;
    row::all_erased(&found, unreadable)
}

pub(super) async fn blobs_deleted(writer: &Writer, ids: &[JobId], now: Timestamp) -> Result<(), QueueError> {
    let mut transaction = writer.begin().await?;
    sqlx::query(BLOBS_DELETED).bind(listed(ids)).bind(now.as_millis()).execute(&mut *transaction).await?;
    writer.commit(transaction).await
}

pub(super) async fn ended_before(
    readers: &SqlitePool,
    unreadable: &Unreadable,
    before: Timestamp,
    limit: u32,
) -> Result<Vec<Erased>, QueueError> {
    let ended = sqlx::query(sql::ENDED).bind(before.as_millis()).bind(i64::from(limit));
    row::all_erased(&ended.fetch_all(readers).await?, unreadable)
}

pub(super) async fn purge(writer: &Writer, ids: &[JobId]) -> Result<u64, QueueError> {
    let mut transaction = writer.begin().await?;
    let mut deleted_jobs = 0;
    for id in ids {
        let deleted = sqlx::query(sql::PURGE).bind(id.to_string()).execute(&mut *transaction).await?;
        deleted_jobs += deleted.rows_affected();
    }
    writer.commit(transaction).await?;
    Ok(deleted_jobs)
}

pub(super) async fn owners(readers: &SqlitePool, ids: &[JobId]) -> Result<Vec<Owner>, QueueError> {
    sqlx::query(OWNERS).bind(listed(ids)).fetch_all(readers).await?.iter().map(row::owner).collect()
}

pub(super) async fn take_chore(
    writer: &Writer,
    name: &str,
    every: Duration,
    now: Timestamp,
) -> Result<bool, QueueError> {
    let mut transaction = writer.begin().await?;
    let taken = sqlx::query(CHORE).bind(name).bind(millis(every)).bind(now.as_millis());
    let taken = taken.execute(&mut *transaction).await?.rows_affected() > 0;
    writer.commit(transaction).await?;
    Ok(taken)
}

pub(super) async fn probe(writer: &Writer, now: Timestamp) -> Result<(), QueueError> {
    let mut transaction = writer.begin().await?;
    sqlx::query(PROBE).bind(now.as_millis()).execute(&mut *transaction).await?;
    writer.commit(transaction).await
}

/// A JSON list; ids need no escaping.
pub(super) fn listed(ids: &[JobId]) -> String {
    let ids: Vec<String> = ids.iter().map(|id| format!("\"{id}\"")).collect();
    format!("[{}]", ids.join(","))
}
