//! `GET /v1/jobs/{id}/preview`: the dream so far.

use axum::{
    extract::State,
    http::{HeaderMap, header},
    response::Response,
};

use super::{
    contract::{ImageFile, Internal, NoResult, NotFound, Unavailable},
    error::ApiError,
    path_ids::Named,
    revalidated,
    state::AppState,
    view::{eta, poll_after},
};
use crate::{auth::Caller, objects::ObjectKey};
use reverie_dream::digest;

/// Get the preview
///
/// The dream as it stands, as a small JPEG, while the job runs: about once a second; of an animation, the newest finished frame.
/// `If-None-Match` makes looking cheap.
#[utoipa::path(
    get,
    path = "/v1/jobs/{id}/preview",
    operation_id = "getPreview",
    tag = "jobs",
    params(
        ("id" = String, Path, format = Uuid, description = "Id of the job.", example = "0198c0de-5a7e-7000-8000-00000000d0e5"),
        ("If-None-Match" = String, Header, description = "Entity tags that the client has.", example = "\"9f86d081884c7d65\""),
    ),
    responses(
        (status = 200, description = "The picture.", content((ImageFile = "image/jpeg")), headers(
            ("ETag" = String, description = "Entity tag: the digest of the picture."),
        )),
        (status = 304, description = "The client already has the newest picture.", headers(
            ("ETag" = String, description = "Entity tag of the picture."),
        )),
        (status = 404, response = NotFound),
        (status = 409, response = NoResult),
        (status = 500, response = Internal),
        (status = 503, response = Unavailable),
    )
)]
pub async fn preview(
    State(state): State<AppState>,
    Caller { tenant, .. }: Caller,
    named: Named,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let job = state.queue.get(&tenant, named.job()?).await?;
    let picture = state.objects.find(ObjectKey::Preview(job.id)).await?;
    let Some(picture) = picture.filter(|_| !job.state.is_finished()) else {
        let retry_after = poll_after(&job, eta(&state, &job));
        return Err(ApiError::NoPreview { state: job.state, retry_after });
    };
    // The key stays the same while the content changes, so the entity tag is the content's digest.
    let etag = format!("\"{}\"", digest::sha256(&picture));
    revalidated(&headers, &etag, ([(header::CONTENT_TYPE, "image/jpeg")], picture))
}
