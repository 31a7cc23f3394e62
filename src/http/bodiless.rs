//! Answers that have no body by their status: 204 and 304.
//!
//! The router counts the bytes of every body that it is given and says `Content-Length: 0` for none. For a 304 that is
//! false, since the length would be that of the file (RFC 9110, section 8.6), and to `HEAD` it is really sent.

use axum::{
    body::Body,
    http::{Response, StatusCode, header},
};

/// Makes the length of such an answer unknown, so that nobody sends one.
pub async fn without_length(mut response: Response<Body>) -> Response<Body> {
    if matches!(response.status(), StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) {
        response.headers_mut().remove(header::CONTENT_LENGTH);
        // A stream does not know how long it is; this one ends at once.
        *response.body_mut() =
            Body::from_stream(futures::stream::empty::<Result<bytes::Bytes, axum::Error>>());
    }
    response
}
