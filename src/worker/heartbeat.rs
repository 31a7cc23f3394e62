//! The heartbeat of a running job: it renews the lease, stores progress, and hears of cancel requests and deadlines.
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
    jobs::{CancelListener, JobQueue, Lease, QueueError},
};
use reverie_dream::progress::Progress;
use reverie_engine::CancelFlag;

/// Progress is written at most this often: seldom enough for the disk, often enough for a progress bar.
const PROGRESS_EVERY: Duration = Duration::from_millis(250);

/// After a failed heartbeat the next one comes sooner, while the lease still has time.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// How often the clock is compared with a deadline far away.
const LOOK_AT_CLOCK: Duration = Duration::from_secs(10);

/// Why a render was told to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StopReason {
    /// Someone canceled the job.
    Canceled,
    /// The deadline has passed.
    Expired,
    /// This process is stopping.
    Stopping,
}

/// Keeps one job: heartbeats, carries its progress to the store, and stops its render when told to.
pub(super) struct Heartbeat<'a> {
    pub queue: &'a dyn JobQueue,
    pub lease: Lease,
    /// Time between heartbeats.
    pub every: Duration,
    /// Where the render thread puts its progress.
    pub progress: watch::Receiver<Option<Progress>>,
    /// Hears of cancel requests made in this process.
    pub canceled: CancelListener,
    /// When the job expires, if it does.
    pub deadline: Option<Timestamp>,
    /// Says that the process cannot wait any longer.
    pub give_up: &'a CancellationToken,
    /// Stops the render.
    pub flag: CancelFlag,
    /// Why it was stopped: the first reason stays.
    pub reason: &'a OnceLock<StopReason>,
}

impl Heartbeat<'_> {
    /// Keeps the job until this future is dropped; returns only when the lease is lost.
    pub async fn keep(mut self) {
        let mut heartbeats = interval(self.every);
        heartbeats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut next_progress = Instant::now();
        // The claim was the first heartbeat.
        heartbeats.reset();
        let clock = self.queue.clock().clone();
        let deadline = self.deadline;
        let mut expiry = std::pin::pin!(passing(&clock, deadline));
        loop {
            let stopped = self.reason.get().is_some();
            let progress = tokio::select! {
                () = self.canceled.canceled(), if !stopped => {
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
                _ = heartbeats.tick() => None,
            };
            let Ok(heartbeat) = timeout(self.every, self.queue.heartbeat(self.lease, progress)).await else {
                warn!("a heartbeat takes too long; another one is tried");
                continue;
            };
            match heartbeat {
                Ok(heartbeat) => {
                    if heartbeat.cancel_requested {
                        self.stop(StopReason::Canceled);
                    }
                    heartbeats.reset();
                }
                Err(QueueError::LeaseLost) => {
                    self.flag.cancel();
                    return;
                }
                Err(error) => {
                    warn!(%error, "a heartbeat failed; it is tried again");
                    heartbeats.reset_after(RETRY_AFTER);
                }
            }
            next_progress = Instant::now() + PROGRESS_EVERY;
        }
    }

    /// Stops the render. The job is kept until it really has stopped.
    fn stop(&self, reason: StopReason) {
        // Only the first reason counts: the render cannot be stopped twice.
        let _ = self.reason.set(reason);
        self.flag.cancel();
    }
}

/// Waits until the deadline has passed; for ever where there is none.
async fn passing(clock: &Clock, deadline: Option<Timestamp>) {
    let Some(deadline) = deadline else { return std::future::pending().await };
    loop {
        let now = clock.now();
        if now >= deadline {
            return;
        }
        // The clock may be set meanwhile, so it is asked again now and then.
        let left = Duration::from_secs_f64(deadline.seconds_since(now));
        tokio::time::sleep(left.clamp(Duration::from_millis(1), LOOK_AT_CLOCK)).await;
    }
}

/// Waits for progress that has not been written yet, and at least until `earliest`. May be dropped and called
/// again at any point: what was not returned stays unwritten.
async fn new_progress(progress: &mut watch::Receiver<Option<Progress>>, earliest: Instant) -> Progress {
    sleep_until(earliest).await;
    loop {
        if progress.changed().await.is_err() {
            // The render is over: there will be no more.
            std::future::pending::<()>().await;
        }
        if let Some(progress) = *progress.borrow_and_update() {
            return progress;
        }
    }
}
