//! The JSON view of a job, and its response headers.

use axum::{
    Json,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use utoipa::ToSchema;

use super::{input::has_input, problem::Problem, state::AppState};

use crate::{
    clock::Timestamp,
    config::PublicUrl,
    jobs::{Job, JobId, JobState, UNKNOWN_SECONDS},
};
use reverie_dream::progress::Progress;
use reverie_dream::spec::{Change, DreamSpec};

/// Minimum and maximum of the polling interval that the server asks for.
const POLL_SECONDS: (f64, f64) = (1.0, 5.0);

/// A job. Members that are `null` are not known (yet).
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Job)]
pub struct JobView<'a> {
    /// A UUIDv7: ids sort by creation time.
    #[schema(value_type = String, format = Uuid)]
    id: JobId,
    /// Current state.
    status: JobState,
    /// The spec, with all defaults filled in.
    #[schema(value_type = DreamSpec)]
    spec: &'a DreamSpec,
    /// What was asked for by `PATCH`, with the octave or frame from which on it holds; then it is in the `schedule` of the spec.
    #[schema(required = true)]
    steering: Option<&'a Change>,
    /// Progress of the running attempt, or of the last one when the job ended.
    #[schema(required = true)]
    progress: Option<Progress>,
    /// As requested. Workers take jobs by priority plus minutes waited.
    #[schema(minimum = -10, maximum = 10)]
    priority: i8,
    /// Position in the queue, starting at 1; only while queued.
    #[schema(required = true, minimum = 1)]
    queue_position: Option<u64>,
    /// Estimated seconds until the end.
    #[schema(required = true, minimum = 0)]
    eta_seconds: Option<f64>,
    /// Number of attempts started.
    attempt: u32,
    /// Whether a client asked to cancel the job.
    cancel_requested: bool,
    /// Whether a client asked to pause the job, and it has not stopped yet.
    pause_requested: bool,
    /// When it was accepted.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// When the last attempt started.
    #[schema(value_type = Option<String>, format = DateTime, required = true)]
    started_at: Option<Timestamp>,
    /// When it ended.
    #[schema(value_type = Option<String>, format = DateTime, required = true)]
    finished_at: Option<Timestamp>,
    /// When it expires.
    #[schema(value_type = Option<String>, format = DateTime, required = true)]
    deadline_at: Option<Timestamp>,
    /// Why it failed or expired.
    #[schema(required = true)]
    error: Option<Problem>,
    /// The finished dream.
    #[schema(required = true)]
    result: Option<ResultView<'a>>,
    /// Notes about the finished dream, one sentence each. For example, that fewer octaves fitted than
    /// requested, or that nothing changed and why.
    notes: &'a [String],
    /// Time and cost of the job.
    metrics: Metrics,
    /// Links to related resources.
    links: Links,
}

/// A finished dream.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = DreamResult)]
struct ResultView<'a> {
    /// Media type of the file.
    media_type: &'a str,
    /// Width in pixels.
    width: u32,
    /// Height in pixels.
    height: u32,
    /// Length of the file in bytes.
    size: u64,
    /// SHA-256 digest of the file, lower-case hexadecimal.
    sha256: &'a str,
    /// Objective of the finished dream.
    score: f64,
}

/// Time and cost of a job.
#[derive(Debug, Serialize, ToSchema)]
struct Metrics {
    /// Seconds from acceptance to the start of the last attempt.
    #[schema(required = true)]
    queue_seconds: Option<f64>,
    /// Seconds of pure rendering in the last attempt.
    #[schema(required = true)]
    render_seconds: Option<f64>,
    /// Pixels × gradient steps over all octaves, in millions; of a finished dream.
    #[schema(required = true)]
    megapixel_iterations: Option<f64>,
    /// Predicted seconds from the start of an attempt to its end.
    #[schema(required = true)]
    predicted_seconds: Option<f64>,
    /// Predicted peak memory.
    #[schema(required = true)]
    predicted_memory_mb: Option<f64>,
}

/// Paths, or absolute URLs if the server is configured so; `null` if there is nothing (yet).
#[derive(Debug, Serialize, ToSchema)]
struct Links {
    /// The job.
    #[serde(rename = "self")]
    this: String,
    /// The result, once it exists.
    #[schema(required = true)]
    result: Option<String>,
    /// The image that the job was submitted with; `null` for a dream of noise, and once the job's pictures are no longer kept.
    #[schema(required = true)]
    input: Option<String>,
    /// A small picture of what there is of the job; `null` once its pictures are no longer kept.
    #[schema(required = true)]
    thumbnail: Option<String>,
    /// The dream so far, while the job is unfinished: a picture that changes about once a second; `null` before the first.
    #[schema(required = true)]
    preview: Option<String>,
    /// The event stream of the job.
    events: String,
    /// The URL to cancel the job, while it is unfinished.
    #[schema(required = true)]
    cancel: Option<String>,
    /// The URL to pause the job, while it is queued or running.
    #[schema(required = true)]
    pause: Option<String>,
    /// The URL to resume the job, while it is paused or about to be.
    #[schema(required = true)]
    resume: Option<String>,
}

/// Path of a job.
pub fn path(id: JobId) -> String {
    format!("/v1/jobs/{id}")
}

/// Predicted seconds until the job is done: from the progress of its attempt, or else from the forecasts of
/// the job and the jobs ahead. It depends only on rows, so equal rows give equal responses.
pub fn eta(state: &AppState, job: &Job) -> Option<f64> {
    let own = job.forecast.map_or(UNKNOWN_SECONDS, |forecast| forecast.seconds);
    let seconds = match (job.state, job.progress, job.started_at) {
        (JobState::Queued, ..) => return Some(eta_behind(state, job.seconds_ahead.unwrap_or_default(), own)),
        (JobState::Running, Some(progress), Some(started)) => {
            let spent = job.updated_at.seconds_since(started);
            left(&progress, spent, own)
        }
        (JobState::Running, ..) => own,
        _ => return None,
    };
    Some(tenths(seconds))
}

/// Predicted seconds until a job of `own` seconds is done that waits behind jobs of `ahead` seconds.
pub fn eta_behind(state: &AppState, ahead: f64, own: f64) -> f64 {
    tenths(ahead / state.workers_in_cluster().max(1) as f64 + own)
}

/// An estimate of the time left is no more precise than that.
fn tenths(seconds: f64) -> f64 {
    (seconds * 10.0).round() / 10.0
}

/// A figure of a forecast, as precise as it is told.
pub fn thousandths(number: f64) -> f64 {
    (number * 1e3).round() / 1e3
}

/// Share of a job after which its own speed outweighs the prediction completely.
const FULL_TRUST_SHARE: f64 = 0.25;

/// Seconds left of an attempt that took `spent` for its own work; the work of an earlier attempt took it no
/// time. Loading a model and the first steps on a device are slow, so early progress says little about the
/// whole. So the prediction gives way in proportion to the share done.
fn left(progress: &Progress, spent: f64, predicted: f64) -> f64 {
    let done = progress.fraction - progress.resumed_from;
    let whole = if done > 0.0 && spent > 0.0 && predicted > 0.0 {
        let trust = (done / FULL_TRUST_SHARE).min(1.0);
        // A geometric mean: one may be many times the other.
        predicted * (spent / done / predicted).powf(trust)
    } else {
        predicted
    };
    whole * (1.0 - progress.fraction)
}

/// The view of a job. [`eta`] is a parameter because it is also part of the entity tag. `base` is the prefix
/// of each link: `server.public_url`.
pub fn view<'a>(job: &'a Job, eta_seconds: Option<f64>, base: &PublicUrl) -> JobView<'a> {
    let this = format!("{base}{}", path(job.id));
    let forecast = job.forecast;
    let kept = job.erased_at.is_none();
    let paused = job.state == JobState::Paused || job.pause_requested;
    let has_picture = job.state == JobState::Succeeded && kept;
    JobView {
        id: job.id,
        status: job.state,
        spec: &job.spec,
        steering: job.steering.as_ref(),
        progress: job.progress,
        priority: job.priority,
        queue_position: job.queue_position,
        eta_seconds,
        attempt: job.attempt,
        cancel_requested: job.cancel_requested,
        pause_requested: job.pause_requested,
        created_at: job.created_at,
        started_at: job.started_at,
        finished_at: job.finished_at,
        deadline_at: job.deadline_at,
        error: Problem::of_job(job),
        result: job.result.as_ref().map(|result| ResultView {
            media_type: &result.media_type,
            width: result.width,
            height: result.height,
            size: result.size,
            sha256: &result.sha256,
            score: result.score,
        }),
        notes: job.result.as_ref().map_or(&[], |result| &result.notes),
        metrics: Metrics {
            queue_seconds: job.started_at.map(|started| started.seconds_since(job.created_at)),
            render_seconds: job.render_seconds,
            megapixel_iterations: forecast
                .filter(|_| job.state == JobState::Succeeded)
                .map(|forecast| forecast.megapixel_iterations),
            predicted_seconds: forecast.map(|forecast| thousandths(forecast.seconds)),
            predicted_memory_mb: forecast.map(|forecast| thousandths(forecast.memory as f64 / 1e6)),
        },
        links: Links {
            result: has_picture.then(|| format!("{this}/result")),
            input: (kept && has_input(job)).then(|| format!("{this}/input")),
            thumbnail: kept.then(|| format!("{this}/thumbnail")),
            preview: job
                .preview_octave
                .filter(|_| !job.state.is_finished())
                .map(|_| format!("{this}/preview")),
            events: format!("{this}/events"),
            cancel: (!job.state.is_finished()).then(|| format!("{this}/cancel")),
            pause: (!job.state.is_finished() && !paused).then(|| format!("{this}/pause")),
            resume: paused.then(|| format!("{this}/resume")),
            this,
        },
    }
}

/// A response with the job, its entity tag and, while it is unfinished, `Retry-After`.
pub fn show(state: &AppState, status: StatusCode, job: &Job) -> Response {
    let eta = eta(state, job);
    let mut response = (status, Json(view(job, eta, state.public_url()))).into_response();
    describe(response.headers_mut(), job, eta);
    response
}

/// The headers shared by a response with the job and by "not modified".
pub fn describe(headers: &mut HeaderMap, job: &Job, eta: Option<f64>) {
    if let Ok(value) = HeaderValue::from_str(&job_etag(job, eta)) {
        headers.insert(header::ETAG, value);
    }
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    if let Some(seconds) = poll_after(job, eta) {
        headers.insert(header::RETRY_AFTER, seconds.into());
    }
}

/// The row's version, and the two values that a response shows besides the row.
pub fn job_etag(job: &Job, eta: Option<f64>) -> String {
    match (job.state, job.queue_position, eta) {
        (JobState::Queued, Some(position), Some(eta)) => {
            format!("\"{}-{position}-{eta}\"", job.version)
        }
        (JobState::Running, _, Some(eta)) => format!("\"{}-{eta}\"", job.version),
        _ => format!("\"{}\"", job.version),
    }
}

/// When to poll again: soon before the expected end, but never too often.
pub fn poll_after(job: &Job, eta: Option<f64>) -> Option<u64> {
    let (least, most) = POLL_SECONDS;
    // Nothing happens to a paused job by itself.
    let unknown = if job.state == JobState::Paused { most } else { least };
    let seconds = eta.unwrap_or(unknown).clamp(least, most).floor() as u64;
    (!job.state.is_finished()).then_some(seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_earlier_attempt_did_says_nothing_of_the_pace() {
        let progress = |fraction, resumed_from| Progress { fraction, resumed_from, ..Progress::default() };
        // Half of the work in five seconds.
        assert_eq!(left(&progress(0.5, 0.0), 5.0, 99.0), 5.0);
        // A quarter of the work in one second, after a quarter that cost nothing.
        let resumed = left(&progress(0.5, 0.25), 1.0, 99.0);
        assert!((resumed - 2.0).abs() < 1e-9, "{resumed}");
        // Nothing done yet.
        assert_eq!(left(&progress(0.4, 0.4), 1.0, 10.0), 6.0);
    }

    #[test]
    fn a_slow_beginning_does_not_throw_the_prediction_away() {
        let progress = |fraction| Progress { fraction, ..Progress::default() };
        // Two minutes for 0.5 % of a ten-minute job: the model had to be loaded.
        let early = left(&progress(0.005), 125.0, 587.0);
        assert!((500.0..700.0).contains(&early), "{early}");
        // Late slowness counts fully.
        let late = left(&progress(0.2), 500.0, 587.0);
        assert!(late > 1400.0, "{late}");
        // Rows without a prediction, or as old as their start, also give numbers.
        for (spent, predicted) in [(0.0, 10.0), (1.0, 0.0), (0.0, 0.0)] {
            assert!(left(&progress(0.1), spent, predicted).is_finite());
        }
    }
}
