//! The end of an attempt: writes its outcome to the queue and deletes files that are no longer needed.

use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::{WorkerContext, checkpoints, error::AttemptError, heartbeat::StopReason};
use crate::{
    jobs::{Finished, Job, JobState, Lease, QueueError},
    objects::ObjectKey,
};
use reverie_engine::RenderError;

/// How often the end of a job is written while the store refuses it, one second apart. After that the lease
/// expires and the job runs again.
const SETTLE_TRIES: u32 = 10;

/// How often a job returns to the queue without losing an attempt because its worker was found sick. Each of
/// these workers was healthy when it took the job. So beyond this limit the job itself makes workers sick,
/// and its attempts count.
const MAX_SPARED: u32 = 3;

/// Writes the outcome of the attempt, and returns the job as it is then. If the store fails, it tries again. An unreachable or
/// full store is retried until the process must stop: no other worker can take the job meanwhile, and giving up would cost
/// the job a finished attempt.
pub(super) async fn settle(
    context: &WorkerContext,
    before: &Job,
    lease: Lease,
    attempt: Result<Finished, AttemptError>,
    reason: Option<StopReason>,
    give_up: &CancellationToken,
) -> Option<Job> {
    if matches!(attempt, Err(AttemptError::LeaseLost)) {
        warn!("the lease is lost; the job is dropped");
        discard(context, lease).await;
        return None;
    }
    let mut tried = 0;
    loop {
        let written = match write_end(context, before, lease, &attempt, reason).await {
            // An earlier write may have succeeded, with only its answer lost.
            Err(QueueError::LeaseLost) if tried > 0 => kept(context, before, lease).await,
            written => written,
        };
        match written {
            Ok(job) => {
                if job.state.is_finished() {
                    checkpoints::delete(&context.objects, job.id).await;
                }
                report(&job, &attempt);
                context.metrics.ended(&job);
                return Some(job);
            }
            Err(QueueError::LeaseLost) => {
                warn!("the lease was lost before the end was written; the job is dropped");
                discard(context, lease).await;
                return None;
            }
            Err(error) => {
                let transient = error.is_down() || error.is_full();
                tried += 1;
                if tried >= SETTLE_TRIES && (!transient || give_up.is_cancelled()) {
                    break;
                }
                warn!(%error, "the end of the job could not be written; trying again");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }
    error!("the end of the job could not be written; the job runs again when its lease expires");
    None
}

/// Returns the job if it ended with the dream stored under this lease.
async fn kept(context: &WorkerContext, before: &Job, lease: Lease) -> Result<Job, QueueError> {
    let job = context.queue.get(&before.tenant, lease.job).await.map_err(|error| match error {
        QueueError::NotFound(_) => QueueError::LeaseLost,
        error => error,
    })?;
    let own = job.result.as_ref().is_some_and(|result| result.lease == lease.token);
    if own { Ok(job) } else { Err(QueueError::LeaseLost) }
}

/// Writes the outcome once, by the way the attempt ended.
async fn write_end(
    context: &WorkerContext,
    before: &Job,
    lease: Lease,
    attempt: &Result<Finished, AttemptError>,
    reason: Option<StopReason>,
) -> Result<Job, QueueError> {
    let queue = &context.queue;
    match (attempt, reason) {
        (Ok(finished), _) => queue.complete(lease, finished.clone()).await,
        (Err(AttemptError::Render(RenderError::Canceled)), Some(StopReason::Stopping)) => {
            queue.release(lease).await
        }
        (Err(AttemptError::Render(RenderError::Canceled)), Some(StopReason::Canceled)) => {
            queue.stopped(lease).await
        }
        (Err(AttemptError::Render(RenderError::Canceled)), Some(StopReason::Paused)) => {
            queue.paused(lease).await
        }
        (Err(AttemptError::Render(RenderError::Canceled)), Some(StopReason::Expired)) => {
            queue.expired(lease).await
        }
        (Err(AttemptError::StoreAway { .. } | AttemptError::Queue(_) | AttemptError::NotBegun), _) => {
            queue.release(lease).await
        }
        (Err(AttemptError::Sick(_)), _) if before.spared < MAX_SPARED => queue.spare(lease).await,
        (Err(error), _) => queue.fail(lease, error.to_job_error(), !error.is_permanent()).await,
    }
}

/// Logs one line per ended attempt. The cause of a failure is logged only here.
fn report(job: &Job, attempt: &Result<Finished, AttemptError>) {
    let state = job.state;
    match attempt {
        Ok(finished) => info!(%state, render_seconds = finished.render_seconds, "job ended"),
        Err(AttemptError::Render(RenderError::Canceled)) => info!(%state, "job stopped"),
        Err(cause) if state == JobState::Failed => error!(%state, %cause, "job failed"),
        Err(cause) => warn!(%state, %cause, "attempt failed"),
    }
}

/// Deletes the dream that this attempt may have stored. No other attempt uses that key.
async fn discard(context: &WorkerContext, lease: Lease) {
    if let Err(error) = context.objects.delete(ObjectKey::result_under(lease)).await {
        warn!(%error, "an orphan dream stays in the store");
    }
}
