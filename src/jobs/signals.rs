//! Notifier between the parts of a process: there is work, that job is to stop, that job has changed.
//!
//! They only save waiting. The truth is in the store, and whoever listens also polls it: a hint that gets
//! lost costs a second and nothing else. Where several processes share a store, each passes on to its own parts what
//! it hears from the others (`postgres/notifier`).

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use super::JobId;

/// The notifier of one store.
#[derive(Debug, Default)]
pub struct Signals {
    work: Notify,
    running: Mutex<HashMap<JobId, CancellationToken>>,
    /// One channel per job that somebody follows.
    followed: Mutex<HashMap<JobId, watch::Sender<()>>>,
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

    /// Says that a job has changed; nobody need be listening.
    pub fn changed(&self, id: JobId) {
        if let Some(followers) = self.followed().get(&id) {
            followers.send_replace(());
        }
    }

    /// Listens for changes of one job until the listener is dropped.
    pub fn follow(self: &Arc<Self>, id: JobId) -> ChangeListener {
        let changes = self.followed().entry(id).or_insert_with(|| watch::Sender::new(())).subscribe();
        ChangeListener { signals: Arc::clone(self), id, changes }
    }

    /// Says that anything may have changed, as after a time in which nothing could be heard.
    pub fn everything(&self) {
        self.work.notify_waiters();
        self.work_is_there();
        for followers in self.followed().values() {
            followers.send_replace(());
        }
    }

    /// Number of jobs that somebody follows.
    pub fn followed_jobs(&self) -> usize {
        self.followed().len()
    }

    /// No code panics while it holds the lock, and the map is sound at every step.
    fn lock(&self) -> MutexGuard<'_, HashMap<JobId, CancellationToken>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// As [`Signals::lock`].
    fn followed(&self) -> MutexGuard<'_, HashMap<JobId, watch::Sender<()>>> {
        self.followed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Hears of one job's changes.
#[derive(Debug)]
pub struct ChangeListener {
    signals: Arc<Signals>,
    id: JobId,
    changes: watch::Receiver<()>,
}

impl ChangeListener {
    /// Waits for a transition since the last call, or since the listener was made.
    pub async fn changed(&mut self) {
        // The sender lives as long as there is a listener, so there is always something to wait for.
        if self.changes.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

impl Drop for ChangeListener {
    fn drop(&mut self) {
        let mut followed = self.signals.followed();
        // This listener is still counted; nobody can join while the map is locked.
        if followed.get(&self.id).is_some_and(|sender| sender.receiver_count() <= 1) {
            followed.remove(&self.id);
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn followers_hear_of_changes_and_leave_nothing_behind() {
        let signals = Arc::new(Signals::default());
        let id = JobId::new();
        signals.changed(id);
        let (mut first, mut second) = (signals.follow(id), signals.follow(id));
        signals.changed(id);
        first.changed().await;
        second.changed().await;
        drop(first);
        assert_eq!(signals.followed_jobs(), 1);
        signals.changed(id);
        second.changed().await;
        drop(second);
        assert_eq!(signals.followed_jobs(), 0);
    }
}
