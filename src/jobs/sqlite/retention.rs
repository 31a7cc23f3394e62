//! The statements that give finished jobs up, a few at a time, so that no other writer waits long.

use sqlx::SqlitePool;

use crate::{
    clock::Timestamp,
    jobs::{Erased, JobId, QueueError, row, sql},
};

const GIVE_UP: &str = sql::give_up!("$3", "");

pub(super) async fn give_up_pictures(
    writer: &SqlitePool,
    before: Timestamp,
    limit: u32,
    now: Timestamp,
) -> Result<Vec<Erased>, QueueError> {
    let given_up = sqlx::query(GIVE_UP).bind(before.as_millis()).bind(i64::from(limit)).bind(now.as_millis());
    given_up.fetch_all(writer).await?.iter().map(row::erased).collect()
}

pub(super) async fn ended_before(
    readers: &SqlitePool,
    before: Timestamp,
    limit: u32,
) -> Result<Vec<Erased>, QueueError> {
    let ended = sqlx::query(sql::ENDED).bind(before.as_millis()).bind(i64::from(limit));
    ended.fetch_all(readers).await?.iter().map(row::erased).collect()
}

pub(super) async fn forget_ended(writer: &SqlitePool, ids: &[JobId]) -> Result<u64, QueueError> {
    let mut transaction = writer.begin_with("BEGIN IMMEDIATE").await?;
    let mut forgotten = 0;
    for id in ids {
        let deleted = sqlx::query(sql::FORGET).bind(id.to_string()).execute(&mut *transaction).await?;
        forgotten += deleted.rows_affected();
    }
    transaction.commit().await?;
    Ok(forgotten)
}
