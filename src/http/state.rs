//! What handlers see of the server: its settings, and handles to the queue, the store and the workers.

use std::{net::IpAddr, sync::Arc};

use tokio_util::sync::CancellationToken;

use super::{decoders::Decoders, extract::BodyLimits, uploads::Uploads};
use crate::{
    admission::Admission,
    clock::Clock,
    config::Config,
    jobs::JobQueue,
    metrics::Metrics,
    objects::Objects,
    recent::Recent,
    worker::{ClusterState, Liveness, Throughput},
};
use reverie_dream::model::Catalogue;

/// What handlers see. Clones are cheap and share everything.
#[derive(Clone)]
pub struct AppState {
    /// Settings.
    pub config: Arc<Config>,
    /// Jobs.
    pub queue: Arc<dyn JobQueue>,
    /// Pictures.
    pub objects: Objects,
    /// Models.
    pub catalogue: Arc<Catalogue>,
    /// How long dreams take here.
    pub throughput: Arc<Throughput>,
    /// What one job may take here; see [`AppState::admission`].
    pub(crate) admission: Admission,
    /// What is known of the workers of all processes.
    pub(crate) cluster: Arc<ClusterState>,
    /// Numbers for whoever runs the service.
    pub metrics: Arc<Metrics>,
    /// Source of timestamps.
    pub clock: Clock,
    /// The memory that request bodies may take.
    pub uploads: Uploads,
    /// Memory for the pictures that are decoded at the same time.
    pub decoders: Decoders,
    pub(crate) alive: Liveness,
    pub(crate) draining: CancellationToken,
    /// Whether something could be written to the job store lately.
    pub(crate) written: Arc<Recent>,
}

impl AppState {
    /// Whether the job store answers, and takes writes or did so a moment ago.
    ///
    /// # Errors
    /// The reason why not, in words.
    pub async fn check_queue(&self) -> Result<(), String> {
        self.queue.ping().await.map_err(|error| error.to_string())?;
        self.written.ask(false, async { self.queue.probe().await.map_err(|error| error.to_string()) }).await
    }

    /// Whether the server is stopping.
    pub fn is_draining(&self) -> bool {
        self.draining.is_cancelled()
    }

    /// Waits until the server is stopping: whoever keeps a client waiting answers then.
    pub async fn draining(&self) {
        self.draining.cancelled().await;
    }

    /// Number of workers of this process that are able to take jobs.
    pub fn workers_alive(&self) -> usize {
        self.alive.count()
    }

    /// Number of workers that share the queue, in all processes.
    pub fn workers_in_cluster(&self) -> usize {
        self.workers_alive().max(self.cluster.workers())
    }

    /// Whether this process is to work on jobs, and not only to accept them.
    pub fn is_to_work(&self) -> bool {
        self.config.worker.count > 0
    }

    /// What the body of a client's request may take.
    pub fn body_limits(&self, client: Option<IpAddr>) -> BodyLimits {
        let limits = &self.config.limits;
        BodyLimits {
            body: limits.max_body_bytes,
            json: limits.max_json_bytes,
            uploads: self.uploads.clone(),
            client,
        }
    }

    /// What one job may take: where this process has no workers and no limit is configured, as much memory as there
    /// is on each of the machines that have some.
    pub fn admission(&self) -> Admission {
        let here = self.is_to_work() || self.config.limits.max_job_memory_mb.is_some();
        match self.cluster.memory() {
            Some(memory) if !here => self.admission.with_memory(memory),
            _ => self.admission,
        }
    }
}
