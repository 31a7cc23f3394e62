//! The files kept between two octaves of a job: a checkpoint, from which the job continues if its worker is
//! lost or stops, and a preview of its progress.
//!
//! Both are optional: a job without them starts from its input. So a failure here is logged and costs only
//! time.
//!
//! A job may be erased while one of its files is being stored. So after storing, the worker checks that the
//! job still exists, and deletes the file if it does not. The code that erases a job deletes the files once
//! more after the row is gone. Each step runs to its end in a task of its own, even if its caller is dropped.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::mpsc;
use tracing::{Instrument, info, warn};

use crate::{
    jobs::{JobId, JobQueue, Lease, Owner, QueueError},
    objects::{ObjectKey, Objects},
};
use reverie_engine::FinishedOctave;

/// Stores every finished octave until the render ends. The row mentions a preview only once it is stored.
pub(super) async fn keep(
    queue: &Arc<dyn JobQueue>,
    objects: &Objects,
    lease: Lease,
    mut finished: mpsc::Receiver<FinishedOctave>,
) {
    while let Some(octave) = finished.recv().await {
        let storing = store(Arc::clone(queue), objects.clone(), lease, octave);
        if let Err(error) = tokio::spawn(storing.in_current_span()).await {
            warn!(%error, "an octave could not be stored");
        }
    }
}

async fn store(queue: Arc<dyn JobQueue>, objects: Objects, lease: Lease, finished: FinishedOctave) {
    let FinishedOctave { octave, octaves, checkpoint, preview } = finished;
    let job = lease.job;
    let (mut bytes, preview_bytes) = (checkpoint.len() as u64, preview.len() as u64);
    // If the disk has no room for the checkpoint, it may still have room for the preview, which is much
    // smaller.
    if let Err(error) = objects.put(ObjectKey::Checkpoint(job), checkpoint.into()).await {
        warn!(%error, octave, octaves, "a checkpoint could not be stored");
        bytes = 0;
    }
    let recorded = match objects.put(ObjectKey::Preview(job), preview.into()).await {
        Ok(()) => queue.set_preview(lease, octave, bytes + preview_bytes).await,
        Err(error) => {
            warn!(%error, octave, octaves, "a preview could not be stored");
            // Only checks whether the lease is still held.
            queue.heartbeat(lease, None).await.map(drop)
        }
    };
    match recorded {
        Ok(()) => {}
        Err(QueueError::LeaseLost) => delete_unless_running(&*queue, &objects, job).await,
        Err(error) => warn!(%error, octave, octaves, "a stored preview could not be recorded"),
    }
}

/// Deletes the files of a worker that lost its lease, unless another worker continues the job: that one
/// writes the same files in the same order.
async fn delete_unless_running(queue: &dyn JobQueue, objects: &Objects, job: JobId) {
    match queue.owners(&[job]).await {
        Ok(owners) => {
            let goes_on = |owner: &Owner| owner.state.is_none_or(|state| !state.is_finished());
            if !owners.first().is_some_and(goes_on) {
                delete(objects, job).await;
            }
        }
        Err(error) => warn!(%error, "leftovers of a lost job may stay in the store for a day"),
    }
}

/// Returns the checkpoint of an earlier attempt, if there is one.
pub(super) async fn resume(objects: &Objects, job: JobId) -> Option<Bytes> {
    match objects.find(ObjectKey::Checkpoint(job)).await {
        Ok(checkpoint) => {
            if checkpoint.is_some() {
                info!("an earlier attempt left a checkpoint");
            }
            checkpoint
        }
        Err(error) => {
            warn!(%error, "the checkpoint of an earlier attempt cannot be read");
            None
        }
    }
}

/// Deletes the files that are useless once the job has ended.
pub(super) async fn delete(objects: &Objects, job: JobId) {
    let leftovers = vec![ObjectKey::Checkpoint(job), ObjectKey::Preview(job)];
    if let Err(error) = objects.delete_all(leftovers).await {
        warn!(%error, "leftovers of the job stay in the store");
    }
}
