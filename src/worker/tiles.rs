//! Tiles ([`crate::tile`]) are rendered by a worker that has no job ([`spare`]); one that was given up for a job is tried again
//! later.

use tracing::{debug, warn};

use super::{
    Worker,
    attempt::{blame, encoded},
    error::AttemptError,
    spare::{self, Look, Spared},
    turns::Outcome,
};
use crate::{
    jobs::{JobQueue, QueueError},
    metrics::TileOutcome,
    objects::ObjectKey,
    tile::{Tile, TileId},
};
use reverie_dream::spec::DreamSpec;
use reverie_engine::{RenderError, Rendered};
use reverie_fields::FieldError;

/// Renders the tile that has been wanted longest, if there is one.
///
/// # Errors
/// If the job store fails.
pub(super) async fn render_one(worker: &Worker) -> Result<Look, QueueError> {
    if worker.load.is_busy() {
        return Ok(Look::Nothing);
    }
    let context = &worker.context;
    let models: Vec<String> = context.catalogue.iter().map(|model| model.sha256.clone()).collect();
    let Some(tile) = context.queue.claim_tile(&models).await? else { return Ok(Look::Nothing) };
    let (id, key) = (tile.id(), ObjectKey::Tile(tile.id()));
    // Wanted once more in the moment in which it was stored.
    if context.objects.size(key).await.is_ok() {
        context.queue.tile_rendered(id).await?;
        return Ok(Look::Had(Outcome::Done));
    }
    let spared = match spec_of(worker, &tile) {
        Ok(spec) => spare::render(worker, spec).await,
        Err(error) => Spared::Ended(Err(error)),
    };
    let (rendered, job) = match spared {
        Spared::Ended(dreamed) => {
            let rendered = match dreamed {
                Ok(dreamed) => encoded(dreamed).await,
                Err(error) => Err(error),
            };
            return settle(worker, &tile, rendered).await.map(Look::Had);
        }
        Spared::Job(rendered, job) => (rendered, job),
        Spared::Hung => {
            context.metrics.tile(TileOutcome::Failed);
            release(&*context.queue, id, false).await;
            return Ok(Look::Had(Outcome::Sick));
        }
    };
    // Nobody renews the job's lease yet: no time for the store, nor for a look at the device. The tile is rendered again.
    let failed =
        matches!(&rendered, Err(error) if !matches!(error, RenderError::Canceled | RenderError::Busy));
    context.metrics.tile(if failed { TileOutcome::Failed } else { TileOutcome::GivenUp });
    let queue = std::sync::Arc::clone(&context.queue);
    tokio::spawn(async move { release(&*queue, id, failed).await });
    Ok(Look::Job(job))
}

/// Gives a tile back that was not rendered.
async fn release(queue: &dyn JobQueue, id: TileId, failed: bool) {
    if let Err(error) = queue.release_tile(id, failed).await {
        warn!(%error, "a tile could not be given back: it is claimed again when its lease is over");
    }
}

/// Keeps a rendered tile, or gives it back.
async fn settle(
    worker: &Worker,
    tile: &Tile,
    rendered: Result<Rendered, RenderError>,
) -> Result<Outcome, QueueError> {
    let (context, id) = (&worker.context, tile.id());
    match rendered {
        Ok(rendered) => store(worker, tile, rendered.image).await,
        Err(RenderError::Canceled | RenderError::Busy) => {
            debug!(%id, layer = tile.layer, "a tile was given up for a job");
            context.metrics.tile(TileOutcome::GivenUp);
            context.queue.release_tile(id, false).await?;
            Ok(Outcome::Done)
        }
        Err(error) => {
            context.metrics.tile(TileOutcome::Failed);
            let blamed = blame(context, &worker.renderer, error).await;
            let sick = matches!(blamed, AttemptError::Sick(_));
            warn!(error = %blamed, layer = tile.layer, channel = tile.channel, "a tile could not be rendered");
            release(&*context.queue, id, !sick).await;
            Ok(if sick { Outcome::Sick } else { Outcome::Done })
        }
    }
}

/// The dream that shows a tile.
fn spec_of(worker: &Worker, tile: &Tile) -> Result<DreamSpec, RenderError> {
    let catalogue = &worker.context.catalogue;
    let gone = || RenderError::Engine("the model of the tile is not here".into());
    let model = catalogue.iter().find(|model| model.sha256 == tile.model).ok_or_else(gone)?;
    let wrong = |errors: Vec<FieldError>| {
        let detail = errors.into_iter().next().map(|error| error.detail);
        RenderError::Engine(detail.unwrap_or_default())
    };
    tile.spec(model, catalogue).map_err(wrong)
}

/// Keeps a tile for everybody.
async fn store(worker: &Worker, tile: &Tile, picture: Vec<u8>) -> Result<Outcome, QueueError> {
    let (context, id) = (&worker.context, tile.id());
    let bytes = picture.len();
    match context.objects.put(ObjectKey::Tile(id), picture.into()).await {
        Ok(()) => {
            context.metrics.tile(TileOutcome::Rendered);
            context.queue.tile_rendered(id).await?;
            Ok(Outcome::Done)
        }
        Err(error) => {
            warn!(%error, "a tile could not be stored");
            context.metrics.tile(TileOutcome::Failed);
            context.queue.release_tile(id, false).await?;
            Ok(Outcome::StoreAway { bytes: if error.is_full() { bytes } else { 0 } })
        }
    }
}
