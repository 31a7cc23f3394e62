//! What a transition writes: the rules of [`Facts::next`] and what goes with each state, as values for the one
//! statement that both databases have for it.

use std::time::Duration;

use super::{Event, Facts, Finished, JobError, JobId, JobState, QueueError, retry_delay, row};

/// What comes with an event.
#[derive(Clone, Default)]
pub(super) struct Extras {
    pub error: Option<JobError>,
    pub finished: Option<Finished>,
    /// Whether the job goes back because its worker is sick.
    pub spared: bool,
}

/// Values for the columns of a job.
pub(super) struct Change {
    pub id: String,
    /// What the rules were asked about: the job must still be so.
    pub before: Facts,
    /// Who must still hold it, where that matters.
    pub holder: Option<String>,
    pub next: Facts,
    /// How long a job rests that waits again, in milliseconds.
    pub rest: i64,
    pub progress: Option<String>,
    pub error: Option<String>,
    pub result: Option<String>,
    pub render_seconds: Option<f64>,
    /// By how much its count of such returns grows.
    pub spared: i64,
}

impl Change {
    /// What `event` makes of a job.
    pub fn new(
        id: JobId,
        before: Facts,
        event: Event,
        extras: Extras,
        max_attempts: u32,
    ) -> Result<Self, QueueError> {
        let next = before.next(event, max_attempts)?;
        let spared = i64::from(extras.spared);
        let rests = next.state == JobState::Queued && matches!(event, Event::Failed { .. });
        let rest = if rests { retry_delay(next.attempt) } else { Duration::ZERO };
        let error = match event {
            Event::LeaseExpired => Some(JobError::attempts_exhausted(before.attempt)),
            _ => extras.error,
        };
        // An error is kept only where the job really ends with it.
        let error = error.filter(|_| next.state == JobState::Failed);
        let finished = extras.finished.as_ref();
        let progress = finished.and_then(|finished| finished.progress);
        Ok(Self {
            id: id.to_string(),
            before,
            holder: None,
            next,
            rest: millis(rest),
            progress: progress.map(|progress| row::json(id, &progress)).transpose()?,
            error: error.map(|error| row::json(id, &error)).transpose()?,
            result: finished.map(|finished| row::json(id, &finished.result)).transpose()?,
            render_seconds: finished.map(|finished| finished.render_seconds),
            spared,
        })
    }

    /// Only for whoever holds this token.
    pub fn held_by(self, token: uuid::Uuid) -> Self {
        Self { holder: Some(token.to_string()), ..self }
    }
}

/// As the statements count time.
pub(super) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// Fills in [`sql::change!`](super::sql).
macro_rules! bind_change {
    ($statement:expr, $change:expr, $now:expr) => {{
        let change: &$crate::jobs::change::Change = $change;
        sqlx::query($statement)
            .bind(change.id.as_str())
            .bind(change.next.state.as_str())
            .bind(i64::from(change.next.attempt))
            .bind(change.next.cancel_requested)
            .bind(change.rest)
            .bind(change.progress.as_deref())
            .bind(change.error.as_deref())
            .bind(change.result.as_deref())
            .bind(change.render_seconds)
            .bind($now)
            .bind(change.before.state.as_str())
            .bind(i64::from(change.before.attempt))
            .bind(change.before.cancel_requested)
            .bind(change.holder.as_deref())
            .bind(change.spared)
    }};
}

pub(super) use bind_change;

/// Whether somebody has asked for a job to stop already, so that there is nothing to write.
pub(super) fn is_canceled(facts: Facts) -> Result<bool, QueueError> {
    // Attempts have nothing to do with it.
    let next = facts.next(Event::CancelRequested, u32::MAX);
    next.map(|next| next == facts).map_err(|impossible| QueueError::Finished(impossible.state))
}
