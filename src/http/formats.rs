//! Endpoint for the formats: what a dream may be written as here.

use axum::{
    http::{HeaderMap, header},
    response::Response,
};
use serde::Serialize;
use utoipa::ToSchema;

use super::{contract::Internal, error::ApiError, revalidated};
use reverie_dream::digest;
use reverie_picture::FormatInfo;

/// The formats of dreams.
#[derive(Debug, Serialize, ToSchema)]
pub struct FormatList {
    /// The default first.
    formats: Vec<FormatInfo>,
}

/// List the formats
///
/// What `spec.format` may be, and whether this server takes jobs for it: videos are written by `ffmpeg`, and a submission is
/// refused where that is missing. The answer is of the process that is asked; one that only renders may differ.
#[utoipa::path(
    get,
    path = "/v1/formats",
    operation_id = "listFormats",
    tag = "jobs",
    params(
        ("If-None-Match" = String, Header, description = "Entity tags that the client has.", example = "\"9f86d081884c7d65\""),
    ),
    responses(
        (status = 200, description = "All formats.", body = FormatList, headers(
            ("ETag" = String, description = "Entity tag of the list, which changes when a program comes or goes."),
        )),
        (status = 304, description = "The client already has the list.", headers(
            ("ETag" = String, description = "Entity tag of the list."),
        )),
        (status = 500, response = Internal),
    )
)]
pub async fn list(headers: HeaderMap) -> Result<Response, ApiError> {
    // The first time a program is asked what it can.
    let formats = tokio::task::spawn_blocking(FormatInfo::all).await.map_err(ApiError::internal)?;
    let list = serde_json::to_vec(&FormatList { formats }).map_err(ApiError::internal)?;
    let etag = format!("\"{}\"", digest::sha256(&list));
    revalidated(&headers, &etag, ([(header::CONTENT_TYPE, "application/json")], list))
}
