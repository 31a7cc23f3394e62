//! Responses whose status forbids a body: 204 and 304.
//!
//! The router counts the bytes of every body and sends `Content-Length: 0` for an empty one. For a 304 that
//! is wrong, since the header means the length of the file (RFC 9110, section 8.6), and a client of `HEAD`
//! would see it.

use axum::{
    body::Body,
    http::{Response, StatusCode, header},
};

/// Makes the length of such a response unknown, so the header is not sent.
pub async fn without_length(mut response: Response<Body>) -> Response<Body> {
    if matches!(response.status(), StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) {
        response.headers_mut().remove(header::CONTENT_LENGTH);
        // A stream has no known length; this one ends at once.
        *response.body_mut() =
            Body::from_stream(futures::stream::empty::<Result<bytes::Bytes, axum::Error>>());
    }
    response
}
