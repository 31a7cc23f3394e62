//! A rolling update: every process restarts, one after the other, while clients continue.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use tokio::task::JoinSet;

use crate::{
    audit::audit,
    load_client::{Manner, id},
    machines::{Fleet, Plan},
    until,
    workload::Workload,
};

/// Clients at the same time.
const CLIENTS: usize = 4;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_process_is_restarted_and_no_client_notices() {
    let test = "every_process_is_restarted_and_no_client_notices";
    let Some(mut fleet) = Fleet::start(test, Plan::default()).await else { return };
    let clients = Clients::start(&fleet);
    let began = Instant::now();
    for number in 0..fleet.apis.len() {
        until_asked(&fleet).await;
        let api = &mut fleet.apis[number];
        api.signal("TERM");
        assert!(api.ended().await.success());
        api.again().await;
    }
    until_asked(&fleet).await;
    for worker in &mut fleet.workers {
        until("the worker has work", async || worker.logged("job started") > 0).await;
        worker.signal("TERM");
        assert!(worker.ended().await.success());
        worker.again().await;
    }
    until("the last one works", async || fleet.workers[1].logged("job ended") > 0).await;
    let rolled = began.elapsed();
    let ordered = clients.end().await;
    audit(&fleet, &ordered).await;
    let refused = fleet.load_client.refused.load(Ordering::Relaxed);
    assert_eq!(refused, 0, "clients were sent away: {}", fleet.balancer.story());
    let answered = fleet.load_client.answered.load(Ordering::Relaxed);
    let more = format!("{answered} answers, none of them a failure, in {:.1} s", rolled.as_secs_f64());
    fleet.tell(test, ordered.len(), &more);
}

/// Clients that order dreams, one after the other, until they are told to end.
pub struct Clients {
    over: Arc<AtomicBool>,
    clients: JoinSet<HashMap<String, String>>,
}

impl Clients {
    pub fn start(fleet: &Fleet) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let mut clients = JoinSet::new();
        for client in 0..CLIENTS {
            let (load_client, over) = (fleet.load_client.clone(), Arc::clone(&over));
            clients.spawn(async move {
                let mut done = HashMap::new();
                for number in 0.. {
                    if over.load(Ordering::Relaxed) {
                        break;
                    }
                    let order = if number % 5 == 4 {
                        Workload::long(number)
                    } else {
                        Workload::small(number + client)
                    };
                    let key = format!("client-{client}-{number}");
                    let job = load_client.dream(&order, &key, Manner::of(number + client)).await;
                    done.insert(id(&job), order.name);
                }
                done
            });
        }
        Self { over, clients }
    }

    /// What they ordered, by job; every client has its last dream by then.
    pub async fn end(self) -> HashMap<String, String> {
        self.over.store(true, Ordering::Relaxed);
        self.clients.join_all().await.into_iter().flatten().collect()
    }
}

/// Waits until the balancer sends clients to every API process.
pub async fn until_asked(fleet: &Fleet) {
    let before: Vec<usize> =
        fleet.ports.iter().map(|port| fleet.balancer.requests_to(port.number())).collect();
    until("every replica is asked", async || {
        fleet
            .ports
            .iter()
            .zip(&before)
            .all(|(port, before)| fleet.balancer.requests_to(port.number()) > *before)
    })
    .await;
}
