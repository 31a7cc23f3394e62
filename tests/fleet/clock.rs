//! Wrong clocks: one worker's is five minutes fast, and one API process's is five minutes slow.

use std::{path::PathBuf, time::Instant};

use chrono::{DateTime, TimeDelta};
use serde_json::Value;

use crate::{
    audit::{Batch, count},
    common::programs::{fetched, skip},
    load_client::Manner,
    machines::{Fleet, Plan},
    node::Node,
    until,
    workload::Workload,
};

/// The library that tells a program another time; `None` (and a line that names `test`) where it is missing.
///
/// # Panics
/// Where it is missing and `CI` is set: there nothing may be skipped.
fn faketime(test: &str) -> Option<PathBuf> {
    let fetched = fetched().join("root/usr/lib");
    let folders = ["/usr/lib".into(), "/usr/lib64".into(), fetched];
    let folders = folders.iter().filter_map(|folder: &PathBuf| std::fs::read_dir(folder).ok());
    let folders = folders.flatten().flatten().map(|entry| entry.path());
    let mut files = folders.map(|folder| folder.join("faketime/libfaketimeMT.so.1"));
    let found = files.find(|file| file.is_file());
    if found.is_none() {
        skip(&format!("fleet::{test}"), "there is no faketime (scripts/test-servers fetches it)");
    }
    found
}

/// What its log takes the time for, against what the database does: by how many times five minutes it is fast.
fn fast_by(node: &Node, job: &Value) -> i64 {
    let (log, accepted) = (node.log(), job["created_at"].as_str().unwrap());
    let first = log.lines().next().unwrap().split_whitespace().next().unwrap();
    let (first, accepted) =
        (DateTime::parse_from_rfc3339(first).unwrap(), DateTime::parse_from_rfc3339(accepted).unwrap());
    // It has started some time before the job came: on a busy machine that may be a minute, but not two.
    ((first - accepted).as_seconds_f64() / 300.0).round() as i64
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clocks_disagree_by_minutes() {
    let test = "clocks_disagree_by_minutes";
    let Some(library) = faketime(test) else { return };
    let off = |by: &str| {
        let settings = [
            ("LD_PRELOAD", library.to_str().unwrap()),
            ("FAKETIME", by),
            // Only the time of day: a monotonic clock has no time of day to be wrong about.
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
            ("DONT_FAKE_MONOTONIC", "1"),
        ];
        settings.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec()
    };
    let plan = Plan { odd_worker: off("+300"), odd_api: off("-300"), ..Plan::default() };
    let Some(fleet) = Fleet::start(test, plan).await else { return };
    // Deadlines are of a minute: whoever went by their own clock would let everything expire, or nothing.
    let workload = (0..20).map(|number| {
        let mut order = if number % 4 == 3 { Workload::long(number) } else { Workload::small(number) };
        order.deadline = Some(60);
        order
    });
    let mut batch = Batch::begin(&fleet.load_client, workload);
    // And a job that takes longer than its deadline expires by then.
    let late = Workload { deadline: Some(4), ..Workload::endless() };
    let late = fleet.load_client.order(&late, "late").await;
    let job = fleet.load_client.end(&late, Manner::Waits).await;
    assert_eq!(job["status"], "expired", "{job}");
    let time = |name: &str| DateTime::parse_from_rfc3339(job[name].as_str().unwrap()).unwrap();
    let lived = time("finished_at") - time("created_at");
    assert!(lived >= TimeDelta::seconds(4) && lived < TimeDelta::seconds(30), "{job}");
    // The faults are there.
    let fast = [&fleet.workers[0], &fleet.workers[1], &fleet.apis[0], &fleet.apis[1]]
        .map(|node| fast_by(node, &job));
    assert_eq!(fast, [1, 0, -1, 0], "the clocks are not as this test wants them");
    // The worker that was held up by the late one may have missed all others.
    until("every worker has done a job", async || {
        let idle = fleet.workers.iter().any(|worker| worker.logged("job ended") == 0);
        if idle && count(&fleet.load_client, "queued").await < 2 {
            batch.more(&fleet.load_client, (0..4).map(Workload::small));
        }
        !idle
    })
    .await;
    let jobs = batch.jobs();
    let recovery = batch.end(&fleet, Instant::now()).await;
    assert_eq!(fleet.taken(), 0, "a lease ended too early");
    fleet.tell(test, jobs, &format!("all done after {:.1} s", recovery.as_secs_f64()));
}
