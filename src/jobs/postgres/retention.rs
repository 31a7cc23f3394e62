//! The statements that give finished jobs up, a few at a time. Several processes sweep: each steps over what another
//! is at.

use sqlx::PgPool;

use crate::{
    clock::Timestamp,
    jobs::{Erased, JobId, QueueError, row, sql},
};

const GIVE_UP: &str = sql::give_up!("reverie_now($3)", "FOR UPDATE SKIP LOCKED");

pub(super) async fn give_up_pictures(
    pool: &PgPool,
    before: Timestamp,
    limit: u32,
    now: Option<i64>,
) -> Result<Vec<Erased>, QueueError> {
    let given_up = sqlx::query(GIVE_UP).bind(before.as_millis()).bind(i64::from(limit)).bind(now);
    given_up.fetch_all(pool).await?.iter().map(row::erased).collect()
}

pub(super) async fn ended_before(
    pool: &PgPool,
    before: Timestamp,
    limit: u32,
) -> Result<Vec<Erased>, QueueError> {
    let ended = sqlx::query(sql::ENDED).bind(before.as_millis()).bind(i64::from(limit));
    ended.fetch_all(pool).await?.iter().map(row::erased).collect()
}

pub(super) async fn forget_ended(pool: &PgPool, ids: &[JobId]) -> Result<u64, QueueError> {
    let mut transaction = pool.begin().await?;
    let mut forgotten = 0;
    for id in ids {
        let deleted = sqlx::query(sql::FORGET).bind(id.to_string()).execute(&mut *transaction).await?;
        forgotten += deleted.rows_affected();
    }
    transaction.commit().await?;
    Ok(forgotten)
}
