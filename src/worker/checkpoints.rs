//! What is kept of a job between two octaves: the state to go on from when its worker is lost or stops, and a
//! picture of how far it has come.
//!
//! Neither is needed: a job without them starts from its input. So a failure here is logged and costs nothing
//! but time.
//!
//! A job may be erased while something of it is on its way into the store. So whoever stores looks afterwards whether the
//! job is still there, and deletes what it has stored where it is not; and whoever erases deletes once more after the row
//! is gone. Each step runs to its end by itself, even where nobody waits for it any more.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::mpsc;
use tracing::{Instrument, info, warn};

use crate::{
    jobs::{JobId, JobQueue, Lease, QueueError},
    objects::{ObjectError, ObjectKey, Objects},
};
use reverie_engine::FinishedOctave;

/// Stores every octave that arrives, until the render is over. The row tells of a preview once it is there.
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
    // Where there is no room for the one there may be for the other, which is much smaller.
    if let Err(error) = objects.put(ObjectKey::Checkpoint(job), checkpoint.into()).await {
        warn!(%error, octave, octaves, "a checkpoint could not be stored");
    }
    let told = match objects.put(ObjectKey::Preview(job), preview.into()).await {
        Ok(()) => queue.set_preview(lease, octave).await,
        Err(error) => {
            warn!(%error, octave, octaves, "a preview could not be stored");
            // Only to hear whether the lease is still held.
            queue.heartbeat(lease, None).await.map(drop)
        }
    };
    match told {
        Ok(()) => {}
        Err(QueueError::LeaseLost) => forget_unless_wanted(&*queue, &objects, job).await,
        Err(error) => warn!(%error, octave, octaves, "a stored preview could not be told of"),
    }
}

/// Deletes what a worker has stored that has lost its lease, where nobody goes on with the job. Whoever does writes the
/// same states in the same order.
async fn forget_unless_wanted(queue: &dyn JobQueue, objects: &Objects, job: JobId) {
    match queue.get(job).await {
        Ok(job) if !job.state.is_finished() => {}
        Ok(_) | Err(QueueError::NotFound(_)) => delete(objects, job).await,
        Err(error) => warn!(%error, "leftovers of a lost job may stay in the store for a day"),
    }
}

/// The state that an earlier attempt left.
pub(super) async fn resume(objects: &Objects, job: JobId) -> Option<Bytes> {
    match objects.get(ObjectKey::Checkpoint(job)).await {
        Ok(checkpoint) => {
            info!("an earlier attempt left a checkpoint");
            Some(checkpoint)
        }
        Err(ObjectError::NotFound(_)) => None,
        Err(error) => {
            warn!(%error, "the checkpoint of an earlier attempt cannot be read");
            None
        }
    }
}

/// Deletes what nobody needs once the job has ended.
pub(super) async fn delete(objects: &Objects, job: JobId) {
    let leftovers = vec![ObjectKey::Checkpoint(job), ObjectKey::Preview(job)];
    if let Err(error) = objects.delete_all(leftovers).await {
        warn!(%error, "leftovers of the job stay in the store");
    }
}
