//! What operators see: the jobs of all tenants. Nothing here asks whose a job is; the scope `admin` opens it.

use async_trait::async_trait;

use super::{
    Job, JobId, JobState, QueueError,
    row::{self, Columns},
    sql,
    unreadable::Unreadable,
};

/// Tenants that are shown at most.
pub const MOST_TENANTS: u32 = 100;

/// What a tenant has in the store now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TenantLoad {
    /// Its name, as stored.
    pub tenant: String,
    /// Jobs that wait.
    pub queued: u64,
    /// Jobs at work.
    pub running: u64,
    /// Jobs that are paused.
    pub paused: u64,
    /// Bytes that its files take, as in [`UsageStore::stored_bytes`](super::UsageStore::stored_bytes).
    pub stored_bytes: u64,
}

/// The jobs of all tenants.
#[async_trait]
pub trait OperationsStore: Send + Sync + 'static {
    /// The tenants that have a job that is not finished, or files: those with most waiting jobs first, then with most running ones,
    /// then with most bytes; at most [`MOST_TENANTS`].
    ///
    /// # Errors
    /// Only when the store fails.
    async fn tenant_loads(&self) -> Result<Vec<TenantLoad>, QueueError>;

    /// At most `limit` jobs of all tenants in a state: the queued ones by rank, failed ones newest first, running and paused ones oldest first. Of any
    /// other state there are none.
    ///
    /// # Errors
    /// Only when the store fails.
    async fn jobs_of_all(&self, state: JobState, limit: u32) -> Result<Vec<Job>, QueueError>;

    /// A job of whichever tenant, without its place in the queue.
    ///
    /// # Errors
    /// [`QueueError::NotFound`].
    async fn job_of_any(&self, id: JobId) -> Result<Job, QueueError>;
}

/// An index for each state, and the sums that triggers keep: no row of a finished job is read.
pub(super) const TENANT_LOADS: &str = "
    SELECT tenant, CAST(sum(queued) AS bigint) AS queued, CAST(sum(running) AS bigint) AS running,
        CAST(sum(paused) AS bigint) AS paused, CAST(sum(bytes) AS bigint) AS bytes
    FROM (
        SELECT tenant, count(*) AS queued, 0 AS running, 0 AS paused, 0 AS bytes FROM jobs
        WHERE state = 'queued' GROUP BY tenant
        UNION ALL
        SELECT tenant, 0, count(*), 0, 0 FROM jobs WHERE state = 'running' GROUP BY tenant
        UNION ALL
        SELECT tenant, 0, 0, count(*), 0 FROM jobs WHERE state = 'paused' GROUP BY tenant
        UNION ALL
        SELECT tenant, 0, 0, 0, bytes FROM stored WHERE bytes > 0
    ) AS parts
    GROUP BY tenant ORDER BY 2 DESC, 3 DESC, 4 DESC, 5 DESC, 1 LIMIT $1";

macro_rules! all_in {
    ($state:literal, $order:literal) => {
        concat!(
            "SELECT ",
            sql::columns!(),
            " FROM jobs WHERE state = '",
            $state,
            "' ORDER BY ",
            $order,
            " LIMIT $1"
        )
    };
}

/// The statement for the jobs in a state; `None` for a state that operators do not list.
pub(super) const fn all_in(state: JobState) -> Option<&'static str> {
    match state {
        JobState::Queued => Some(all_in!("queued", "rank, id")),
        JobState::Running => Some(all_in!("running", "created_at, id")),
        JobState::Paused => Some(all_in!("paused", "updated_at, id")),
        JobState::Failed => Some(all_in!("failed", "finished_at DESC, id DESC")),
        _ => None,
    }
}

/// Reads a tenant's row.
pub(super) fn tenant_load(row: &impl Columns) -> Result<TenantLoad, QueueError> {
    let count = |column: &str| -> Result<u64, QueueError> {
        Ok(row.integer(column)?.unwrap_or_default().max(0).unsigned_abs())
    };
    Ok(TenantLoad {
        tenant: row.text("tenant")?.unwrap_or_default().to_owned(),
        queued: count("queued")?,
        running: count("running")?,
        paused: count("paused")?,
        stored_bytes: count("bytes")?,
    })
}

/// Reads jobs; those that this version cannot read are left out.
pub(super) fn jobs(rows: &[impl Columns], unreadable: &Unreadable) -> Result<Vec<Job>, QueueError> {
    rows.iter().filter_map(|row| unreadable.skip(row::job(row)).transpose()).collect()
}
