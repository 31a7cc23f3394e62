//! The worker registry: one row per process with workers, rewritten every few seconds.

use sqlx::PgPool;
use uuid::Uuid;

use crate::jobs::{QueueError, REPORT_EVERY, WorkerReport, transition::millis};

/// Also deletes the rows of processes that have been silent for ten minutes.
const REPORT: &str = "
    WITH silent AS (DELETE FROM workers WHERE heard_at < reverie_now($3) - 600000 AND id <> $1)
    INSERT INTO workers (id, report, heard_at) VALUES ($1, $2, reverie_now($3))
    ON CONFLICT (id) DO UPDATE SET report = excluded.report, heard_at = excluded.heard_at";
const DEREGISTER: &str = "DELETE FROM workers WHERE id = $1";
const RECENT: &str = "SELECT report FROM workers WHERE heard_at > reverie_now($1) - $2";

/// A process counts as gone after this many missed reports.
const MISSED_REPORTS: i64 = 3;

/// Reports the workers of this process; a report of 0 workers deregisters it.
pub(super) async fn report(
    pool: &PgPool,
    process: Uuid,
    report: &WorkerReport,
    now: Option<i64>,
) -> Result<(), QueueError> {
    let process = process.to_string();
    if report.workers == 0 {
        sqlx::query(DEREGISTER).bind(process).execute(pool).await?;
        return Ok(());
    }
    let text = serde_json::to_string(report).map_err(|error| sqlx::Error::Encode(error.into()))?;
    sqlx::query(REPORT).bind(process).bind(text).bind(now).execute(pool).await?;
    Ok(())
}

/// The recent reports.
pub(super) async fn recent(pool: &PgPool, now: Option<i64>) -> Result<Vec<WorkerReport>, QueueError> {
    let worker_reports = sqlx::query_scalar::<_, String>(RECENT).bind(now);
    let worker_reports = worker_reports.bind(MISSED_REPORTS * millis(REPORT_EVERY)).fetch_all(pool).await?;
    // A later version may report in another format.
    Ok(worker_reports.iter().filter_map(|report| serde_json::from_str(report).ok()).collect())
}
