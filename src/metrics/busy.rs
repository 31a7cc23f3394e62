//! Counts the time that workers are busy. The counter grows while they work, not only when a job ends, so one
//! long dream shows as a busy worker rather than as an idle one followed by an impossible value.

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use prometheus_client::{
    encoding::{EncodeMetric, MetricEncoder},
    metrics::{MetricType, counter::ConstCounter},
};

/// Sum of all workers' busy time. Clones share it.
#[derive(Clone, Debug, Default)]
pub(super) struct Busy {
    next: Arc<AtomicU64>,
    times: Arc<Mutex<Times>>,
}

#[derive(Debug, Default)]
struct Times {
    over: Duration,
    since: HashMap<u64, Instant>,
}

impl Busy {
    /// Counts a worker as busy until the guard is dropped.
    pub fn start(&self) -> BusyGuard {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        self.lock().since.insert(id, Instant::now());
        BusyGuard { busy: self.clone(), id }
    }

    fn seconds(&self) -> f64 {
        let times = self.lock();
        let now: Duration = times.since.values().map(Instant::elapsed).sum();
        (times.over + now).as_secs_f64()
    }

    /// Nothing panics while it holds the lock.
    fn lock(&self) -> MutexGuard<'_, Times> {
        self.times.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl EncodeMetric for Busy {
    fn encode(&self, encoder: MetricEncoder) -> Result<(), fmt::Error> {
        ConstCounter::new(self.seconds()).encode(encoder)
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Counter
    }
}

/// Counts busy time until dropped.
#[derive(Debug)]
pub struct BusyGuard {
    busy: Busy,
    id: u64,
}

impl Drop for BusyGuard {
    fn drop(&mut self) {
        let mut times = self.busy.lock();
        if let Some(began) = times.since.remove(&self.id) {
            times.over += began.elapsed();
        }
    }
}
