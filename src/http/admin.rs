//! The listener for health and metrics, with a thread and a runtime of its own.
//!
//! Monitoring needs an answer most when every other thread is busy or every connection to the store is taken.
//! The listener starts before anything is loaded, so a starting server can report that it is starting.

use std::{
    io,
    net::{SocketAddr, TcpListener},
    sync::{Arc, OnceLock},
    thread::JoinHandle,
    time::Duration,
};

use axum::{
    Router,
    extract::State,
    middleware::{from_fn, from_fn_with_state},
    response::Response,
    routing::get,
};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::error;

use super::state::AppState;
use super::{
    connections::Connections,
    error::{self, ApiError},
    health,
    hosts::{self, Gate},
    metrics, problem,
    server::{self, Terms, Timeouts},
};

/// Grace period for open responses at the end.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(1);

/// The state, once the server has started.
type Starting = Arc<OnceLock<AppState>>;

/// The thread that serves health and metrics; it ends when this is dropped.
pub struct AdminServer {
    /// Address that it listens on.
    pub address: SocketAddr,
    app: Starting,
    stop: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

impl AdminServer {
    /// Starts the listener.
    ///
    /// # Errors
    /// If the address is unusable or the thread cannot start.
    pub fn start(listen: &str, timeouts: Timeouts, gate: Gate) -> io::Result<Self> {
        let listener = TcpListener::bind(listen)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let (app, stop) = (Starting::default(), CancellationToken::new());
        let router = router(Arc::clone(&app), gate);
        let stopped = stop.clone();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let serve = move || {
            runtime.block_on(async {
                let listener = match tokio::net::TcpListener::from_std(listener) {
                    Ok(listener) => listener,
                    Err(error) => return error!(%error, "the listener for health and metrics failed"),
                };
                let terms = Terms { timeouts, connections: Connections::few(), tls: None };
                tokio::select! {
                    () = server::serve(listener, router, terms, stopped.clone()) => {}
                    () = async { stopped.cancelled().await; sleep(DRAIN_TIMEOUT).await } => {}
                }
            });
            // Open connections must not keep the process alive.
            runtime.shutdown_background();
        };
        let thread = std::thread::Builder::new().name("admin".into()).spawn(serve)?;
        Ok(Self { address, app, stop, thread: Some(thread) })
    }

    /// Reports the server as started and serves its state from now on.
    pub fn attach(&self, state: AppState) {
        // A second call attaches the same server, so it may be ignored.
        let _ = self.app.set(state);
    }
}

impl Drop for AdminServer {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            error!("the thread for health and metrics panicked");
        }
    }
}

fn router(app: Starting, gate: Gate) -> Router {
    Router::new()
        .route("/healthz", get(health::healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(scrape))
        .fallback(error::no_such_path)
        .method_not_allowed_fallback(error::method_not_allowed)
        .with_state(app)
        .layer(from_fn_with_state(gate, hosts::guard))
        .layer(from_fn(problem::name_instance))
}

async fn readyz(State(app): State<Starting>) -> Response {
    match app.get() {
        Some(state) => health::readyz(State(state.clone())).await,
        None => health::starting(),
    }
}

async fn scrape(State(app): State<Starting>) -> Result<Response, ApiError> {
    match app.get() {
        Some(state) => metrics::metrics(State(state.clone())).await,
        None => Err(ApiError::Unavailable("the server is starting")),
    }
}
