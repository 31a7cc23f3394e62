//! Submits many jobs at once and checks the invariants that must hold when they have ended.

use std::{
    collections::{HashMap, HashSet},
    time::{Duration, Instant},
};

use serde_json::Value;
use tokio::task::JoinSet;

use crate::{
    load_client::{LoadClient, Manner, id},
    machines::Fleet,
    workload::{Workload, dreams},
};

/// Within this time after a fault all must be well again.
const RECOVERY: Duration = Duration::from_secs(45);

/// Jobs under way: each is followed by a client of its own.
pub struct Batch {
    clients: JoinSet<(String, String)>,
    jobs: usize,
}

impl Batch {
    /// Has clients order dreams: all at once, each with a key.
    pub fn begin(load_client: &LoadClient, workload: impl IntoIterator<Item = Workload>) -> Self {
        let mut batch = Self { clients: JoinSet::new(), jobs: 0 };
        batch.more(load_client, workload);
        batch
    }

    /// Has more clients order dreams.
    pub fn more(&mut self, load_client: &LoadClient, workload: impl IntoIterator<Item = Workload>) {
        for order in workload {
            let (load_client, number) = (load_client.clone(), self.jobs);
            self.clients.spawn(async move {
                let key = format!("batch-{number}");
                let job = load_client.dream(&order, &key, Manner::of(number)).await;
                (id(&job), order.name)
            });
            self.jobs += 1;
        }
    }

    /// Has clients order more long dreams where few wait: however fast the workers are, there is work for all of them.
    pub async fn keep_busy(&mut self, load_client: &LoadClient) {
        if count(load_client, "queued").await < 2 {
            self.more(load_client, (0..2).map(Workload::long));
        }
    }

    /// Number of jobs that will have ended, with the one that comes after all others.
    pub fn jobs(&self) -> usize {
        self.jobs + 1
    }

    /// Waits until every client has its dream, and looks the fleet through; the time since `healed`.
    pub async fn end(mut self, fleet: &Fleet, healed: Instant) -> Duration {
        let mut ordered = HashMap::new();
        while let Some(client) = self.clients.join_next().await {
            // A client that failed has said why.
            let (id, order) = client.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()));
            ordered.insert(id, order);
        }
        let recovery = healed.elapsed();
        assert_eq!(ordered.len(), self.jobs, "two keys became one job");
        // A job that comes now is done now.
        let fresh = Workload::small(0);
        let job = fleet.load_client.dream(&fresh, "fresh", Manner::Waits).await;
        ordered.insert(id(&job), fresh.name);
        assert!(healed.elapsed() < RECOVERY, "all is well only after {:?}", healed.elapsed());
        audit(fleet, &ordered).await;
        recovery
    }
}

/// Looks everything through: no job is lost or there twice, and whatever was rendered of it, by whichever attempt, is
/// the one dream that it must be.
pub async fn audit(fleet: &Fleet, ordered: &HashMap<String, String>) {
    let jobs = list(&fleet.load_client).await;
    let known: HashSet<String> = jobs.iter().map(id).collect();
    assert_eq!(jobs.len(), known.len(), "the list shows a job twice");
    for (job, order) in ordered {
        assert!(known.contains(job), "{job} is lost");
        for dream in results(fleet, job) {
            assert!(dreams().await[order] == fleet.s3.content(&dream), "{dream} is not {order}");
        }
    }
    let unasked: Vec<&Value> = jobs.iter().filter(|job| !ordered.contains_key(&id(job))).collect();
    // But for those that a test lets end otherwise.
    assert!(unasked.iter().all(|job| job["status"] != "succeeded"), "nobody asked for {unasked:?}");
}

/// What is stored of a job's dreams.
pub fn results(fleet: &Fleet, job: &str) -> Vec<String> {
    let mut stored = fleet.s3.visible();
    stored.retain(|name| name.contains(&format!("/results/{job}")));
    stored
}

/// All jobs there are.
async fn list(load_client: &LoadClient) -> Vec<Value> {
    let (mut jobs, mut path) = (Vec::new(), "/v1/jobs?limit=50".to_owned());
    loop {
        let mut page: Value = load_client.ask(|| load_client.get(&path)).await.json().await.unwrap();
        jobs.append(page["jobs"].as_array_mut().unwrap());
        match page["links"]["next"].as_str() {
            Some(next) => path = next.to_owned(),
            None => return jobs,
        }
    }
}

/// Number of jobs in a state.
pub async fn count(load_client: &LoadClient, status: &str) -> usize {
    let page = load_client.ask(|| load_client.get(&format!("/v1/jobs?limit=100&status={status}"))).await;
    page.json::<Value>().await.unwrap()["jobs"].as_array().unwrap().len()
}
