//! The interface of a job store. `tests/queue_contract` checks every store against it.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{
    Begun, Claim, Counts, DeliveryStore, Finished, Forecast, Idempotency, Job, JobError, JobId, JobSnapshot,
    JobState, KeyStore, Lease, NewJob, OperationsStore, Page, PageStart, Place, QueueError, Signals,
    TileStore, UploadStore, UsageStore,
};
use crate::{
    clock::{Clock, Timestamp},
    keys::Tenant,
};
use reverie_dream::progress::Progress;
use reverie_dream::spec::{Change, Precision};

/// Limits and timeouts of a queue; equal in all processes that share a store.
#[derive(Clone, Debug)]
pub struct QueueOptions {
    /// Maximum number of queued and paused jobs.
    pub capacity: u32,
    /// How long a worker may go without a heartbeat before its job goes to another worker.
    pub lease: Duration,
    /// Attempts per job, including the first.
    pub max_attempts: u32,
    /// Source of all timestamps.
    pub clock: Clock,
    /// What each tenant may take of the queue and of the workers.
    pub tenants: TenantOptions,
}

/// What one tenant may take of the queue and of the workers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TenantOptions {
    /// Maximum number of queued jobs of one tenant; `None` for no limit but the queue's.
    pub capacity: Option<u32>,
    /// Maximum predicted seconds of the queued jobs of one tenant, where there are several; `None` for no limit.
    pub waiting_seconds: Option<u32>,
    /// Maximum number of running jobs of one tenant; `None` for no limit. Several processes that claim in the same moment
    /// may each let one begin.
    pub running: Option<u32>,
    /// Maximum length in bytes of a tenant's stored files; `None` for no limit.
    pub stored_bytes: Option<u64>,
    /// Shares of the workers, where several tenants wait, above 0; 1 for a tenant that is not named.
    pub weights: BTreeMap<Tenant, u32>,
}

impl TenantOptions {
    /// Whether the waiting jobs of a tenant are bounded.
    pub fn bounds_waiting(&self) -> bool {
        self.capacity.is_some() || self.waiting_seconds.is_some()
    }
}

/// Which running jobs to take from their workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rescue {
    /// Jobs whose lease has expired.
    Expired,
    /// All running jobs. Correct only if no other process can run any, as at the start of the one server that
    /// uses an embedded store.
    All,
}

/// A durable, bounded queue of jobs, with the API keys, the deliveries of webhooks, the uploads and the usage of tenants
/// and the wanted tiles beside it.
///
/// The methods for clients take the client's tenant. To them a job of another tenant does not exist.
///
/// When a call returns, its effect survives a power cut. The [`Lease`] fences every write of a worker:
/// [`QueueError::LeaseLost`] means that nothing was written.
#[async_trait]
pub trait JobQueue:
    KeyStore + DeliveryStore + UploadStore + UsageStore + TileStore + OperationsStore + Send + Sync + 'static
{
    /// Adds a job to the queue. If its tenant has used its idempotency key with the same fingerprint,
    /// returns the existing job instead, even if the queue is full. Compare the returned id with yours.
    ///
    /// # Errors
    /// [`QueueError::Full`] if the queue is full, [`QueueError::TenantFull`], [`QueueError::TenantSeconds`] or
    /// [`QueueError::TenantBytes`] if the tenant has used up its part,
    /// [`QueueError::KeyReused`].
    async fn enqueue(&self, job: NewJob) -> Result<Job, QueueError>;

    /// The place that a tenant's next job would have, if it came now: an estimate.
    ///
    /// # Errors
    /// Only when the store fails.
    async fn next_place(&self, tenant: &Tenant, priority: i8) -> Result<Place, QueueError>;

    /// Why [`JobQueue::enqueue`] would refuse this job now, if it would. An idempotency key does not count here.
    ///
    /// # Errors
    /// Only when the store fails.
    async fn refusal(&self, job: &NewJob) -> Result<Option<QueueError>, QueueError>;

    /// Returns the tenant's job with this idempotency key, if there is one.
    ///
    /// # Errors
    /// Only when the store fails.
    async fn with_idempotency_key(&self, tenant: &Tenant, key: &str) -> Result<Option<JobId>, QueueError>;

    /// Returns the tenant's job with this idempotency key, as [`JobQueue::enqueue`] would.
    ///
    /// # Errors
    /// [`QueueError::KeyReused`] if it was made by another request.
    async fn repeated(&self, tenant: &Tenant, idempotency: &Idempotency) -> Result<Option<Job>, QueueError>;

    /// Lists at most `limit` jobs of a tenant, newest first: all, or those in `state`; after `start`, or from the newest.
    ///
    /// # Errors
    /// Only when the store fails.
    async fn list(
        &self,
        tenant: &Tenant,
        state: Option<JobState>,
        start: Option<PageStart>,
        limit: u32,
    ) -> Result<Page, QueueError>;

    /// Deletes a tenant's job in any state and returns its last data. A worker that runs it loses its lease.
    ///
    /// # Errors
    /// [`QueueError::NotFound`].
    async fn delete(&self, tenant: &Tenant, id: JobId) -> Result<Job, QueueError>;

    /// Returns a tenant's job, including its place in the queue. In a queue of thousands the place may be some seconds old.
    ///
    /// # Errors
    /// [`QueueError::NotFound`].
    async fn get(&self, tenant: &Tenant, id: JobId) -> Result<Job, QueueError>;

    /// Looks again at jobs that were read before: each as [`JobQueue::get`] would return it now to its own tenant, but for what
    /// changes without a new version (a lease, the start of an attempt); the place in the queue is always new. Leaves out those that
    /// do not exist any more or that this version cannot read. However many they are, they are looked up together, and only those
    /// that have changed are read.
    ///
    /// # Errors
    /// Only when the store fails.
    async fn refresh(&self, known: &[Arc<Job>]) -> Result<Vec<Job>, QueueError>;

    /// Claims a ready job and counts the attempt; `None` if no job is ready. Tenants take turns: first the one with
    /// the fewest jobs at work per weight, among equals the one that was served longest ago. Of its jobs the one with
    /// the highest rank is claimed (see [`super::JobOptions::priority`]). A job whose deadline has passed is not ready. A job that this
    /// version cannot read stays unchanged, and this store skips it from then on.
    ///
    /// # Errors
    /// Only when the store fails.
    async fn claim(&self, worker: &str) -> Result<Option<Claim>, QueueError>;

    /// Renews the lease, stores the progress if given, and returns whether the job must stop.
    ///
    /// # Errors
    /// [`QueueError::LeaseLost`].
    async fn heartbeat(&self, lease: Lease, progress: Option<Progress>)
    -> Result<HeartbeatReply, QueueError>;

    /// Records that the preview of an octave, counted from 1, is stored; with the checkpoint beside it, it takes `bytes`.
    ///
    /// # Errors
    /// [`QueueError::LeaseLost`].
    async fn set_preview(&self, lease: Lease, octave: u32, bytes: u64) -> Result<(), QueueError>;

    /// Records that an octave, of an animation a frame, begins, and returns the schedule: what was asked for until now holds
    /// from there on, and what is asked for afterwards holds from a later one on.
    ///
    /// # Errors
    /// [`QueueError::LeaseLost`].
    async fn begin(&self, lease: Lease, begun: Begun) -> Result<Vec<Change>, QueueError>;

    /// Asks for a change of a tenant's job as it was read, with what it then takes. `None` if the job has gone on since:
    /// read it again.
    ///
    /// # Errors
    /// Only when the store fails.
    async fn steer(&self, job: &Job, change: &Change, forecast: Forecast) -> Result<Option<Job>, QueueError>;

    /// Completes a job with its dream.
    ///
    /// # Errors
    /// [`QueueError::LeaseLost`].
    async fn complete(&self, lease: Lease, finished: Finished) -> Result<Job, QueueError>;

    /// Ends an attempt without a dream. With `retry` the job waits for another attempt, unless none is left.
    ///
    /// # Errors
    /// [`QueueError::LeaseLost`].
    async fn fail(&self, lease: Lease, error: JobError, retry: bool) -> Result<Job, QueueError>;

    /// Returns a job to the queue without counting the attempt.
    ///
    /// # Errors
    /// [`QueueError::LeaseLost`].
    async fn release(&self, lease: Lease) -> Result<Job, QueueError>;

    /// Returns a job to the queue because its worker is sick: like [`JobQueue::release`], and counted in
    /// [`Job::spared`].
    ///
    /// # Errors
    /// [`QueueError::LeaseLost`].
    async fn spare(&self, lease: Lease) -> Result<Job, QueueError>;

    /// Fixes the precision for all attempts of the job. The first call decides; every call returns the
    /// decision.
    ///
    /// # Errors
    /// [`QueueError::LeaseLost`].
    async fn decide_precision(&self, lease: Lease, wanted: Precision) -> Result<Precision, QueueError>;

    /// Records that the worker stopped a job after a cancel request.
    ///
    /// # Errors
    /// [`QueueError::LeaseLost`].
    async fn stopped(&self, lease: Lease) -> Result<Job, QueueError>;

    /// Records that the worker stopped a job because its deadline passed.
    ///
    /// # Errors
    /// [`QueueError::LeaseLost`].
    async fn expired(&self, lease: Lease) -> Result<Job, QueueError>;

    /// Records that the worker stopped a job after a pause request: like [`JobQueue::release`], but the job waits to be
    /// resumed, unless it was resumed already.
    ///
    /// # Errors
    /// [`QueueError::LeaseLost`].
    async fn paused(&self, lease: Lease) -> Result<Job, QueueError>;

    /// Expires the queued and paused jobs whose deadline has passed, and those that have been paused for longer than
    /// [`PAUSE_LIFETIME`](super::PAUSE_LIFETIME).
    ///
    /// # Errors
    /// Only when the store fails.
    async fn expire_waiting(&self) -> Result<Vec<JobId>, QueueError>;

    /// Cancels a tenant's job: at once if queued, or as soon as its worker notices if running. Repeated calls are
    /// fine.
    ///
    /// # Errors
    /// [`QueueError::NotFound`], or [`QueueError::Finished`] if the job ended in another way.
    async fn cancel(&self, tenant: &Tenant, id: JobId) -> Result<Job, QueueError>;

    /// Pauses a tenant's job: at once if queued, or as soon as its worker notices if running. It keeps its place: it counts
    /// towards the bounds of waiting jobs. Repeated calls are fine.
    ///
    /// # Errors
    /// [`QueueError::NotFound`], or [`QueueError::Finished`] if the job has ended.
    async fn pause(&self, tenant: &Tenant, id: JobId) -> Result<Job, QueueError>;

    /// Puts a tenant's paused job back into the queue, or takes a pause request back. Does nothing to a job that is not
    /// paused.
    ///
    /// # Errors
    /// [`QueueError::NotFound`], or [`QueueError::Finished`] if the job has ended.
    async fn resume(&self, tenant: &Tenant, id: JobId) -> Result<Job, QueueError>;

    /// Takes jobs from lost workers: back into the queue, or failed after the last attempt.
    ///
    /// # Errors
    /// Only when the store fails.
    async fn rescue(&self, which: Rescue) -> Result<Vec<Rescued>, QueueError>;

    /// Counts the jobs in each state.
    ///
    /// # Errors
    /// Only when the store fails.
    async fn counts(&self) -> Result<Counts, QueueError>;

    /// Checks that the store answers. Uses its own connection, so no number of readers can delay it.
    ///
    /// # Errors
    /// Only when the store fails.
    async fn ping(&self) -> Result<(), QueueError>;

    /// Checks that the store accepts writes: writes an unused value and waits for the disk.
    ///
    /// # Errors
    /// If the store does not accept the write.
    async fn probe(&self) -> Result<(), QueueError>;

    /// Takes a chore that one process does for all, at most once per `every`. Returns whether this process
    /// must do it now.
    ///
    /// # Errors
    /// Only when the store fails.
    async fn take_chore(&self, name: &str, every: Duration) -> Result<bool, QueueError>;

    /// Counts the jobs that have a place in the queue, which the paused ones keep: cheaper than [`JobQueue::counts`].
    ///
    /// # Errors
    /// Only when the store fails.
    async fn depth(&self) -> Result<u64, QueueError>;

    /// Cheap early check for a free place in the queue; [`JobQueue::enqueue`] decides.
    ///
    /// # Errors
    /// Only when the store fails.
    async fn has_room(&self) -> Result<bool, QueueError>;

    /// Returns when the oldest queued job was accepted.
    ///
    /// # Errors
    /// Only when the store fails.
    async fn oldest_queued(&self) -> Result<Option<Timestamp>, QueueError>;

    /// Marks at most `limit` jobs that ended before `before` as erased, oldest first. From then on no client
    /// can get their pictures; the calling code must delete them.
    ///
    /// # Errors
    /// Only when the store fails.
    async fn expire_blobs(&self, before: Timestamp, limit: u32) -> Result<Vec<Erased>, QueueError>;

    /// Lists at most `limit` jobs whose pictures expired and may still be in the blob store, in the order of
    /// their ids; after `behind`, or from the first.
    ///
    /// # Errors
    /// Only when the store fails.
    async fn blobs_to_delete(&self, behind: Option<JobId>, limit: u32) -> Result<Vec<Erased>, QueueError>;

    /// Records that the pictures of these jobs are deleted.
    ///
    /// # Errors
    /// Only when the store fails.
    async fn blobs_deleted(&self, ids: &[JobId]) -> Result<(), QueueError>;

    /// Returns the owner data of these jobs; leaves out jobs that do not exist.
    ///
    /// # Errors
    /// Only when the store fails.
    async fn owners(&self, ids: &[JobId]) -> Result<Vec<Owner>, QueueError>;

    /// Lists at most `limit` jobs that ended before `before`, oldest first.
    ///
    /// # Errors
    /// Only when the store fails.
    async fn ended_before(&self, before: Timestamp, limit: u32) -> Result<Vec<Erased>, QueueError>;

    /// Deletes finished jobs and ignores others. Returns the number of deleted jobs.
    ///
    /// # Errors
    /// Only when the store fails.
    async fn purge(&self, ids: &[JobId]) -> Result<u64, QueueError>;

    /// Predicted seconds for one worker to finish every queued and running job, minus what the running ones
    /// have already done.
    ///
    /// # Errors
    /// Only when the store fails.
    async fn backlog_seconds(&self) -> Result<f64, QueueError>;

    /// Reports this process's workers to the processes that accept jobs; call it every [`REPORT_EVERY`]. An
    /// embedded store has no other processes.
    ///
    /// # Errors
    /// Only when the store fails.
    async fn report(&self, _report: &WorkerReport) -> Result<(), QueueError> {
        Ok(())
    }

    /// Returns the recent reports of all processes that work on this store, including this one.
    ///
    /// # Errors
    /// Only when the store fails.
    async fn worker_reports(&self) -> Result<Vec<WorkerReport>, QueueError> {
        Ok(Vec::new())
    }

    /// Notifications that wake waiting tasks early.
    fn signals(&self) -> &Arc<Signals>;

    /// The clock that the store uses.
    fn clock(&self) -> &Clock;

    /// Closes all connections. Later calls fail.
    async fn close(&self);
}

/// How often a process with workers sends its report.
pub const REPORT_EVERY: Duration = Duration::from_secs(5);

/// The workers of one process, as reported to the processes that accept jobs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct WorkerReport {
    /// Workers that can take jobs; 0 deregisters the process.
    pub workers: usize,
    /// Bytes of memory that one job may take.
    pub memory: u64,
    /// Speed of the machine: model, precision, and its time relative to the reference machine.
    pub throughput: Vec<(String, Precision, f64)>,
    /// The device of each worker, such as `cpu`; empty from processes of the version before.
    #[serde(default)]
    pub devices: Vec<String>,
}

/// A finished job past its retention time, and where its dream is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Erased {
    /// Id of the job.
    pub id: JobId,
    /// Token of the lease under which its dream was stored, if it has a dream.
    pub result: Option<Uuid>,
}

/// The data that decides which pictures belong to a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    /// Id of the job.
    pub id: JobId,
    /// Its state; `None` for a state of a newer version.
    pub state: Option<JobState>,
    /// Whether its pictures expired.
    pub erased: bool,
    /// Token of the lease under which its dream was stored, if it has one that this version can read.
    pub result: Option<Uuid>,
}

/// A job taken from a lost worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rescued {
    /// Id of the job.
    pub id: JobId,
    /// The job after the transition.
    pub snapshot: JobSnapshot,
}

/// The reply to a heartbeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeartbeatReply {
    /// Whether a client asked to cancel the job.
    pub cancel_requested: bool,
    /// Whether a client asked to pause the job.
    pub pause_requested: bool,
}
