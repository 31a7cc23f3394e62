//! A hundred jobs through a fleet without faults.

use std::collections::HashMap;

use serde_json::json;
use tokio::{task::JoinSet, time::Instant};

use crate::{
    audit::audit,
    load_client::{LoadClient, Manner, id},
    machines::{Fleet, Plan},
    workload::Workload,
};

const JOBS: usize = 100;

/// Clients at the same time.
const CLIENTS: usize = 8;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_jobs_through_two_replicas_and_two_workers() {
    let test = "a_hundred_jobs_through_two_replicas_and_two_workers";
    let Some(fleet) = Fleet::start(test, Plan::default()).await else { return };
    let began = Instant::now();
    let mut clients = JoinSet::new();
    for client in 0..CLIENTS {
        let load_client = fleet.load_client.clone();
        clients.spawn(async move {
            let mut done = Vec::new();
            for number in (client..JOBS).step_by(CLIENTS) {
                done.push(one(&load_client, number).await);
            }
            done
        });
    }
    let canceled = cancels(&fleet.load_client).await;
    let ordered: HashMap<String, String> = clients.join_all().await.into_iter().flatten().collect();
    assert_eq!(ordered.len(), JOBS, "two keys became one job");
    audit(&fleet, &ordered).await;
    assert!(canceled.iter().all(|id| !ordered.contains_key(id)));
    for (port, worker) in fleet.ports.iter().zip(&fleet.workers) {
        assert!(fleet.balancer.requests_to(port.number()) > JOBS / 4, "one replica does all by itself");
        assert!(worker.logged("job ended") > JOBS / 10, "one worker does all by itself");
    }
    fleet.tell(test, JOBS, &format!("{:.1} s", began.elapsed().as_secs_f64()));
}

/// A job from the first request to the dream, with a client that sends everything twice and forgets what it has sent.
async fn one(load_client: &LoadClient, number: usize) -> (String, String) {
    let (order, key) = (Workload::small(number), format!("job-{number}"));
    // Twice at once: the balancer gives them to whoever has least to do, which is the two replicas.
    let (first, second) = tokio::join!(load_client.order(&order, &key), load_client.order(&order, &key));
    assert_eq!(first, second, "one key became two jobs");
    let job = load_client.dream(&order, &key, Manner::of(number)).await;
    assert_eq!(id(&job), first, "a key was forgotten");
    assert_eq!(job["attempt"], 1, "{job}");
    let other = Workload::small(number + 1);
    let refused =
        load_client.ask(|| other.request(&load_client.client).header("idempotency-key", &key)).await;
    assert_eq!(refused.status(), 422, "a key is good for another order");
    (first, order.name)
}

/// Cancels jobs that wait and jobs at work, through whichever replica; their ids.
async fn cancels(load_client: &LoadClient) -> Vec<String> {
    let mut ids = Vec::new();
    for number in 0..6 {
        let mut order = Workload::long(number);
        order.spec["iterations"] = json!(1000);
        order.spec["objectives"] = json!([{ "layer": "block10" }]);
        let id = load_client.order(&order, &format!("cancel-{number}")).await;
        if number % 2 == 0 {
            // As soon as some worker says that it is at work.
            crate::until("the job is at work", async || load_client.job(&id).await["progress"].is_object())
                .await;
        }
        let answer = load_client.cancel(&id).await;
        assert!(answer.status().is_success(), "{answer:?}");
        let job = load_client.end(&id, Manner::of(number)).await;
        assert_eq!(job["status"], "canceled", "{job}");
        ids.push(id);
    }
    ids
}
