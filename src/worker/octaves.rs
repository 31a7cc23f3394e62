//! What is kept of a job between two octaves: the state to go on from when its worker is lost or stops, and a
//! picture of how far it has come.
//!
//! Neither is needed: a job without them starts from its input. So a failure here is logged and costs nothing
//! but time.

use bytes::Bytes;
use tokio::sync::mpsc;
use tracing::{info, warn};

use crate::{
    jobs::{JobId, JobQueue, Lease},
    objects::{ObjectError, ObjectKey, Objects},
    render::FinishedOctave,
};

/// Stores every octave that arrives, until the render is over. The row tells of a preview once it is there.
pub(super) async fn keep(
    queue: &dyn JobQueue,
    objects: &Objects,
    lease: Lease,
    mut finished: mpsc::Receiver<FinishedOctave>,
) {
    let job = lease.job;
    while let Some(FinishedOctave { octave, octaves, checkpoint, preview }) = finished.recv().await {
        // Where there is no room for the one there may be for the other, which is much smaller.
        if let Err(error) = objects.put(ObjectKey::Checkpoint(job), checkpoint.into()).await {
            warn!(%error, octave, octaves, "a checkpoint could not be stored");
        }
        if let Err(error) = objects.put(ObjectKey::Preview(job), preview.into()).await {
            warn!(%error, octave, octaves, "a preview could not be stored");
        } else if let Err(error) = queue.previewed(lease, octave).await {
            warn!(%error, octave, octaves, "a stored preview could not be told of");
        }
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
pub(super) async fn forget(objects: &Objects, job: JobId) {
    let leftovers = vec![ObjectKey::Checkpoint(job), ObjectKey::Preview(job)];
    if let Err(error) = objects.delete_all(leftovers).await {
        warn!(%error, "leftovers of the job stay in the store");
    }
}
