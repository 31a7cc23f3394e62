//! Wanted tiles in PostgreSQL. Idle workers of several processes claim; each skips the rows that another is claiming.

use async_trait::async_trait;

use super::{PostgresQueue, in_time};
use crate::{
    jobs::{
        MOST_WANTED, QueueError, TileStore, Wanted,
        tile_store::{
            FORGET_TILES, FORGOTTEN_AFTER, MOST_TILE_ATTEMPTS, OLDEST_TILE, RELEASE_TILE, TILE_ATTEMPTS,
            TILE_LEASE, TILE_RENDERED, TILES_WANTED, claim_tile, tile, want_tile, wanted,
        },
        transition::millis,
    },
    tile::{Tile, TileId},
};

const WANT: &str = want_tile!("reverie_now($6)");
const CLAIM: &str = claim_tile!("reverie_now($3)", "model = ANY($4)", "FOR UPDATE SKIP LOCKED");

#[async_trait]
impl TileStore for PostgresQueue {
    async fn want_tile(&self, tile: &Tile) -> Result<Wanted, QueueError> {
        let id = tile.id().to_string();
        let attempts = async || {
            let attempts = sqlx::query_scalar::<_, i64>(TILE_ATTEMPTS).bind(&id);
            in_time(attempts.fetch_optional(&self.pool)).await
        };
        if let Some(known) = attempts().await? {
            return Ok(wanted(Some(known)));
        }
        let forget_before = (self.clock.now() - FORGOTTEN_AFTER).as_millis();
        let oldest = sqlx::query_scalar::<_, Option<i64>>(OLDEST_TILE).fetch_one(&self.pool);
        let has_old = in_time(oldest).await?.is_some_and(|oldest| oldest < forget_before);
        // A table that is full, and has nothing to forget, is left alone.
        if !has_old && self.tiles_wanted().await? >= u64::from(MOST_WANTED) {
            return Ok(Wanted::Full);
        }
        if has_old {
            in_time(sqlx::query(FORGET_TILES).bind(forget_before).execute(&self.pool)).await?;
        }
        let added = sqlx::query(WANT).bind(&id).bind(&tile.model).bind(&tile.layer);
        let added = added.bind(tile.channel.map(i64::from)).bind(i64::from(MOST_WANTED)).bind(self.now());
        let added = in_time(added.execute(&self.pool)).await?;
        let standing = wanted(attempts().await?);
        if added.rows_affected() > 0 {
            self.notifier.tile_is_wanted();
        }
        Ok(standing)
    }

    async fn claim_tile(&self, models: &[String]) -> Result<Option<Tile>, QueueError> {
        let claimed = sqlx::query(CLAIM).bind(millis(TILE_LEASE)).bind(MOST_TILE_ATTEMPTS).bind(self.now());
        let claimed = claimed.bind(models).fetch_optional(&self.pool).await?;
        claimed.map(|row| tile(&row)).transpose()
    }

    async fn release_tile(&self, id: TileId, failed: bool) -> Result<(), QueueError> {
        let released = sqlx::query(RELEASE_TILE).bind(id.to_string()).bind(i64::from(!failed));
        released.execute(&self.pool).await?;
        Ok(())
    }

    async fn tile_rendered(&self, id: TileId) -> Result<(), QueueError> {
        sqlx::query(TILE_RENDERED).bind(id.to_string()).execute(&self.pool).await?;
        self.notifier.tile_changed(id);
        Ok(())
    }

    async fn tiles_wanted(&self) -> Result<u64, QueueError> {
        let wanted = sqlx::query_scalar::<_, i64>(TILES_WANTED).fetch_one(&self.pool);
        Ok(in_time(wanted).await?.unsigned_abs())
    }
}
