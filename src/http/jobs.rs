//! Endpoints to follow, cancel and erase a job.

use axum::{
    extract::State,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
};
use tracing::{Instrument, info};

use super::{
    contract::{AlreadyFinished, Internal, NotFound, Unavailable},
    error::ApiError,
    none_match,
    path_ids::Named,
    state::AppState,
    view::{JobView, describe, eta, job_etag, show},
    wait::{self, Preference},
};
use crate::{
    auth::Caller,
    jobs::{Job, JobId, JobState, QueueError},
    keys::Tenant,
    objects::ObjectKey,
    worker,
};

/// How long an erase waits for a worker to release the job: many times the duration of a tile.
const RELEASE_TIMEOUT: Preference = Preference::seconds(10);

/// Follow a job
///
/// With `Prefer: wait=n` the response comes as soon as the job ends, and after n seconds otherwise.
#[utoipa::path(
    get,
    path = "/v1/jobs/{id}",
    operation_id = "getJob",
    tag = "jobs",
    params(
        ("id" = String, Path, format = Uuid, description = "Id of the job.", example = "0198c0de-5a7e-7000-8000-00000000d0e5"),
        ("If-None-Match" = String, Header, description = "Entity tags that the client has.", example = "\"9f86d081884c7d65\""),
        ("Prefer" = String, Header, description = "`wait=n`: wait up to n seconds, at most 60, for the job to end.", example = "wait=30"),
    ),
    responses(
        (status = 200, description = "The job.", body = JobView, headers(
            ("ETag" = String, description = "Entity tag of the job's current version."),
            ("Retry-After" = u64, description = "Seconds after which to poll again; only while the job is unfinished."),
            ("Preference-Applied" = String, description = "The applied wait, such as `wait=10`; only after a `Prefer`."),
        )),
        (status = 304, description = "The job still has this entity tag.", headers(
            ("ETag" = String, description = "Entity tag of the job's current version."),
            ("Retry-After" = u64, description = "Seconds after which to poll again; only while the job is unfinished."),
        )),
        (status = 404, response = NotFound),
        (status = 500, response = Internal),
        (status = 503, response = Unavailable),
    )
)]
pub async fn status(
    State(state): State<AppState>,
    Caller { tenant, .. }: Caller,
    named: Named,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let id = named.job()?;
    let preference = Preference::of(&headers);
    let job = match preference {
        Some(preference) => wait::until_finished(&state, &tenant, id, preference).await?,
        None => state.queue.get(&tenant, id).await?,
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

/// Cancel a job
///
/// A queued job is canceled at once. A running job shows `cancel_requested`, and is canceled as soon as its
/// render has stopped: within one tile. Cancelling twice is fine.
#[utoipa::path(
    post,
    path = "/v1/jobs/{id}/cancel",
    operation_id = "cancelJob",
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
pub async fn cancel(
    State(state): State<AppState>,
    Caller { tenant, .. }: Caller,
    named: Named,
) -> Result<Response, ApiError> {
    let job = cancel_counted(&state, &tenant, named.job()?).await?;
    info!(job = %job.id, state = %job.state, "cancel requested");
    Ok(show(&state, StatusCode::OK, &job))
}

/// Erase a job
///
/// When the response arrives, the job, its image and its dream are gone, whatever the job's state was. A
/// running job is canceled first.
#[utoipa::path(
    delete,
    path = "/v1/jobs/{id}",
    operation_id = "eraseJob",
    tag = "jobs",
    params(("id" = String, Path, format = Uuid, description = "Id of the job.", example = "0198c0de-5a7e-7000-8000-00000000d0e5")),
    responses(
        (status = 204, description = "The job is gone."),
        (status = 404, response = NotFound),
        (status = 500, response = Internal),
        (status = 503, response = Unavailable),
    )
)]
pub async fn erase(
    State(state): State<AppState>,
    Caller { tenant, .. }: Caller,
    named: Named,
) -> Result<StatusCode, ApiError> {
    let id = named.job()?;
    // A half-done erase is no erase, so it continues if the client disconnects.
    let erasing = tokio::spawn(erase_all(state, tenant, id).in_current_span());
    erasing.await.map_err(ApiError::internal)??;
    Ok(StatusCode::NO_CONTENT)
}

/// Cancels a job, and counts it if it ends at once: then no worker counts it.
pub(super) async fn cancel_counted(state: &AppState, tenant: &Tenant, id: JobId) -> Result<Job, QueueError> {
    let before = state.queue.get(tenant, id).await?;
    let job = state.queue.cancel(tenant, id).await?;
    let waited = matches!(before.state, JobState::Queued | JobState::Paused) && before.attempt == job.attempt;
    if waited && job.state == JobState::Canceled {
        state.metrics.left(job.state);
        // An attempt before may have left some.
        if before.attempt > 0 {
            worker::delete_leftovers(&state.objects, id).await;
        }
    }
    Ok(job)
}

/// Cancels the job, deletes its pictures, then deletes its row. If a step fails, the row still exists, so the
/// client can try again. The worker of a running job gets some time to release it. A worker that still runs
/// it after that loses its lease with the row: it can complete nothing any more, and deletes the dream it has
/// stored.
async fn erase_all(state: AppState, tenant: Tenant, id: JobId) -> Result<(), ApiError> {
    match cancel_counted(&state, &tenant, id).await {
        Ok(_) | Err(QueueError::Finished(_)) => {}
        Err(error) => return Err(error.into()),
    }
    let job = wait::until_finished(&state, &tenant, id, RELEASE_TIMEOUT).await?;
    state.objects.delete_all(ObjectKey::all_of(&job)).await?;
    let last = state.queue.delete(&tenant, id).await?;
    info!(job = %id, "job erased");
    // Files may have been stored since, including the dream. Later ones are deleted by the code that stores
    // them.
    state.objects.delete_all(ObjectKey::all_of(&last)).await?;
    Ok(())
}
