//! Converts rows to jobs and back, for both databases. A row that cannot be read is an error that names its
//! job, never a panic.

use sqlx::{Row, postgres::PgRow, sqlite::SqliteRow};

use super::{
    Begun, Counts, Erased, Forecast, Idempotency, Job, JobId, JobSnapshot, JobState, Owner, Page, PageStart,
    QueueError, TenantOptions, unreadable::Unreadable,
};
use crate::{clock::Timestamp, keys::Tenant};
use reverie_dream::spec::{DreamSpec, Precision};

/// The few column types, equal in both databases.
pub(super) trait Columns {
    fn text(&self, column: &str) -> Result<Option<&str>, sqlx::Error>;
    fn integer(&self, column: &str) -> Result<Option<i64>, sqlx::Error>;
    fn real(&self, column: &str) -> Result<Option<f64>, sqlx::Error>;
    fn flag(&self, column: &str) -> Result<bool, sqlx::Error>;
}

macro_rules! columns {
    ($row:ty) => {
        impl Columns for $row {
            fn text(&self, column: &str) -> Result<Option<&str>, sqlx::Error> {
                self.try_get(column)
            }

            fn integer(&self, column: &str) -> Result<Option<i64>, sqlx::Error> {
                self.try_get(column)
            }

            fn real(&self, column: &str) -> Result<Option<f64>, sqlx::Error> {
                self.try_get(column)
            }

            fn flag(&self, column: &str) -> Result<bool, sqlx::Error> {
                self.try_get(column)
            }
        }
    };
}

columns!(SqliteRow);
columns!(PgRow);

pub(super) fn job(row: &impl Columns) -> Result<Job, QueueError> {
    let snapshot = snapshot(row)?;
    let time = |column: &str| -> Result<Option<Timestamp>, sqlx::Error> {
        Ok(row.integer(column)?.map(Timestamp::from_millis))
    };
    let mut spec: DreamSpec = parsed(row, "spec")?.ok_or_else(|| corrupt(row, "its spec is missing"))?;
    let planned = spec.schedule.clone();
    if let Some(schedule) = parsed(row, "schedule")? {
        spec.schedule = schedule;
    }
    Ok(Job {
        id: job_id(row)?,
        tenant: tenant(row)?,
        state: snapshot.state,
        version: row.integer("version")?.unwrap_or_default().unsigned_abs(),
        spec,
        planned,
        steering: parsed(row, "steering")?,
        steered: row.integer("steered")?.unwrap_or_default().unsigned_abs(),
        begun: begun(row)?,
        priority: small(row, "priority")?.unwrap_or_default(),
        deadline_at: time("deadline_at")?,
        attempt: snapshot.attempt,
        cancel_requested: snapshot.cancel_requested,
        pause_requested: snapshot.pause_requested,
        // `Places` knows them.
        queue_position: None,
        seconds_ahead: None,
        forecast: forecast(row)?,
        progress: parsed(row, "progress")?,
        preview_octave: small(row, "preview_octave")?,
        error: parsed(row, "error")?,
        result: parsed(row, "result")?,
        render_seconds: row.real("render_seconds")?,
        created_at: time("created_at")?.ok_or_else(|| corrupt(row, "its created_at is missing"))?,
        started_at: time("started_at")?,
        finished_at: time("finished_at")?,
        updated_at: time("updated_at")?.ok_or_else(|| corrupt(row, "its updated_at is missing"))?,
        erased_at: time("erased_at")?,
        // Only for tracing: a bad value must not cost the job.
        traceparent: row.text("traceparent")?.and_then(|text| text.parse().ok()),
        spared: small(row, "spared")?.unwrap_or_default(),
        precision: row.text("resolved_precision")?.map(|name| precision(row, name)).transpose()?,
    })
}

/// The octave or frame that has begun.
fn begun(row: &impl Columns) -> Result<Option<Begun>, QueueError> {
    Ok(match (small(row, "place")?, small(row, "places")?) {
        (Some(place), Some(places)) => Some(Begun { place, places }),
        _ => None,
    })
}

/// The precision that a job computes with.
pub(super) fn decided(row: &impl Columns, id: JobId) -> Result<Precision, QueueError> {
    let unknown = |problem: String| QueueError::Corrupt { id: id.to_string(), problem };
    let name = row.text("resolved_precision")?.ok_or_else(|| unknown("its precision is missing".into()))?;
    serde_json::from_value(name.into()).map_err(|error| unknown(format!("resolved_precision: {error}")))
}

/// Parses a precision by name.
fn precision(row: &impl Columns, name: &str) -> Result<Precision, QueueError> {
    let read = serde_json::from_value(name.into());
    read.map_err(|error| corrupt(row, format!("resolved_precision: {error}")))
}

/// The predicted cost; none for a row of an earlier version.
fn forecast(row: &impl Columns) -> Result<Option<Forecast>, sqlx::Error> {
    let Some(seconds) = row.real("predicted_seconds")? else { return Ok(None) };
    Ok(Some(Forecast {
        seconds,
        reference_seconds: row.real("reference_seconds")?.unwrap_or(seconds),
        memory: row.integer("predicted_memory")?.unwrap_or_default().unsigned_abs(),
        megapixel_iterations: row.real("megapixel_iterations")?.unwrap_or_default(),
    }))
}

pub(super) fn snapshot(row: &impl Columns) -> Result<JobSnapshot, QueueError> {
    Ok(JobSnapshot {
        state: state(row)?,
        attempt: small(row, "attempt")?.unwrap_or_default(),
        cancel_requested: row.flag("cancel_requested")?,
        pause_requested: row.flag("pause_requested")?,
    })
}

fn state(row: &impl Columns) -> Result<JobState, QueueError> {
    row.text("state")?.unwrap_or_default().parse().map_err(|error| corrupt(row, error))
}

pub(super) fn job_id(row: &impl Columns) -> Result<JobId, QueueError> {
    row.text("id")?.unwrap_or_default().parse().map_err(|error| corrupt(row, error))
}

/// Whom a row belongs to.
pub(super) fn tenant(row: &impl Columns) -> Result<Tenant, QueueError> {
    row.text("tenant")?
        .unwrap_or_default()
        .parse::<Tenant>()
        .map_err(|error| corrupt(row, format!("tenant: {error}")))
}

/// A tenant that has a job ready.
#[derive(Clone, Debug)]
pub(super) struct Turn {
    /// Its name, as stored: a version that cannot read it leaves its jobs to others.
    pub tenant: String,
    /// Whether it was the last to be served.
    pub is_last: bool,
    /// Its jobs at work.
    pub busy: u64,
}

/// The tenants in the order of their turns: first the one with the fewest jobs at work per weight; among equals the one
/// that was served longest ago, which is how the rows come. One with as many at work as it may have has no turn. So tenants take turns at a single worker too.
pub(super) fn turns(rows: &[impl Columns], options: &TenantOptions) -> Result<Vec<Turn>, QueueError> {
    let read = |row| -> Result<Turn, QueueError> {
        let tenant = Columns::text(row, "tenant")?.unwrap_or_default().to_owned();
        let busy = Columns::integer(row, "busy")?.unwrap_or_default().unsigned_abs();
        Ok(Turn { tenant, is_last: Columns::flag(row, "is_last")?, busy })
    };
    let mut turns = rows.iter().map(read).collect::<Result<Vec<_>, _>>()?;
    turns.retain(|turn| turn.is_due(options));
    turns.sort_by(|one, other| one.load(options).total_cmp(&other.load(options)));
    Ok(turns)
}

impl Turn {
    /// Whether the tenant has fewer jobs at work than it may have.
    pub fn is_due(&self, options: &TenantOptions) -> bool {
        options.running.is_none_or(|most| self.busy < u64::from(most))
    }

    /// Its jobs at work per weight.
    pub fn load(&self, options: &TenantOptions) -> f64 {
        self.busy as f64 / f64::from(options.weights.get(&*self.tenant).copied().unwrap_or(1))
    }
}

/// Where a dream was stored; ignores other fields, which a newer version may add.
#[derive(serde::Deserialize)]
struct Stored {
    lease: uuid::Uuid,
}

/// A job as the retention sees it.
fn erased(row: &impl Columns) -> Result<Erased, QueueError> {
    let result: Option<Stored> = parsed(row, "result")?;
    Ok(Erased { id: job_id(row)?, result: result.map(|stored| stored.lease) })
}

/// Jobs as the retention sees them, without those that a newer version ended in an unknown state.
pub(super) fn all_erased(rows: &[impl Columns], unreadable: &Unreadable) -> Result<Vec<Erased>, QueueError> {
    rows.iter().filter_map(|row| unreadable.skip(erased(row)).transpose()).collect()
}

/// The owner data of a job. A job that cannot be read counts as needing all its pictures.
pub(super) fn owner(row: &impl Columns) -> Result<Owner, QueueError> {
    Ok(Owner {
        id: job_id(row)?,
        state: state(row).ok(),
        erased: row.integer("erased_at")?.is_some(),
        result: parsed::<Stored>(row, "result").ok().flatten().map(|stored| stored.lease),
    })
}

/// Makes a page from rows. The query asks for one row more than the page holds; that row shows whether there
/// is a next page. Unreadable rows are left out.
pub(super) fn page(rows: &[impl Columns], limit: u32, unreadable: &Unreadable) -> Result<Page, QueueError> {
    let shown = rows.get(..limit as usize).unwrap_or(rows);
    let jobs =
        shown.iter().filter_map(|row| unreadable.skip(job(row)).transpose()).collect::<Result<_, _>>()?;
    let mut next = None;
    if let (true, Some(last)) = (rows.len() > shown.len(), shown.last()) {
        let created_at = Timestamp::from_millis(last.integer("created_at")?.unwrap_or_default());
        next = Some(PageStart { created_at, id: job_id(last)? });
    }
    Ok(Page { jobs, next })
}

/// Where a page starts: creation time and id. Without a start, a position after the newest possible job.
pub(super) fn page_start(start: Option<PageStart>) -> (i64, String) {
    start.map_or((i64::MAX, String::new()), |start| (start.created_at.as_millis(), start.id.to_string()))
}

/// Number of jobs by state; ignores states of a newer version.
pub(super) fn counts(rows: &[impl Columns]) -> Result<Counts, QueueError> {
    let mut counts = Counts::default();
    for row in rows {
        let jobs = row.integer("jobs")?.unwrap_or_default().unsigned_abs();
        let Ok(state) = state(row) else { continue };
        match state {
            JobState::Queued => counts.queued = jobs,
            JobState::Running => counts.running = jobs,
            JobState::Paused => counts.paused = jobs,
            JobState::Succeeded => counts.succeeded = jobs,
            JobState::Failed => counts.failed = jobs,
            JobState::Canceled => counts.canceled = jobs,
            JobState::Expired => counts.expired = jobs,
        }
    }
    Ok(counts)
}

/// Returns the job of a key if it belongs to the same request: with the same text, or with a text that this
/// version resolves to the same spec. Changed defaults leave the text unchanged.
pub(super) fn known(row: &impl Columns, idempotency: &Idempotency) -> Result<JobId, QueueError> {
    let in_words = row.text("request_fingerprint")? == Some(&*idempotency.request);
    if !in_words && row.text("fingerprint")? != Some(&*idempotency.fingerprint) {
        return Err(QueueError::KeyReused);
    }
    job_id(row)
}

/// A column with a small number.
fn small<T: TryFrom<i64>>(row: &impl Columns, column: &str) -> Result<Option<T>, QueueError> {
    let Some(number) = row.integer(column)? else { return Ok(None) };
    T::try_from(number).map(Some).map_err(|_| corrupt(row, format!("{column}: {number} is out of range")))
}

/// A column with JSON.
fn parsed<T: serde::de::DeserializeOwned>(row: &impl Columns, column: &str) -> Result<Option<T>, QueueError> {
    let value = row.text(column)?.map(serde_json::from_str).transpose();
    value.map_err(|error| corrupt(row, format!("{column}: {error}")))
}

pub(super) fn json<T: serde::Serialize>(id: JobId, value: &T) -> Result<String, QueueError> {
    serde_json::to_string(value)
        .map_err(|error| QueueError::Corrupt { id: id.to_string(), problem: error.to_string() })
}

fn corrupt(row: &impl Columns, problem: impl ToString) -> QueueError {
    let id = row.text("id").ok().flatten().unwrap_or("?").to_owned();
    QueueError::Corrupt { id, problem: problem.to_string() }
}
