//! `GET /v1/jobs/{id}/thumbnail`: a small picture of a job, for lists.

use axum::{
    extract::State,
    http::{HeaderMap, header},
    response::Response,
};
use bytes::Bytes;
use tracing::warn;

use super::{
    contract::{Gone, ImageFile, Internal, NoResult, NotFound, Unavailable},
    error::ApiError,
    input::has_input,
    path_ids::Named,
    revalidated,
    state::AppState,
    view::{eta, poll_after},
};
use crate::{
    auth::Caller,
    jobs::{Job, JobState},
    objects::{ObjectError, ObjectKey},
};
use reverie_dream::digest;
use reverie_picture::{self as picture, Look};

/// Longer edge in pixels.
const EDGE: u32 = 320;

/// Memory that decoding a JPEG takes, in bytes per pixel.
const JPEG_BYTES: u64 = 6;

/// Get the thumbnail
///
/// A WebP of at most 320 pixels: of the dream once it is finished, before that of the preview, and of the input as long as there is
/// nothing else.
#[utoipa::path(
    get,
    path = "/v1/jobs/{id}/thumbnail",
    operation_id = "getThumbnail",
    tag = "jobs",
    params(
        ("id" = String, Path, format = Uuid, description = "Id of the job.", example = "0198c0de-5a7e-7000-8000-00000000d0e5"),
        ("If-None-Match" = String, Header, description = "Entity tags that the client has.", example = "\"9f86d081884c7d65\""),
    ),
    responses(
        (status = 200, description = "The picture.", content((ImageFile = "image/webp")), headers(
            ("ETag" = String, description = "Entity tag: the digest of the picture."),
        )),
        (status = 304, description = "The client already has the newest picture.", headers(
            ("ETag" = String, description = "Entity tag of the picture."),
        )),
        (status = 404, response = NotFound),
        (status = 409, response = NoResult),
        (status = 410, response = Gone),
        (status = 500, response = Internal),
        (status = 503, response = Unavailable),
    )
)]
pub async fn thumbnail(
    State(state): State<AppState>,
    Caller { tenant, .. }: Caller,
    named: Named,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let job = state.queue.get(&tenant, named.job()?).await?;
    if let Some(erased_at) = job.erased_at {
        return Err(ApiError::Gone(erased_at));
    }
    let file = match job.state {
        JobState::Succeeded => of_dream(&state, &job).await?,
        _ => of_what_there_is(&state, &job).await?,
    };
    let file = file.ok_or_else(|| ApiError::NoPreview {
        state: job.state,
        retry_after: poll_after(&job, eta(&state, &job)),
    })?;
    let etag = format!("\"{}\"", digest::sha256(&file));
    revalidated(&headers, &etag, ([(header::CONTENT_TYPE, "image/webp")], file))
}

/// Of a finished dream: made when it is first asked for, and kept.
async fn of_dream(state: &AppState, job: &Job) -> Result<Option<Bytes>, ApiError> {
    let kept = ObjectKey::Thumbnail(job.id);
    if let Some(file) = stored(state, kept).await? {
        return Ok(Some(file));
    }
    let Some(key) = ObjectKey::result_of(job) else { return Ok(None) };
    let made = shrink(state, key).await?;
    if let Some(file) = &made
        && let Err(error) = state.objects.put(kept, file.clone()).await
    {
        warn!(%error, job = %job.id, "a thumbnail could not be kept; it is made again when it is asked for");
    }
    Ok(made)
}

/// Of a job without a dream: the preview, else the input.
async fn of_what_there_is(state: &AppState, job: &Job) -> Result<Option<Bytes>, ApiError> {
    let preview =
        if job.state.is_finished() { None } else { shrink(state, ObjectKey::Preview(job.id)).await? };
    match preview {
        None if has_input(job) => shrink(state, ObjectKey::Input(job.id)).await,
        preview => Ok(preview),
    }
}

/// A blob, if there is one.
async fn stored(state: &AppState, key: ObjectKey) -> Result<Option<Bytes>, ApiError> {
    match state.objects.get(key).await {
        Ok(file) => Ok(Some(file)),
        Err(ObjectError::NotFound(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Decodes a stored picture, once there is memory for it, and makes a small one of it. `None` if there is no such picture, or none
/// that can be decoded: of some inputs only the worker finds that.
async fn shrink(state: &AppState, key: ObjectKey) -> Result<Option<Bytes>, ApiError> {
    let Some(file) = stored(state, key).await? else { return Ok(None) };
    let bytes = match picture::look(&file, u64::MAX) {
        Ok(Look::Decode { bytes }) => bytes,
        Ok(Look::Enough(header)) => u64::from(header.width) * u64::from(header.height) * JPEG_BYTES,
        Err(_) => return Ok(None),
    };
    let permit = state.decoders.reserve(bytes).await.map_err(ApiError::internal)?;
    let shrinking = tokio::task::spawn_blocking(move || {
        let _permit = permit;
        picture::decode(&file, u64::MAX)?.thumbnail(EDGE)
    });
    match shrinking.await.map_err(ApiError::internal)? {
        Ok(small) => Ok(Some(small.into())),
        Err(error) => {
            warn!(%error, %key, "there is no thumbnail: the picture cannot be read");
            Ok(None)
        }
    }
}
