//! Is the process alive, and should it be sent requests?
//!
//! The two are different questions: a server that is finishing its last job before it stops is alive, and
//! should get no new ones.

use axum::{
    Json,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::json;
use tracing::warn;

use crate::app::AppState;

/// `GET /healthz`: 200 as long as the process can answer at all.
pub async fn healthz() -> impl IntoResponse {
    let body = json!({ "status": "ok", "version": env!("CARGO_PKG_VERSION") });
    ([(header::CACHE_CONTROL, "no-store")], Json(body))
}

/// `GET /readyz`: 200 when a job that is posted now would be accepted and worked on; else 503 and why not.
pub async fn readyz(State(state): State<AppState>) -> Response {
    let database = match state.queue.depth().await {
        Ok(_) => true,
        Err(error) => {
            warn!(%error, "the job store cannot be reached");
            false
        }
    };
    let (draining, workers) = (state.is_draining(), state.workers_alive());
    let ready = database && !draining && workers > 0;
    let body = json!({
        "status": if ready { "ready" } else { "not ready" },
        "checks": {
            "accepting": !draining,
            "database": database,
            "workers": workers,
        },
    });
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, [(header::CACHE_CONTROL, "no-store")], Json(body)).into_response()
}
