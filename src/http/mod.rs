//! The HTTP API: the router and its middleware. Each group of endpoints has a file; only [`error`] maps
//! errors to responses.

pub mod admin;
mod audit;
pub mod auth;
mod bodiless;
pub mod body_limits;
#[doc(hidden)]
pub mod boundary;
mod client_address;
mod compress;
pub mod connections;
pub mod contract;
pub mod decoders;
mod deliveries;
mod digests;
mod dry_run;
mod envelope;
pub mod error;
mod events;
pub mod extract;
mod fetch;
pub mod follow;
mod formats;
mod health;
pub mod hosts;
mod input;
mod job_fields;
mod jobs;
mod json_body;
mod keys;
mod links;
mod list;
mod looks;
mod metrics;
mod models;
mod operations;
mod path_ids;
mod pauses;
mod per_client;
mod pictures;
mod preview;
mod problem;
mod query;
mod request_headers;
mod result;
pub mod server;
pub mod state;
mod steer;
mod studio;
mod submit;
mod thumbnail;
mod tiles;
pub mod tls;
mod upload_ahead;
pub mod uploads;
mod usage;
mod view;
mod wait;

use std::time::Duration;

use axum::{
    Router,
    http::{HeaderName, HeaderValue, Method, Response, StatusCode, header},
    middleware::{from_fn, from_fn_with_state, map_request, map_response},
    response::IntoResponse,
};
use tower_http::{
    catch_panic::CatchPanicLayer,
    cors::{AllowOrigin, CorsLayer},
    request_id::{MakeRequestUuid, PropagateRequestIdLayer, RequestId, SetRequestIdLayer},
    trace::TraceLayer,
};
use tracing::{
    Span,
    field::{Empty, display},
    info, info_span,
};

use crate::telemetry;
use client_address::ClientAddress;
pub use deliveries::message;
use error::ApiError;
use hosts::Gate;
use state::AppState;

/// All routes, ready to be served.
pub fn router(state: AppState) -> Router {
    let server = &state.config.server;
    let (cors, gate) = (cors(&server.cors_origins), Gate::new(server, &server.listen));
    let (operations, _) = contract::operations().split_for_parts();
    operations
        .merge(contract::pages())
        .merge(studio::pages())
        .fallback(error::no_such_path)
        .method_not_allowed_fallback(error::method_not_allowed)
        .with_state(state.clone())
        // From the inside out: the last layer sees a request first.
        .layer(from_fn_with_state(state.clone(), auth::guard))
        .layer(CatchPanicLayer::custom(error::from_panic))
        .layer(from_fn(problem::name_instance))
        .layer(map_response(bodiless::without_length))
        .layer(compress::layer())
        .layer(map_request(compress::tolerate))
        .layer(cors)
        .layer(from_fn_with_state(gate, hosts::guard))
        .layer(from_fn_with_state(state.clone(), metrics::measure))
        .layer(
            TraceLayer::new_for_http()
                .make_span_with(request_span)
                .on_request(())
                .on_response(log_response)
                .on_failure(()),
        )
        .layer(PropagateRequestIdLayer::x_request_id())
        .layer(SetRequestIdLayer::x_request_id(MakeRequestUuid))
        .layer(map_request(plain_request_id))
        .layer(from_fn_with_state(state, client_address::identify))
}

/// Removes a client's `X-Request-Id` that is unfit for a log: too long, or with blanks or control characters.
async fn plain_request_id<B>(mut request: axum::http::Request<B>) -> axum::http::Request<B> {
    const LONGEST: usize = 128;
    let plain = |id: &HeaderValue| {
        (1..=LONGEST).contains(&id.len()) && id.as_bytes().iter().all(u8::is_ascii_graphic)
    };
    if request.headers().get("x-request-id").is_some_and(|id| !plain(id)) {
        request.headers_mut().remove("x-request-id");
    }
    request
}

/// Which web pages may use the API. Without origins no CORS header is sent, so browsers allow none.
fn cors(origins: &[String]) -> CorsLayer {
    if origins.is_empty() {
        return CorsLayer::new().vary(Vec::<HeaderName>::new());
    }
    let allowed = if origins.iter().any(|origin| origin == "*") {
        AllowOrigin::any()
    } else {
        // The configuration check has already rejected values that are not header values.
        AllowOrigin::list(origins.iter().filter_map(|origin| origin.parse::<HeaderValue>().ok()))
    };
    CorsLayer::new()
        .allow_origin(allowed)
        .allow_methods([Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::PATCH, Method::DELETE])
        .allow_headers([
            header::AUTHORIZATION,
            header::CONTENT_TYPE,
            header::IF_NONE_MATCH,
            header::IF_RANGE,
            header::RANGE,
            HeaderName::from_static("cancel-after"),
            HeaderName::from_static("content-digest"),
            HeaderName::from_static("idempotency-key"),
            HeaderName::from_static("last-event-id"),
            HeaderName::from_static("prefer"),
            HeaderName::from_static("repr-digest"),
            HeaderName::from_static("traceparent"),
            HeaderName::from_static("tracestate"),
            HeaderName::from_static("x-request-id"),
        ])
        .expose_headers([
            header::LOCATION,
            header::RETRY_AFTER,
            header::ETAG,
            header::CONTENT_DISPOSITION,
            header::CONTENT_RANGE,
            header::ACCEPT_RANGES,
            header::WWW_AUTHENTICATE,
            HeaderName::from_static("idempotent-replayed"),
            HeaderName::from_static("preference-applied"),
            HeaderName::from_static("ratelimit"),
            HeaderName::from_static("ratelimit-policy"),
            HeaderName::from_static("repr-digest"),
            HeaderName::from_static("x-request-id"),
        ])
        .max_age(Duration::from_secs(3600))
}

fn request_span<B>(request: &axum::http::Request<B>) -> Span {
    let id = request.extensions().get::<RequestId>().and_then(|id| id.header_value().to_str().ok());
    let client = request.extensions().get::<ClientAddress>().map(|ClientAddress(address)| display(address));
    let span = info_span!(
        "request",
        method = %request.method(),
        // The path without its query, which may contain private data.
        path = auth::shown_path(request.uri()),
        id,
        client,
        tenant = Empty,
        key = Empty,
        trace = Empty,
    );
    telemetry::follow(&span, telemetry::from_headers(request.headers()));
    span
}

/// Logs one line per request.
fn log_response<B>(response: &Response<B>, latency: Duration, _span: &Span) {
    info!(status = response.status().as_u16(), milliseconds = latency.as_millis() as u64, "answered");
}

/// Whether `If-None-Match` names this entity tag (RFC 9110, section 13.1.2, weak comparison). Why not the crate
/// `headers`: `docs/decisions.md`.
fn none_match(request: &axum::http::HeaderMap, etag: &str) -> bool {
    let mut values = request.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    values.any(|value| {
        let mut tags = value.split(',').map(str::trim);
        tags.any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == etag)
    })
}

/// An answer that a client may keep, and has to ask for again each time: `304` where the request names its entity tag.
fn revalidated(
    request: &axum::http::HeaderMap,
    etag: &str,
    answer: impl IntoResponse,
) -> Result<axum::response::Response, ApiError> {
    let mut response = match none_match(request, etag) {
        true => StatusCode::NOT_MODIFIED.into_response(),
        false => answer.into_response(),
    };
    let fields = response.headers_mut();
    fields.insert(header::ETAG, HeaderValue::from_str(etag).map_err(ApiError::internal)?);
    fields.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    Ok(response)
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderMap;

    use super::*;

    #[test]
    fn entity_tags_are_compared() {
        let mut headers = HeaderMap::new();
        assert!(!none_match(&headers, "\"7\""));
        headers.insert(header::IF_NONE_MATCH, HeaderValue::from_static("\"6\", W/\"7\""));
        assert!(none_match(&headers, "\"7\""));
        assert!(!none_match(&headers, "\"8\""));
        headers.insert(header::IF_NONE_MATCH, HeaderValue::from_static("*"));
        assert!(none_match(&headers, "\"8\""));
        // No entity tag, but nothing to fall over.
        headers.insert(header::IF_NONE_MATCH, HeaderValue::from_static("\"a b\""));
        assert!(!none_match(&headers, "\"8\""));
    }
}
