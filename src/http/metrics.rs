//! `GET /metrics`, and the middleware that counts requests.

use std::time::Instant;

use axum::{
    extract::{MatchedPath, Request, State},
    http::{Method, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use tokio::time::timeout;
use tracing::warn;

use super::state::AppState;
use super::{error::ApiError, health::CHECK_TIME};
use crate::{
    jobs::QueueError,
    metrics::{MEDIA_TYPE, QueueNow},
};

/// Label for a request without a route, because its path may be anything.
const NO_ROUTE: &str = "none";

/// `GET /metrics`: for Prometheus. It answers even if the store does not.
pub async fn metrics(State(state): State<AppState>) -> Result<Response, ApiError> {
    let now = match timeout(CHECK_TIME, queue_now(&state)).await {
        Ok(Ok(now)) => Some(now),
        Ok(Err(error)) => {
            warn!(%error, "the queue cannot be measured");
            None
        }
        Err(_) => {
            warn!("the queue cannot be measured in time");
            None
        }
    };
    let text = state.metrics.text(now).map_err(ApiError::internal)?;
    Ok(([(header::CONTENT_TYPE, MEDIA_TYPE), (header::CACHE_CONTROL, "no-store")], text).into_response())
}

async fn queue_now(state: &AppState) -> Result<QueueNow, QueueError> {
    let (counts, oldest) = (state.queue.counts().await?, state.queue.oldest_queued().await?);
    Ok(QueueNow {
        counts,
        oldest_seconds: oldest.map_or(0.0, |oldest| state.clock.now().seconds_since(oldest)),
        capacity: state.config.queue.capacity,
        workers: state.workers_alive(),
    })
}

/// Middleware: counts a request under the template of its route.
pub async fn measure(State(state): State<AppState>, request: Request, next: Next) -> Response {
    let method = name(request.method());
    let route = request.extensions().get::<MatchedPath>().cloned();
    let (_in_flight, began) = (state.metrics.in_flight(), Instant::now());
    let response = next.run(request).await;
    let route = route.as_ref().map_or(NO_ROUTE, MatchedPath::as_str);
    state.metrics.answered(method, route, response.status().as_u16(), began.elapsed());
    response
}

/// Clients may invent methods; the set of labels stays fixed.
fn name(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}
