//! The state machine of a job. Every store asks [`JobSnapshot::next`] where an event leads, so the rules
//! stand in this one place and not in each SQL dialect.
//!
//! ```text
//!            claimed (attempt + 1)
//!   queued ────────────────────────► running ── completed ──► succeeded
//!     │ ▲                              │ │ │
//!     │ └── released (attempt − 1) ────┘ │ └─ failed, no attempt left ──► failed
//!     │ └── failed or lease lost, ───────┘ │
//!     │     attempts left                  │ stopped after a cancel request
//!     ├────────── cancel ──────────────────┼──────────► canceled
//!     └────────── deadline passed ─────────┴──────────► expired
//! ```
//!
//! A paused job is one that a client has taken out of the queue until it is resumed: `paused` stands beside `queued`, and
//! what would lead a running job back into the queue leads it there once a pause is requested.
//!
//! `docs/state-machine.md` describes the same in words, for users of the service.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use reverie_fields::choices;

choices! {
    /// Where a job stands.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
    pub enum JobState {
        /// Waits for a worker.
        Queued = "queued",
        /// A worker holds its lease.
        Running = "running",
        /// A client paused it: it waits until it is resumed.
        Paused = "paused",
        /// The dream is there.
        Succeeded = "succeeded",
        /// There will be no dream; the job's error says why.
        Failed = "failed",
        /// A client canceled it, and it stopped.
        Canceled = "canceled",
        /// Its deadline passed before it was done.
        Expired = "expired",
    }
}

impl JobState {
    /// All states.
    pub const ALL: [Self; 7] = [
        Self::Queued,
        Self::Running,
        Self::Paused,
        Self::Succeeded,
        Self::Failed,
        Self::Canceled,
        Self::Expired,
    ];

    /// The name in the database and in the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Canceled => "canceled",
            Self::Expired => "expired",
        }
    }

    /// Whether the job has ended for good.
    pub const fn is_finished(self) -> bool {
        !matches!(self, Self::Queued | Self::Running | Self::Paused)
    }
}

impl fmt::Display for JobState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A stored state that this version does not know.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("\"{0}\" is not a job state")]
pub struct UnknownState(String);

impl FromStr for JobState {
    type Err = UnknownState;

    fn from_str(text: &str) -> Result<Self, UnknownState> {
        let found = Self::ALL.into_iter().find(|state| state.as_str() == text);
        found.ok_or_else(|| UnknownState(text.to_owned()))
    }
}

/// Events in the life of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A worker claims the job.
    Claimed,
    /// The worker has stored the dream.
    Completed,
    /// The worker failed to make a dream.
    Failed {
        /// Whether another attempt may succeed.
        retry: bool,
    },
    /// The worker is stopping and returns the job.
    Released,
    /// A client asks to cancel the job.
    CancelRequested,
    /// The worker stopped the job after a cancel request.
    Stopped,
    /// A client asks to pause the job.
    PauseRequested,
    /// The worker stopped the job after a pause request.
    Paused,
    /// A client asks to resume the job.
    Resumed,
    /// The worker sent no heartbeat for longer than the lease.
    LeaseExpired,
    /// The deadline passed: in the queue, while paused, or while running, once the worker has stopped.
    DeadlinePassed,
}

/// The part of a job that the rules need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JobSnapshot {
    /// Current state.
    pub state: JobState,
    /// Number of attempts started.
    pub attempt: u32,
    /// Whether a client asked to cancel the job.
    pub cancel_requested: bool,
    /// Whether a client asked to pause the job, and its worker has not yet stopped; only while running.
    pub pause_requested: bool,
}

/// The event cannot happen to a job in this state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{event:?} cannot happen to a job that is {state}")]
pub struct InvalidTransition {
    /// Current state of the job.
    pub state: JobState,
    /// The rejected event.
    pub event: Event,
}

impl JobSnapshot {
    /// Applies `event` to the job; `max_attempts` includes the first attempt.
    ///
    /// # Errors
    /// [`InvalidTransition`] if the event does not fit the state. Cancelling or pausing a job that is canceled or paused,
    /// or about to be, is fine and changes nothing; so is resuming one that is not paused and has not ended.
    pub fn next(self, event: Event, max_attempts: u32) -> Result<Self, InvalidTransition> {
        use JobState::{Canceled, Expired, Failed, Paused, Queued, Running, Succeeded};
        // Where the job waits, the request to pause it is fulfilled, and where it ended, it is void.
        let to = |state| Self { state, pause_requested: self.pause_requested && state == Running, ..self };
        let back = || to(if self.pause_requested { Paused } else { Queued });
        let again = |may_retry: bool| match self {
            Self { cancel_requested: true, .. } => to(Canceled),
            Self { attempt, .. } if may_retry && attempt < max_attempts => back(),
            _ => to(Failed),
        };
        Ok(match (self.state, event) {
            (Queued, Event::Claimed) => Self { attempt: self.attempt + 1, ..to(Running) },
            // The dream was finished before the cancel request arrived: hiding it gains nothing.
            (Running, Event::Completed) => to(Succeeded),
            (Running, Event::Failed { retry }) => again(retry),
            (Running, Event::LeaseExpired) => again(true),
            (Running, Event::Released | Event::Paused) if self.cancel_requested => to(Canceled),
            // A job that was resumed before its worker had stopped goes on from the queue.
            (Running, Event::Released | Event::Paused) => {
                Self { attempt: self.attempt.saturating_sub(1), ..back() }
            }
            (Running, Event::Stopped) | (Queued | Paused | Canceled, Event::CancelRequested) => {
                Self { cancel_requested: true, ..to(Canceled) }
            }
            // The client that asked first already has the answer "canceled".
            (Running, Event::DeadlinePassed) if self.cancel_requested => to(Canceled),
            (Queued | Paused | Running, Event::DeadlinePassed) => to(Expired),
            (Running, Event::CancelRequested) => Self { cancel_requested: true, ..self },
            (Queued | Paused, Event::PauseRequested) => to(Paused),
            (Running, Event::PauseRequested) => Self { pause_requested: true, ..self },
            (Queued | Paused, Event::Resumed) => to(Queued),
            (Running, Event::Resumed) => Self { pause_requested: false, ..self },
            (state, event) => return Err(InvalidTransition { state, event }),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVENTS: [Event; 12] = [
        Event::Claimed,
        Event::Completed,
        Event::Failed { retry: true },
        Event::Failed { retry: false },
        Event::Released,
        Event::CancelRequested,
        Event::Stopped,
        Event::PauseRequested,
        Event::Paused,
        Event::Resumed,
        Event::LeaseExpired,
        Event::DeadlinePassed,
    ];

    fn snapshot(state: JobState, attempt: u32, cancel_requested: bool) -> JobSnapshot {
        JobSnapshot { state, attempt, cancel_requested, pause_requested: false }
    }

    #[test]
    fn names_round_trip() {
        for state in JobState::ALL {
            assert_eq!(state.as_str().parse(), Ok(state));
        }
        assert!("lost".parse::<JobState>().is_err());
    }

    #[test]
    fn attempts_are_counted_at_claim_and_restored_on_release() {
        let running = snapshot(JobState::Queued, 0, false).next(Event::Claimed, 3).unwrap();
        assert_eq!(running, snapshot(JobState::Running, 1, false));
        let back = running.next(Event::Released, 3).unwrap();
        assert_eq!(back, snapshot(JobState::Queued, 0, false));
    }

    #[test]
    fn attempts_run_out() {
        for event in [Event::Failed { retry: true }, Event::LeaseExpired] {
            let second = snapshot(JobState::Running, 2, false).next(event, 3).unwrap();
            assert_eq!(second.state, JobState::Queued);
            let third = snapshot(JobState::Running, 3, false).next(event, 3).unwrap();
            assert_eq!(third.state, JobState::Failed);
        }
        let permanent = snapshot(JobState::Running, 1, false).next(Event::Failed { retry: false }, 3);
        assert_eq!(permanent.unwrap().state, JobState::Failed);
    }

    #[test]
    fn a_cancel_request_wins_over_another_attempt() {
        for event in [
            Event::Failed { retry: true },
            Event::Failed { retry: false },
            Event::LeaseExpired,
            Event::Released,
            Event::Stopped,
            Event::Paused,
            Event::DeadlinePassed,
        ] {
            for pause_requested in [false, true] {
                let before = JobSnapshot { pause_requested, ..snapshot(JobState::Running, 1, true) };
                let next = before.next(event, 3).unwrap();
                assert_eq!((next.state, next.pause_requested), (JobState::Canceled, false), "{event:?}");
            }
        }
    }

    #[test]
    fn a_pause_request_leads_out_of_the_queue_and_is_fulfilled_by_that() {
        let asked = snapshot(JobState::Running, 1, false).next(Event::PauseRequested, 3).unwrap();
        assert_eq!((asked.state, asked.pause_requested), (JobState::Running, true));
        for (event, state, attempt) in [
            (Event::Paused, JobState::Paused, 0),
            (Event::Released, JobState::Paused, 0),
            (Event::Failed { retry: true }, JobState::Paused, 1),
            (Event::LeaseExpired, JobState::Paused, 1),
            (Event::Failed { retry: false }, JobState::Failed, 1),
            (Event::Completed, JobState::Succeeded, 1),
            (Event::DeadlinePassed, JobState::Expired, 1),
        ] {
            assert_eq!(asked.next(event, 3), Ok(snapshot(state, attempt, false)), "{event:?}");
        }
        // Resumed before the worker had stopped.
        let resumed = asked.next(Event::Resumed, 3).unwrap();
        assert_eq!(resumed, snapshot(JobState::Running, 1, false));
        assert_eq!(resumed.next(Event::Paused, 3), Ok(snapshot(JobState::Queued, 0, false)));
    }

    /// The transition table and the rules agree: every row matches, and every rule has a row.
    #[test]
    fn the_page_about_it_is_true() {
        let page = include_str!("../../docs/state-machine.md");
        let table = page.split("## Transitions").nth(1).unwrap().split("##").next().unwrap();
        let mut listed = std::collections::HashSet::new();
        for row in table.lines().filter(|row| row.contains('`')) {
            let cells: Vec<&str> = row.split('|').map(|cell| cell.trim().trim_matches('`')).collect();
            let [_, name, from, to, ..] = cells[..] else { continue };
            let Ok(from) = from.parse::<JobState>() else { continue };
            let (event, attempt) = match name {
                "claimed" => (Event::Claimed, 0),
                "completed" => (Event::Completed, 1),
                "failed, may be retried" => (Event::Failed { retry: true }, 1),
                "failed, may be retried, no attempt left" => (Event::Failed { retry: true }, 3),
                "failed for good" => (Event::Failed { retry: false }, 1),
                "released" => (Event::Released, 1),
                "lease lost, attempts left" => (Event::LeaseExpired, 1),
                "lease lost, no attempt left" => (Event::LeaseExpired, 3),
                "cancel requested" => (Event::CancelRequested, 1),
                "stopped" => (Event::Stopped, 1),
                "deadline passed" => (Event::DeadlinePassed, 1),
                "pause requested" => (Event::PauseRequested, 1),
                "paused" => (Event::Paused, 1),
                "resumed" => (Event::Resumed, 1),
                other => panic!("\"{other}\" is no event"),
            };
            let pause_requested = event == Event::Paused;
            let before = JobSnapshot { pause_requested, ..snapshot(from, attempt, false) };
            let next = before.next(event, 3).unwrap();
            assert_eq!(next.state.as_str(), to, "{row}");
            listed.insert((from, format!("{event:?}")));
        }
        for state in JobState::ALL {
            for event in EVENTS {
                let possible = snapshot(state, 1, false).next(event, 3).is_ok();
                let listed = listed.contains(&(state, format!("{event:?}")));
                assert_eq!(possible, listed, "{state} {event:?}");
            }
        }
    }

    #[test]
    fn a_deadline_ends_whatever_is_not_finished() {
        for (state, attempt) in [(JobState::Queued, 0), (JobState::Running, 1), (JobState::Paused, 0)] {
            let next = snapshot(state, attempt, false).next(Event::DeadlinePassed, 3).unwrap();
            assert_eq!(next, snapshot(JobState::Expired, attempt, false));
        }
    }

    #[test]
    fn nothing_happens_to_a_finished_job() {
        for state in JobState::ALL.into_iter().filter(|state| state.is_finished()) {
            for event in EVENTS {
                let next = snapshot(state, 1, false).next(event, 3);
                let harmless = state == JobState::Canceled && event == Event::CancelRequested;
                assert_eq!(next.is_ok(), harmless, "{state} {event:?}");
                assert_eq!(next.map_or(state, |next| next.state), state);
            }
        }
    }
}
