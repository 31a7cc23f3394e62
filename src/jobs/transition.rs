//! The values that a transition writes: the result of [`JobSnapshot::next`] and the data of each state, bound
//! to the one statement that both databases share.

use std::time::Duration;

use super::{Event, Finished, JobError, JobId, JobSnapshot, JobState, QueueError, retry_delay, row};

/// The data that comes with an event.
#[derive(Clone, Default)]
pub(super) struct TransitionData {
    pub error: Option<JobError>,
    pub finished: Option<Finished>,
    /// Whether the job returns to the queue because its worker is sick.
    pub spared: bool,
}

/// The column values of a transition.
pub(super) struct Transition {
    pub id: String,
    /// The snapshot that the rules were applied to: the row must still match it.
    pub before: JobSnapshot,
    /// Lease token that the row must still have, if the transition needs a lease.
    pub holder: Option<String>,
    pub next: JobSnapshot,
    /// Delay before a requeued job is ready, in milliseconds.
    pub rest: i64,
    pub progress: Option<String>,
    pub error: Option<String>,
    pub result: Option<String>,
    pub render_seconds: Option<f64>,
    /// By how much `spared` grows.
    pub spared: i64,
}

impl Transition {
    /// Applies `event` to a job.
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
        // Keep the error only if the job really ends with it.
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

    /// Requires that the row still has this lease token.
    pub fn held_by(self, token: uuid::Uuid) -> Self {
        Self { holder: Some(token.to_string()), ..self }
    }
}

/// A duration in milliseconds, the unit of all statements.
pub(super) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// Binds the values of [`sql::transition!`](super::sql).
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
            .bind(transition.next.pause_requested)
            .bind(transition.before.pause_requested)
    }};
}

pub(super) use bind_transition;

/// Whether the job already is where a client's request would lead it, so there is nothing to write.
pub(super) fn is_there(snapshot: JobSnapshot, request: Event) -> Result<bool, QueueError> {
    // The attempts do not matter here.
    let next = snapshot.next(request, u32::MAX);
    next.map(|next| next == snapshot).map_err(|impossible| QueueError::Finished(impossible.state))
}
