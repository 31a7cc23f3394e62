//! Wanted tiles in SQLite.

use async_trait::async_trait;

use super::SqliteQueue;
use crate::{
    jobs::{
        MOST_WANTED, QueueError, TileStore, Wanted,
        tile_store::{
            FORGET_TILES, FORGOTTEN_AFTER, MOST_TILE_ATTEMPTS, OLDEST_TILE, RELEASE_TILE, TILE_ATTEMPTS,
            TILE_LEASE, TILE_RENDERED, TILES_WANTED, claim_tile, tile, tile_is_ready, want_tile, wanted,
        },
        transition::millis,
    },
    tile::{Tile, TileId},
};

const WANT: &str = want_tile!("$6");
const IS_READY: &str = tile_is_ready!("$1", "model IN (SELECT value FROM json_each($3))");
const CLAIM: &str = claim_tile!("$3", "model IN (SELECT value FROM json_each($4))", "");

#[async_trait]
impl TileStore for SqliteQueue {
    async fn want_tile(&self, tile: &Tile) -> Result<Wanted, QueueError> {
        let id = tile.id().to_string();
        let attempts = || sqlx::query_scalar::<_, i64>(TILE_ATTEMPTS).bind(&id);
        // A read is free, while a write makes every other write wait.
        if let Some(known) = attempts().fetch_optional(&self.readers).await? {
            return Ok(wanted(Some(known)));
        }
        let now = self.now();
        let forget_before = (now - FORGOTTEN_AFTER).as_millis();
        // A table that is full, and has nothing to forget, is left alone.
        let oldest = sqlx::query_scalar::<_, Option<i64>>(OLDEST_TILE).fetch_one(&self.readers).await?;
        if self.tiles_wanted().await? >= u64::from(MOST_WANTED)
            && oldest.is_none_or(|oldest| oldest >= forget_before)
        {
            return Ok(Wanted::Full);
        }
        let mut transaction = self.writer.begin().await?;
        let forgotten = sqlx::query(FORGET_TILES).bind(forget_before);
        forgotten.execute(&mut *transaction).await?;
        let added = sqlx::query(WANT).bind(&id).bind(&tile.model).bind(&tile.layer);
        let added = added.bind(tile.channel.map(i64::from)).bind(i64::from(MOST_WANTED));
        let added = added.bind(now.as_millis()).execute(&mut *transaction).await?;
        let standing = wanted(attempts().fetch_optional(&mut *transaction).await?);
        self.writer.commit(transaction).await?;
        if added.rows_affected() > 0 {
            self.signals.tile_is_wanted();
        }
        Ok(standing)
    }

    async fn claim_tile(&self, models: &[String]) -> Result<Option<Tile>, QueueError> {
        let (now, models) = (self.now().as_millis(), serde_json::Value::from(models).to_string());
        let ready = sqlx::query(IS_READY).bind(now).bind(MOST_TILE_ATTEMPTS).bind(&models);
        if ready.fetch_optional(&self.readers).await?.is_none() {
            return Ok(None);
        }
        let mut transaction = self.writer.begin().await?;
        let claimed = sqlx::query(CLAIM).bind(millis(TILE_LEASE)).bind(MOST_TILE_ATTEMPTS).bind(now);
        let claimed = claimed.bind(models).fetch_optional(&mut *transaction).await?;
        self.writer.commit(transaction).await?;
        claimed.map(|row| tile(&row)).transpose()
    }

    async fn release_tile(&self, id: TileId, failed: bool) -> Result<(), QueueError> {
        let mut transaction = self.writer.begin().await?;
        let released = sqlx::query(RELEASE_TILE).bind(id.to_string()).bind(i64::from(!failed));
        released.execute(&mut *transaction).await?;
        self.writer.commit(transaction).await
    }

    async fn tile_rendered(&self, id: TileId) -> Result<(), QueueError> {
        let mut transaction = self.writer.begin().await?;
        sqlx::query(TILE_RENDERED).bind(id.to_string()).execute(&mut *transaction).await?;
        self.writer.commit(transaction).await?;
        self.signals.tile_changed(id);
        Ok(())
    }

    async fn tiles_wanted(&self) -> Result<u64, QueueError> {
        Ok(sqlx::query_scalar::<_, i64>(TILES_WANTED).fetch_one(&self.readers).await?.unsigned_abs())
    }
}
