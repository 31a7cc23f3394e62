//! Takes jobs from lost workers, and expires queued and paused jobs whose time has passed.
//!
//! The search for lost jobs runs once per heartbeat, and a lease lasts three. So an orphan returns to the
//! queue within four heartbeats: 40 seconds at the default lease of 30.

use std::{sync::Arc, time::Duration};

use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use super::checkpoints;
use crate::{
    jobs::{JobQueue, JobState, Rescue, Rescued},
    metrics::Metrics,
    objects::Objects,
};

/// How often to search for queued jobs whose deadline has passed.
const EXPIRE_EVERY: Duration = Duration::from_secs(1);

/// Searches for lost jobs until `stop` is canceled. While the store was unreachable, no worker could send a
/// heartbeat: those workers are not lost, and get one round to send one.
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
                rescued.iter().for_each(|job| metrics.left(job.snapshot.state));
            }
            Err(error) => {
                away = true;
                error!(%error, "the search for lost jobs failed");
            }
        }
    }
}

/// Expires queued and paused jobs whose time has passed, until `stop` is canceled.
pub(super) async fn expire(
    queue: Arc<dyn JobQueue>,
    metrics: Arc<Metrics>,
    objects: Objects,
    stop: CancellationToken,
) {
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
                    // An attempt before may have left some.
                    checkpoints::delete(&objects, id).await;
                }
            }
            Err(error) => error!(%error, "the search for overdue jobs failed"),
        }
    }
}

/// Logs one line per rescued job.
pub(super) fn report(rescued: &[Rescued]) {
    for Rescued { id, snapshot } in rescued {
        match snapshot.state {
            JobState::Failed => {
                error!(job = %id, attempt = snapshot.attempt, "lost on its last attempt; it failed")
            }
            state => info!(job = %id, attempt = snapshot.attempt, %state, "taken from a lost worker"),
        }
    }
}
