//! Notifications between the tasks of a process: a job is ready, a job must stop, something was asked of a running job, a job
//! changed.
//!
//! Notifications wake waiters at once. Waiters also poll each second, and the worker of a running job learns with each heartbeat what was
//! asked of it, so correctness never depends on a notification. The store holds the truth. If several processes share a store, each forwards the others'
//! notifications to its own tasks (`postgres/notifier`).

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use super::JobId;
use crate::tile::TileId;

/// The notifications of one store.
#[derive(Debug, Default)]
pub struct Signals {
    work: Notify,
    tiles: Notify,
    running: Mutex<HashMap<JobId, Requests>>,
    /// One channel per followed job.
    followed: Mutex<HashMap<JobId, watch::Sender<()>>>,
}

impl Signals {
    /// Signals that a job may be ready; wakes one worker, now or when it next waits.
    pub fn work_is_there(&self) {
        self.work.notify_one();
    }

    /// Waits for [`Signals::work_is_there`].
    pub async fn work(&self) {
        self.work.notified().await;
    }

    /// Signals that a tile is wanted; wakes one worker, now or when it next waits for one.
    pub fn tile_is_wanted(&self) {
        self.tiles.notify_one();
    }

    /// Waits for [`Signals::tile_is_wanted`].
    pub async fn tile(&self) {
        self.tiles.notified().await;
    }

    /// Signals that a tile is rendered; works without a listener.
    pub fn tile_changed(&self, id: TileId) {
        self.changed(as_job(id));
    }

    /// Listens for one tile until the listener is dropped.
    pub fn follow_tile(self: &Arc<Self>, id: TileId) -> ChangeListener {
        self.follow(as_job(id))
    }

    /// Signals that a running job must stop; works without a listener.
    pub fn cancel(&self, id: JobId) {
        if let Some(requests) = self.lock().get(&id) {
            requests.cancel.cancel();
        }
    }

    /// Signals that something else was asked of a running job, which the store can tell; works without a listener.
    pub fn asked(&self, id: JobId) {
        if let Some(requests) = self.lock().get(&id) {
            requests.other.notify_one();
        }
    }

    /// Listens for what is asked of one running job until the listener is dropped.
    pub fn listen(self: &Arc<Self>, id: JobId) -> RequestListener {
        let requests = Requests::default();
        self.lock().insert(id, requests.clone());
        RequestListener { signals: Arc::clone(self), id, requests }
    }

    /// Signals that a job changed; works without a listener.
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

    /// Signals that anything may have changed, for example after the notifier was disconnected.
    pub fn everything(&self) {
        self.work.notify_waiters();
        self.work_is_there();
        for followers in self.followed().values() {
            followers.send_replace(());
        }
    }

    /// Number of followed jobs.
    pub fn followed_jobs(&self) -> usize {
        self.followed().len()
    }

    /// No code panics while it holds the lock, and the map is sound at every step.
    fn lock(&self) -> MutexGuard<'_, HashMap<JobId, Requests>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Like [`Signals::lock`].
    fn followed(&self) -> MutexGuard<'_, HashMap<JobId, watch::Sender<()>>> {
        self.followed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tiles are followed as jobs are: their ids are UUIDs of another version, so the two never meet.
pub(super) fn as_job(id: TileId) -> JobId {
    JobId(id.uuid())
}

/// Receives the changes of one job.
#[derive(Debug)]
pub struct ChangeListener {
    signals: Arc<Signals>,
    id: JobId,
    changes: watch::Receiver<()>,
}

impl ChangeListener {
    /// Waits for a change since the last call, or since the listener was made.
    pub async fn changed(&mut self) {
        // The sender lives as long as a listener does, so there is always something to wait for.
        if self.changes.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

impl Drop for ChangeListener {
    fn drop(&mut self) {
        let mut followed = self.signals.followed();
        // The count still includes this listener; none can join while the map is locked.
        if followed.get(&self.id).is_some_and(|sender| sender.receiver_count() <= 1) {
            followed.remove(&self.id);
        }
    }
}

/// What may be asked of a running job.
#[derive(Clone, Debug, Default)]
struct Requests {
    cancel: CancellationToken,
    other: Arc<Notify>,
}

/// Receives what is asked of one running job.
#[derive(Debug)]
pub struct RequestListener {
    signals: Arc<Signals>,
    id: JobId,
    requests: Requests,
}

impl RequestListener {
    /// Waits until the job must stop.
    pub async fn canceled(&self) {
        self.requests.cancel.cancelled().await;
    }

    /// Waits until something else was asked since the last call, or since the listener was made.
    pub async fn asked(&self) {
        self.requests.other.notified().await;
    }
}

impl Drop for RequestListener {
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
