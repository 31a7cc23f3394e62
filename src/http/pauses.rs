//! Endpoints to pause and resume a job.

use axum::{extract::State, http::StatusCode, response::Response};
use tracing::info;

use super::{
    contract::{AlreadyFinished, Internal, NotFound, Unavailable},
    error::ApiError,
    path_ids::Named,
    state::AppState,
    view::{JobView, show},
};
use crate::{auth::Caller, jobs::JobState};

/// Paused jobs of a tenant.
const MOST_PAUSED: u32 = 100;

/// Pause a job
///
/// A queued job is paused at once. A running job shows `pause_requested`, and is paused as soon as its render has stopped:
/// within one tile. What it had stored after its last octave or frame stays, and its worker is free. A paused job
/// counts towards the bounds of its tenant's waiting jobs, and a tenant may have a hundred. It expires at its deadline, or after seven days. Pausing twice is
/// fine.
#[utoipa::path(
    post,
    path = "/v1/jobs/{id}/pause",
    operation_id = "pauseJob",
    tag = "jobs",
    params(("id" = String, Path, format = Uuid, description = "Id of the job.", example = "0198c0de-5a7e-7000-8000-00000000d0e5")),
    responses(
        (status = 200, description = "The job.", body = JobView, headers(
            ("ETag" = String, description = "Entity tag of the job's current version."),
            ("Retry-After" = u64, description = "Seconds after which to poll again; only while the job is unfinished."),
        )),
        (status = 404, response = NotFound),
        (status = 409, response = AlreadyFinished),
        (status = 500, response = Internal),
        (status = 503, response = Unavailable),
    )
)]
pub async fn pause(
    State(state): State<AppState>,
    Caller { tenant, .. }: Caller,
    named: Named,
) -> Result<Response, ApiError> {
    let id = named.job()?;
    // Its files stay as long as it is paused. Several requests may pass at the same time.
    let paused = state.queue.list(&tenant, Some(JobState::Paused), None, MOST_PAUSED).await?.jobs;
    if paused.len() >= MOST_PAUSED as usize && paused.iter().all(|job| job.id != id) {
        let detail = format!("this tenant may have {MOST_PAUSED} paused jobs; resume or cancel some");
        return Err(ApiError::QuotaExceeded { detail, retry_after: 60 });
    }
    let job = state.queue.pause(&tenant, id).await?;
    info!(job = %job.id, state = %job.state, "pause requested");
    Ok(show(&state, StatusCode::OK, &job))
}

/// Resume a job
///
/// A paused job returns to the queue, to the place that its age and priority give it, and goes on after the last octave or
/// frame that was stored: the dream has the bytes of one that never paused. A pause request that no worker has followed yet
/// is taken back. Resuming a job that is not paused is fine, and does nothing.
#[utoipa::path(
    post,
    path = "/v1/jobs/{id}/resume",
    operation_id = "resumeJob",
    tag = "jobs",
    params(("id" = String, Path, format = Uuid, description = "Id of the job.", example = "0198c0de-5a7e-7000-8000-00000000d0e5")),
    responses(
        (status = 200, description = "The job.", body = JobView, headers(
            ("ETag" = String, description = "Entity tag of the job's current version."),
            ("Retry-After" = u64, description = "Seconds after which to poll again; only while the job is unfinished."),
        )),
        (status = 404, response = NotFound),
        (status = 409, response = AlreadyFinished),
        (status = 500, response = Internal),
        (status = 503, response = Unavailable),
    )
)]
pub async fn resume(
    State(state): State<AppState>,
    Caller { tenant, .. }: Caller,
    named: Named,
) -> Result<Response, ApiError> {
    let job = state.queue.resume(&tenant, named.job()?).await?;
    info!(job = %job.id, state = %job.state, "resumed");
    Ok(show(&state, StatusCode::OK, &job))
}
