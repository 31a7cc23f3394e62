//! Hints between the parts of one process: there is work, that job is to stop.
//!
//! They only save waiting. The truth is in the store, and whoever listens also polls it: a hint that gets
//! lost, or that another process would have had to send, costs a second and nothing else.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::JobId;

/// The hints of one store.
#[derive(Debug, Default)]
pub struct Signals {
    work: Notify,
    running: Mutex<HashMap<JobId, CancellationToken>>,
}

impl Signals {
    /// Says that there may be a job to claim; wakes one worker, now or when it next waits.
    pub fn work_is_there(&self) {
        self.work.notify_one();
    }

    /// Waits for [`Signals::work_is_there`].
    pub async fn work(&self) {
        self.work.notified().await;
    }

    /// Says that a running job is to stop; nobody need be listening.
    pub fn cancel(&self, id: JobId) {
        if let Some(token) = self.lock().get(&id) {
            token.cancel();
        }
    }

    /// Listens for the cancellation of one job until the listener is dropped.
    pub fn listen(self: &Arc<Self>, id: JobId) -> CancelListener {
        let token = CancellationToken::new();
        self.lock().insert(id, token.clone());
        CancelListener { signals: Arc::clone(self), id, token }
    }

    /// No code panics while it holds the lock, and the map is sound at every step.
    fn lock(&self) -> MutexGuard<'_, HashMap<JobId, CancellationToken>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Hears of one job's cancellation.
#[derive(Debug)]
pub struct CancelListener {
    signals: Arc<Signals>,
    id: JobId,
    token: CancellationToken,
}

impl CancelListener {
    /// Waits until the job is to stop.
    pub async fn canceled(&self) {
        self.token.cancelled().await;
    }
}

impl Drop for CancelListener {
    fn drop(&mut self) {
        self.signals.lock().remove(&self.id);
    }
}
