//! The housekeeping statements: expire the pictures of finished jobs and delete the jobs, a few at a time;
//! list the owners of pictures; take chores that one process does for all. Several processes run the
//! retention: each skips the rows that another has locked.

use std::time::Duration;

use sqlx::PgPool;

use crate::{
    clock::Timestamp,
    jobs::{Erased, JobId, Owner, QueueError, row, sql, transition::millis, unreadable::Unreadable},
};

const EXPIRE_BLOBS: &str = sql::expire_blobs!("reverie_now($3)", "FOR UPDATE SKIP LOCKED");
const BLOBS_DELETED: &str = sql::blobs_deleted!("reverie_now($2)", "id = ANY($1)");
const OWNERS: &str = sql::owners!("id = ANY($1)");

/// Locks the rows of these jobs before what they count for, and tenant by tenant: so who deletes one of them waits, and nobody for ever.
const LOCKED: &str = "
    SELECT id FROM jobs WHERE id = ANY($1) ORDER BY tenant COLLATE \"C\", id FOR UPDATE";
/// Locks what is counted of the tenants of these jobs, in the order of their names, before files of several are counted out.
const COUNTED: &str = "
    SELECT tenant FROM stored WHERE tenant IN (SELECT tenant FROM jobs WHERE id = ANY($1)) ORDER BY tenant FOR UPDATE";
const CHORE: &str = sql::chore!("reverie_now($3)");
const PROBE: &str = sql::probe!("reverie_now($1)");

pub(super) async fn expire_blobs(
    pool: &PgPool,
    unreadable: &Unreadable,
    before: Timestamp,
    limit: u32,
    now: Option<i64>,
) -> Result<Vec<Erased>, QueueError> {
    let expired = sqlx::query(EXPIRE_BLOBS).bind(before.as_millis()).bind(i64::from(limit)).bind(now);
    row::all_erased(&expired.fetch_all(pool).await?, unreadable)
}

pub(super) async fn blobs_to_delete(
    pool: &PgPool,
    unreadable: &Unreadable,
    behind: Option<JobId>,
    limit: u32,
) -> Result<Vec<Erased>, QueueError> {
    let behind = behind.map(|id| id.to_string()).unwrap_or_default();
    let found = sqlx::query(sql::BLOBS_TO_DELETE).bind(behind).bind(i64::from(limit)).fetch_all(pool).await?;
    row::all_erased(&found, unreadable)
}

pub(super) async fn blobs_deleted(pool: &PgPool, ids: &[JobId], now: Option<i64>) -> Result<(), QueueError> {
    let mut transaction = pool.begin().await?;
    for locks in [LOCKED, COUNTED] {
        sqlx::query(locks).bind(listed(ids)).execute(&mut *transaction).await?;
    }
    sqlx::query(BLOBS_DELETED).bind(listed(ids)).bind(now).execute(&mut *transaction).await?;
    transaction.commit().await?;
    Ok(())
}

pub(super) async fn ended_before(
    pool: &PgPool,
    unreadable: &Unreadable,
    before: Timestamp,
    limit: u32,
) -> Result<Vec<Erased>, QueueError> {
    let ended = sqlx::query(sql::ENDED).bind(before.as_millis()).bind(i64::from(limit));
    row::all_erased(&ended.fetch_all(pool).await?, unreadable)
}

pub(super) async fn purge(pool: &PgPool, ids: &[JobId]) -> Result<u64, QueueError> {
    let mut transaction = pool.begin().await?;
    for locks in [LOCKED, COUNTED] {
        sqlx::query(locks).bind(listed(ids)).execute(&mut *transaction).await?;
    }
    let mut deleted_jobs = 0;
    for id in ids {
        let deleted = sqlx::query(sql::PURGE).bind(id.to_string()).execute(&mut *transaction).await?;
        deleted_jobs += deleted.rows_affected();
    }
    transaction.commit().await?;
    Ok(deleted_jobs)
}

pub(super) async fn owners(pool: &PgPool, ids: &[JobId]) -> Result<Vec<Owner>, QueueError> {
    sqlx::query(OWNERS).bind(listed(ids)).fetch_all(pool).await?.iter().map(row::owner).collect()
}

pub(super) async fn take_chore(
    pool: &PgPool,
    name: &str,
    every: Duration,
    now: Option<i64>,
) -> Result<bool, QueueError> {
    let taken = sqlx::query(CHORE).bind(name).bind(millis(every)).bind(now).execute(pool).await?;
    Ok(taken.rows_affected() > 0)
}

pub(super) async fn probe(watcher: &PgPool, now: Option<i64>) -> Result<(), QueueError> {
    sqlx::query(PROBE).bind(now).execute(watcher).await?;
    Ok(())
}

pub(super) fn listed(ids: &[JobId]) -> Vec<String> {
    ids.iter().map(JobId::to_string).collect()
}
