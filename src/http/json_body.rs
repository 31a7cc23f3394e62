//! Reads a small JSON body, within the same limits of length and slowness as an upload.

use axum::{
    body::Body,
    http::{HeaderMap, header},
};
use futures::StreamExt;
use mime::Mime;
use serde_json::Value;

use super::{
    body_limits::MeteredBody,
    envelope::{WHAT, parse_json},
    error::ApiError,
};
use reverie_fields::cut;

/// Most bytes of such a body.
const LIMIT: usize = 16 * 1024;

/// Reads the body.
///
/// # Errors
/// Every reason why it cannot be read as JSON.
pub(super) async fn read(headers: &HeaderMap, body: Body) -> Result<Value, ApiError> {
    let mut body = MeteredBody::new(body, LIMIT);
    let outcome = collect(headers, &mut body).await;
    let outcome = match body.refusal.take() {
        Some(refusal) => Err(refusal),
        None => outcome,
    };
    match outcome {
        Ok(bytes) => parse_json(WHAT, &bytes),
        Err(refusal) => {
            body.drain(headers);
            Err(refusal)
        }
    }
}

async fn collect(headers: &HeaderMap, body: &mut MeteredBody) -> Result<Vec<u8>, ApiError> {
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let content_type = content_type.unwrap_or_default();
    let parsed = content_type.parse::<Mime>().ok();
    if parsed.as_ref().map(Mime::essence_str) != Some("application/json") {
        let detail =
            format!("Content-Type \"{}\" is not supported; send application/json", cut(content_type));
        return Err(ApiError::UnsupportedType(detail));
    }
    let mut bytes = Vec::new();
    while let Some(piece) = body.next().await {
        // The meter has the reason.
        bytes.extend_from_slice(&piece.map_err(|error| ApiError::Malformed(error.to_string()))?);
    }
    Ok(bytes)
}
