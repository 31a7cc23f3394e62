//! The body of `POST /v1/jobs`, form or JSON, as it comes from the network.
//!
//! The first line of an input is the `Content-Type`, the rest is the body.

use axum::{
    body::Body,
    http::{HeaderMap, HeaderValue, header},
};
use bytes::Bytes;
use futures::stream;
use reverie::http::{body_limits::BodyLimits, boundary, extract::read_submit_request, uploads::Uploads};
use reverie_fields::MOST_MISTAKES;
use tokio::runtime::{Builder, Runtime};

use super::assert_short;

thread_local! {
    static RUNTIME: Runtime = Builder::new_current_thread()
        .enable_time()
        .max_blocking_threads(1)
        .build()
        .expect("a runtime of one thread");
}

/// Takes a body apart in one piece and in many: what comes out is the same.
pub fn form(bytes: &[u8]) {
    let end = bytes.iter().position(|&byte| byte == b'\n').unwrap_or(bytes.len());
    let (content_type, body) = (&bytes[..end], bytes.get(end + 1..).unwrap_or_default());
    let Ok(content_type) = HeaderValue::from_bytes(content_type) else { return };
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, content_type);
    boundary::quote(&mut headers);
    // So many bytes arrive at once: between few and all.
    let piece = 1 + bytes.len() % 61;
    RUNTIME.with(|runtime| {
        let whole = runtime.block_on(open(&headers, Body::from(body.to_vec())));
        let pieces: Vec<_> =
            body.chunks(piece).map(|piece| Ok::<_, std::io::Error>(Bytes::copy_from_slice(piece))).collect();
        let pieces = runtime.block_on(open(&headers, Body::from_stream(stream::iter(pieces))));
        assert_eq!(whole, pieces, "in one piece, and in pieces of {piece} bytes");
    });
}

/// What comes of a body, as text that can be compared.
async fn open(headers: &HeaderMap, body: Body) -> String {
    let limits = BodyLimits { body: 1 << 16, json: 1 << 12, uploads: Uploads::new(1, 0), client: None };
    match read_submit_request(headers, body, &limits).await {
        Ok(mut read_submit_request) => {
            assert!(read_submit_request.errors.len() <= MOST_MISTAKES);
            for mistake in &read_submit_request.errors {
                assert!(mistake.pointer.len() <= 500, "{}", mistake.pointer);
                assert_short(&mistake.detail, 1000);
            }
            assert!(read_submit_request.share.take().is_some());
            format!("{read_submit_request:?}")
        }
        Err(error) => {
            let message = error.to_string();
            assert_short(&message, 1000);
            message
        }
    }
}
