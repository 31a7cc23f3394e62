//! The state that handlers share: settings, and handles to the queue, the store and the workers.

use std::{net::IpAddr, sync::Arc};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use super::{body_limits::BodyLimits, decoders::Decoders, follow::FollowedJobs, uploads::Uploads};
use crate::{
    admission::Admission,
    auth::{Authenticator, Rates},
    clock::Clock,
    config::{Config, PublicUrl},
    egress::Egress,
    jobs::JobQueue,
    metrics::Metrics,
    objects::Objects,
    recent::Recent,
    worker::{ClusterState, Liveness, Throughput},
};
use reverie_dream::model::Catalogue;

/// Shared state of the handlers. Clones are cheap and share everything.
#[derive(Clone)]
pub struct AppState {
    /// The configuration.
    pub config: Arc<Config>,
    /// The job queue.
    pub queue: Arc<dyn JobQueue>,
    /// Checks API keys.
    pub auth: Arc<Authenticator>,
    /// Counts requests per tenant.
    pub rates: Arc<Rates>,
    /// Sends requests for clients.
    pub egress: Egress,
    /// The blob store.
    pub objects: Objects,
    /// The models.
    pub catalogue: Arc<Catalogue>,
    /// Predicts how long dreams take here.
    pub throughput: Arc<Throughput>,
    /// Limits of one job here; see [`AppState::admission`].
    pub(crate) own_admission: Admission,
    /// The workers of all processes.
    pub(crate) cluster: Arc<ClusterState>,
    /// Metrics for the operator.
    pub metrics: Arc<Metrics>,
    /// Source of timestamps.
    pub clock: Clock,
    /// Memory budget for request bodies.
    pub uploads: Uploads,
    /// Memory budget for decoding images.
    pub decoders: Decoders,
    /// The jobs that clients follow.
    pub followed: FollowedJobs,
    pub(crate) alive: Liveness,
    pub(crate) draining: CancellationToken,
    /// Held by a request that reads stored pictures whole: they take memory that no upload has asked for.
    pub(crate) rereading: Arc<Semaphore>,
    /// Whether the job store accepted a write recently.
    pub(crate) written: Arc<Recent>,
}

impl AppState {
    /// Checks that the job store answers, and accepts writes or did so a moment ago.
    ///
    /// # Errors
    /// The reason, in words.
    pub async fn check_queue(&self) -> Result<(), String> {
        self.queue.ping().await.map_err(|error| error.to_string())?;
        self.written.ask(false, async { self.queue.probe().await.map_err(|error| error.to_string()) }).await
    }

    /// The prefix of links in responses.
    pub fn public_url(&self) -> &PublicUrl {
        &self.config.server.public_url
    }

    /// A turn to read stored pictures whole.
    pub(crate) async fn rereading(&self) -> Option<OwnedSemaphorePermit> {
        // It is never closed.
        Arc::clone(&self.rereading).acquire_owned().await.ok()
    }

    /// Whether the server is stopping.
    pub fn is_draining(&self) -> bool {
        self.draining.is_cancelled()
    }

    /// Waits until the server is stopping: a handler that holds a request open must answer then.
    pub async fn draining(&self) {
        self.draining.cancelled().await;
    }

    /// Number of workers of this process that can take jobs.
    pub fn workers_alive(&self) -> usize {
        self.alive.count()
    }

    /// Number of workers that share the queue, in all processes.
    pub fn workers_in_cluster(&self) -> usize {
        self.workers_alive().max(self.cluster.workers())
    }

    /// Whether this process runs workers, as opposed to only accepting jobs.
    pub fn is_to_work(&self) -> bool {
        self.config.worker.count > 0
    }

    /// The body limits for a client's request.
    pub fn body_limits(&self, client: Option<IpAddr>) -> BodyLimits {
        let limits = &self.config.limits;
        BodyLimits {
            body: limits.max_body_bytes,
            json: limits.max_json_bytes,
            uploads: self.uploads.clone(),
            client,
        }
    }

    /// The limits of one job. Without workers here and without a configured limit, the memory limit is the
    /// smallest memory of the machines with workers.
    pub fn admission(&self) -> Admission {
        let here = self.is_to_work() || self.config.limits.max_job_memory_mb.is_some();
        match self.cluster.memory() {
            Some(memory) if !here => self.own_admission.with_memory(memory),
            _ => self.own_admission,
        }
    }
}
