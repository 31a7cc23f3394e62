//! The workers of all processes that share a store. Each process with workers reports them to the store every
//! few seconds; each process that accepts jobs reads the reports. An embedded store has only one process, so
//! there is nothing to report.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicU64, AtomicUsize, Ordering},
};

use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::{Liveness, Throughput};
use crate::jobs::{JobQueue, QueueError, REPORT_EVERY, WorkerReport};

/// The workers of all processes, as of a few seconds ago.
#[derive(Debug, Default)]
pub struct ClusterState {
    workers: AtomicUsize,
    memory: AtomicU64,
    reports: Mutex<Vec<WorkerReport>>,
}

impl ClusterState {
    /// Number of workers; 0 if unknown.
    pub fn workers(&self) -> usize {
        self.workers.load(Ordering::Relaxed)
    }

    /// Bytes of memory that a job may take on every one of them.
    pub fn memory(&self) -> Option<u64> {
        Some(self.memory.load(Ordering::Relaxed)).filter(|memory| *memory > 0)
    }

    /// The newest reports, one of each process that has workers.
    pub fn reports(&self) -> Vec<WorkerReport> {
        self.reports.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn note(&self, reports: &[WorkerReport]) {
        self.workers.store(reports.iter().map(|report| report.workers).sum(), Ordering::Relaxed);
        let smallest = reports.iter().map(|report| report.memory).min();
        self.memory.store(smallest.unwrap_or_default(), Ordering::Relaxed);
    }
}

/// Reports this process's workers and reads the reports of all others.
pub(super) struct WorkerRegistry {
    pub queue: Arc<dyn JobQueue>,
    pub alive: Liveness,
    /// Bytes of memory that a job may take here.
    pub memory: u64,
    pub throughput: Arc<Throughput>,
    /// The device of each worker here.
    pub devices: Vec<String>,
    pub cluster: Arc<ClusterState>,
}

impl WorkerRegistry {
    /// Runs until `stop` is canceled, then deregisters this process.
    pub async fn work(self, stop: CancellationToken) {
        let mut rounds = interval(REPORT_EVERY);
        rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                _ = rounds.tick() => {}
            }
            if let Err(error) = self.round().await {
                warn!(%error, "the worker registry could not be updated or read");
            }
        }
        if let Err(error) = self.queue.report(&WorkerReport::default()).await {
            warn!(%error, "the workers could not be deregistered; other processes still count them");
        }
    }

    async fn round(&self) -> Result<(), QueueError> {
        let workers = self.alive.count();
        let own = WorkerReport {
            workers,
            memory: self.memory,
            throughput: self.throughput.known(),
            devices: self.devices.clone(),
        };
        if workers > 0 {
            self.queue.report(&own).await?;
        }
        let reports = self.queue.worker_reports().await?;
        self.cluster.note(&reports);
        // An embedded store is that of one process, and keeps no reports.
        let shown = if reports.is_empty() && workers > 0 { vec![own] } else { reports.clone() };
        *self.cluster.reports.lock().unwrap_or_else(PoisonError::into_inner) = shown;
        if workers == 0 {
            self.throughput.adopt(&reports);
        }
        Ok(())
    }
}
