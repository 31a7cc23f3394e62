//! Following a job: its status, its result, and its cancellation.

use axum::{
    Json,
    body::Body,
    extract::{Path, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;

use super::{
    error::{ApiError, Problem},
    none_match,
};
use crate::{
    app::AppState,
    clock::Timestamp,
    jobs::{Job, JobId, JobResult, JobState},
    objects::ObjectKey,
    render::Progress,
    spec::DreamSpec,
};

/// Clients are asked to look again after at least and at most so many seconds.
const POLL_SECONDS: (f64, f64) = (1.0, 5.0);

/// A job as the API shows it.
#[derive(Debug, Serialize)]
pub struct JobView<'a> {
    id: JobId,
    status: JobState,
    spec: &'a DreamSpec,
    progress: Option<Progress>,
    queue_position: Option<u64>,
    eta_seconds: Option<f64>,
    attempt: u32,
    cancel_requested: bool,
    created_at: Timestamp,
    started_at: Option<Timestamp>,
    finished_at: Option<Timestamp>,
    error: Option<Problem>,
    result: Option<ResultView<'a>>,
    metrics: Metrics,
    links: Links,
}

#[derive(Debug, Serialize)]
struct ResultView<'a> {
    media_type: &'a str,
    width: u32,
    height: u32,
    size: u64,
    sha256: &'a str,
    score: f64,
}

#[derive(Debug, Serialize)]
struct Metrics {
    /// From acceptance to the start of the last attempt.
    queue_seconds: Option<f64>,
    /// Pure rendering of the last attempt.
    render_seconds: Option<f64>,
    /// Work done; not measured yet.
    megapixel_iterations: Option<f64>,
}

#[derive(Debug, Serialize)]
struct Links {
    #[serde(rename = "self")]
    this: String,
    /// Only once there is one.
    result: Option<String>,
    preview: Option<String>,
    events: Option<String>,
    /// Only while there is something to cancel.
    cancel: Option<String>,
}

/// Path of a job.
pub fn path(id: JobId) -> String {
    format!("/v1/jobs/{id}")
}

/// Seconds until the job is probably done: from its own progress once there is some, else from the queue
/// before it and the time that dreams usually take here. It depends on nothing but the row, the place in the
/// queue and that usual time, so that equal rows give equal answers.
fn eta(state: &AppState, job: &Job) -> Option<f64> {
    let usual = state.pace.seconds();
    let seconds = match (job.state, job.progress, job.started_at) {
        (JobState::Queued, ..) => {
            // The job ahead that is running counts as half done.
            let dreams = job.queue_position.unwrap_or(1) as f64 + 0.5;
            dreams * usual / state.workers_alive().max(1) as f64
        }
        (JobState::Running, Some(progress), Some(started)) if progress.fraction > 0.0 => {
            let spent = job.updated_at.seconds_since(started);
            spent * (1.0 - progress.fraction) / progress.fraction
        }
        (JobState::Running, ..) => usual,
        _ => return None,
    };
    // Tenths are as fine as an estimate deserves.
    Some((seconds * 10.0).round() / 10.0)
}

fn view<'a>(job: &'a Job, eta_seconds: Option<f64>) -> JobView<'a> {
    let this = path(job.id);
    let has_picture = job.state == JobState::Succeeded && job.erased_at.is_none();
    JobView {
        id: job.id,
        status: job.state,
        spec: &job.spec,
        progress: job.progress,
        queue_position: job.queue_position,
        eta_seconds,
        attempt: job.attempt,
        cancel_requested: job.cancel_requested,
        created_at: job.created_at,
        started_at: job.started_at,
        finished_at: job.finished_at,
        error: job.error.as_ref().map(Problem::of_job),
        result: job.result.as_ref().map(|result| ResultView {
            media_type: &result.media_type,
            width: result.width,
            height: result.height,
            size: result.size,
            sha256: &result.sha256,
            score: result.score,
        }),
        metrics: Metrics {
            queue_seconds: job.started_at.map(|started| started.seconds_since(job.created_at)),
            render_seconds: job.render_seconds,
            megapixel_iterations: None,
        },
        links: Links {
            result: has_picture.then(|| format!("{this}/result")),
            preview: None,
            events: None,
            cancel: (!job.state.is_finished()).then(|| format!("{this}/cancel")),
            this,
        },
    }
}

/// A response that shows the job, with its entity tag and, while it is unfinished, `Retry-After`.
pub fn show(state: &AppState, status: StatusCode, job: &Job) -> Response {
    let eta = eta(state, job);
    let mut response = (status, Json(view(job, eta))).into_response();
    describe(response.headers_mut(), job, eta);
    response
}

/// Headers that say the same for the job and for "not modified".
fn describe(headers: &mut HeaderMap, job: &Job, eta: Option<f64>) {
    if let Ok(value) = HeaderValue::from_str(&job_etag(job, eta)) {
        headers.insert(header::ETAG, value);
    }
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    if let Some(seconds) = poll_after(job, eta) {
        headers.insert(header::RETRY_AFTER, seconds.into());
    }
}

/// The row's version, and the two things that an answer shows besides the row.
fn job_etag(job: &Job, eta: Option<f64>) -> String {
    match (job.state, job.queue_position, eta) {
        (JobState::Queued, Some(position), Some(eta)) => {
            format!("\"{}-{position}-{eta}\"", job.version)
        }
        (JobState::Running, _, Some(eta)) => format!("\"{}-{eta}\"", job.version),
        _ => format!("\"{}\"", job.version),
    }
}

/// When to look again: soon before the expected end, never madly often.
fn poll_after(job: &Job, eta: Option<f64>) -> Option<u64> {
    let (least, most) = POLL_SECONDS;
    let seconds = eta.unwrap_or(least).clamp(least, most).floor() as u64;
    (!job.state.is_finished()).then_some(seconds)
}

/// An id that is no id names no job either.
fn parse(id: &str) -> Result<JobId, ApiError> {
    id.parse().map_err(|_| ApiError::NotFound { kind: "job", name: id.to_owned() })
}

/// `GET /v1/jobs/{id}`
pub async fn status(
    State(state): State<AppState>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let job = state.queue.get(parse(&id)?).await?;
    let eta = eta(&state, &job);
    if none_match(&headers, &job_etag(&job, eta)) {
        let mut response = StatusCode::NOT_MODIFIED.into_response();
        describe(response.headers_mut(), &job, eta);
        return Ok(response);
    }
    Ok(show(&state, StatusCode::OK, &job))
}

/// `POST /v1/jobs/{id}/cancel`
pub async fn cancel(State(state): State<AppState>, Path(id): Path<String>) -> Result<Response, ApiError> {
    let job = state.queue.cancel(parse(&id)?).await?;
    tracing::info!(job = %job.id, state = %job.state, "cancel requested");
    Ok(show(&state, StatusCode::OK, &job))
}

/// `GET /v1/jobs/{id}/result`
pub async fn result(
    State(state): State<AppState>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let job = state.queue.get(parse(&id)?).await?;
    if let (JobState::Succeeded, Some(erased_at)) = (job.state, job.erased_at) {
        return Err(ApiError::Gone(erased_at));
    }
    let (Some(result), Some(key)) = (&job.result, ObjectKey::result_of(&job)) else {
        return Err(no_result(&job, eta(&state, &job)));
    };
    let etag = format!("\"{}\"", result.sha256);
    let mut response = if none_match(&headers, &etag) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        let object = state.objects.open(key).await?;
        let mut response = Body::from_stream(object.stream).into_response();
        response.headers_mut().insert(header::CONTENT_LENGTH, object.size.into());
        response
    };
    for (name, value) in [
        (header::ETAG, etag.as_str()),
        (header::CONTENT_TYPE, result.media_type.as_str()),
        (header::CONTENT_DISPOSITION, &format!("inline; filename=\"{}\"", file_name(&job, result))),
        // A result never changes, but it may be erased: caches keep it for a day at most.
        (header::CACHE_CONTROL, "private, max-age=86400, immutable"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ] {
        let value = HeaderValue::from_str(value).map_err(ApiError::internal)?;
        response.headers_mut().insert(name, value);
    }
    Ok(response)
}

/// Why there is nothing to fetch.
fn no_result(job: &Job, eta: Option<f64>) -> ApiError {
    let why = match job.state {
        JobState::Queued | JobState::Running => "there is no result yet",
        JobState::Failed => "there is no result; the job's error says why",
        _ => "there is no result",
    };
    ApiError::NoResult {
        detail: format!("the job is {}: {why}", job.state),
        retry_after: poll_after(job, eta),
    }
}

/// A name that says what the picture is: model, layer, and the end of the id, where ids differ most.
fn file_name(job: &Job, result: &JobResult) -> String {
    let layer = job.spec.objectives.first().map_or("dream", |objective| &objective.layer);
    let id = job.id.to_string();
    let (_, short) = id.split_at(id.len() - 8);
    let plain = |text: &str| -> String {
        let allowed = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_' | '.');
        text.chars().map(|letter| if allowed(letter) { letter } else { '-' }).collect()
    };
    let extension = if result.media_type == "image/jpeg" { "jpg" } else { "png" };
    format!("dream-{}-{}-{short}.{extension}", plain(&job.spec.model), plain(layer))
}
