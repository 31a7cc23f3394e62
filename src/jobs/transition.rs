//! What a transition writes: the rules of [`JobSnapshot::next`] and what goes with each state, as values for the one
//! statement that both databases have for it.

use std::time::Duration;

use super::{Event, Finished, JobError, JobId, JobSnapshot, JobState, QueueError, retry_delay, row};

/// What comes with an event.
#[derive(Clone, Default)]
pub(super) struct TransitionData {
    pub error: Option<JobError>,
    pub finished: Option<Finished>,
    /// Whether the job goes back because its worker is sick.
    pub spared: bool,
}

/// Values for the columns of a job.
pub(super) struct Transition {
    pub id: String,
    /// What the rules were asked about: the job must still be so.
    pub before: JobSnapshot,
    /// Who must still hold it, where that matters.
    pub holder: Option<String>,
    pub next: JobSnapshot,
    /// How long a job rests that waits again, in milliseconds.
    pub rest: i64,
    pub progress: Option<String>,
    pub error: Option<String>,
    pub result: Option<String>,
    pub render_seconds: Option<f64>,
    /// By how much its count of such returns grows.
    pub spared: i64,
}

impl Transition {
    /// What `event` makes of a job.
    pub fn new(
        id: JobId,
        before: JobSnapshot,
        event: Event,
        data: TransitionData,
        max_attempts: u32,
    ) -> Result<Self, QueueError> {
        let next = before.next(event, max_attempts)?;
        let spared = i64::from(data.spared);
        let rests = next.state == JobState::Queued && matches!(event, Event::Failed { .. });
        let rest = if rests { retry_delay(next.attempt) } else { Duration::ZERO };
        let error = match event {
            Event::LeaseExpired => Some(JobError::attempts_exhausted(before.attempt)),
            _ => data.error,
        };
        // An error is kept only where the job really ends with it.
        let error = error.filter(|_| next.state == JobState::Failed);
        let finished = data.finished.as_ref();
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

/// Fills in [`sql::transition!`](super::sql).
macro_rules! bind_transition {
    ($statement:expr, $transition:expr, $now:expr) => {{
        let transition: &$crate::jobs::transition::Transition = $transition;
        sqlx::query($statement)
            .bind(transition.id.as_str())
            .bind(transition.next.state.as_str())
            .bind(i64::from(transition.next.attempt))
            .bind(transition.next.cancel_requested)
            .bind(transition.rest)
            .bind(transition.progress.as_deref())
            .bind(transition.error.as_deref())
            .bind(transition.result.as_deref())
            .bind(transition.render_seconds)
            .bind($now)
            .bind(transition.before.state.as_str())
            .bind(i64::from(transition.before.attempt))
            .bind(transition.before.cancel_requested)
            .bind(transition.holder.as_deref())
            .bind(transition.spared)
    }};
}

pub(super) use bind_transition;

/// Whether somebody has asked for a job to stop already, so that there is nothing to write.
pub(super) fn is_canceled(snapshot: JobSnapshot) -> Result<bool, QueueError> {
    // Attempts have nothing to do with it.
    let next = snapshot.next(Event::CancelRequested, u32::MAX);
    next.map(|next| next == snapshot).map_err(|impossible| QueueError::Finished(impossible.state))
}
