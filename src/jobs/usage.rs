//! What tenants have used, by day. A trigger of the database counts each job when it ends (`migrations/*_usage.sql`).

use async_trait::async_trait;

use super::{QueueError, row::Columns};
use crate::keys::Tenant;

/// Milliseconds of a day.
pub const DAY: i64 = 24 * 60 * 60 * 1000;

/// What a tenant used on one day.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DailyUsage {
    /// Days since 1970-01-01, in UTC.
    pub day: i64,
    /// Jobs that ended.
    pub jobs: u64,
    /// Those of them with a dream.
    pub succeeded: u64,
    /// Pixels × gradient steps of the dreams, in millions.
    pub megapixel_iterations: f64,
    /// Seconds of pure rendering.
    pub render_seconds: f64,
    /// Length of the dreams' files.
    pub result_bytes: u64,
}

/// The counts of all tenants.
#[async_trait]
pub trait UsageStore: Send + Sync + 'static {
    /// What a tenant used from a day on, newest first; days without a job are left out.
    ///
    /// # Errors
    /// Only when the store fails.
    async fn usage(&self, tenant: &Tenant, from_day: i64) -> Result<Vec<DailyUsage>, QueueError>;

    /// Bytes that a tenant's files take in the blob store now: inputs, and of jobs that have not ended the newest checkpoint and
    /// preview, and results. They count until they are deleted. Uploads count, with the length that was announced, until they expire.
    ///
    /// # Errors
    /// Only when the store fails.
    async fn stored_bytes(&self, tenant: &Tenant) -> Result<u64, QueueError>;
}

pub(super) const USAGE: &str = "
    SELECT day, jobs, succeeded, megapixel_iterations, render_seconds, result_bytes FROM usage
    WHERE tenant = $1 AND day >= $2 ORDER BY day DESC";

pub(super) const STORED: &str = "SELECT bytes FROM stored WHERE tenant = $1";

/// Reads what a tenant's files take; a tenant without a row has none.
pub(super) fn stored(row: Option<&impl Columns>) -> Result<u64, QueueError> {
    let bytes = row.map(|row| row.integer("bytes")).transpose()?.flatten();
    Ok(bytes.unwrap_or_default().max(0).unsigned_abs())
}

/// Reads a day from its row.
pub(super) fn day(row: &impl Columns) -> Result<DailyUsage, QueueError> {
    let count = |column: &str| -> Result<u64, QueueError> {
        Ok(row.integer(column)?.unwrap_or_default().unsigned_abs())
    };
    Ok(DailyUsage {
        day: row.integer("day")?.unwrap_or_default(),
        jobs: count("jobs")?,
        succeeded: count("succeeded")?,
        megapixel_iterations: row.real("megapixel_iterations")?.unwrap_or_default(),
        render_seconds: row.real("render_seconds")?.unwrap_or_default(),
        result_bytes: count("result_bytes")?,
    })
}
