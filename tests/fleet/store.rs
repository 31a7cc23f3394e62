//! Faults of the bucket: it is overloaded, does not answer, and recovers.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Instant,
};

use hyper::http::request::Parts;

use crate::{
    audit::{Batch, count},
    machines::{Fleet, Plan},
    server::{Fault, any},
    until,
    workload::Workload,
};

/// Every third request.
fn third(_: &Parts) -> bool {
    static REQUESTS: AtomicUsize = AtomicUsize::new(0);
    REQUESTS.fetch_add(1, Ordering::Relaxed).is_multiple_of(3)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_bucket_refuses_and_stalls() {
    let test = "the_bucket_refuses_and_stalls";
    // No attempt to spare: a store that is away must cost none.
    let plan = Plan { settings: vec![("REVERIE__QUEUE__MAX_ATTEMPTS", "1")], ..Plan::default() };
    let Some(fleet) = Fleet::start(test, plan).await else { return };
    let before = fleet.s3.requests().len();
    let asked = async |more: usize| {
        until("the bucket is asked", async || fleet.s3.requests().len() >= before + more).await;
    };
    fleet.s3.spoil(Fault::Busy, usize::MAX, third);
    let mut batch = Batch::begin(&fleet.load_client, (0..16).map(Workload::small));
    asked(40).await;
    fleet.s3.spoil(Fault::Stall, usize::MAX, third);
    asked(60).await;
    // Nothing works at all, until everybody has noticed, clients and the jobs at work included.
    for fault in [Fault::Busy, Fault::Stall] {
        until("a job is at work", async || {
            batch.keep_busy(&fleet.load_client).await;
            count(&fleet.load_client, "running").await > 0
        })
        .await;
        fleet.s3.spoil(fault, usize::MAX, any);
        batch.more(&fleet.load_client, [0, 2, 4, 0].map(Workload::small));
        for node in fleet.apis.iter().chain(&fleet.workers) {
            node.admin.until_not_ready().await;
        }
        fleet.load_client.until_refused().await;
        fleet.s3.heal();
        for node in fleet.apis.iter().chain(&fleet.workers) {
            node.admin.until_found("/readyz").await;
        }
    }
    let jobs = batch.jobs();
    let recovery = batch.end(&fleet, Instant::now()).await;
    let requests = fleet.s3.requests().len() - before;
    let more = format!(
        "{requests} requests to the bucket, all done {:.1} s after it was well",
        recovery.as_secs_f64()
    );
    fleet.tell(test, jobs, &more);
}
