//! Workers that are somewhere: each process with workers tells of them in the store every few seconds, and each
//! process that accepts jobs goes by what they tell. An embedded store has nobody else to tell.

use std::sync::{
    Arc,
    atomic::{AtomicU64, AtomicUsize, Ordering},
};

use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::{Alive, Pace};
use crate::jobs::{Crew, JobQueue, QueueError, REPORT_EVERY};

/// What is known of all workers that share the store, as of a few seconds ago.
#[derive(Debug, Default)]
pub struct Everywhere {
    workers: AtomicUsize,
    memory: AtomicU64,
}

impl Everywhere {
    /// Number of workers; none where nothing is known of them.
    pub fn workers(&self) -> usize {
        self.workers.load(Ordering::Relaxed)
    }

    /// Bytes of memory that a job may take on each of them.
    pub fn memory(&self) -> Option<u64> {
        Some(self.memory.load(Ordering::Relaxed)).filter(|memory| *memory > 0)
    }

    fn note(&self, crews: &[Crew]) {
        self.workers.store(crews.iter().map(|crew| crew.workers).sum(), Ordering::Relaxed);
        let smallest = crews.iter().map(|crew| crew.memory).min();
        self.memory.store(smallest.unwrap_or_default(), Ordering::Relaxed);
    }
}

/// Tells of this process's workers and hears of all others.
pub(super) struct Exchange {
    pub queue: Arc<dyn JobQueue>,
    pub alive: Alive,
    /// Bytes of memory that a job may take here.
    pub memory: u64,
    pub pace: Arc<Pace>,
    pub everywhere: Arc<Everywhere>,
}

impl Exchange {
    /// Goes on until told to stop, and says good-bye.
    pub async fn work(self, stop: CancellationToken) {
        let mut rounds = interval(REPORT_EVERY);
        rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                _ = rounds.tick() => {}
            }
            if let Err(error) = self.round().await {
                warn!(%error, "what other processes tell of their workers is not known");
            }
        }
        if let Err(error) = self.queue.report(&Crew::default()).await {
            warn!(%error, "others believe in the workers of this process for some seconds more");
        }
    }

    async fn round(&self) -> Result<(), QueueError> {
        let workers = self.alive.count();
        if workers > 0 {
            let crew = Crew { workers, memory: self.memory, pace: self.pace.known() };
            self.queue.report(&crew).await?;
        }
        let crews = self.queue.crews().await?;
        self.everywhere.note(&crews);
        if workers == 0 {
            self.pace.adopt(&crews);
        }
        Ok(())
    }
}
