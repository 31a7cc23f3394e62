//! Workers that are somewhere: each process with workers tells of them in the store every few seconds, and each
//! process that accepts jobs goes by what they tell. An embedded store has nobody else to tell.

use std::sync::{
    Arc,
    atomic::{AtomicU64, AtomicUsize, Ordering},
};

use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::{Liveness, Throughput};
use crate::jobs::{JobQueue, QueueError, REPORT_EVERY, WorkerReport};

/// What is known of all workers that share the store, as of a few seconds ago.
#[derive(Debug, Default)]
pub struct ClusterState {
    workers: AtomicUsize,
    memory: AtomicU64,
}

impl ClusterState {
    /// Number of workers; none where nothing is known of them.
    pub fn workers(&self) -> usize {
        self.workers.load(Ordering::Relaxed)
    }

    /// Bytes of memory that a job may take on each of them.
    pub fn memory(&self) -> Option<u64> {
        Some(self.memory.load(Ordering::Relaxed)).filter(|memory| *memory > 0)
    }

    fn note(&self, reports: &[WorkerReport]) {
        self.workers.store(reports.iter().map(|report| report.workers).sum(), Ordering::Relaxed);
        let smallest = reports.iter().map(|report| report.memory).min();
        self.memory.store(smallest.unwrap_or_default(), Ordering::Relaxed);
    }
}

/// Tells of this process's workers and hears of all others.
pub(super) struct WorkerRegistry {
    pub queue: Arc<dyn JobQueue>,
    pub alive: Liveness,
    /// Bytes of memory that a job may take here.
    pub memory: u64,
    pub throughput: Arc<Throughput>,
    pub cluster: Arc<ClusterState>,
}

impl WorkerRegistry {
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
        if let Err(error) = self.queue.report(&WorkerReport::default()).await {
            warn!(%error, "others believe in the workers of this process for some seconds more");
        }
    }

    async fn round(&self) -> Result<(), QueueError> {
        let workers = self.alive.count();
        if workers > 0 {
            let report = WorkerReport { workers, memory: self.memory, throughput: self.throughput.known() };
            self.queue.report(&report).await?;
        }
        let reports = self.queue.worker_reports().await?;
        self.cluster.note(&reports);
        if workers == 0 {
            self.throughput.adopt(&reports);
        }
        Ok(())
    }
}
