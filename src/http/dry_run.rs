//! `POST /v1/dry-run`: what a dream would take, without dreaming it.

use axum::{
    Json,
    extract::{Request, State},
};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    contract::{
        EXAMPLE_IMAGE, Internal, Invalid, Malformed, NotFound, QueueFull, SubmitForm, SubmitJson, TooLarge,
        TooSlow, Unavailable, UnsupportedType,
    },
    error::ApiError,
    problem::Problem,
    state::AppState,
    submit::{self, Checked},
    view::{eta_behind, thousandths},
};
use reverie_dream::spec::DreamSpec;

/// What a submission would be, had it been sent to `/v1/jobs`.
#[derive(Debug, Serialize, ToSchema)]
pub struct DryRun {
    /// The spec, with all defaults filled in.
    spec: DreamSpec,
    /// Predicted seconds from the start of an attempt to its end.
    #[schema(minimum = 0)]
    predicted_seconds: f64,
    /// Predicted peak memory.
    #[schema(minimum = 0)]
    predicted_memory_mb: f64,
    /// Pixels × gradient steps over all octaves, in millions.
    #[schema(minimum = 0)]
    megapixel_iterations: f64,
    /// Position in the queue that it would have now, starting at 1.
    #[schema(minimum = 1)]
    queue_position: u64,
    /// Estimated seconds until the end, at that position.
    #[schema(minimum = 0)]
    eta_seconds: f64,
    /// Whether it would be accepted now.
    accepted: bool,
    /// The problem that it would be refused with now, because of a quota of the tenant; `null` if it would be accepted.
    #[schema(required = true)]
    refusal: Option<Problem>,
}

/// Predict a dream
///
/// Checks a submission and answers what it would take. Nothing is stored, and no job is created. What is wrong with a submission is
/// told in the same words. Whether the tenant's quotas have room for it now is told in `accepted` and `refusal`; a full queue refuses the dry run itself. For the prediction only the size of the picture counts: a blank one, of a few kilobytes, costs the same; its length counts for the quota of stored bytes.
#[utoipa::path(
    post,
    path = "/v1/dry-run",
    operation_id = "dryRun",
    tag = "jobs",
    request_body(content(
        (SubmitForm = "multipart/form-data", example = json!({
            "spec": { "preset": "multiscale", "noise": { "width": 64, "height": 64 }, "iterations": 2 },
        })),
        (SubmitJson = "application/json", example = json!({
            "image": EXAMPLE_IMAGE,
            "spec": { "objectives": [{ "kind": "l2", "layer": "block2" }], "octaves": 2, "iterations": 2, "seed": 7 },
        })),
    )),
    responses(
        (status = 200, description = "What it would take.", body = DryRun),
        (status = 400, response = Malformed),
        (status = 404, response = NotFound),
        (status = 408, response = TooSlow),
        (status = 413, response = TooLarge),
        (status = 415, response = UnsupportedType),
        (status = 422, response = Invalid),
        (status = 429, response = QueueFull),
        (status = 500, response = Internal),
        (status = 503, response = Unavailable),
    )
)]
pub async fn dry_run(State(state): State<AppState>, mut request: Request) -> Result<Json<DryRun>, ApiError> {
    // These are about a job, and there is none.
    for header in ["idempotency-key", "prefer"] {
        request.headers_mut().remove(header);
    }
    let (_, checked) = submit::receive(&state, request).await?;
    let Checked::New(_, job) = checked else {
        return Err(ApiError::internal("a dry run was taken for a repeated request"));
    };
    let forecast = job.forecast.ok_or_else(|| ApiError::internal("a dry run has no forecast"))?;
    let refusal = match state.queue.refusal(&job).await? {
        Some(refusal) => Some(submit::refused(&state, refusal).await?.problem()),
        None => None,
    };
    let place = state.queue.next_place(&job.tenant, job.options.priority).await?;
    Ok(Json(DryRun {
        spec: job.spec,
        predicted_seconds: thousandths(forecast.seconds),
        predicted_memory_mb: thousandths(forecast.memory as f64 / 1e6),
        megapixel_iterations: forecast.megapixel_iterations,
        queue_position: place.position,
        eta_seconds: eta_behind(&state, place.seconds_ahead, forecast.seconds),
        accepted: refusal.is_none(),
        refusal,
    }))
}
