//! The heartbeat of a running job: it renews the lease, stores progress, and notices deadlines and what clients ask of
//! the job.
//!
//! A lease lasts three heartbeats.

use std::{sync::OnceLock, time::Duration};

use tokio::{
    sync::watch,
    time::{Instant, MissedTickBehavior, interval, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::{
    clock::{Clock, Timestamp},
    jobs::{JobQueue, Lease, QueueError, RequestListener},
};
use reverie_dream::progress::Progress;
use reverie_engine::CancelFlag;

/// Minimum time between two progress writes: long enough for the disk, short enough for a progress bar.
const PROGRESS_EVERY: Duration = Duration::from_millis(250);

/// Delay after a failed heartbeat: shorter than the interval, because the lease is running out.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// How often a distant deadline is compared with the clock.
const CLOCK_INTERVAL: Duration = Duration::from_secs(10);

/// Why the worker stops a render.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StopReason {
    /// A client canceled the job.
    Canceled,
    /// A client paused the job.
    Paused,
    /// The deadline has passed.
    Expired,
    /// This process is stopping.
    Stopping,
}

/// Keeps one job alive: sends heartbeats, stores progress, and stops the render when required.
pub(super) struct Heartbeat<'a> {
    pub queue: &'a dyn JobQueue,
    pub lease: Lease,
    /// Time between heartbeats.
    pub every: Duration,
    /// Progress from the render thread.
    pub progress: watch::Receiver<Option<Progress>>,
    /// Receives what clients ask of the job.
    pub requests: RequestListener,
    /// When the job expires, if it does.
    pub deadline: Option<Timestamp>,
    /// Canceled when the process cannot wait any longer.
    pub give_up: &'a CancellationToken,
    /// Stops the render.
    pub flag: CancelFlag,
    /// Canceled with the render, for a job that waits for its turn.
    pub stopped: CancellationToken,
    /// Why the render was stopped: the first reason stays.
    pub reason: &'a OnceLock<StopReason>,
}

impl Heartbeat<'_> {
    /// Runs until this future is dropped; returns only when the lease is lost.
    pub async fn keep(mut self) {
        let mut heartbeats = interval(self.every);
        heartbeats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut next_progress = Instant::now();
        // The claim was the first heartbeat.
        heartbeats.reset();
        let clock = self.queue.clock().clone();
        let deadline = self.deadline;
        let mut expiry = std::pin::pin!(passed(&clock, deadline));
        loop {
            let stopped = self.reason.get().is_some();
            let progress = tokio::select! {
                () = self.requests.canceled(), if !stopped => {
                    self.stop(StopReason::Canceled);
                    continue;
                }
                () = &mut expiry, if !stopped => {
                    self.stop(StopReason::Expired);
                    continue;
                }
                () = self.give_up.cancelled(), if !stopped => {
                    self.stop(StopReason::Stopping);
                    continue;
                }
                progress = new_progress(&mut self.progress, next_progress) => Some(progress),
                // What was asked, the reply tells.
                () = self.requests.asked(), if !stopped => None,
                _ = heartbeats.tick() => None,
            };
            let Ok(heartbeat) = timeout(self.every, self.queue.heartbeat(self.lease, progress)).await else {
                warn!("a heartbeat timed out; trying again");
                continue;
            };
            match heartbeat {
                Ok(heartbeat) => {
                    if heartbeat.cancel_requested {
                        self.stop(StopReason::Canceled);
                    } else if heartbeat.pause_requested {
                        self.stop(StopReason::Paused);
                    }
                    heartbeats.reset();
                }
                Err(QueueError::LeaseLost) => {
                    self.flag.cancel();
                    return;
                }
                Err(error) => {
                    warn!(%error, "a heartbeat failed; trying again");
                    heartbeats.reset_after(RETRY_AFTER);
                }
            }
            next_progress = Instant::now() + PROGRESS_EVERY;
        }
    }

    /// Stops the render. The heartbeat continues until it really has stopped.
    fn stop(&self, reason: StopReason) {
        // Only the first reason counts: a render stops once.
        let _ = self.reason.set(reason);
        self.flag.cancel();
        self.stopped.cancel();
    }
}

/// Waits until the deadline has passed; for ever without one.
async fn passed(clock: &Clock, deadline: Option<Timestamp>) {
    let Some(deadline) = deadline else { return std::future::pending().await };
    loop {
        let now = clock.now();
        if now >= deadline {
            return;
        }
        // The clock may be set meanwhile, so it is read again now and then.
        let left = Duration::from_secs_f64(deadline.seconds_since(now));
        tokio::time::sleep(left.clamp(Duration::from_millis(1), CLOCK_INTERVAL)).await;
    }
}

/// Waits for unwritten progress, and at least until `earliest`. Cancel-safe: progress that was not returned
/// stays unwritten.
async fn new_progress(progress: &mut watch::Receiver<Option<Progress>>, earliest: Instant) -> Progress {
    sleep_until(earliest).await;
    loop {
        if progress.changed().await.is_err() {
            // The render has ended: there is no more progress.
            std::future::pending::<()>().await;
        }
        if let Some(progress) = *progress.borrow_and_update() {
            return progress;
        }
    }
}
