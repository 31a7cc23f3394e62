//! The listener for health and metrics: a thread and a runtime of its own.
//!
//! Whoever watches the service must get an answer when it matters most, which is when every other thread is
//! busy or every connection to the store is taken. It listens before anything is loaded, so that a server
//! that is starting can say so.

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
    server::{self, Timeouts},
};

/// How long answers under way may take at the end.
const LAST_ANSWERS: Duration = Duration::from_secs(1);

/// The state of a server that may still be starting.
type Starting = Arc<OnceLock<AppState>>;

/// The thread that serves health and metrics; it ends when dropped.
pub struct AdminServer {
    /// Where it listens.
    pub address: SocketAddr,
    app: Starting,
    stop: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

impl AdminServer {
    /// Starts to listen.
    ///
    /// # Errors
    /// When the address cannot be listened on or the thread not be started.
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
                    Err(error) => return error!(%error, "health and metrics are not served"),
                };
                tokio::select! {
                    () = server::serve(listener, router, timeouts, Connections::few(), stopped.clone()) => {}
                    () = async { stopped.cancelled().await; sleep(LAST_ANSWERS).await } => {}
                }
            });
            // Connections that do not end must not keep the process.
            runtime.shutdown_background();
        };
        let thread = std::thread::Builder::new().name("admin".into()).spawn(serve)?;
        Ok(Self { address, app, stop, thread: Some(thread) })
    }

    /// The server has started: from now on it speaks for itself.
    pub fn attach(&self, state: AppState) {
        // Whoever attaches twice is still the same server.
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
        None => Err(ApiError::Unavailable("the service is starting")),
    }
}
