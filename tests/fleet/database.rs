//! Faults of PostgreSQL: it restarts, ends connections, and has no free connection.

use std::time::{Duration, Instant};

use sqlx::{Connection, PgConnection};
use tokio::{task::block_in_place, time::interval};

use crate::{
    audit::{Batch, count},
    machines::{Fleet, Plan},
    until,
    workload::Workload,
};

/// Some short, some long: so that there are jobs in every state when something happens.
fn mixed(jobs: usize) -> impl Iterator<Item = Workload> {
    (0..jobs).map(|number| if number % 4 == 3 { Workload::long(number / 4) } else { Workload::small(number) })
}

/// Waits until some are done and others are at work.
async fn in_the_middle(fleet: &Fleet, batch: &mut Batch) {
    until("jobs are at work", async || {
        batch.keep_busy(&fleet.load_client).await;
        count(&fleet.load_client, "succeeded").await >= 3 && count(&fleet.load_client, "running").await >= 1
    })
    .await;
}

/// Waits until no API process would be sent a client.
async fn until_nobody_is_ready(fleet: &Fleet) {
    for api in &fleet.apis {
        api.admin.until_not_ready().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_database_restarts() {
    let test = "the_database_restarts";
    let Some(fleet) = Fleet::start(test, Plan::default()).await else { return };
    let mut batch = Batch::begin(&fleet.load_client, mixed(16));
    in_the_middle(&fleet, &mut batch).await;
    block_in_place(|| fleet.cluster.stop());
    until_nobody_is_ready(&fleet).await;
    batch.more(&fleet.load_client, mixed(8));
    fleet.load_client.until_refused().await;
    block_in_place(|| fleet.cluster.start());
    let jobs = batch.jobs();
    let recovery = batch.end(&fleet, Instant::now()).await;
    fleet.tell(test, jobs, &format!("all done {:.1} s after it was back", recovery.as_secs_f64()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_are_ended_again_and_again() {
    let test = "connections_are_ended_again_and_again";
    let Some(fleet) = Fleet::start(test, Plan::default()).await else { return };
    let mut batch = Batch::begin(&fleet.load_client, mixed(16));
    let (mut rounds, mut killed) = (interval(Duration::from_millis(150)), 0);
    // Some of it happens to jobs at work, and some to those that come then.
    for round in 0.. {
        rounds.tick().await;
        if round == 10 {
            batch.more(&fleet.load_client, mixed(8));
        }
        if killed >= 300 && round > 10 {
            break;
        }
        killed += fleet.cluster.end_connections(&fleet.database).await;
    }
    let jobs = batch.jobs();
    let recovery = batch.end(&fleet, Instant::now()).await;
    let more = format!("{killed} connections ended, all done {:.1} s after the last", recovery.as_secs_f64());
    fleet.tell(test, jobs, &more);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_connections_are_taken() {
    let test = "all_connections_are_taken";
    // As few as may be configured: clients at once are many more.
    let plan = Plan { settings: vec![("REVERIE__STORAGE__CONNECTIONS", "2")], ..Plan::default() };
    let Some(fleet) = Fleet::start(test, plan).await else { return };
    let mut batch = Batch::begin(&fleet.load_client, mixed(16));
    in_the_middle(&fleet, &mut batch).await;
    // Somebody else takes every place that the server has, also those that the fleet had.
    let others = fleet.cluster.url("postgres");
    let mut taken = vec![PgConnection::connect(&others).await.unwrap()];
    until("the fleet has no connection left", async || {
        while let Ok(connection) = PgConnection::connect(&others).await {
            taken.push(connection);
        }
        let ended = sqlx::query_scalar::<_, i64>(
            "SELECT count(*) FILTER (WHERE pg_terminate_backend(pid)) FROM pg_stat_activity
            WHERE application_name = 'reverie'",
        );
        let places: String =
            sqlx::query_scalar("SHOW max_connections").fetch_one(&mut taken[0]).await.unwrap();
        // A connection that is just being made is in no list yet: only all places are all.
        ended.fetch_one(&mut taken[0]).await.unwrap() == 0 && taken.len() >= places.parse().unwrap()
    })
    .await;
    until_nobody_is_ready(&fleet).await;
    batch.more(&fleet.load_client, mixed(8));
    fleet.load_client.until_refused().await;
    let places = taken.len();
    drop(taken);
    let jobs = batch.jobs();
    let recovery = batch.end(&fleet, Instant::now()).await;
    let more =
        format!("{places} places taken, all done {:.1} s after they were free", recovery.as_secs_f64());
    fleet.tell(test, jobs, &more);
}
