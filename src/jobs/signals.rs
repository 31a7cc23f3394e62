//! Notifications between the tasks of a process: a job is ready, a job must stop, something was asked of a running job, a job
//! changed.
//!
//! Notifications wake waiters at once. Waiters also poll each second, and the worker of a running job learns with each heartbeat what was
//! asked of it, so correctness never depends on a notification. The store holds the truth. If several processes share a store, each forwards the others'
//! notifications to its own tasks (`postgres/notifier`).

use std::{
    collections::{HashMap, HashSet},
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
    followed: Mutex<Followed>,
    /// Wakes whoever waits for [`Signals::changes`].
    changes: Notify,
}

/// What somebody follows.
#[derive(Debug, Default)]
struct Followed {
    /// One channel per job.
    by_job: HashMap<JobId, watch::Sender<()>>,
    /// Those that have changed since they were last asked for.
    changed: HashSet<JobId>,
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
        let mut followed = self.followed();
        if let Some(followers) = followed.by_job.get(&id) {
            followers.send_replace(());
            followed.changed.insert(id);
            self.changes.notify_one();
        }
    }

    /// Waits until jobs that somebody follows have changed since the last call, and returns them. For one task, which follows
    /// them for all others.
    pub async fn changes(&self) -> HashSet<JobId> {
        self.changes.notified().await;
        std::mem::take(&mut self.followed().changed)
    }

    /// Listens for changes of one job until the listener is dropped.
    pub fn follow(self: &Arc<Self>, id: JobId) -> ChangeListener {
        let changes = self.followed().by_job.entry(id).or_insert_with(|| watch::Sender::new(())).subscribe();
        ChangeListener { signals: Arc::clone(self), id, changes }
    }

    /// Signals that anything may have changed, for example after the notifier was disconnected.
    pub fn everything(&self) {
        self.work.notify_waiters();
        self.work_is_there();
        let mut followed = self.followed();
        let Followed { by_job, changed } = &mut *followed;
        for (id, followers) in by_job {
            followers.send_replace(());
            changed.insert(*id);
        }
        self.changes.notify_one();
    }

    /// Number of followed jobs.
    pub fn followed_jobs(&self) -> usize {
        self.followed().by_job.len()
    }

    /// No code panics while it holds the lock, and the map is sound at every step.
    fn lock(&self) -> MutexGuard<'_, HashMap<JobId, Requests>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Like [`Signals::lock`].
    fn followed(&self) -> MutexGuard<'_, Followed> {
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
        if followed.by_job.get(&self.id).is_some_and(|sender| sender.receiver_count() <= 1) {
            followed.by_job.remove(&self.id);
            followed.changed.remove(&self.id);
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

    #[tokio::test]
    async fn one_task_hears_of_every_followed_job() {
        let signals = Arc::new(Signals::default());
        let (one, other, unknown) = (JobId::new(), JobId::new(), JobId::new());
        let (_one, left) = (signals.follow(one), signals.follow(other));
        for id in [one, one, other, unknown] {
            signals.changed(id);
        }
        assert_eq!(signals.changes().await, HashSet::from([one, other]));
        signals.changed(other);
        drop(left);
        signals.everything();
        assert_eq!(signals.changes().await, HashSet::from([one]));
    }
}
