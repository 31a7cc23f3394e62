//! What is about PostgreSQL alone: several processes on one database, mistakes in its settings, and a server that is
//! away. What every store must do is in `queue_contract`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may fail loudly")]

mod common;

use std::{collections::HashSet, sync::Arc, time::Duration};

use common::{catalogue, client::DEADLINE, postgres::cluster};
use reverie::{
    clock::Clock,
    config::PostgresUrl,
    jobs::{
        JobId, JobOptions, JobQueue, NewJob, QueueError, QueueOptions, Rescue, TenantOptions, WorkerReport,
        postgres::PostgresQueue,
    },
    keys::Tenant,
};
use reverie_dream::spec::{self, DreamSpec, Precision};
use reverie_graph::Op;
use sqlx::{Executor, Row};
use tokio::{task::JoinSet, time::timeout};

fn options(capacity: u32) -> QueueOptions {
    let tenants = TenantOptions::default();
    QueueOptions {
        capacity,
        lease: Duration::from_secs(30),
        max_attempts: 3,
        clock: Clock::system(),
        tenants,
    }
}

async fn open(url: &PostgresUrl, capacity: u32) -> Arc<PostgresQueue> {
    Arc::new(PostgresQueue::open(url, 8, options(capacity)).await.unwrap())
}

fn spec() -> DreamSpec {
    let catalogue = catalogue::of_one_layer("tiny", Op::Relu);
    spec::resolve("", serde_json::json!({ "seed": 7 }), &catalogue, spec::InputKind::Image).unwrap()
}

async fn add(queue: &PostgresQueue) -> JobId {
    let id = JobId::new();
    queue.enqueue(NewJob::new(id, spec())).await.unwrap();
    id
}

/// Waits for a hint that must come.
async fn hint(waited: impl Future<Output = ()>) {
    timeout(DEADLINE, waited).await.expect("no hint has come");
}

/// Waits until hints of one process reach the other, which is a moment after both have opened the database.
async fn acquainted(one: &PostgresQueue, other: &PostgresQueue) {
    let id = add(one).await;
    let mut changes = other.signals().follow(id);
    // The hints that a listener gives itself when it begins are not the ones meant here.
    let heard = async {
        loop {
            let lease = one.claim("one").await.unwrap().unwrap().lease;
            if timeout(Duration::from_millis(200), changes.changed()).await.is_ok()
                && timeout(Duration::from_millis(200), async {
                    one.release(lease).await.unwrap();
                    changes.changed().await;
                })
                .await
                .is_ok()
            {
                return;
            }
            // What was written is written; the hint was not heard.
            let _ = one.release(lease).await;
        }
    };
    timeout(DEADLINE, heard).await.expect("the processes do not hear each other");
    one.delete(&Tenant::DEFAULT, id).await.unwrap();
}

#[tokio::test]
async fn a_column_of_a_newer_version_disturbs_nobody_at_work() {
    let Some(cluster) = cluster("postgres::a_column_of_a_newer_version_disturbs_nobody_at_work") else {
        return;
    };
    let url = cluster.database().await;
    // One connection: what it has prepared is used again.
    let queue = PostgresQueue::open(&url, 1, options(10)).await.unwrap();
    let everything = async || {
        let (first, second) = (add(&queue).await, add(&queue).await);
        queue.list(&Tenant::DEFAULT, None, None, 10).await.unwrap();
        let lease = queue.claim("one").await.unwrap().unwrap().lease;
        queue.heartbeat(lease, None).await.unwrap();
        queue.release(lease).await.unwrap();
        queue.cancel(&Tenant::DEFAULT, first).await.unwrap();
        queue.cancel(&Tenant::DEFAULT, second).await.unwrap();
        queue.get(&Tenant::DEFAULT, first).await.unwrap();
    };
    everything().await;
    let mut newer = cluster.connect(&url).await;
    newer.execute("ALTER TABLE jobs ADD COLUMN colour text NOT NULL DEFAULT 'blue'").await.unwrap();
    everything().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hints_reach_other_processes() {
    let Some(cluster) = cluster("postgres::hints_reach_other_processes") else { return };
    let url = cluster.database().await;
    let (api, worker) = (open(&url, 10).await, open(&url, 10).await);
    acquainted(&api, &worker).await;
    acquainted(&worker, &api).await;
    let (looked, nothing_there) = tokio::sync::oneshot::channel();
    let claimer = Arc::clone(&worker);
    let claiming = tokio::spawn(async move {
        let mut looked = Some(looked);
        loop {
            match claimer.claim("worker").await.unwrap() {
                Some(claim) => return claim,
                None => {
                    looked.take().map(|looked| looked.send(()));
                    claimer.signals().work().await;
                }
            }
        }
    });
    nothing_there.await.unwrap();
    let id = add(&api).await;
    let claim = timeout(DEADLINE, claiming).await.expect("the worker is not told of the job").unwrap();
    assert_eq!(claim.job.id, id);
    let heard = worker.signals().listen(id);
    api.cancel(&Tenant::DEFAULT, id).await.unwrap();
    hint(heard.canceled()).await;
    let mut changes = api.signals().follow(id);
    worker.stopped(claim.lease).await.unwrap();
    hint(changes.changed()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_of_a_newer_version_that_is_put_back_wakes_the_others() {
    let test = "postgres::a_job_of_a_newer_version_that_is_put_back_wakes_the_others";
    let Some(cluster) = cluster(test) else { return };
    let url = cluster.database().await;
    let (older, newer) = (open(&url, 10).await, open(&url, 10).await);
    acquainted(&older, &newer).await;
    let strange = add(&older).await;
    let mut spec = serde_json::to_value(spec()).unwrap();
    spec["preset"] = "surreal".into();
    let update = format!("UPDATE jobs SET spec = '{spec}' WHERE id = '{strange}'");
    cluster.connect(&url).await.execute(sqlx::AssertSqlSafe(update)).await.unwrap();
    // Messages keep their order: when this one has come, those before it have, and what they left is taken.
    let last = add(&older).await;
    let mut changes = newer.signals().follow(last);
    older.delete(&Tenant::DEFAULT, last).await.unwrap();
    hint(changes.changed()).await;
    let _ = timeout(Duration::ZERO, newer.signals().work()).await;
    assert!(older.claim("older").await.unwrap().is_none());
    hint(newer.signals().work()).await;
    // Its own workers cannot do it, and are left asleep.
    assert!(older.claim("older").await.unwrap().is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_takes_the_connections_that_are_documented() {
    let test = "postgres::a_process_takes_the_connections_that_are_documented";
    let Some(cluster) = cluster(test) else { return };
    let url = cluster.database().await;
    let queue = Arc::new(PostgresQueue::open(&url, 3, options(100)).await.unwrap());
    let mut clients = JoinSet::new();
    for _ in 0..40 {
        let queue = Arc::clone(&queue);
        clients.spawn(async move {
            let id = add(&queue).await;
            queue.ping().await.unwrap();
            queue.get(&Tenant::DEFAULT, id).await.unwrap();
        });
    }
    clients.join_all().await;
    let mut watching = cluster.connect(&url).await;
    let count = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()";
    let open: i64 = sqlx::query_scalar(count).fetch_one(&mut watching).await.unwrap();
    // The pool, notifications and health.
    assert!((3..=3 + 2).contains(&open), "{open}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hints_come_back_after_a_lost_connection() {
    let Some(cluster) = cluster("postgres::hints_come_back_after_a_lost_connection") else { return };
    let url = cluster.database().await;
    let (api, worker) = (open(&url, 10).await, open(&url, 10).await);
    acquainted(&api, &worker).await;
    assert!(cluster.end_connections(&url).await > 0);
    // Nothing is lost meanwhile: statements find new connections, and the hints are there again soon.
    acquainted(&api, &worker).await;
    acquainted(&worker, &api).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_connections_lose_and_double_nothing() {
    let Some(cluster) = cluster("postgres::killed_connections_lose_and_double_nothing") else { return };
    let url = cluster.database().await;
    let queues = [open(&url, 1000).await, open(&url, 1000).await];
    let (stop, mut clients) = (tokio_util::sync::CancellationToken::new(), JoinSet::new());
    for number in 0..8 {
        let queue = Arc::clone(&queues[number % 2]);
        clients.spawn(async move {
            let (mut accepted, mut unknown) = (Vec::new(), 0);
            for _ in 0..25 {
                let id = JobId::new();
                match queue.enqueue(NewJob::new(id, spec())).await {
                    Ok(job) => accepted.push(job.id),
                    Err(error) if error.is_down() => unknown += 1,
                    Err(error) => panic!("{error}"),
                }
            }
            (accepted, unknown)
        });
    }
    let killing = stop.clone();
    let url_of_killer = url.clone();
    let killer = tokio::spawn(async move {
        let (mut killed, mut rounds) = (0, tokio::time::interval(Duration::from_millis(50)));
        while !killing.is_cancelled() {
            killed += cluster.end_connections(&url_of_killer).await;
            rounds.tick().await;
        }
        killed
    });
    let outcomes = clients.join_all().await;
    stop.cancel();
    assert!(killer.await.unwrap() > 0);
    let accepted: Vec<JobId> = outcomes.iter().flat_map(|(accepted, _)| accepted.clone()).collect();
    let unknown: u64 = outcomes.iter().map(|(_, unknown)| unknown).sum();
    assert_eq!(accepted.iter().collect::<HashSet<_>>().len(), accepted.len());
    let depth = timeout(DEADLINE, async {
        loop {
            if let Ok(depth) = queues[0].depth().await {
                return depth;
            }
        }
    });
    let depth = depth.await.unwrap();
    let there = accepted.len() as u64;
    assert!((there..=there + unknown).contains(&depth), "{there} accepted, {unknown} unknown, {depth} there");
    for id in accepted {
        queues[1].get(&Tenant::DEFAULT, id).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_claimers_share_the_jobs_in_order() {
    const JOBS: usize = 60;
    let Some(cluster) = cluster("postgres::many_claimers_share_the_jobs_in_order") else { return };
    let url = cluster.database().await;
    let queues = [open(&url, 100).await, open(&url, 100).await, open(&url, 100).await];
    let mut urgent = HashSet::new();
    for number in 0..JOBS {
        let priority = if number % 3 == 0 { 10 } else { 0 };
        let options = JobOptions { priority, ..JobOptions::default() };
        let new = NewJob { options, ..NewJob::new(JobId::new(), spec()) };
        let id = queues[0].enqueue(new).await.unwrap().id;
        if priority > 0 {
            urgent.insert(id);
        }
    }
    let next = Arc::new(tokio::sync::Barrier::new(queues.len()));
    let mut claimers = JoinSet::new();
    for queue in &queues {
        let (queue, next) = (Arc::clone(queue), Arc::clone(&next));
        claimers.spawn(async move {
            let mut mine = Vec::new();
            for _ in 0..JOBS / 3 {
                // All at once, so that each finds the first jobs locked by the others.
                next.wait().await;
                mine.push(queue.claim("claimer").await.unwrap().expect("each gets its share").job.id);
            }
            mine
        });
    }
    let claimed = claimers.join_all().await;
    assert_eq!(claimed.concat().iter().collect::<HashSet<_>>().len(), JOBS);
    // The urgent ones were taken first, by whomever: the first rounds of all together are exactly those.
    let first: HashSet<JobId> = claimed.iter().flat_map(|mine| mine[..urgent.len() / 3].to_vec()).collect();
    let misplaced = first.symmetric_difference(&urgent).count();
    // Where two meet, one may step over a row that the other lets go again. By chance it would be more than all urgent ones.
    assert!(misplaced < urgent.len(), "{misplaced} jobs were taken out of order");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_that_start_together_migrate_once() {
    let Some(cluster) = cluster("postgres::replicas_that_start_together_migrate_once") else { return };
    let url = cluster.database().await;
    let mut starts = JoinSet::new();
    for _ in 0..8 {
        let url = url.clone();
        starts.spawn(async move { PostgresQueue::open(&url, 2, options(10)).await.unwrap() });
    }
    let queues = starts.join_all().await;
    add(&queues[0]).await;
    assert_eq!(queues[7].depth().await.unwrap(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn settings_must_agree_until_they_are_migrated() {
    let Some(cluster) = cluster("postgres::settings_must_agree_until_they_are_migrated") else { return };
    let url = cluster.database().await;
    let first = open(&url, 10).await;
    let refused = PostgresQueue::open(&url, 2, options(20)).await.unwrap_err();
    let expected = QueueError::Disagree { setting: "queue.capacity", here: 20, there: 10 };
    assert_eq!(refused.to_string(), expected.to_string());
    assert!(refused.to_string().contains("reverie migrate"), "{refused}");
    let changed = PostgresQueue::migrate(&url, &options(20)).await.unwrap();
    assert_eq!(changed, [("queue.capacity", 10, 20)]);
    assert!(PostgresQueue::migrate(&url, &options(20)).await.unwrap().is_empty());
    // Whoever is at work goes on; whoever starts has the new ones.
    add(&first).await;
    open(&url, 20).await;
    PostgresQueue::open(&url, 2, options(10)).await.unwrap_err();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn times_are_those_of_the_server() {
    let Some(cluster) = cluster("postgres::times_are_those_of_the_server") else { return };
    let url = cluster.database().await;
    let queue = open(&url, 10).await;
    let mut connection = cluster.connect(&url).await;
    // A server whose clock is five minutes ahead of ours, which is how our being late looks from there.
    let ahead = "CREATE OR REPLACE FUNCTION reverie_now(by_hand bigint) RETURNS bigint LANGUAGE sql STABLE AS
        $$ SELECT floor(extract(epoch FROM statement_timestamp()) * 1000)::bigint + 300000 $$";
    connection.execute(ahead).await.unwrap();
    let late = open(&url, 10).await;
    let (here, there) = (Clock::system().now(), late.clock().now());
    assert!((290.0..310.0).contains(&there.seconds_since(here)), "{here} {there}");
    let id = JobId::new();
    let deadline = Some(Duration::from_secs(60));
    let options = JobOptions { deadline, ..JobOptions::default() };
    let job = late.enqueue(NewJob { options, ..NewJob::new(id, spec()) }).await.unwrap();
    assert!(job.created_at.seconds_since(here) > 290.0, "{} {here}", job.created_at);
    // By our own clock the job would be due minutes from now, and by theirs its lease is fresh.
    assert_eq!(job.deadline_at, Some(job.created_at + Duration::from_secs(60)));
    let claim = queue.claim("worker").await.unwrap().unwrap();
    assert!(late.rescue(Rescue::Expired).await.unwrap().is_empty(), "a fresh lease was taken away");
    assert!(late.expire_waiting().await.unwrap().is_empty());
    queue.heartbeat(claim.lease, None).await.unwrap();
    // A heartbeat is by their clock too, and so is everything that it is compared with.
    let left: i64 = sqlx::query("SELECT lease_expires_at - reverie_now(NULL) AS left FROM jobs")
        .fetch_one(&mut connection)
        .await
        .unwrap()
        .get("left");
    assert!((1..=30_000).contains(&left), "{left}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_are_known_elsewhere() {
    let Some(cluster) = cluster("postgres::workers_are_known_elsewhere") else { return };
    let url = cluster.database().await;
    let (api, worker) = (open(&url, 10).await, open(&url, 10).await);
    assert!(api.worker_reports().await.unwrap().is_empty());
    let report = WorkerReport {
        workers: 2,
        memory: 8_000_000_000,
        throughput: vec![("tiny".into(), Precision::Fp32, 1.5)],
        devices: vec!["cpu".into(), "cpu".into()],
    };
    worker.report(&report).await.unwrap();
    worker.report(&report).await.unwrap();
    assert_eq!(api.worker_reports().await.unwrap(), [report]);
    worker.report(&WorkerReport::default()).await.unwrap();
    assert!(api.worker_reports().await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_reached_is_named_without_its_password() {
    let nowhere: PostgresUrl = "postgres://dream:s3cret@127.0.0.1:1/reverie".parse().unwrap();
    let away = PostgresQueue::open(&nowhere, 2, options(10)).await.unwrap_err();
    assert!(away.is_down());
    let text = away.to_string();
    assert!(text.contains("reverie at 127.0.0.1:1") && text.contains("storage.database"), "{text}");
    assert!(!text.contains("s3cret") && !format!("{away:?}").contains("s3cret"), "{text}");
    let Some(cluster) = cluster("postgres::what_cannot_be_reached_is_named_without_its_password") else {
        return;
    };
    let missing: PostgresUrl = cluster.url("no_such_database").parse().unwrap();
    let refused = PostgresQueue::open(&missing, 2, options(10)).await.unwrap_err();
    assert!(!refused.is_down(), "waiting does not help: {refused}");
    assert!(refused.to_string().contains("no_such_database"), "{refused}");
}
