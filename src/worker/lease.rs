//! Keeping a job while it runs, and taking jobs from workers that were lost.
//!
//! A lease lasts three beats, and lost jobs are looked for once per beat, so an orphan is back in the queue
//! within four beats: 40 seconds at the default lease of 30.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use tokio::{
    sync::watch,
    time::{Instant, MissedTickBehavior, interval, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::{
    clock::{Clock, Timestamp},
    jobs::{CancelListener, JobQueue, JobState, Lease, QueueError, Rescue, Rescued},
    metrics::Metrics,
};
use reverie_dream::progress::Progress;
use reverie_engine::CancelFlag;

/// Progress is written at most this often: seldom enough for the disk, often enough for a progress bar.
const PROGRESS_EVERY: Duration = Duration::from_millis(250);

/// After a failed beat the next one comes sooner, while the lease still has time.
const RETRY_BEAT: Duration = Duration::from_secs(1);

/// How often the clock is compared with a deadline far away.
const LOOK_AT_CLOCK: Duration = Duration::from_secs(10);

/// How often the queue is searched for waiting jobs whose deadline has passed.
const EXPIRE_EVERY: Duration = Duration::from_secs(1);

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

/// Keeps one job: beats, carries its progress to the store, and stops its render when told to.
pub(super) struct Keeper<'a> {
    pub queue: &'a dyn JobQueue,
    pub lease: Lease,
    /// Time between beats.
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

impl Keeper<'_> {
    /// Keeps the job until this future is dropped; returns only when the lease is lost.
    pub async fn keep(mut self) {
        let mut beats = interval(self.every);
        beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut next_progress = Instant::now();
        // The claim was the first beat.
        beats.reset();
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
                _ = beats.tick() => None,
            };
            let Ok(beat) = timeout(self.every, self.queue.beat(self.lease, progress)).await else {
                warn!("a beat takes too long; another one is tried");
                continue;
            };
            match beat {
                Ok(beat) => {
                    if beat.cancel_requested {
                        self.stop(StopReason::Canceled);
                    }
                    beats.reset();
                }
                Err(QueueError::LeaseLost) => {
                    self.flag.cancel();
                    return;
                }
                Err(error) => {
                    warn!(%error, "a beat failed; it is tried again");
                    beats.reset_after(RETRY_BEAT);
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

/// Looks for lost jobs until told to stop. Where the store was away, nobody could beat: its workers are not lost, and
/// get the time of a round to say so.
pub(super) async fn rescue(
    queue: Arc<dyn JobQueue>,
    metrics: Arc<Metrics>,
    every: Duration,
    stop: CancellationToken,
) {
    let mut rounds = interval(every);
    rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut away = false;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = rounds.tick() => {}
        }
        if away {
            away = queue.ping().await.is_err();
            continue;
        }
        match queue.rescue(Rescue::Expired).await {
            Ok(rescued) => {
                report(&rescued);
                rescued.iter().for_each(|job| metrics.left(job.facts.state));
            }
            Err(error) => {
                away = true;
                error!(%error, "lost jobs could not be looked for");
            }
        }
    }
}

/// Ends waiting jobs whose deadline has passed, until told to stop.
pub(super) async fn expire(queue: Arc<dyn JobQueue>, metrics: Arc<Metrics>, stop: CancellationToken) {
    let mut rounds = interval(EXPIRE_EVERY);
    rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = rounds.tick() => {}
        }
        match queue.expire_waiting().await {
            Ok(expired) => {
                for id in expired {
                    info!(job = %id, "expired while waiting");
                    metrics.left(JobState::Expired);
                }
            }
            Err(error) => error!(%error, "overdue jobs could not be looked for"),
        }
    }
}

/// One line per rescued job.
pub(super) fn report(rescued: &[Rescued]) {
    for Rescued { id, facts } in rescued {
        match facts.state {
            JobState::Failed => {
                error!(job = %id, attempt = facts.attempt, "lost on its last attempt: failed")
            }
            state => info!(job = %id, attempt = facts.attempt, %state, "taken from a lost worker"),
        }
    }
}
