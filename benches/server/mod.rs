//! A server inside a benchmark: the real router on a free port, with the real queue and store in a folder of its own.
#![allow(clippy::unwrap_used, reason = "a benchmark may fail loudly")]

use std::{net::SocketAddr, path::Path, sync::Arc};

use reverie::{
    app::App,
    clock::Clock,
    config::Config,
    http::{
        connections::Connections,
        server::{self, Terms, Timeouts},
    },
};
use reverie_dream::model::Catalogue;
use reverie_engine::Renderer;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

pub struct Server {
    pub address: SocketAddr,
    pub app: App,
    _folder: TempDir,
}

impl Server {
    /// A server of `renderers` with `config`, but for the folder: that is one in `folder`.
    pub async fn start(
        folder: &Path,
        catalogue: &Arc<Catalogue>,
        mut config: Config,
        renderers: Vec<Renderer>,
    ) -> Self {
        let folder = tempfile::tempdir_in(folder).unwrap();
        config.storage.dir = folder.path().join("data");
        let timeouts = Timeouts { keep_alive: config.server.keep_alive, write: config.server.write_timeout };
        let app = App::assemble(config, Arc::clone(catalogue), renderers, Clock::system()).await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let terms = Terms { timeouts, connections: Connections::new(4096, 2048, Vec::new()), tls: None };
        tokio::spawn(server::serve(listener, app.router(), terms, CancellationToken::new()));
        Self { address, app, _folder: folder }
    }

    /// Ends the renders, so that what is measured next has the machine.
    pub async fn stop(mut self) {
        self.app.stop(std::future::ready(())).await;
        self.app.close().await;
    }
}
