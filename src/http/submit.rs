//! `POST /v1/jobs`: accepting a dream.
//!
//! Cheap checks come first, and everything that can be wrong is found before the job is accepted: a picture
//! is decoded as a whole, so that a truncated file is refused now instead of failing minutes later. Then the
//! input is stored, and only then the row, so that there is never a job without its input.

use axum::{
    extract::{Request, State},
    http::{HeaderValue, StatusCode, header},
    response::Response,
};
use bytes::Bytes;
use tracing::{Instrument, Span, error, info};

use super::{
    error::ApiError,
    extract::{self, Intake},
    jobs,
};
use crate::{
    app::AppState,
    jobs::{Job, JobId, NewJob, QueueError},
    objects::ObjectKey,
    picture::{self, PictureError},
    spec::{self, DreamSpec},
    telemetry::{self, TraceParent},
};

/// `POST /v1/jobs`
pub async fn submit(State(state): State<AppState>, request: Request) -> Result<Response, ApiError> {
    let (parts, body) = request.into_parts();
    let limit = state.config.limits.max_body_bytes;
    if let Err(refusal) = admit(&state).await {
        extract::discard(&parts.headers, body, limit);
        return Err(refusal);
    }
    let intake = extract::intake(&parts.headers, body, limit).await?;
    let (image, spec) = check(&state, intake).await?;
    // A client that hangs up now must not leave an input without a job, so this part runs to its end by
    // itself.
    let trace = telemetry::of_request(&Span::current(), &parts.headers);
    let accepting = tokio::spawn(accept(state.clone(), image, spec, trace).in_current_span());
    let job = accepting.await.map_err(ApiError::internal)??;
    let mut response = jobs::show(&state, StatusCode::ACCEPTED, &job);
    let location = HeaderValue::from_str(&jobs::path(job.id)).map_err(ApiError::internal)?;
    response.headers_mut().insert(header::LOCATION, location);
    Ok(response)
}

/// Is there any point in reading the upload?
async fn admit(state: &AppState) -> Result<(), ApiError> {
    if state.is_draining() {
        return Err(ApiError::Unavailable("the service is stopping and takes no new jobs"));
    }
    let depth = state.queue.depth().await?;
    let capacity = state.config.queue.capacity;
    if depth >= u64::from(capacity) { Err(full(state, capacity)) } else { Ok(()) }
}

fn full(state: &AppState, capacity: u32) -> ApiError {
    let retry_after = state.pace.wait(u64::from(capacity), state.workers_alive());
    ApiError::QueueFull { capacity, retry_after }
}

/// Looks at spec and picture, and reports the mistakes in both together.
async fn check(state: &AppState, intake: Intake) -> Result<(Bytes, DreamSpec), ApiError> {
    let Intake { image, spec, mut errors } = intake;
    let spec = spec::resolve("/spec", spec, &state.catalogue).map_err(|wrong| errors.extend(wrong));
    match check_picture(state, image.clone()).await? {
        Ok(()) => {}
        Err(refusal) => match ApiError::from_picture("/image", refusal) {
            ApiError::Invalid(wrong) => errors.extend(wrong),
            other => return Err(other),
        },
    }
    match spec {
        Ok(spec) if errors.is_empty() => Ok((image, spec)),
        _ => Err(ApiError::Invalid(errors)),
    }
}

/// Decodes the picture on a thread for such work, a few at a time: a decoded picture is many times the size
/// of its file.
async fn check_picture(state: &AppState, image: Bytes) -> Result<Result<(), PictureError>, ApiError> {
    let permit = state.decoders.clone().acquire_owned().await.map_err(ApiError::internal)?;
    let max_pixels = state.config.limits.max_pixels;
    let decoding = tokio::task::spawn_blocking(move || {
        let _permit = permit;
        picture::verify(&image, max_pixels).map(drop)
    });
    match decoding.await {
        Ok(outcome) => Ok(outcome),
        // A decoder that panics has met hostile bytes: the file is at fault as far as the client can tell.
        Err(panic) => {
            error!(%panic, "an image decoder panicked");
            let reason = "the decoder gave up".to_owned();
            Ok(Err(PictureError::Undecodable { format: "image", reason }))
        }
    }
}

/// Stores the input, then the row.
async fn accept(
    state: AppState,
    image: Bytes,
    spec: DreamSpec,
    traceparent: Option<TraceParent>,
) -> Result<Job, ApiError> {
    let id = JobId::new();
    let input = ObjectKey::Input(id);
    state.objects.put(input, image).await?;
    match state.queue.enqueue(NewJob { id, spec, traceparent }).await {
        Ok(job) => {
            info!(job = %id, position = job.queue_position, "job accepted");
            Ok(job)
        }
        Err(refusal) => {
            if let Err(error) = state.objects.delete(input).await {
                error!(%error, "the input of a job that was not accepted stays in the store");
            }
            Err(match refusal {
                QueueError::Full { capacity } => full(&state, capacity),
                other => other.into(),
            })
        }
    }
}
