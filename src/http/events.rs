//! `GET /v1/jobs/{id}/events`: a job's changes as server-sent events.
//!
//! Each event carries the whole job, and its id is the row's version. So a client that missed events is up to
//! date with the next one, and `Last-Event-ID` says what a client has already seen. Only the newest state is
//! ever sent, so a slow client delays nothing and nothing piles up for it.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{
    extract::State,
    http::{HeaderMap, HeaderName, StatusCode},
    response::{
        IntoResponse, Response,
        sse::{Event, KeepAlive, Sse},
    },
};
use futures::stream;
use tokio::time::timeout;
use tracing::warn;

use super::{
    contract::{Internal, JobEvent, NotFound, Unavailable},
    error::ApiError,
    follow::{Follower, Next},
    path_ids::Named,
    state::AppState,
    view::{eta, view},
};
use crate::{
    auth::Caller,
    jobs::{Job, JobState},
};

/// Interval of keep-alive comments. They show that both ends are alive; proxies cut connections that are
/// silent for long.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// Delay before a client reconnects after a broken connection.
const RECONNECT: Duration = Duration::from_secs(2);

/// How often a stream without events asks whether its key still works. With the age of a key in the cache this is half of the time
/// in which a revoked key must stop.
const KEY_CHECK: Duration = Duration::from_secs(5);

/// Follow a job by events
///
/// Server-sent events: `progress` while the job is queued or running, `paused` while it is paused, `preview` for the first
/// preview of each octave, then one of `succeeded`, `failed`, `canceled` and `expired`, which ends the stream. The data of each event is
/// the job as `GET` returns it. The event id is the version of the job: with `Last-Event-ID` a client resumes
/// where it was. Only the newest state is sent, so versions may be skipped. A comment every 15 seconds keeps
/// the connection alive. The stream also ends when the server stops, when the job is erased, and when the key
/// stops working.
#[utoipa::path(
    get,
    path = "/v1/jobs/{id}/events",
    operation_id = "followJob",
    tag = "jobs",
    params(
        ("id" = String, Path, format = Uuid, description = "Id of the job.", example = "0198c0de-5a7e-7000-8000-00000000d0e5"),
        ("Last-Event-ID" = String, Header, description = "Id of the last event that the client received.", example = "3"),
    ),
    responses(
        (status = 200, description = "The events.", body = JobEvent, content_type = "text/event-stream"),
        (status = 204, description = "The job has ended, and the client has already received its last event."),
        (status = 404, response = NotFound),
        (status = 500, response = Internal),
        (status = 503, response = Unavailable),
    )
)]
pub async fn events(
    State(state): State<AppState>,
    caller: Caller,
    named: Named,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let id = named.job()?;
    let mut follower = Follower::new(&state, &caller.tenant, id);
    let job = follower.read().await?;
    let seen = headers.get("last-event-id").and_then(|value| value.to_str().ok()?.trim().parse::<u64>().ok());
    let up_to_date = seen == Some(job.version);
    if up_to_date && job.state.is_finished() {
        // Browsers reconnect after the last event; 204 tells them to stop.
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let sent = up_to_date.then(|| Shown::of(&job));
    // A client that has seen the newest version has also seen its preview event.
    let seen_preview = job.preview_octave.filter(|_| up_to_date).unwrap_or_default();
    let feed = Feed { state, caller, follower, next: Some(job), sent, seen_preview, over: false };
    let events = stream::unfold(feed, |mut feed| async move {
        let event = feed.event().await?;
        Some((Ok::<_, Infallible>(event), feed))
    });
    let heartbeat = KeepAlive::new().interval(HEARTBEAT);
    // Some proxies buffer a stream until they have enough of it.
    let unbuffered = [(HeaderName::from_static("x-accel-buffering"), "no")];
    Ok((unbuffered, Sse::new(events).keep_alive(heartbeat)).into_response())
}

/// The part of a job that a client has seen; the queue position changes without the row.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Shown {
    version: u64,
    position: Option<u64>,
}

impl Shown {
    fn of(job: &Job) -> Self {
        Self { version: job.version, position: job.queue_position }
    }
}

/// One client's stream.
struct Feed {
    state: AppState,
    caller: Caller,
    follower: Follower,
    /// The job as last read, if it has not been sent yet.
    next: Option<Arc<Job>>,
    sent: Option<Shown>,
    /// The octave of the newest preview that the client knows.
    seen_preview: u32,
    over: bool,
}

impl Feed {
    /// Waits for the next event; `None` after the last, when the job is gone, and when the server stops.
    async fn event(&mut self) -> Option<Event> {
        while !self.over {
            let job = match self.next.take() {
                Some(job) => job,
                None => self.changed_job().await?,
            };
            let now = Shown::of(&job);
            if self.sent == Some(now) {
                continue;
            }
            let opening = self.sent.is_none();
            let octave = job.preview_octave.filter(|_| job.state == JobState::Running).unwrap_or_default();
            let name = if octave > self.seen_preview {
                // The job itself is sent next.
                "preview"
            } else {
                self.sent = Some(now);
                self.over = job.state.is_finished();
                name(job.state)
            };
            self.seen_preview = self.seen_preview.max(octave);
            let event = Event::default().event(name).id(job.version.to_string());
            let event = if opening { event.retry(RECONNECT) } else { event };
            let shown = event.json_data(view(&job, eta(&self.state, &job), self.state.public_url()));
            self.next = (name == "preview").then_some(job);
            return shown.inspect_err(|error| warn!(%error, "an event could not be serialized")).ok();
        }
        None
    }

    /// Whether the client's key still works: a stream may last for hours.
    async fn is_allowed(&self) -> bool {
        let Some(key) = &self.caller.key else { return true };
        let checked = self.state.auth.still_works(key).await;
        checked.inspect_err(|error| warn!(%error, "an event stream ends early")).unwrap_or(false)
    }

    /// Waits until the job has changed.
    async fn changed_job(&mut self) -> Option<Arc<Job>> {
        loop {
            let next = match timeout(KEY_CHECK, self.follower.next()).await {
                Ok(Next::Job(job)) => Some(job),
                // Nothing more is said, so nobody need be asked.
                Ok(Next::Lost | Next::Stopped) => return None,
                Err(_) => None,
            };
            if !self.is_allowed().await {
                return None;
            }
            if next.is_some() {
                return next;
            }
        }
    }
}

/// Name of the event for a job in this state.
fn name(state: JobState) -> &'static str {
    match state {
        JobState::Queued | JobState::Running => "progress",
        JobState::Paused => "paused",
        finished => finished.as_str(),
    }
}
