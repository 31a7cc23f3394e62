//! Liveness and readiness.
//!
//! They differ: a server that finishes its last job before it stops is alive, but must get no new requests.

use std::time::Duration;

use axum::{
    Json,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use tokio::time::timeout;
use tracing::warn;
use utoipa::ToSchema;

use super::state::AppState;

/// Time limit of a check: probes time out soon after.
pub const CHECK_TIME: Duration = Duration::from_secs(2);

/// The process is alive.
#[derive(Debug, Serialize, ToSchema)]
struct Health {
    /// `ok`
    status: &'static str,
    /// Version of the program.
    version: &'static str,
}

/// Whether the server can take requests.
#[derive(Debug, Serialize, ToSchema)]
struct Readiness {
    /// `ready` or `not ready`
    status: &'static str,
    /// What readiness depends on.
    checks: Checks,
}

/// What readiness depends on.
#[derive(Clone, Copy, Debug, Default, Serialize, ToSchema)]
struct Checks {
    /// False while models are loading.
    started: bool,
    /// False while the server is stopping.
    accepting: bool,
    /// Whether the job store answers and accepts writes.
    database: bool,
    /// Whether the blob store accepts blobs; checked every few seconds by storing and deleting one.
    store: bool,
    /// Workers of this process that can take jobs; a worker with a sick device or store cannot. A process
    /// that only accepts jobs needs no workers.
    workers: usize,
}

/// Check liveness
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

/// Check readiness
///
/// 200 while a job that is submitted now is accepted and run.
#[utoipa::path(
    get,
    path = "/readyz",
    operation_id = "readiness",
    tag = "health",
    responses(
        (status = 200, description = "A job submitted now would be accepted and run.", body = Readiness),
        (status = 503, description = "Not now; `checks` says why.", body = Readiness),
    )
)]
pub async fn readyz(State(state): State<AppState>) -> Response {
    let checks = Checks {
        started: true,
        accepting: !state.is_draining(),
        database: answers("the job store", state.check_queue()).await,
        store: answers("the blob store", state.objects.check()).await,
        workers: state.workers_alive(),
    };
    show(checks, checks.workers > 0 || !state.is_to_work())
}

/// The response of a server that is still loading.
pub fn starting() -> Response {
    show(Checks::default(), false)
}

/// Whether a check succeeds in time; logs why not.
async fn answers<E: std::fmt::Display>(what: &str, check: impl Future<Output = Result<(), E>>) -> bool {
    match timeout(CHECK_TIME, check).await {
        Ok(Ok(())) => true,
        Ok(Err(error)) => {
            warn!(%error, "{what} cannot be reached");
            false
        }
        Err(_) => {
            warn!("{what} does not answer in time");
            false
        }
    }
}

fn show(checks: Checks, is_manned: bool) -> Response {
    let ready = checks.started && checks.accepting && checks.database && checks.store && is_manned;
    let body = Readiness { status: if ready { "ready" } else { "not ready" }, checks };
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, [(header::CACHE_CONTROL, "no-store")], Json(body)).into_response()
}
