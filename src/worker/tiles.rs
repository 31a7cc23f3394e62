//! Tiles ([`crate::tile`]) are rendered by a worker that has no job, while nobody else dreams on its device. A job that comes
//! meanwhile is claimed at once, and begins after the gradient step at work; the tile is tried again later.

use tokio::sync::watch;
use tracing::{debug, error, warn};

use super::{POLL, Worker, attempt::blame, error::AttemptError, run::Outcome};
use crate::{
    jobs::{Claim, QueueError},
    metrics::TileOutcome,
    objects::ObjectKey,
    tile::Tile,
};
use reverie_engine::{CancelFlag, RenderError, RenderRequest};

/// The jobs at work on one device. Clones share the count.
#[derive(Clone, Debug, Default)]
pub(super) struct DeviceLoad(watch::Sender<usize>);

/// Counts one job until it is dropped.
pub(super) struct LoadGuard(DeviceLoad);

impl DeviceLoad {
    /// Counts a job until the guard is dropped.
    pub(super) fn begin(&self) -> LoadGuard {
        self.0.send_modify(|jobs| *jobs += 1);
        LoadGuard(self.clone())
    }

    /// Whether there is a job.
    pub(super) fn is_busy(&self) -> bool {
        *self.0.borrow() > 0
    }

    /// Waits until there is a job.
    pub(super) async fn busy(&self) {
        // The sender is at hand, so the channel cannot be closed.
        drop(self.0.subscribe().wait_for(|jobs| *jobs > 0).await);
    }
}

impl Drop for LoadGuard {
    fn drop(&mut self) {
        self.0.0.send_modify(|jobs| *jobs -= 1);
    }
}

/// What became of a worker's look for a tile.
pub(super) enum Look {
    /// No tile is wanted, or this is no time for one.
    Nothing,
    /// The worker had a tile; its state afterwards.
    Had(Outcome),
    /// A job came, and was claimed.
    Job(Box<Claim>),
}

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
    let cancel = CancelFlag::default();
    let (rendered, job) = watched(worker, &tile, &cancel).await;
    let Some(job) = job else { return settle(worker, &tile, rendered).await.map(Look::Had) };
    // Nobody renews the job's lease yet: no time for the store, nor for a look at the device. The tile is rendered again.
    let failed =
        matches!(&rendered, Err(error) if !matches!(error, RenderError::Canceled | RenderError::Busy));
    context.metrics.tile(if failed { TileOutcome::Failed } else { TileOutcome::GivenUp });
    let queue = std::sync::Arc::clone(&context.queue);
    tokio::spawn(async move {
        if let Err(error) = queue.release_tile(id, failed).await {
            warn!(%error, "a tile could not be given back: it is claimed again when its lease is over");
        }
    });
    Ok(Look::Job(job))
}

/// Keeps a rendered tile, or gives it back.
async fn settle(
    worker: &Worker,
    tile: &Tile,
    rendered: Result<Vec<u8>, RenderError>,
) -> Result<Outcome, QueueError> {
    let (context, id) = (&worker.context, tile.id());
    match rendered {
        Ok(picture) => store(worker, tile, picture).await,
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
            context.queue.release_tile(id, !sick).await?;
            Ok(if sick { Outcome::Sick } else { Outcome::Done })
        }
    }
}

/// Renders, and gives up for a job: one that this worker claims meanwhile, or one of another worker of the device.
async fn watched(
    worker: &Worker,
    tile: &Tile,
    cancel: &CancelFlag,
) -> (Result<Vec<u8>, RenderError>, Option<Box<Claim>>) {
    let mut rendering = std::pin::pin!(render(worker, tile, cancel));
    let mut job = None;
    loop {
        tokio::select! {
            biased;
            rendered = &mut rendering => return (rendered, job),
            () = worker.drain.cancelled(), if !cancel.is_canceled() => cancel.cancel(),
            () = worker.load.busy(), if !cancel.is_canceled() => cancel.cancel(),
            () = wake(worker), if !cancel.is_canceled() => {
                // Not inside the selection: a claim that is dropped half-way would cost the job an attempt.
                match worker.claim().await {
                    Ok(None) => {}
                    Ok(Some(claim)) => {
                        job = Some(Box::new(claim));
                        cancel.cancel();
                    }
                    Err(error) => error!(worker = worker.id, %error, "a claim failed"),
                }
            }
        }
    }
}

/// Waits for the moment to look for a job.
async fn wake(worker: &Worker) {
    tokio::select! {
        () = worker.context.queue.signals().work() => {}
        () = tokio::time::sleep(POLL) => {}
    }
}

async fn render(worker: &Worker, tile: &Tile, cancel: &CancelFlag) -> Result<Vec<u8>, RenderError> {
    let catalogue = &worker.context.catalogue;
    let gone = || RenderError::Engine("the model of the tile is not here".into());
    let model = catalogue.iter().find(|model| model.sha256 == tile.model).ok_or_else(gone)?;
    let wrong = |errors: Vec<reverie_fields::FieldError>| {
        let detail = errors.into_iter().next().map(|error| error.detail);
        RenderError::Engine(detail.unwrap_or_default())
    };
    let request = RenderRequest {
        model: model.clone(),
        spec: tile.spec(model, catalogue).map_err(wrong)?,
        input: None,
        mask: None,
        guide: None,
        resume: None,
        on_begin: None,
        on_progress: Box::new(|_| {}),
        on_octave: None,
        on_preview: None,
        cancel: cancel.clone(),
    };
    let outcome = worker.renderer.submit(request)?.await;
    Ok(outcome.unwrap_or(Err(RenderError::Stopped))?.image)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_device_is_busy_as_long_as_one_of_its_jobs_is_at_work() {
        let load = DeviceLoad::default();
        let (first, second) = (load.begin(), load.clone().begin());
        load.busy().await;
        drop(first);
        assert!(load.is_busy());
        drop(second);
        assert!(!load.is_busy());
    }
}
