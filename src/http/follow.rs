//! The jobs that clients follow, by event streams and bounded waits: one task of the process reads them for all.
//!
//! However many clients follow however many jobs, the store is asked once: at once for those that a notification names, and each
//! second for all of them. So correctness never depends on a notification, and a place in the queue, which changes without one,
//! is never older than a second. Who follows a job sleeps until there is something new about it.

use std::{
    collections::{HashMap, HashSet},
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures::FutureExt as _;
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{MissedTickBehavior, interval, sleep, timeout},
};
use tracing::{error, warn};

use super::state::AppState;
use crate::{
    jobs::{ChangeListener, Job, JobId, JobQueue, QueueError},
    keys::Tenant,
};

/// Polling interval without a notification.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// For how long one look may take, which has several statements.
const PATIENCE: Duration = Duration::from_secs(10);

/// A job, and as whose it is followed.
type Key = (Tenant, JobId);

/// What is known of the followed jobs.
type Known = Mutex<HashMap<Key, Followed>>;

/// A job while somebody follows it.
#[derive(Debug)]
struct Followed {
    seen: watch::Sender<Seen>,
    /// How many follow it. The channel's own count falls only after a follower has let go of the map.
    followers: usize,
    /// Whether a notification came before there was a job to look at.
    has_changed: bool,
    /// Has the store's notifications tell of this job.
    _changes: ChangeListener,
}

/// What the last look at a job found.
#[derive(Debug, Default)]
enum Seen {
    /// There was none yet.
    #[default]
    Nothing,
    /// The job.
    Job(Arc<Job>),
    /// The job was not found.
    Lost,
}

/// See the module's description. Clones share everything; the task ends with the last one.
#[derive(Clone)]
pub struct FollowedJobs {
    known: Arc<Known>,
    _task: Arc<JoinSet<()>>,
}

impl FollowedJobs {
    /// Starts the task.
    pub fn start(queue: Arc<dyn JobQueue>) -> Self {
        let known = Arc::<Known>::default();
        let mut task = JoinSet::new();
        let looked_at = Arc::clone(&known);
        task.spawn(async move {
            // All who follow depend on it, so a panic ends one look and no more.
            while AssertUnwindSafe(look(&queue, &looked_at)).catch_unwind().await.is_err() {
                error!("the look at followed jobs has panicked; it begins again");
                sleep(POLL_INTERVAL).await;
            }
        });
        Self { known, _task: Arc::new(task) }
    }
}

/// Looks at followed jobs, for ever. What cannot be read now is read with the next look: who follows loses nothing by that.
async fn look(queue: &Arc<dyn JobQueue>, known: &Known) {
    let signals = Arc::clone(queue.signals());
    let mut ticks = interval(POLL_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let jobs = tokio::select! {
            changed = signals.changes() => read(known, Some(&changed)),
            _ = ticks.tick() => read(known, None),
        };
        if jobs.is_empty() {
            continue;
        }
        match timeout(PATIENCE, queue.refresh(&jobs)).await {
            Ok(Ok(found)) => tell(known, &jobs, found),
            Ok(Err(error)) => warn!(%error, followed = jobs.len(), "followed jobs cannot be read"),
            Err(_) => warn!(followed = jobs.len(), "followed jobs could not be read within {PATIENCE:?}"),
        }
    }
}

/// The followed jobs as they were read last: all, or those of `ids`.
fn read(known: &Known, ids: Option<&HashSet<JobId>>) -> Vec<Arc<Job>> {
    let mut known = lock(known);
    let asked = known.iter_mut().filter(|((_, id), _)| ids.is_none_or(|ids| ids.contains(id)));
    let jobs = asked.filter_map(|(_, followed)| match &*followed.seen.borrow() {
        Seen::Job(job) => Some(Arc::clone(job)),
        // Whoever begins to follow it is reading it, perhaps as it was before.
        Seen::Nothing | Seen::Lost => {
            followed.has_changed |= ids.is_some();
            None
        }
    });
    jobs.collect()
}

/// Tells the followers of `asked` what was found of them.
fn tell(known: &Known, asked: &[Arc<Job>], found: Vec<Job>) {
    let mut found: HashMap<JobId, Job> = found.into_iter().map(|job| (job.id, job)).collect();
    let known = lock(known);
    for job in asked {
        let Some(followed) = known.get(&(job.tenant.clone(), job.id)) else { continue };
        match found.remove(&job.id) {
            Some(job) => followed.offer(Arc::new(job)),
            None => drop(followed.seen.send_replace(Seen::Lost)),
        }
    }
}

/// No code panics while it holds the lock.
fn lock(known: &Known) -> MutexGuard<'_, HashMap<Key, Followed>> {
    known.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Followed {
    /// Has this job unless a newer version of it is known, and wakes the followers if they can tell the two apart.
    fn offer(&self, job: Arc<Job>) {
        self.seen.send_if_modified(|seen| {
            let is_new = match seen {
                Seen::Job(known) if known.version > job.version => return false,
                Seen::Job(known) => {
                    (known.version, known.queue_position) != (job.version, job.queue_position)
                }
                Seen::Nothing | Seen::Lost => true,
            };
            *seen = Seen::Job(job);
            is_new
        });
    }
}

/// What a follower is told.
#[derive(Debug)]
pub enum Next {
    /// The job has changed, or may have.
    Job(Arc<Job>),
    /// The job does not exist any more; [`Follower::read`] says so.
    Lost,
    /// The server stops.
    Stopped,
}

/// Follows one job of a tenant until it is dropped.
pub struct Follower {
    state: AppState,
    key: Key,
    seen: watch::Receiver<Seen>,
}

impl Follower {
    /// Starts to listen: no change after the next [`Follower::read`] is missed.
    pub fn new(state: &AppState, tenant: &Tenant, id: JobId) -> Self {
        let key = (tenant.clone(), id);
        let mut known = lock(&state.followed.known);
        let followed = known.entry(key.clone()).or_insert_with(|| Followed {
            seen: watch::Sender::default(),
            followers: 0,
            has_changed: false,
            _changes: state.queue.signals().follow(id),
        });
        followed.followers += 1;
        let seen = followed.seen.subscribe();
        drop(known);
        Self { state: state.clone(), key, seen }
    }

    /// Reads the job. Must be called before [`Follower::next`].
    ///
    /// # Errors
    /// [`QueueError::NotFound`] if the tenant has no such job, or no longer has it.
    pub async fn read(&mut self) -> Result<Arc<Job>, QueueError> {
        let (tenant, id) = &self.key;
        let job = Arc::new(self.state.queue.get(tenant, *id).await?);
        if let Some(followed) = lock(&self.state.followed.known).get_mut(&self.key) {
            followed.offer(Arc::clone(&job));
            if std::mem::take(&mut followed.has_changed) {
                self.state.queue.signals().changed(*id);
            }
        }
        Ok(job)
    }

    /// Waits until there is something new.
    pub async fn next(&mut self) -> Next {
        tokio::select! {
            biased;
            () = self.state.draining() => Next::Stopped,
            // The sender lives as long as a follower does.
            _ = self.seen.changed() => match &*self.seen.borrow_and_update() {
                Seen::Job(job) => Next::Job(Arc::clone(job)),
                Seen::Nothing | Seen::Lost => Next::Lost,
            },
        }
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        let mut known = lock(&self.state.followed.known);
        let Some(followed) = known.get_mut(&self.key) else { return };
        followed.followers -= 1;
        if followed.followers == 0 {
            known.remove(&self.key);
        }
    }
}
