//! Compresses JSON for clients that accept it. Images are already compressed, event streams must not wait in
//! a compressor, and short responses gain nothing.

use axum::{
    body::HttpBody,
    http::{HeaderValue, Request, Response, header},
};
use tower_http::compression::{CompressionLayer, predicate::Predicate};

/// Minimum length: shorter responses fit into a packet or two uncompressed.
const MIN_LENGTH: u64 = 1400;

/// Selects the responses to compress.
#[derive(Clone, Copy, Debug)]
pub struct LongJson;

impl Predicate for LongJson {
    fn should_compress<B: HttpBody>(&self, response: &Response<B>) -> bool {
        let headers = response.headers();
        let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        let json = kind.is_some_and(|kind| kind.starts_with("application/json") || kind.contains("+json"));
        // A strong entity tag promises equal bytes, which compression changes (RFC 9110, section 8.8.3.3). So
        // a response with an entity tag, such as a job, is sent uncompressed.
        json && !headers.contains_key(header::ETAG) && response.body().size_hint().lower() >= MIN_LENGTH
    }
}

/// The compression layer.
pub fn layer() -> CompressionLayer<LongJson> {
    CompressionLayer::new().compress_when(LongJson)
}

/// Drops `identity;q=0`. Most responses have no other encoding, and the layer would reject the request only
/// after it was carried out (RFC 9110, section 12.5.3, allows either).
pub async fn tolerate<B>(mut request: Request<B>) -> Request<B> {
    let lines = request.headers().get_all(header::ACCEPT_ENCODING);
    let codings: Vec<&str> =
        lines.iter().filter_map(|line| line.to_str().ok()).flat_map(|line| line.split(',')).collect();
    let kept: Vec<&str> = codings.iter().copied().filter(|coding| !refuses_plain(coding)).collect();
    if kept.len() < codings.len() {
        let kept = HeaderValue::from_str(&kept.join(","));
        request.headers_mut().remove(header::ACCEPT_ENCODING);
        if let Ok(kept) = kept {
            request.headers_mut().insert(header::ACCEPT_ENCODING, kept);
        }
    }
    request
}

/// Whether the coding is `identity`, or `*` which includes it, with weight zero.
fn refuses_plain(coding: &str) -> bool {
    let (name, weight) = coding.split_once(';').unwrap_or((coding, ""));
    let weight = weight.trim().strip_prefix(['q', 'Q']).and_then(|rest| rest.trim_start().strip_prefix('='));
    let zero = weight.and_then(|weight| weight.trim().parse::<f64>().ok()) == Some(0.0);
    zero && (name.trim() == "*" || name.trim().eq_ignore_ascii_case("identity"))
}
