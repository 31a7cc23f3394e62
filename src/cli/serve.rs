//! `reverie serve` and `reverie worker`: the process, from the first log line to the last. A worker process
//! is a server without a listener for clients.

use std::{io::Write, net::SocketAddr, path::PathBuf, time::Duration};

use tokio::{
    net::TcpListener,
    signal::unix::{Signal, SignalKind, signal},
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::{ExitCode, Failure};
use crate::{
    app::{App, StartError},
    config::{AuthMode, Config, Database, ServerConfig},
    http::{
        admin::AdminServer,
        connections::Connections,
        hosts::{Gate, is_loopback_address},
        server::{self, Terms, Timeouts},
        tls::{Tls, TlsError},
    },
    private,
    telemetry::Telemetry,
};
use reverie_models as models;

/// Grace period for open responses after the workers have stopped.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

/// Time limit for renders to stop after the grace period. A render that is stuck beyond that is abandoned:
/// the next start finds its job and runs it again.
const RENDER_STOP_TIMEOUT: Duration = Duration::from_secs(30);

/// Why the server ended.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The start failed.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The address is unusable.
    #[error("cannot listen on {address} ({setting}): {source}")]
    Listen {
        /// Name of the setting.
        setting: &'static str,
        /// Configured value.
        address: String,
        /// The system's error.
        source: std::io::Error,
    },
    /// The role does not fit the database.
    #[error(
        "{0} needs a PostgreSQL database that other processes use too (storage.database); \
         \"sqlite\" supports only a single `reverie serve` with workers"
    )]
    Alone(&'static str),
    /// Anyone who reaches the address could use the service.
    #[error(
        "server.listen = \"{0}\" can be reached from other machines, and requests need no key (auth.mode = \"off\"): \
         set auth.mode = \"keys\" (docs/security.md), or listen on 127.0.0.1, or set auth.allow_anonymous = true where \
         everyone who reaches it may use it"
    )]
    Exposed(String),
    /// A worker's device is broken, so the process should be restarted.
    #[error("a worker's device is sick and does not recover; the log has the cause")]
    Sick,
    /// A worker process without workers.
    #[error("`reverie worker` with worker.count = 0 has nothing to do; worker.count must be at least 1")]
    NoWorkers,
    /// The certificate for TLS is of no use.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// Signals cannot be received, or the listener failed.
    #[error("the server failed: {0}")]
    Io(#[from] std::io::Error),
}

/// Arguments of `reverie serve`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Configuration file, see deploy/reverie.toml; REVERIE__SECTION__KEY in the environment overrides it.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// Number of workers, instead of worker.count; with 0 the process only serves the API and leaves the jobs
    /// to `reverie worker`.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(0..=64))]
    workers: Option<u8>,

    /// Check the configuration and exit.
    #[arg(long)]
    check_config: bool,
}

/// Arguments of `reverie worker`.
#[derive(Debug, clap::Args)]
pub struct WorkerArgs {
    /// Configuration file, see deploy/reverie.toml; REVERIE__SECTION__KEY in the environment overrides it.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// Check the configuration and exit.
    #[arg(long)]
    check_config: bool,
}

/// Role of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Serves the API, and runs jobs if it has workers.
    Serve,
    /// Only runs jobs.
    Worker,
}

/// Reads the configuration and serves the API.
pub(super) fn run(args: Args) -> Result<ExitCode, Failure> {
    let mut config = Config::load(args.config.as_deref())?;
    if let Some(workers) = args.workers {
        config.worker.count = workers.into();
    }
    start(config, Role::Serve, args.check_config)
}

/// Reads the configuration and runs jobs.
pub(super) fn run_worker(args: WorkerArgs) -> Result<ExitCode, Failure> {
    start(Config::load(args.config.as_deref())?, Role::Worker, args.check_config)
}

fn start(config: Config, role: Role, check_only: bool) -> Result<ExitCode, Failure> {
    check(&config, role)?;
    // Before any thread starts and any file is created.
    private::mask();
    if check_only {
        check_models(&config);
        if let Some(Err(error)) = config.server.tls.as_ref().map(Tls::load) {
            eprintln!("warning: the server cannot start here: {error}");
        }
        println!("the configuration is valid");
        return Ok(ExitCode::SUCCESS);
    }
    let telemetry = Telemetry::start(&config.log, &config.telemetry)?;
    for warning in &config.warnings {
        warn!("{warning}");
    }
    if role == Role::Serve && is_exposed(&config) {
        warn!(
            listen = config.server.listen,
            "everyone who reaches this address may use the server: requests need no key (auth.allow_anonymous)"
        );
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let served = runtime.block_on(serve(config, role));
    // A render that does not stop must not keep the process alive.
    runtime.shutdown_background();
    telemetry.end();
    served?;
    Ok(ExitCode::SUCCESS)
}

/// Names the model files that a start would leave out. They are no mistake of the configuration, which may be checked on a
/// machine without models.
fn check_models(config: &Config) {
    match models::load_folders(&models::folders(config.models.dir.as_deref())) {
        Ok(models::Folder { catalogue, refused }) => {
            for error in refused {
                eprintln!("warning: a model file is left out: {error}");
            }
            println!("models: {}; by default {}", catalogue.ids().join(", "), catalogue.default_id());
        }
        Err(error) => eprintln!("warning: the server cannot start here: {error}"),
    }
}

/// Checks that the role fits this database, and that no stranger is let in by mistake.
fn check(config: &Config, role: Role) -> Result<(), ServeError> {
    let alone = config.storage.database == Database::Sqlite;
    match (role, config.worker.count) {
        (Role::Worker, _) if alone => Err(ServeError::Alone("`reverie worker`")),
        (Role::Worker, 0) => Err(ServeError::NoWorkers),
        (Role::Serve, 0) if alone => Err(ServeError::Alone("`reverie serve` without workers")),
        (Role::Serve, _) if is_exposed(config) && !config.auth.allow_anonymous => {
            Err(ServeError::Exposed(config.server.listen.clone()))
        }
        _ => Ok(()),
    }
}

/// Whether clients on other machines could use the server without a key.
fn is_exposed(config: &Config) -> bool {
    config.auth.mode == AuthMode::Off && !is_loopback_address(&config.server.listen)
}

/// Serves until SIGTERM or SIGINT; a second signal ends the grace period.
///
/// When ready, prints the line `listening on http://ADDRESS` (`https://` with TLS) to standard output if it serves clients,
/// and the line `admin listening on http://ADDRESS` if there is a listener for health and metrics. Logs go to
/// standard error.
///
/// # Errors
/// See [`ServeError`].
pub async fn serve(config: Config, role: Role) -> Result<(), ServeError> {
    let mut signals = Signals::new()?;
    let grace = config.worker.shutdown_grace;
    let timeouts = Timeouts { keep_alive: config.server.keep_alive, write: config.server.write_timeout };
    // Bind the ports first: an error there should show before the models load.
    let listener = match role {
        Role::Serve => Some(bind(&config.server.listen).await?),
        Role::Worker => None,
    };
    let admin = start_admin(&config.server, timeouts)?;
    let connections = Connections::configured(&config.server);
    let tls = config.server.tls.as_ref().map(Tls::load).transpose()?;
    let scheme = if tls.is_some() { "https" } else { "http" };
    let address = listener.as_ref().map(TcpListener::local_addr).transpose()?;
    // The start may take a while, for example when it waits for a store.
    let mut app = tokio::select! {
        app = App::start(config) => app?,
        name = signals.next() => {
            info!(signal = name, "stopped before the start was complete");
            return Ok(());
        }
    };
    if let Some(admin) = &admin {
        admin.attach(app.state.clone());
    }
    let closing = CancellationToken::new();
    if let Some(tls) = tls.clone() {
        tokio::spawn(tls.watch(closing.clone()));
    }
    let terms = Terms { timeouts, connections, tls };
    let serving = listener.map(|listener| server::serve(listener, app.router(), terms, closing.clone()));
    let forever = closing.clone();
    let mut server = tokio::spawn(async move {
        match serving {
            Some(serving) => serving.await,
            None => forever.cancelled().await,
        }
    });
    announce(scheme, address, admin.as_ref().map(|admin| admin.address));
    let mut outcome = Ok(());
    tokio::select! {
        name = signals.next() => info!(signal = name, "stopping; no new jobs are accepted"),
        () = app.sick() => {
            error!("a worker stays sick; the process ends and should be restarted");
            outcome = Err(ServeError::Sick);
        }
        ended = &mut server => return Ok(ended.map_err(std::io::Error::other)?),
    }
    // The API continues to answer while the last jobs end: clients poll for them, and load balancers learn
    // from /readyz to use another server.
    let grace_over = async {
        tokio::select! {
            () = sleep(grace) => {}
            name = signals.next() => info!(signal = name, "stopping now"),
        }
    };
    if timeout(grace + RENDER_STOP_TIMEOUT, app.stop(grace_over)).await.is_err() {
        warn!("a render does not stop; its job runs again after the next start");
    }
    closing.cancel();
    if timeout(DRAIN_TIMEOUT, &mut server).await.is_err() {
        warn!("some clients did not read their responses in time");
        server.abort();
    }
    if timeout(DRAIN_TIMEOUT, app.close()).await.is_err() {
        warn!("the job store does not answer; its connections are dropped");
    }
    drop(admin);
    info!("stopped");
    outcome
}

async fn bind(address: &str) -> Result<TcpListener, ServeError> {
    TcpListener::bind(address).await.map_err(|source| refused("server.listen", address, source))
}

fn refused(setting: &'static str, address: &str, source: std::io::Error) -> ServeError {
    ServeError::Listen { setting, address: address.to_owned(), source }
}

/// The second listener, if configured.
fn start_admin(server: &ServerConfig, timeouts: Timeouts) -> Result<Option<AdminServer>, ServeError> {
    let address = &server.admin_listen;
    if address.is_empty() {
        return Ok(None);
    }
    let admin = AdminServer::start(address, timeouts, Gate::new(server, address));
    admin.map(Some).map_err(|source| refused("server.admin_listen", address, source))
}

/// Prints the addresses for scripts and people. A closed output is no reason to stop.
fn announce(scheme: &str, address: Option<SocketAddr>, admin: Option<SocketAddr>) {
    let mut lines = String::new();
    if let Some(address) = address {
        lines += &format!("listening on {scheme}://{address}\n");
    }
    if let Some(admin) = admin {
        lines += &format!("admin listening on http://{admin}\n");
    }
    let mut stdout = std::io::stdout();
    let _ = stdout.write_all(lines.as_bytes()).and_then(|()| stdout.flush());
    info!(?address, ?admin, "ready");
}

/// The stop signals.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> Result<Self, std::io::Error> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Waits for the next signal.
    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}
