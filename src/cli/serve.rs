//! `reverie serve` and `reverie worker`: the process, from the first log line to the last. A worker is a server that
//! has no listener for clients.

use std::{io::Write, net::SocketAddr, path::PathBuf, process::ExitCode, time::Duration};

use tokio::{
    net::TcpListener,
    signal::unix::{Signal, SignalKind, signal},
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::Failure;
use crate::{
    app::{App, StartError},
    config::{Config, Database, ServerConfig},
    http::{
        admin::AdminServer,
        connections::Connections,
        hosts::Gate,
        server::{self, Timeouts},
    },
    private,
    telemetry::Telemetry,
};

/// How long answers under way may take once the workers have stopped.
const LAST_ANSWERS: Duration = Duration::from_secs(5);

/// How long renders may take to stop once the grace period is over. Whatever is stuck beyond that is left to
/// the next start, which finds the job and runs it again.
const LAST_TILES: Duration = Duration::from_secs(30);

/// Why the server ended.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// It could not start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The address cannot be listened on.
    #[error("cannot listen on {address} ({setting}): {source}")]
    Listen {
        /// Where the address stands in the configuration.
        setting: &'static str,
        /// As configured.
        address: String,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The role does not fit the database.
    #[error(
        "{0} needs a PostgreSQL database that other processes use too (storage.database); \
         \"sqlite\" is for one `reverie serve` that does all by itself"
    )]
    Alone(&'static str),
    /// A worker's device is broken, so that somebody should start the process anew.
    #[error("a worker is sick and does not get well; the log has the cause")]
    Sick,
    /// There is nothing for a worker process to do.
    #[error("`reverie worker` with worker.count = 0 would do nothing; at least 1 is needed")]
    NoWorkers,
    /// Signals cannot be received, or the listener broke.
    #[error("the server failed: {0}")]
    Io(#[from] std::io::Error),
}

/// Arguments of `reverie serve`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Settings, see deploy/reverie.toml; REVERIE__SECTION__KEY in the environment wins over them.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// Jobs at work at the same time, instead of worker.count; 0 only answers clients and leaves the work to
    /// `reverie worker`.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(0..=64))]
    workers: Option<u8>,

    /// Check the configuration and exit.
    #[arg(long)]
    check_config: bool,
}

/// Arguments of `reverie worker`.
#[derive(Debug, clap::Args)]
pub struct WorkerArgs {
    /// Settings, see deploy/reverie.toml; REVERIE__SECTION__KEY in the environment wins over them.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// Check the configuration and exit.
    #[arg(long)]
    check_config: bool,
}

/// What a process does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Answers clients, and works on jobs where it has workers.
    Serve,
    /// Works on jobs only.
    Worker,
}

/// Reads the configuration and serves.
pub(super) fn run(args: Args) -> Result<ExitCode, Failure> {
    let mut config = Config::load(args.config.as_deref())?;
    if let Some(workers) = args.workers {
        config.worker.count = workers.into();
    }
    start(config, Role::Serve, args.check_config)
}

/// Reads the configuration and works.
pub(super) fn run_worker(args: WorkerArgs) -> Result<ExitCode, Failure> {
    start(Config::load(args.config.as_deref())?, Role::Worker, args.check_config)
}

fn start(config: Config, role: Role, check_only: bool) -> Result<ExitCode, Failure> {
    check(&config, role)?;
    // Before any thread, and before anything is made.
    private::mask();
    if check_only {
        println!("the configuration is right");
        return Ok(ExitCode::SUCCESS);
    }
    let telemetry = Telemetry::start(&config.log, &config.telemetry)?;
    for warning in &config.warnings {
        warn!("{warning}");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let served = runtime.block_on(serve(config, role));
    // A render that does not stop must not keep the process alive.
    runtime.shutdown_background();
    telemetry.end();
    served?;
    Ok(ExitCode::SUCCESS)
}

/// Whether the role can be played with this database.
fn check(config: &Config, role: Role) -> Result<(), ServeError> {
    let alone = config.storage.database == Database::Sqlite;
    match (role, config.worker.count) {
        (Role::Worker, _) if alone => Err(ServeError::Alone("`reverie worker`")),
        (Role::Worker, 0) => Err(ServeError::NoWorkers),
        (Role::Serve, 0) if alone => Err(ServeError::Alone("`reverie serve` without workers")),
        _ => Ok(()),
    }
}

/// Serves until the process is told to stop with SIGTERM or SIGINT; a second signal ends the grace period.
///
/// When ready, a line `listening on http://ADDRESS` is printed to standard output where clients are served, and
/// another one, `admin listening on http://ADDRESS`, where there is a listener for health and metrics. Logs go to
/// standard error.
///
/// # Errors
/// See [`ServeError`].
pub async fn serve(config: Config, role: Role) -> Result<(), ServeError> {
    let mut signals = Signals::new()?;
    let grace = config.worker.shutdown_grace;
    let timeouts = Timeouts { keep_alive: config.server.keep_alive, write: config.server.write_timeout };
    // The ports first: a mistake there should show before the models are loaded.
    let listener = match role {
        Role::Serve => Some(bind(&config.server.listen).await?),
        Role::Worker => None,
    };
    let admin = start_admin(&config.server, timeouts)?;
    let connections = Connections::configured(&config.server);
    let address = listener.as_ref().map(TcpListener::local_addr).transpose()?;
    // Starting may take a while: a store that does not answer is waited for.
    let mut app = tokio::select! {
        app = App::start(config) => app?,
        name = signals.next() => {
            info!(signal = name, "stopped before the start was done");
            return Ok(());
        }
    };
    if let Some(admin) = &admin {
        admin.attach(app.state.clone());
    }
    let closing = CancellationToken::new();
    let serving = listener
        .map(|listener| server::serve(listener, app.router(), timeouts, connections, closing.clone()));
    let forever = closing.clone();
    let mut server = tokio::spawn(async move {
        match serving {
            Some(serving) => serving.await,
            None => forever.cancelled().await,
        }
    });
    announce(address, admin.as_ref().map(|admin| admin.address));
    let mut outcome = Ok(());
    tokio::select! {
        name = signals.next() => info!(signal = name, "stopping: no new jobs are taken"),
        () = app.sick() => {
            error!("a worker does not get well: the process ends, to be started anew");
            outcome = Err(ServeError::Sick);
        }
        ended = &mut server => return Ok(ended.map_err(std::io::Error::other)?),
    }
    // The API goes on answering while the last jobs end: clients are polling for them, and load balancers
    // read from /readyz that they should look elsewhere.
    let grace_over = async {
        tokio::select! {
            () = sleep(grace) => {}
            name = signals.next() => info!(signal = name, "stopping now"),
        }
    };
    if timeout(grace + LAST_TILES, app.stop(grace_over)).await.is_err() {
        warn!("a render does not stop; its job runs again after the next start");
    }
    closing.cancel();
    if timeout(LAST_ANSWERS, &mut server).await.is_err() {
        warn!("some clients did not take their answers in time");
        server.abort();
    }
    if timeout(LAST_ANSWERS, app.close()).await.is_err() {
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

/// The second listener, where one is wanted.
fn start_admin(server: &ServerConfig, timeouts: Timeouts) -> Result<Option<AdminServer>, ServeError> {
    let address = &server.admin_listen;
    if address.is_empty() {
        return Ok(None);
    }
    let admin = AdminServer::start(address, timeouts, Gate::new(server, address));
    admin.map(Some).map_err(|source| refused("server.admin_listen", address, source))
}

/// Tells scripts and people where the server is. Nobody reading is no reason to stop.
fn announce(address: Option<SocketAddr>, admin: Option<SocketAddr>) {
    let mut lines = String::new();
    if let Some(address) = address {
        lines += &format!("listening on http://{address}\n");
    }
    if let Some(admin) = admin {
        lines += &format!("admin listening on http://{admin}\n");
    }
    let mut stdout = std::io::stdout();
    let _ = stdout.write_all(lines.as_bytes()).and_then(|()| stdout.flush());
    info!(?address, ?admin, "ready");
}

/// The signals that mean "stop".
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> Result<Self, std::io::Error> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Waits for the next one.
    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}
