//! `/v1/uploads`: pictures that are sent ahead of their jobs, to the store itself where that is a bucket.
//!
//! A submission then names the upload, and can be repeated without sending the picture again. What an upload is, the submission finds
//! out: it reads it like any other picture.

use std::collections::BTreeMap;

use axum::{
    Json,
    extract::{Request, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use futures::StreamExt;
use serde::Serialize;
use tracing::info;
use utoipa::ToSchema;

use super::{
    body_limits::MeteredBody,
    client_address::ClientAddress,
    contract::{
        Internal, Invalid, Malformed, NotFound, StorageFull, TooLarge, TooSlow, Unavailable, UnsupportedType,
        UploadRequest,
    },
    digests::Promised,
    error::ApiError,
    json_body, links,
    path_ids::Named,
    state::AppState,
};
use crate::{
    auth::Caller,
    clock::Timestamp,
    jobs::{UPLOAD_LIFETIME, Upload},
    objects::ObjectKey,
};
use reverie_fields::Fields;

/// Where a picture can be sent.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Upload)]
pub struct UploadView {
    /// What a submission names: `{"image": {"upload": ID}}`.
    #[schema(format = Uuid)]
    id: String,
    /// The URL to send the file to, as the body of one request. It works without a key, for whoever has it; but where the server signs
    /// no links, a URL of the server needs the key.
    url: String,
    /// The method to send it with.
    method: &'static str,
    /// Headers to send with it.
    headers: BTreeMap<String, String>,
    /// Most bytes that the file may have.
    max_bytes: u64,
    /// Until when it may be sent, and submissions may name it.
    #[schema(value_type = String, format = DateTime)]
    expires_at: Timestamp,
}

/// Send a picture ahead
///
/// Answers with the URL to send it to: of the bucket where the server's pictures are in one, else of the server. Any number of
/// submissions may name the upload until it expires, after an hour. It counts among the tenant's stored bytes, with the length that
/// is announced.
#[utoipa::path(
    post,
    path = "/v1/uploads",
    operation_id = "createUpload",
    tag = "jobs",
    request_body(content((UploadRequest = "application/json", example = json!({ "bytes": 3_500_000 })))),
    responses(
        (status = 201, description = "Where to send it.", body = UploadView, headers(
            ("Cache-Control" = String, description = "`no-store`."),
        )),
        (status = 400, response = Malformed),
        (status = 408, response = TooSlow),
        (status = 413, response = TooLarge),
        (status = 415, response = UnsupportedType),
        (status = 422, response = Invalid),
        (status = 500, response = Internal),
        (status = 503, response = Unavailable),
    )
)]
pub async fn create(
    State(state): State<AppState>,
    Caller { tenant, key, .. }: Caller,
    request: Request,
) -> Result<Response, ApiError> {
    let (parts, body) = request.into_parts();
    let bytes =
        read_length(json_body::read(&parts.headers, body).await?, state.config.limits.max_body_bytes)?;
    if state.is_draining() {
        return Err(ApiError::Unavailable("the server is stopping and accepts no new uploads"));
    }
    let Upload { id, bytes, expires_at, .. } = state.queue.add_upload(&tenant, bytes).await?;
    let address = state.objects.upload_address(ObjectKey::Upload(id), UPLOAD_LIFETIME).await?;
    let own = || links::upload_url(&state, key.as_ref(), &format!("/v1/uploads/{id}"), expires_at);
    let view = UploadView {
        id: id.to_string(),
        url: address.unwrap_or_else(own),
        method: "PUT",
        headers: BTreeMap::new(),
        max_bytes: bytes,
        expires_at,
    };
    info!(upload = %id, bytes, "an upload may come");
    Ok((StatusCode::CREATED, [(header::CACHE_CONTROL, "no-store")], Json(view)).into_response())
}

/// Send the picture of an upload
///
/// The body is the file, of any media type. Sent again, it replaces what was sent before. With `Content-Digest` or `Repr-Digest` a body
/// that was changed on its way is refused.
#[utoipa::path(
    put,
    path = "/v1/uploads/{id}",
    operation_id = "sendUpload",
    tag = "jobs",
    params(("id" = String, Path, format = Uuid, description = "Id of the upload.", example = "0198c0de-5a7e-7000-8000-0000000000fe")),
    request_body(content = Vec<u8>, content_type = "application/octet-stream"),
    responses(
        (status = 204, description = "The picture is stored."),
        (status = 400, response = Malformed),
        (status = 404, response = NotFound),
        (status = 408, response = TooSlow),
        (status = 413, response = TooLarge),
        (status = 500, response = Internal),
        (status = 503, response = Unavailable),
        (status = 507, response = StorageFull),
    )
)]
pub async fn send(
    State(state): State<AppState>,
    Caller { tenant, .. }: Caller,
    named: Named,
    request: Request,
) -> Result<StatusCode, ApiError> {
    let (parts, body) = request.into_parts();
    let mut body = MeteredBody::new(body, state.config.limits.max_body_bytes);
    let upload = match named.upload() {
        Ok(id) => state.queue.find_upload(&tenant, id).await.map_err(ApiError::from),
        Err(refusal) => Err(refusal),
    };
    let upload = match upload {
        Ok(upload) => upload,
        Err(refusal) => {
            body.drain(&parts.headers);
            return Err(refusal);
        }
    };
    let client = parts.extensions.get::<ClientAddress>().map(|ClientAddress(address)| *address);
    body.limit = body.limit.min(usize::try_from(upload.bytes).unwrap_or(usize::MAX));
    body.share = Some(state.uploads.share(client));
    body.promised = Promised::of(&parts.headers)?;
    let mut pieces = Vec::new();
    while let Some(Ok(piece)) = body.next().await {
        pieces.push(piece);
    }
    if let Some(refusal) = body.refusal.take() {
        body.share = None;
        body.drain(&parts.headers);
        return Err(refusal);
    }
    body.verify().await?;
    if pieces.is_empty() {
        return Err(ApiError::Malformed("the body is empty; send the file".into()));
    }
    state.objects.put(ObjectKey::Upload(upload.id), pieces.concat().into()).await?;
    info!(upload = %upload.id, "an upload has come");
    Ok(StatusCode::NO_CONTENT)
}

/// Reads the announced length.
fn read_length(body: serde_json::Value, most: usize) -> Result<u64, ApiError> {
    let mut fields = Fields::new("", body);
    let missing = fields.peek("bytes").is_none();
    let bytes = fields.number("bytes", 1, most as u64);
    if missing {
        fields.error("bytes", "is required: the length of the file");
    }
    let errors = fields.finish();
    match bytes {
        Some(bytes) if errors.is_empty() => Ok(bytes),
        _ => Err(ApiError::Invalid(errors)),
    }
}
