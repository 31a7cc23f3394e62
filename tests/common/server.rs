//! A server inside the test: the real router on a free port, the real queue in a folder of its own, the real
//! model and renderer.

use std::{path::Path, sync::Arc};

use reverie::{
    app::App,
    clock::Clock,
    config::{AuthMode, Config},
    http::{
        admin::AdminServer,
        connections::Connections,
        hosts::Gate,
        server::{self, Terms, Timeouts},
        state::AppState,
    },
    jobs::{QueueOptions, TenantOptions, sqlite::SqliteQueue},
    keys::{NewKey, Token},
};
use reverie_dream::model::Catalogue;
use reverie_engine::{RenderOptions, Renderer};
use reverie_models as models;
use tempfile::TempDir;
use tokio::{net::TcpListener, sync::OnceCell, task::JoinHandle};

use tokio_util::sync::CancellationToken;

use super::client::Client;

/// The model is read once for all tests of a file.
static CATALOGUE: OnceCell<Arc<Catalogue>> = OnceCell::const_new();

/// The shipped model, alone.
pub async fn catalogue() -> Arc<Catalogue> {
    let load = || async {
        let mut catalogue = Catalogue::default();
        let file = super::models_dir().join("efficientnet-lite0.pth");
        catalogue.insert(models::load_file(&file).unwrap());
        Arc::new(catalogue)
    };
    Arc::clone(CATALOGUE.get_or_init(load).await)
}

/// A renderer on one thread of the CPU, for tests that stand between it and the workers.
pub fn renderer() -> Renderer {
    let options = RenderOptions {
        device: "cpu".into(),
        threads: 1,
        queue: 1,
        max_pixels: 1 << 24,
        ..RenderOptions::default()
    };
    Renderer::start(&options).unwrap()
}

/// A running server; its folder goes with it.
pub struct TestServer {
    pub client: Client,
    /// Of the listener for health and metrics.
    pub admin: AdminServer,
    pub state: AppState,
    pub app: App,
    pub folder: TempDir,
    serving: JoinHandle<()>,
}

/// What is different from the defaults.
pub struct Setup {
    pub config: Config,
    pub catalogue: Arc<Catalogue>,
    /// Whether there is a worker: without one, jobs stay queued.
    pub works: bool,
    /// What renders instead of libtorch, if anything does.
    pub renderer: Option<Renderer>,
    pub clock: Clock,
    pub folder: TempDir,
}

impl Setup {
    pub async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut config = Config::default();
        config.storage.dir = folder.path().join("data");
        Self {
            config,
            catalogue: catalogue().await,
            works: true,
            renderer: None,
            clock: Clock::system(),
            folder,
        }
    }

    /// Has requests need a key; one that may do everything.
    pub fn require_keys(&mut self) -> String {
        let token = Token::generate().unwrap();
        self.config.auth.mode = AuthMode::Keys;
        self.config.auth.bootstrap_key = Some(token.clone());
        token.reveal()
    }

    pub async fn start(self) -> TestServer {
        let options = RenderOptions {
            device: "cpu".into(),
            threads: 1,
            queue: 1,
            max_pixels: self.config.limits.max_pixels,
            kernels: self.config.worker.kernels,
            profile: false,
            sharing: 1,
        };
        let renderer = || self.renderer.clone().unwrap_or_else(|| Renderer::start(&options).unwrap());
        let renderers = if self.works { vec![renderer()] } else { Vec::new() };
        let timeouts =
            Timeouts { keep_alive: self.config.server.keep_alive, write: self.config.server.write_timeout };
        let (server, connections) =
            (self.config.server.clone(), Connections::configured(&self.config.server));
        let app = App::assemble(self.config, self.catalogue, renderers, self.clock).await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = app.router();
        let terms = Terms { timeouts, connections, tls: None };
        let serving = tokio::spawn(server::serve(listener, router, terms, CancellationToken::new()));
        let admin = AdminServer::start("127.0.0.1:0", timeouts, Gate::new(&server, "127.0.0.1:0")).unwrap();
        admin.attach(app.state.clone());
        let (client, state) = (Client::new(url), app.state.clone());
        TestServer { client, admin, state, app, folder: self.folder, serving }
    }
}

impl TestServer {
    pub async fn start() -> Self {
        Setup::new().await.start().await
    }

    /// A server whose jobs stay queued.
    pub async fn idle() -> Self {
        let setup = Setup::new().await;
        Setup { works: false, ..setup }.start().await
    }

    /// A client with a new key of a tenant.
    pub async fn client_of(&self, tenant: &str, scopes: &str) -> Client {
        let token = Token::generate().unwrap();
        let new = NewKey::new(&token, tenant.parse().unwrap(), scopes.parse().unwrap());
        self.state.queue.add_key(&new).await.unwrap();
        self.client.with_key(&token.reveal())
    }

    /// A client of the listener for health and metrics.
    pub fn admin_client(&self) -> Client {
        Client::new(format!("http://{}", self.admin.address))
    }

    /// The same jobs through a store of its own, as another process would see them.
    pub async fn second_queue(&self) -> SqliteQueue {
        let config = &self.state.config;
        let options = QueueOptions {
            capacity: config.queue.capacity,
            lease: config.queue.lease,
            max_attempts: config.queue.max_attempts,
            clock: Clock::system(),
            tenants: TenantOptions::default(),
        };
        SqliteQueue::open(&config.storage.dir.join("jobs.sqlite3"), options).await.unwrap()
    }

    /// Names of the stored blobs in `inputs` or `results`.
    pub fn blobs(&self, folder: &str) -> Vec<String> {
        blobs(&self.state.config.storage.dir.join(folder))
    }

    /// Stops the server and leaves its folder for another.
    pub async fn stop(mut self) -> TempDir {
        self.app.stop(std::future::ready(())).await;
        self.serving.abort();
        self.app.close().await;
        let lock = self.state.config.storage.dir.join("lock");
        // A process that another test starts has the lock's handle, too, until it becomes another program.
        if let Ok(file) = std::fs::File::open(lock) {
            tokio::task::spawn_blocking(move || file.lock()).await.unwrap().unwrap();
        }
        self.folder
    }
}

fn blobs(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}
