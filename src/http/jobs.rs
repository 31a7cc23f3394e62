//! Following a job, stopping it, and having it erased.

use axum::{
    extract::{Path, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
};
use tracing::{Instrument, info};

use super::{
    error::ApiError,
    none_match,
    view::{describe, eta, job_etag, parse, show},
    wait::{self, Preference},
};
use crate::{
    app::AppState,
    jobs::{JobId, QueueError},
    objects::ObjectKey,
};

/// `GET /v1/jobs/{id}`
pub async fn status(
    State(state): State<AppState>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let id = parse(&id)?;
    let preference = Preference::of(&headers);
    let job = match preference {
        Some(preference) => wait::until_finished(&state, id, preference).await?,
        None => state.queue.get(id).await?,
    };
    let eta = eta(&state, &job);
    let mut response = if none_match(&headers, &job_etag(&job, eta)) {
        let mut response = StatusCode::NOT_MODIFIED.into_response();
        describe(response.headers_mut(), &job, eta);
        response
    } else {
        show(&state, StatusCode::OK, &job)
    };
    wait::mark_applied(&mut response, preference);
    Ok(response)
}

/// `POST /v1/jobs/{id}/cancel`
pub async fn cancel(State(state): State<AppState>, Path(id): Path<String>) -> Result<Response, ApiError> {
    let job = state.queue.cancel(parse(&id)?).await?;
    info!(job = %job.id, state = %job.state, "cancel requested");
    Ok(show(&state, StatusCode::OK, &job))
}

/// `DELETE /v1/jobs/{id}`
pub async fn erase(State(state): State<AppState>, Path(id): Path<String>) -> Result<StatusCode, ApiError> {
    let id = parse(&id)?;
    // Erased by halves is not erased: a client that hangs up changes nothing.
    let erasing = tokio::spawn(erase_all(state, id).in_current_span());
    erasing.await.map_err(ApiError::internal)??;
    Ok(StatusCode::NO_CONTENT)
}

/// Stops the job, then deletes its pictures, then its row. Where a step fails the row is still there, so the
/// client can try again. A worker that is still at it loses its lease with the row: it writes nothing any
/// more, and deletes what it has stored under that lease.
async fn erase_all(state: AppState, id: JobId) -> Result<(), ApiError> {
    let job = match state.queue.cancel(id).await {
        Ok(job) => job,
        Err(QueueError::Finished(_)) => state.queue.get(id).await?,
        Err(error) => return Err(error.into()),
    };
    for key in ObjectKey::all_of(&job) {
        state.objects.delete(key).await?;
    }
    let last = state.queue.forget(id).await?;
    info!(job = %id, "job erased");
    // The dream may have been finished since.
    if let Some(key) = ObjectKey::result_of(&last).filter(|_| job.result.is_none()) {
        state.objects.delete(key).await?;
    }
    Ok(())
}
