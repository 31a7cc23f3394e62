//! `PATCH /v1/jobs/{id}`: changes a dream on its way.
//!
//! What is asked for is checked and priced as if it had been sent with the job, and holds from the next octave or frame on. When
//! that begins is known to the worker alone, so the change waits in the row until then (`jobs/steering`).

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    http::StatusCode,
    response::Response,
};
use serde_json::Value;
use tracing::info;

use super::{
    contract::{
        Internal, Invalid, Malformed, NotFound, NothingLeft, TooLarge, TooSlow, Unavailable, UnsupportedType,
    },
    error::ApiError,
    json_body,
    path_ids::Named,
    pictures::stored_size,
    state::AppState,
    submit::{predict, refused},
    view::{JobView, show},
};
use crate::{
    auth::Caller,
    jobs::{Begun, Forecast, Job, JobId, JobState, NewJob, QueueError, UNKNOWN_SECONDS},
    keys::Tenant,
    objects::ObjectKey,
};
use reverie_dream::spec::{self, Change, DreamSpec, SteeringRequest, Underway};
use reverie_fields::FieldError;

/// How often a job is read again that went on while a change of it was checked: each time it has begun an octave or a frame,
/// was changed by others, or went to another worker.
const TRIES: usize = 8;

/// Where a mistake about a picture of the job is told: of the whole request, as none of its members names one.
const PICTURE: &str = "";

/// Steer a dream
///
/// What the body names holds from the next octave on, of an animation from the next frame on; of a job that has not begun, from
/// the first. It is checked and priced as if it had been sent with the job. The job shows it as `steering` until then, and in
/// the `schedule` of its spec afterwards, as the recipe does: posted as a spec, that gives the same bytes. A change that waits
/// is changed by another; what neither names stays. What the schedule that was sent changes later it still does; among changes on
/// the way the last one wins, also where an attempt that was lost had taken up an older one for a later octave. Where nothing is
/// left to begin, or the job is being canceled, the answer is 409.
#[utoipa::path(
    patch,
    path = "/v1/jobs/{id}",
    operation_id = "steerJob",
    tag = "jobs",
    params(("id" = String, Path, format = Uuid, description = "Id of the job.", example = "0198c0de-5a7e-7000-8000-00000000d0e5")),
    request_body(content((SteeringRequest = "application/json", example = json!({
        "objectives": [{ "kind": "l2", "layer": "block3" }], "step": 1.0,
    })))),
    responses(
        (status = 200, description = "The job.", body = JobView, headers(
            ("ETag" = String, description = "Entity tag of the job's current version."),
            ("Retry-After" = u64, description = "Seconds after which to poll again."),
        )),
        (status = 400, response = Malformed),
        (status = 404, response = NotFound),
        (status = 408, response = TooSlow),
        (status = 409, response = NothingLeft),
        (status = 413, response = TooLarge),
        (status = 415, response = UnsupportedType),
        (status = 422, response = Invalid),
        (status = 500, response = Internal),
        (status = 503, response = Unavailable),
    )
)]
pub async fn steer(
    State(state): State<AppState>,
    Caller { tenant, .. }: Caller,
    named: Named,
    request: Request,
) -> Result<Response, ApiError> {
    let (parts, body) = request.into_parts();
    let id = named.job()?;
    state.queue.get(&tenant, id).await?;
    let written = json_body::read(&parts.headers, body).await?;
    let job = change(&state, &tenant, id, written).await?;
    info!(job = %job.id, "a change was asked for");
    Ok(show(&state, StatusCode::OK, &job))
}

/// Checks a change and has it wait for the next octave or frame.
async fn change(state: &AppState, tenant: &Tenant, id: JobId, written: Value) -> Result<Job, ApiError> {
    let mut sizes = None;
    for _ in 0..TRIES {
        let job = state.queue.get(tenant, id).await?;
        let place = next_place(&job)?;
        let (change, spec) = steered(state, written.clone(), &job, place).await?;
        let (size, guide) = match sizes {
            Some(known) => known,
            None => {
                let _turn = state.rereading().await;
                *sizes.insert(sizes_of(state, &job).await?)
            }
        };
        let forecast = predict(state, &spec, size, guide).await.map_err(about_objectives)?;
        check_quota(state, &job, forecast).await?;
        if let Some(job) = state.queue.steer(&job, &change, forecast).await? {
            return Ok(job);
        }
    }
    Err(ApiError::Unavailable("the job goes on faster than a change of it can be checked; try again"))
}

/// Refuses a change by which the tenant's waiting jobs would take more than they may. It counts what the change adds.
async fn check_quota(state: &AppState, job: &Job, forecast: Forecast) -> Result<(), ApiError> {
    let before = job.forecast.map_or(UNKNOWN_SECONDS, |before| before.seconds);
    let added = forecast.seconds - before;
    if job.state == JobState::Running || added <= 0.0 {
        return Ok(());
    }
    let as_if = NewJob {
        tenant: job.tenant.clone(),
        forecast: Some(Forecast { seconds: added, ..forecast }),
        ..NewJob::new(JobId::new(), job.spec.clone())
    };
    match state.queue.refusal(&as_if).await? {
        Some(refusal @ QueueError::TenantSeconds { .. }) => Err(refused(state, refusal).await?),
        _ => Ok(()),
    }
}

/// The first octave or frame that a change could hold from.
fn next_place(job: &Job) -> Result<u32, ApiError> {
    if job.state.is_finished() {
        return Err(ApiError::AlreadyFinished(job.state));
    }
    if job.cancel_requested {
        return Err(ApiError::BeingCanceled);
    }
    let unit = if job.spec.motion.is_some() { "frame" } else { "octave" };
    match (job.state, job.begun) {
        (JobState::Running, Some(Begun { place, places })) if place >= places => {
            Err(ApiError::NothingLeft(unit))
        }
        (JobState::Running, Some(Begun { place, .. })) => Ok(place + 1),
        // What had begun begins again.
        (_, begun) => Ok(begun.map_or(1, |begun| begun.place)),
    }
}

/// The change, with what waits already, and the spec with it.
async fn steered(
    state: &AppState,
    written: Value,
    job: &Job,
    place: u32,
) -> Result<(Change, DreamSpec), ApiError> {
    let model = state.catalogue.get(&job.spec.model).map(Arc::clone);
    let model = model.ok_or_else(|| ApiError::internal(format!("model {} is gone", job.spec.model)))?;
    let job = job.clone();
    let checking = move || {
        let (has_guide, waiting) = (job.has_guide(), job.steering);
        let underway = Underway { spec: &job.spec, planned: &job.planned, has_guide, waiting };
        spec::steered(written, underway, place, &model)
    };
    let checked = tokio::task::spawn_blocking(checking).await.map_err(ApiError::internal)?;
    checked.map_err(ApiError::Invalid)
}

/// Height and width.
type Size = (u32, u32);

/// Those of what the dream starts from, and those of the guide image, if one was sent.
async fn sizes_of(state: &AppState, job: &Job) -> Result<(Size, Option<Size>), ApiError> {
    let size = match job.spec.noise {
        Some(noise) => Some((noise.height, noise.width)),
        None => {
            stored_size(state, PICTURE, Some(&state.objects.get(ObjectKey::Input(job.id)).await?)).await?
        }
    };
    let guide = match job.has_guide() {
        true => {
            stored_size(state, PICTURE, Some(&state.objects.get(ObjectKey::Guide(job.id)).await?)).await?
        }
        false => None,
    };
    Ok((size.ok_or_else(|| ApiError::internal("the input of a job cannot be read any more"))?, guide))
}

/// A refusal that tells of the picture or the spec, as one of the objectives: nothing else of the job is open to change.
fn about_objectives(refusal: ApiError) -> ApiError {
    match refusal {
        ApiError::Invalid(errors) => {
            let about = |error: FieldError| FieldError::new("/objectives", error.detail);
            ApiError::Invalid(errors.into_iter().map(about).collect())
        }
        other => other,
    }
}
