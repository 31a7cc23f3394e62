//! `GET /v1/jobs/{id}/thumbnail`: a small picture of a job, for lists.

use std::sync::Arc;

use axum::{
    extract::State,
    http::{HeaderMap, header},
    response::Response,
};
use bytes::Bytes;
use tokio::sync::{Semaphore, SemaphorePermit};
use tracing::warn;

use super::{
    contract::{Gone, ImageFile, Internal, NoResult, NotFound, Unavailable},
    error::ApiError,
    input::has_input,
    none_match,
    path_ids::Named,
    revalidated,
    state::AppState,
    view::{eta, poll_after},
};
use crate::{
    auth::Caller,
    jobs::{Job, QueueError},
    objects::{ObjectError, ObjectKey},
};
use reverie_picture::{self as picture, Format};

/// Longer edge in pixels.
const EDGE: u32 = 320;

/// Memory beside what decoding takes, in bytes per pixel: the picture in red, green and blue, and once more.
const COPY_BYTES: u64 = 6;

/// The longest file that is read for a thumbnail: a long animation is longer, and its input is shown instead.
const LONGEST: u64 = 64 << 20;

/// Thumbnails that are made at the same time: each holds a file and its picture.
const AT_ONCE: usize = 2;

static MAKING: Semaphore = Semaphore::const_new(AT_ONCE);

/// One of them. Whoever works for it holds it, on whatever thread: the request may be dropped before.
type Turn = Arc<SemaphorePermit<'static>>;

/// Get the thumbnail
///
/// A WebP of at most 320 pixels: of the dream once it is finished (of an animation the first frame), before that of the preview,
/// and of the input as long as there is nothing else, or where the dream's file is longer than 64 MiB.
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
            ("ETag" = String, description = "Entity tag of the picture."),
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
    // What is shown is another one when the job ends, and with each preview.
    let frame = job.progress.and_then(|progress| progress.frame).unwrap_or_default();
    let etag = match job.state.is_finished() {
        true => format!("\"{}-ended\"", job.id),
        false => format!("\"{}-{}-{frame}\"", job.id, job.preview_octave.unwrap_or_default()),
    };
    if none_match(&headers, &etag) {
        return revalidated(&headers, &etag, ());
    }
    let file = if job.state.is_finished() { kept(&state, &job).await? } else { made(&state, &job).await? };
    let file = file.ok_or_else(|| ApiError::NoPreview {
        state: job.state,
        retry_after: poll_after(&job, eta(&state, &job)),
    })?;
    revalidated(&headers, &etag, ([(header::CONTENT_TYPE, "image/webp")], file))
}

/// Of a job that has ended: made when it is first asked for, and kept.
async fn kept(state: &AppState, job: &Job) -> Result<Option<Bytes>, ApiError> {
    let key = ObjectKey::Thumbnail(job.id);
    if let Some(file) = state.objects.find(key).await? {
        return Ok(Some(file));
    }
    let Some(file) = made(state, job).await? else { return Ok(None) };
    if let Err(error) = state.objects.put(key, file.clone()).await {
        warn!(%error, job = %job.id, "a thumbnail could not be kept; it is made again when it is asked for");
    }
    // Who erases a job erases what is there; a thumbnail that came later goes here.
    match state.queue.get(&job.tenant, job.id).await {
        Ok(now) if now.erased_at.is_none() => {}
        Ok(_) | Err(QueueError::NotFound(_)) => state.objects.delete(key).await?,
        Err(error) => return Err(error.into()),
    }
    Ok(Some(file))
}

/// Of what there is: the dream, else the preview, else the input.
async fn made(state: &AppState, job: &Job) -> Result<Option<Bytes>, ApiError> {
    let newest = match ObjectKey::result_of(job) {
        Some(dream) => Some(dream),
        None => (!job.state.is_finished()).then_some(ObjectKey::Preview(job.id)),
    };
    let input = has_input(job).then_some(ObjectKey::Input(job.id));
    let turn: Turn = Arc::new(MAKING.acquire().await.map_err(ApiError::internal)?);
    // Others who asked for the same had the turn before.
    if let Some(file) = state.objects.find(ObjectKey::Thumbnail(job.id)).await? {
        return Ok(Some(file));
    }
    for key in newest.into_iter().chain(input) {
        let format = job.spec.format;
        let video = matches!(key, ObjectKey::Result(..)).then_some(format).filter(|format| format.is_video());
        if let Some(small) = shrink(state, key, video, &turn).await? {
            return Ok(Some(small));
        }
    }
    Ok(None)
}

/// Decodes a stored picture, once there is memory for it, and makes a small one of it. `None` if there is no such picture, or none
/// that can be decoded: of some inputs only the worker finds that.
async fn shrink(
    state: &AppState,
    key: ObjectKey,
    video: Option<Format>,
    turn: &Turn,
) -> Result<Option<Bytes>, ApiError> {
    match state.objects.size(key).await {
        Ok(size) if size <= LONGEST => {}
        Ok(_) | Err(ObjectError::NotFound(_)) => return Ok(None),
        Err(error) => return Err(error.into()),
    }
    let Some(mut file) = state.objects.find(key).await? else { return Ok(None) };
    if let Some(format) = video {
        let turn = Arc::clone(turn);
        let first = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            picture::first_frame(&file, format, EDGE)
        });
        match first.await.map_err(ApiError::internal)? {
            Ok(frame) => file = frame.into(),
            Err(error) => {
                warn!(%error, "the first frame of a video cannot be read");
                return Ok(None);
            }
        }
    }
    let Ok((header, decoding)) = picture::weigh(&file) else { return Ok(None) };
    let bytes = decoding + u64::from(header.width) * u64::from(header.height) * COPY_BYTES;
    let permit = state.decoders.reserve(bytes).await.map_err(ApiError::internal)?;
    let turn = Arc::clone(turn);
    let shrinking = tokio::task::spawn_blocking(move || {
        let _held = (permit, turn);
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
