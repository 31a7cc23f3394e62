//! `GET /v1/jobs/{id}/input`: the picture that a job was submitted with.

use axum::{
    body::Body,
    extract::State,
    http::{HeaderMap, header},
    response::Response,
};

use super::{
    contract::{Gone, ImageFile, Internal, NotFound, Unavailable},
    error::ApiError,
    path_ids::Named,
    result::missing,
    revalidated,
    state::AppState,
};
use crate::{auth::Caller, jobs::Job, objects::ObjectKey};
use reverie_picture as picture;

/// So many bytes tell the kind of a file: a HEIC may list its brands up to there.
const HEAD: u64 = 256;

/// Get the input
///
/// The image file that the job was submitted with, byte for byte, as long as the job's pictures are kept.
#[utoipa::path(
    get,
    path = "/v1/jobs/{id}/input",
    operation_id = "getInput",
    tag = "jobs",
    params(
        ("id" = String, Path, format = Uuid, description = "Id of the job.", example = "0198c0de-5a7e-7000-8000-00000000d0e5"),
        ("If-None-Match" = String, Header, description = "Entity tags that the client has.", example = "\"9f86d081884c7d65\""),
    ),
    responses(
        (status = 200, description = "The file.",
            content(
                (ImageFile = "image/png"), (ImageFile = "image/jpeg"), (ImageFile = "image/webp"), (ImageFile = "image/gif"),
                (ImageFile = "image/bmp"), (ImageFile = "image/tiff"), (ImageFile = "image/heic"), (ImageFile = "image/avif"),
            ),
            headers(
                ("ETag" = String, description = "Entity tag of the file, which never changes."),
            )
        ),
        (status = 304, description = "The client already has the file.", headers(
            ("ETag" = String, description = "Entity tag of the file."),
        )),
        (status = 404, response = NotFound),
        (status = 410, response = Gone),
        (status = 500, response = Internal),
        (status = 503, response = Unavailable),
    )
)]
pub async fn input(
    State(state): State<AppState>,
    Caller { tenant, .. }: Caller,
    named: Named,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let job = state.queue.get(&tenant, named.job()?).await?;
    if let Some(erased_at) = job.erased_at {
        return Err(ApiError::Gone(erased_at));
    }
    if !has_input(&job) {
        return Err(ApiError::NoInput);
    }
    let key = ObjectKey::Input(job.id);
    let head = match state.objects.open_range(key, 0..HEAD).await {
        Ok(head) => axum::body::to_bytes(Body::from_stream(head.stream), HEAD as usize).await,
        Err(error) => return Err(missing(&state, &job, error).await),
    };
    // It was checked when the job was accepted.
    let media_type = picture::media_type(&head.map_err(ApiError::internal)?).map_err(ApiError::internal)?;
    let object = match state.objects.open(key).await {
        Ok(object) => object,
        Err(error) => return Err(missing(&state, &job, error).await),
    };
    let described = [
        (header::CONTENT_TYPE, media_type.to_owned()),
        (header::CONTENT_LENGTH, object.size.to_string()),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff".to_owned()),
    ];
    // The id names one file for ever.
    revalidated(&headers, &format!("\"{}-input\"", job.id), (described, Body::from_stream(object.stream)))
}

/// Whether the job started from a picture, not from noise.
pub(super) fn has_input(job: &Job) -> bool {
    job.spec.noise.is_none()
}
