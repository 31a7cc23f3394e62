//! `GET /v1/jobs/{id}/events`: a job's changes as server-sent events.
//!
//! Each event carries the whole job, and its id is the row's version: whoever missed some has missed nothing
//! once the next arrives, and `Last-Event-ID` says what a client has seen already. Only the newest state is
//! ever sent, so a slow client holds nothing up and nothing piles up for it.

use std::{convert::Infallible, time::Duration};

use axum::{
    extract::State,
    http::{HeaderMap, HeaderName, StatusCode},
    response::{
        IntoResponse, Response,
        sse::{Event, KeepAlive, Sse},
    },
};
use futures::stream;
use tracing::warn;

use super::{
    contract::{Internal, JobEvent, NotFound, Unavailable},
    error::ApiError,
    path_ids::Named,
    public_url::PublicUrl,
    state::AppState,
    view::{eta, view},
    wait::Follower,
};
use crate::jobs::{Job, JobState, QueueError};

/// A line now and then shows that both ends are there; proxies cut connections that are silent for long.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// After how long a client should come back when the connection breaks.
const RECONNECT: Duration = Duration::from_secs(2);

/// Follow a job by events
///
/// Server-sent events: `progress` while the job is queued or running and `preview` when there is a new one,
/// then one of `succeeded`, `failed`, `canceled` and `expired`, after which the stream ends. The data of each is the job as `GET` shows it, and its
/// id is the version of the job: with `Last-Event-ID` a client goes on where it was. Only the newest state is
/// sent, so versions may be skipped. A comment every 15 seconds keeps the connection alive. The stream also ends
/// when the service stops and when the job is erased.
#[utoipa::path(
    get,
    path = "/v1/jobs/{id}/events",
    operation_id = "followJob",
    tag = "jobs",
    params(
        ("id" = String, Path, format = Uuid, description = "Id of the job."),
        ("Last-Event-ID" = String, Header, description = "Id of the last event that the client has seen."),
    ),
    responses(
        (status = 200, description = "The events.", body = JobEvent, content_type = "text/event-stream"),
        (status = 204, description = "The job has ended, and the client has seen its last event."),
        (status = 404, response = NotFound),
        (status = 500, response = Internal),
        (status = 503, response = Unavailable),
    )
)]
pub async fn events(
    State(state): State<AppState>,
    named: Named,
    base: PublicUrl,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let id = named.job()?;
    let follower = Follower::new(&state, id);
    let job = state.queue.get(id).await?;
    let seen = headers.get("last-event-id").and_then(|value| value.to_str().ok()?.trim().parse::<u64>().ok());
    let up_to_date = seen == Some(job.version);
    if up_to_date && job.state.is_finished() {
        // Browsers reconnect by themselves after the last event: this tells them not to.
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let sent = up_to_date.then(|| Shown::of(&job));
    // Whoever has seen the newest version has been told of its preview.
    let seen_preview = job.preview_octave.filter(|_| up_to_date).unwrap_or_default();
    let feed = Feed { state, base, follower, next: Some(job), sent, set_preview: seen_preview, over: false };
    let events = stream::unfold(feed, |mut feed| async move {
        let event = feed.event().await?;
        Some((Ok::<_, Infallible>(event), feed))
    });
    let heartbeat = KeepAlive::new().interval(HEARTBEAT);
    // Some proxies hold a stream back until they have enough of it.
    let unbuffered = [(HeaderName::from_static("x-accel-buffering"), "no")];
    Ok((unbuffered, Sse::new(events).keep_alive(heartbeat)).into_response())
}

/// What of a job a client has been shown; its place in the queue changes without its row.
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
    base: PublicUrl,
    follower: Follower,
    /// The job as it stands, where it has been looked at and not been told of.
    next: Option<Job>,
    sent: Option<Shown>,
    /// The octave of the newest preview that the client has been told of.
    set_preview: u32,
    over: bool,
}

impl Feed {
    /// Waits for the next event; `None` after the last, when the job is gone, and when the server is stopping.
    async fn event(&mut self) -> Option<Event> {
        while !self.over {
            let job = match self.next.take() {
                Some(job) => job,
                None => self.look().await?,
            };
            let now = Shown::of(&job);
            if self.sent == Some(now) {
                continue;
            }
            let opening = self.sent.is_none();
            let octave = job.preview_octave.filter(|_| job.state == JobState::Running).unwrap_or_default();
            let name = if octave > self.set_preview {
                // The job itself is told of next.
                "preview"
            } else {
                self.sent = Some(now);
                self.over = job.state.is_finished();
                name(job.state)
            };
            self.set_preview = self.set_preview.max(octave);
            let event = Event::default().event(name).id(job.version.to_string());
            let event = if opening { event.retry(RECONNECT) } else { event };
            let shown = event.json_data(view(&job, eta(&self.state, &job), &self.base));
            self.next = (name == "preview").then_some(job);
            return shown.inspect_err(|error| warn!(%error, "an event cannot be written")).ok();
        }
        None
    }

    /// Waits until there may be something new, and looks.
    async fn look(&mut self) -> Option<Job> {
        if !self.follower.next().await {
            return None;
        }
        match self.state.queue.get(self.follower.id()).await {
            Ok(job) => Some(job),
            Err(QueueError::NotFound(_)) => None,
            Err(error) => {
                warn!(%error, "a stream of events ends early");
                None
            }
        }
    }
}

/// Name of the event that shows a job in this state.
fn name(state: JobState) -> &'static str {
    match state {
        JobState::Queued | JobState::Running => "progress",
        finished => finished.as_str(),
    }
}
