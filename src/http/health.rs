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
use serde::Serialize;
use tracing::warn;
use utoipa::ToSchema;

use crate::app::AppState;

/// The process is alive.
#[derive(Debug, Serialize, ToSchema)]
struct Health {
    /// `ok`
    status: &'static str,
    /// Version of the program.
    version: &'static str,
}

/// Whether the service should be sent requests.
#[derive(Debug, Serialize, ToSchema)]
struct Readiness {
    /// `ready` or `not ready`
    status: &'static str,
    /// What it depends on.
    checks: Checks,
}

/// What readiness depends on.
#[derive(Debug, Serialize, ToSchema)]
struct Checks {
    /// False while the service is stopping.
    accepting: bool,
    /// Whether the job store can be reached.
    database: bool,
    /// Workers that are able to take jobs.
    workers: usize,
}

/// Is the process alive?
///
/// 200 as long as the process can answer at all.
#[utoipa::path(
    get,
    path = "/healthz",
    operation_id = "health",
    tag = "health",
    responses((status = 200, description = "It is.", body = Health))
)]
pub async fn healthz() -> impl IntoResponse {
    let body = Health { status: "ok", version: env!("CARGO_PKG_VERSION") };
    ([(header::CACHE_CONTROL, "no-store")], Json(body))
}

/// Should it be sent requests?
#[utoipa::path(
    get,
    path = "/readyz",
    operation_id = "readiness",
    tag = "health",
    responses(
        (status = 200, description = "A job that is posted now would be accepted and worked on.", body = Readiness),
        (status = 503, description = "Not now; `checks` says why.", body = Readiness),
    )
)]
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
    let body = Readiness {
        status: if ready { "ready" } else { "not ready" },
        checks: Checks { accepting: !draining, database, workers },
    };
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, [(header::CACHE_CONTROL, "no-store")], Json(body)).into_response()
}
