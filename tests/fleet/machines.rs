//! The processes of the fleet.

use std::{io::Write, sync::atomic::Ordering};

use reverie::config::PostgresUrl;
use tempfile::TempDir;
use tokio::sync::{Mutex, MutexGuard};

use crate::{
    common::{
        balancer::Balancer,
        ports::ReservedPort,
        postgres::{Cluster, cluster},
        programs::program,
    },
    load_client::LoadClient,
    node::{Node, Recipe},
    server::S3Server,
    workload::dreams,
};

/// A lease as short as it may be with some room: so that losing a worker costs seconds. 30 is the default.
pub const LEASE: &str = "6";

/// Fleets take turns.
static TURN: Mutex<()> = Mutex::const_new(());

/// What is different from other fleets.
#[derive(Default)]
pub struct Plan {
    /// Settings of every process.
    pub settings: Vec<(&'static str, &'static str)>,
    /// Settings of the first worker, and of the first API process.
    pub odd_worker: Vec<(String, String)>,
    pub odd_api: Vec<(String, String)>,
}

/// A running fleet.
pub struct Fleet {
    pub load_client: LoadClient,
    pub balancer: Balancer,
    /// The API processes, and the ports where the balancer looks for them.
    pub apis: Vec<Node>,
    pub ports: Vec<ReservedPort>,
    pub workers: Vec<Node>,
    pub s3: S3Server,
    pub cluster: &'static Cluster,
    pub database: PostgresUrl,
    _folder: TempDir,
    _turn: MutexGuard<'static, ()>,
}

impl Fleet {
    /// Starts one; `None` (and a line that names `test`) where PostgreSQL or nginx is missing.
    pub async fn start(test: &str, plan: Plan) -> Option<Self> {
        let test = format!("fleet::{test}");
        let (nginx, cluster) = (program(&test, "nginx")?, cluster(&test)?);
        let turn = TURN.lock().await;
        dreams().await;
        let (s3, database) = (S3Server::start().await, cluster.database().await);
        let mut settings: Vec<(String, String)> = vec![
            ("REVERIE__STORAGE__DATABASE".into(), cluster.url_of(&database)),
            ("REVERIE__QUEUE__LEASE_SECONDS".into(), LEASE.into()),
            ("REVERIE__QUEUE__CAPACITY".into(), "1000".into()),
            ("REVERIE__LOG__FILTER".into(), "info".into()),
            // Plain text, for looking into it.
            ("NO_COLOR".into(), "1".into()),
        ];
        settings.extend(s3.environment().into_iter().map(|(name, value)| (name.to_owned(), value)));
        settings.extend(plan.settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        let folder = tempfile::tempdir().unwrap();
        let ports = vec![ReservedPort::new(), ReservedPort::new()];
        let listen = |port: &ReservedPort| ("REVERIE__SERVER__LISTEN".to_owned(), port.to_string());
        let odd = |number: usize, odd: &[(String, String)]| if number == 0 { odd.to_vec() } else { vec![] };
        let api = |number: usize| {
            let more = [vec![listen(&ports[number])], odd(number, &plan.odd_api)].concat();
            let recipe = Recipe {
                arguments: vec!["serve", "--workers", "0"],
                program: None,
                settings: [settings.clone(), more].concat(),
            };
            (format!("api-{number}"), recipe)
        };
        let worker = |number: usize| {
            let settings = [settings.clone(), odd(number, &plan.odd_worker)].concat();
            (format!("worker-{number}"), Recipe { arguments: vec!["worker"], program: None, settings })
        };
        let start = |(name, recipe): (String, Recipe)| {
            let folder = folder.path();
            async move { Node::start(folder, &name, recipe).await }
        };
        // All at once: they take turns at the migrations by themselves.
        let (one, other, third, fourth) =
            tokio::join!(start(api(0)), start(api(1)), start(worker(0)), start(worker(1)));
        let addresses: Vec<String> = ports.iter().map(ReservedPort::to_string).collect();
        let balancer = Balancer::start(&nginx, &addresses).await;
        let load_client = LoadClient::new(balancer.client.clone());
        let (apis, workers) = (vec![one, other], vec![third, fourth]);
        Some(Self {
            load_client,
            balancer,
            apis,
            ports,
            workers,
            s3,
            cluster,
            database,
            _folder: folder,
            _turn: turn,
        })
    }

    /// How often a job was taken from a lost worker, by whichever process looked first.
    pub fn taken(&self) -> usize {
        self.apis.iter().chain(&self.workers).map(|node| node.logged("taken from a lost worker")).sum()
    }

    /// Tells, past the test harness, how it went: these figures are what a fault test is for.
    pub fn tell(&self, test: &str, jobs: usize, more: &str) {
        let refused = self.load_client.refused.load(Ordering::Relaxed);
        let line =
            format!("fleet::{test}: {jobs} jobs, all succeeded; {refused} requests sent again; {more}\n");
        let _ = std::io::stderr().write_all(line.as_bytes());
    }
}
