//! What a worker renders while it has no job, and how it gives that up for one. Such work is nobody's job: [`tiles`](super::tiles)
//! that somebody looks at, and [`practice`](super::practice).
//!
//! It begins while nobody dreams on the device. A job that comes meanwhile is claimed at once, and begins after the gradient step at
//! work.

use std::time::Duration;

use tokio::{sync::watch, time::timeout};
use tracing::{error, warn};

use super::{POLL, Worker, turns::Outcome};
use crate::jobs::Claim;
use reverie_dream::spec::DreamSpec;
use reverie_engine::{CancelFlag, RenderError, RenderRequest, Unencoded};

/// Time limit for the gradient step at work once a render has been told to stop; a slower device counts as broken.
const STEP_LIMIT: Duration = Duration::from_secs(60);

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
    async fn busy(&self) {
        // The sender is at hand, so the channel cannot be closed.
        drop(self.0.subscribe().wait_for(|jobs| *jobs > 0).await);
    }
}

impl Drop for LoadGuard {
    fn drop(&mut self) {
        self.0.0.send_modify(|jobs| *jobs -= 1);
    }
}

/// What became of a worker's look for something to do.
pub(super) enum Look {
    /// There is nothing, or this is no time for it.
    Nothing,
    /// The worker had something; its state afterwards.
    Had(Outcome),
    /// A job came, and was claimed.
    Job(Box<Claim>),
}

/// How a render ended for which there was time.
pub(super) enum Spared {
    /// By itself, or for another worker's job, or with the process.
    Ended(Result<Unencoded, RenderError>),
    /// For a job, which this worker has claimed.
    Job(Result<Unencoded, RenderError>, Box<Claim>),
    /// It does not stop. A job that was claimed is back in the queue.
    Hung,
}

/// Renders `spec`, a dream from noise, and gives up for a job: one that this worker claims meanwhile, or one of another worker of
/// the device.
pub(super) async fn render(worker: &Worker, spec: DreamSpec) -> Spared {
    let cancel = CancelFlag::default();
    let Some(model) = worker.context.catalogue.get(&spec.model) else {
        return Spared::Ended(Err(RenderError::Engine(format!("the model {} is gone", spec.model))));
    };
    let request = RenderRequest { cancel: cancel.clone(), ..RenderRequest::alone(model.clone(), spec) };
    let mut rendering = match worker.renderer.submit(request) {
        Ok(rendering) => rendering,
        Err(error) => return Spared::Ended(Err(error)),
    };
    let mut job = None;
    let rendered = loop {
        tokio::select! {
            biased;
            rendered = &mut rendering => break Some(rendered),
            () = worker.drain.cancelled() => cancel.cancel(),
            () = worker.load.busy() => cancel.cancel(),
            () = wake(worker) => {
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
        if cancel.is_canceled() {
            let stopping = timeout(STEP_LIMIT, rendering);
            break match &job {
                Some(claim) => renewing(worker, claim, stopping).await,
                None => stopping.await,
            }
            .ok();
        }
    };
    match (rendered, job) {
        (Some(rendered), None) => Spared::Ended(rendered.unwrap_or(Err(RenderError::Stopped))),
        (Some(rendered), Some(job)) => Spared::Job(rendered.unwrap_or(Err(RenderError::Stopped)), job),
        (None, job) => {
            error!(worker = worker.id, "a render that was told to stop goes on and on; the device is sick");
            if let Some(job) = job
                && let Err(error) = worker.context.queue.release(job.lease).await
            {
                error!(worker = worker.id, %error, "its job could not be given back; it runs again when its lease expires");
            }
            Spared::Hung
        }
    }
}

/// Waits for `work`, and keeps the lease of a claimed job meanwhile.
async fn renewing<T>(worker: &Worker, claim: &Claim, work: impl Future<Output = T>) -> T {
    let mut work = std::pin::pin!(work);
    loop {
        tokio::select! {
            biased;
            done = &mut work => return done,
            () = tokio::time::sleep(worker.context.lease / 3) => {}
        }
        if let Err(error) = worker.context.queue.heartbeat(claim.lease, None).await {
            // The attempt finds out what that means.
            warn!(worker = worker.id, %error, "the lease of a job that is to begin could not be renewed");
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
