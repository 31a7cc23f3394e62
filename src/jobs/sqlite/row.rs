//! From rows to jobs and back. A row that cannot be read is an error that names its job, never a panic.

use sqlx::{Row, sqlite::SqliteRow};

use crate::{
    clock::Timestamp,
    jobs::{Erased, Facts, Forecast, Job, JobId, JobResult, JobState, QueueError},
};

pub(super) fn job(row: &SqliteRow) -> Result<Job, QueueError> {
    let facts = facts(row)?;
    let time = |column: &str| -> Result<Option<Timestamp>, sqlx::Error> {
        Ok(row.try_get::<Option<i64>, _>(column)?.map(Timestamp::from_millis))
    };
    Ok(Job {
        id: job_id(row)?,
        state: facts.state,
        version: row.try_get::<i64, _>("version")?.unsigned_abs(),
        spec: parsed(row, "spec")?.ok_or_else(|| corrupt(row, "it has no spec"))?,
        priority: row.try_get("priority")?,
        deadline_at: time("deadline_at")?,
        attempt: facts.attempt,
        cancel_requested: facts.cancel_requested,
        queue_position: row.try_get::<Option<i64>, _>("queue_position")?.map(i64::unsigned_abs),
        seconds_ahead: row.try_get("seconds_ahead")?,
        forecast: forecast(row)?,
        progress: parsed(row, "progress")?,
        preview_octave: row.try_get("preview_octave")?,
        error: parsed(row, "error")?,
        result: parsed(row, "result")?,
        render_seconds: row.try_get("render_seconds")?,
        created_at: time("created_at")?.ok_or_else(|| corrupt(row, "it has no age"))?,
        started_at: time("started_at")?,
        finished_at: time("finished_at")?,
        updated_at: time("updated_at")?.ok_or_else(|| corrupt(row, "it has no age"))?,
        erased_at: time("erased_at")?,
        // A hint for whoever watches: not worth losing a job for.
        traceparent: row.try_get::<Option<&str>, _>("traceparent")?.and_then(|text| text.parse().ok()),
    })
}

/// What was predicted; none for a row of an earlier version.
fn forecast(row: &SqliteRow) -> Result<Option<Forecast>, sqlx::Error> {
    let Some(seconds) = row.try_get("predicted_seconds")? else { return Ok(None) };
    Ok(Some(Forecast {
        seconds,
        reference_seconds: row.try_get::<Option<f64>, _>("reference_seconds")?.unwrap_or(seconds),
        memory: row.try_get::<Option<i64>, _>("predicted_memory")?.unwrap_or_default().unsigned_abs(),
        megapixel_iterations: row.try_get::<Option<f64>, _>("megapixel_iterations")?.unwrap_or_default(),
    }))
}

pub(super) fn facts(row: &SqliteRow) -> Result<Facts, QueueError> {
    Ok(Facts {
        state: state(row)?,
        attempt: row.try_get("attempt")?,
        cancel_requested: row.try_get("cancel_requested")?,
    })
}

pub(super) fn state(row: &SqliteRow) -> Result<JobState, QueueError> {
    row.try_get::<&str, _>("state")?.parse().map_err(|error| corrupt(row, error))
}

pub(super) fn job_id(row: &SqliteRow) -> Result<JobId, QueueError> {
    row.try_get::<&str, _>("id")?.parse().map_err(|error| corrupt(row, error))
}

/// A job that the sweeper looks at.
pub(super) fn erased(row: &SqliteRow) -> Result<Erased, QueueError> {
    let result: Option<JobResult> = parsed(row, "result")?;
    Ok(Erased { id: job_id(row)?, result: result.map(|result| result.lease) })
}

/// A column that holds JSON.
fn parsed<T: serde::de::DeserializeOwned>(row: &SqliteRow, column: &str) -> Result<Option<T>, QueueError> {
    let text: Option<&str> = row.try_get(column)?;
    let value = text.map(serde_json::from_str).transpose();
    value.map_err(|error| corrupt(row, format!("{column}: {error}")))
}

pub(super) fn json<T: serde::Serialize>(id: JobId, value: &T) -> Result<String, QueueError> {
    serde_json::to_string(value)
        .map_err(|error| QueueError::Corrupt { id: id.to_string(), problem: error.to_string() })
}

fn corrupt(row: &SqliteRow, problem: impl ToString) -> QueueError {
    let id = row.try_get("id").unwrap_or_else(|_| "?".to_owned());
    QueueError::Corrupt { id, problem: problem.to_string() }
}
