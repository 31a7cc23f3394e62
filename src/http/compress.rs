//! Compression of JSON for clients that ask for it. Pictures are compressed already, event streams must not
//! wait in a compressor, and a short answer is not worth it.

use axum::{
    body::HttpBody,
    http::{HeaderValue, Response, header},
};
use tower_http::compression::{CompressionLayer, predicate::Predicate};

/// Shorter answers, among them a job, fit into a packet or two as they are, and keep their strong entity tags.
const WORTH_IT: u64 = 1400;

/// Which answers are compressed.
#[derive(Clone, Copy, Debug)]
pub struct LongJson;

impl Predicate for LongJson {
    fn should_compress<B: HttpBody>(&self, response: &Response<B>) -> bool {
        let kind = response.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        let json = kind.is_some_and(|kind| kind.starts_with("application/json") || kind.contains("+json"));
        json && response.body().size_hint().lower() >= WORTH_IT
    }
}

/// The layer.
pub fn layer() -> CompressionLayer<LongJson> {
    CompressionLayer::new().compress_when(LongJson)
}

/// A strong entity tag promises equal bytes, which compressed ones are not (RFC 9110, section 8.8.3.3).
pub async fn weaken<B>(mut response: Response<B>) -> Response<B> {
    let headers = response.headers_mut();
    if headers.contains_key(header::CONTENT_ENCODING)
        && let Some(strong) = headers.get(header::ETAG).and_then(|etag| etag.to_str().ok())
        && !strong.starts_with("W/")
        && let Ok(weak) = HeaderValue::from_str(&format!("W/{strong}"))
    {
        headers.insert(header::ETAG, weak);
    }
    response
}
