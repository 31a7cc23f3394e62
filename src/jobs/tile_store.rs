//! Tiles that somebody wants to see, until they are rendered. They are no jobs: they belong to no tenant, count against no
//! quota, and only a worker without a job takes one.

use std::time::Duration;

use async_trait::async_trait;

use super::{QueueError, row::Columns};
use crate::tile::{Tile, TileId};

/// Tiles that may be wanted at the same time, of all models. Several processes may each add one in the same moment.
pub const MOST_WANTED: u32 = 128;

/// How long a worker may take for a tile until another takes it.
pub(super) const TILE_LEASE: Duration = Duration::from_secs(60);

/// How long a tile stays wanted that no worker can render: one that fails, or of a model that no worker has.
pub(super) const FORGOTTEN_AFTER: Duration = Duration::from_secs(60 * 60);

/// Attempts at one tile.
pub(super) const MOST_TILE_ATTEMPTS: i64 = 3;

/// Where a tile stands that is not in the blob store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// A worker will render it.
    Waiting,
    /// Too many are wanted already; this one is not among them.
    Full,
    /// It failed too often, and rests for an hour.
    Failed,
}

/// The tiles that are wanted, for all processes that share the store.
#[async_trait]
pub trait TileStore: Send + Sync + 'static {
    /// Notes that a tile is wanted, if it is not noted yet, and wakes a worker.
    ///
    /// # Errors
    /// Only when the store fails.
    async fn want_tile(&self, tile: &Tile) -> Result<Wanted, QueueError>;

    /// Claims the tile of one of these models (their digests) that has been wanted longest; `None` where none is.
    ///
    /// # Errors
    /// Only when the store fails.
    async fn claim_tile(&self, models: &[String]) -> Result<Option<Tile>, QueueError>;

    /// Gives a claimed tile up, for another time. An attempt that has `failed` counts.
    ///
    /// # Errors
    /// Only when the store fails.
    async fn release_tile(&self, id: TileId, failed: bool) -> Result<(), QueueError>;

    /// Records that a tile is in the blob store, and wakes who waits for it ([`Signals::follow_tile`]).
    ///
    /// # Errors
    /// Only when the store fails.
    ///
    /// [`Signals::follow_tile`]: super::Signals::follow_tile
    async fn tile_rendered(&self, id: TileId) -> Result<(), QueueError>;

    /// Number of wanted tiles.
    ///
    /// # Errors
    /// Only when the store fails.
    async fn tiles_wanted(&self) -> Result<u64, QueueError>;
}

pub(super) const TILE_ATTEMPTS: &str = "SELECT attempts FROM tiles WHERE id = $1";
pub(super) const TILES_WANTED: &str = "SELECT count(*) FROM tiles";
/// `$1` is the earliest time that still counts.
pub(super) const FORGET_TILES: &str = "DELETE FROM tiles WHERE wanted_at < $1";
/// The time from which the oldest tile is wanted.
pub(super) const OLDEST_TILE: &str = "SELECT min(wanted_at) FROM tiles";
pub(super) const TILE_RENDERED: &str = "DELETE FROM tiles WHERE id = $1";
pub(super) const RELEASE_TILE: &str =
    "UPDATE tiles SET claimed_until = NULL, attempts = attempts - $2 WHERE id = $1";

/// Adds `$1` to `$4` where fewer than `$5` are wanted; `$now` is an expression.
macro_rules! want_tile {
    ($now:literal) => {
        concat!(
            "INSERT INTO tiles (id, model, layer, channel, wanted_at, attempts) SELECT $1, $2, $3, $4, ",
            $now,
            ", 0 WHERE (SELECT count(*) FROM tiles) < $5 ON CONFLICT (id) DO NOTHING"
        )
    };
}

/// Which tile may be claimed: of a model that `$models` allows, after fewer than `$2` attempts.
macro_rules! tile_is_ready {
    ($now:literal, $models:literal) => {
        concat!(
            "SELECT id FROM tiles WHERE attempts < $2 AND (claimed_until IS NULL OR claimed_until <= ",
            $now,
            ") AND ",
            $models,
            " ORDER BY wanted_at, id LIMIT 1"
        )
    };
}

/// Claims for `$1` milliseconds.
macro_rules! claim_tile {
    ($now:literal, $models:literal, $lock:literal) => {
        concat!(
            "UPDATE tiles SET attempts = attempts + 1, claimed_until = $1 + ",
            $now,
            " WHERE id = (",
            crate::jobs::tile_store::tile_is_ready!($now, $models),
            " ",
            $lock,
            ") RETURNING model, layer, channel"
        )
    };
}

pub(super) use {claim_tile, tile_is_ready, want_tile};

/// Reads a tile from its row.
pub(super) fn tile(row: &impl Columns) -> Result<Tile, QueueError> {
    let channel = row.integer("channel")?.and_then(|channel| u32::try_from(channel).ok());
    let text =
        |column: &str| -> Result<String, QueueError> { Ok(row.text(column)?.unwrap_or_default().to_owned()) };
    Ok(Tile { model: text("model")?, layer: text("layer")?, channel })
}

/// Where a tile stands, by the attempts in its row.
pub(super) fn wanted(attempts: Option<i64>) -> Wanted {
    match attempts {
        None => Wanted::Full,
        Some(attempts) if attempts >= MOST_TILE_ATTEMPTS => Wanted::Failed,
        Some(_) => Wanted::Waiting,
    }
}
