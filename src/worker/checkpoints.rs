//! The files kept while a job is at work: after each octave a checkpoint, from which the job continues if its worker is
//! lost or stops, and about every second a preview of its progress.
//!
//! Both are optional: a job without them starts from its input. So a failure here is logged and costs only
//! time.
//!
//! A job may be erased while one of its files is being stored. So after storing, the worker checks that the
//! job still exists, and deletes the file if it does not. The code that erases a job deletes the files once
//! more after the row is gone. Each step runs to its end in a task of its own, even if its caller is dropped.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{mpsc, watch};
use tracing::{Instrument, info, warn};

use crate::{
    jobs::{JobId, JobQueue, Lease, Owner, QueueError},
    objects::{ObjectKey, Objects},
};
use reverie_engine::FinishedOctave;

/// A picture of an octave at work.
#[derive(Clone)]
pub(super) struct Preview {
    /// Which octave, counted from 1.
    pub octave: u32,
    /// A small JPEG.
    pub picture: Vec<u8>,
}

/// Stores every finished octave, and between them the newest preview, until the render ends. The row mentions a preview only once
/// it is stored. `kept` are the bytes of the checkpoint that an earlier attempt left: it stands beside the previews until the next.
pub(super) async fn keep(
    queue: &Arc<dyn JobQueue>,
    objects: &Objects,
    lease: Lease,
    mut finished: mpsc::Receiver<FinishedOctave>,
    mut previews: watch::Receiver<Option<Preview>>,
    mut kept: u64,
) {
    let mut noted = 0;
    let mut growing = true;
    loop {
        let (queue, objects) = (Arc::clone(queue), objects.clone());
        let storing = tokio::select! {
            biased;
            octave = finished.recv() => {
                let Some(octave) = octave else { return };
                noted = noted.max(octave.octave);
                // What waits there is older than the octave.
                previews.mark_unchanged();
                tokio::spawn(store(queue, objects, lease, octave).in_current_span())
            }
            changed = previews.changed(), if growing => {
                growing = changed.is_ok();
                let Some(preview) = previews.borrow_and_update().clone().filter(|_| growing) else { continue };
                let is_first = preview.octave > noted;
                noted = noted.max(preview.octave);
                tokio::spawn(store_preview(queue, objects, lease, preview, is_first.then_some(kept)).in_current_span())
            }
        };
        match storing.await {
            Ok(checkpoint) => kept = checkpoint.unwrap_or(kept),
            Err(error) => warn!(%error, "an octave could not be stored"),
        }
    }
}

/// Stores the preview of an octave at work. Only the octave's first changes the row, which then has its bytes and those of the
/// checkpoint, `first_beside`; clients look for the others by themselves. It stores no checkpoint.
async fn store_preview(
    queue: Arc<dyn JobQueue>,
    objects: Objects,
    lease: Lease,
    preview: Preview,
    first_beside: Option<u64>,
) -> Option<u64> {
    let Preview { octave, picture } = preview;
    let bytes = picture.len() as u64;
    let stored = objects.put(ObjectKey::Preview(lease.job), picture.into()).await;
    if let Err(error) = &stored {
        warn!(%error, octave, "a preview could not be stored");
    }
    let recorded = match first_beside {
        Some(beside) if stored.is_ok() => queue.set_preview(lease, octave, beside + bytes).await,
        // Only checks whether the lease is still held.
        _ => queue.heartbeat(lease, None).await.map(drop),
    };
    match recorded {
        Ok(()) => {}
        Err(QueueError::LeaseLost) => delete_unless_running(&*queue, &objects, lease.job).await,
        Err(error) => warn!(%error, octave, "a stored preview could not be recorded"),
    }
    None
}

/// Stores checkpoint and preview of an octave; the bytes of the checkpoint, if it is stored.
async fn store(
    queue: Arc<dyn JobQueue>,
    objects: Objects,
    lease: Lease,
    finished: FinishedOctave,
) -> Option<u64> {
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
    (bytes > 0).then_some(bytes)
}

/// Deletes the files of a worker that lost its lease, unless another worker continues the job: the files are that one's, too. A checkpoint
/// says what it was made with, so one that the loser stored late is passed over where the job has changed since.
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
pub(crate) async fn delete(objects: &Objects, job: JobId) {
    let leftovers = vec![ObjectKey::Checkpoint(job), ObjectKey::Preview(job)];
    if let Err(error) = objects.delete_all(leftovers).await {
        warn!(%error, "leftovers of the job stay in the store");
    }
}
