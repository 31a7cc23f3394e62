//! Killed workers, and a paused one that only seems dead.

use std::time::Instant;

use crate::{
    audit::{Batch, count, results},
    common::client::DEADLINE,
    load_client::Manner,
    machines::{Fleet, Plan},
    until,
    workload::Workload,
};

/// Stops the first worker, as if its machine hung, while it and every other one is at work.
async fn hangs_at_work(fleet: &Fleet) {
    let hung = &fleet.workers[0];
    until("every worker is at work", async || {
        if count(&fleet.load_client, "running").await < fleet.workers.len() {
            return false;
        }
        hung.signal("STOP");
        // Between two jobs it holds none: then the others alone do, and it was stopped in vain.
        let holds = count(&fleet.load_client, "running").await == fleet.workers.len();
        if !holds {
            hung.signal("CONT");
        }
        holds
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_is_killed() {
    let test = "a_worker_is_killed";
    let Some(mut fleet) = Fleet::start(test, Plan::default()).await else { return };
    let batch = Batch::begin(&fleet.load_client, (0..12).map(Workload::long));
    hangs_at_work(&fleet).await;
    fleet.workers[0].kill().await;
    let killed = Instant::now();
    until("its job is taken from it", async || fleet.taken() == 1).await;
    let orphaned = killed.elapsed();
    // The other one does all the work.
    let jobs = batch.jobs();
    let recovery = batch.end(&fleet, killed).await;
    let (orphaned, recovery) = (orphaned.as_secs_f64(), recovery.as_secs_f64());
    fleet.tell(
        test,
        jobs,
        &format!("its job went to the other {orphaned:.1} s later, all done after {recovery:.1} s"),
    );
    fleet.workers[0].again().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_are_killed_again_and_again() {
    let test = "workers_are_killed_again_and_again";
    // By default a job that loses its worker three times is taken for the reason. Here it is not.
    let plan = Plan { settings: vec![("REVERIE__QUEUE__MAX_ATTEMPTS", "8")], ..Plan::default() };
    let Some(mut fleet) = Fleet::start(test, plan).await else { return };
    let mut batch = Batch::begin(&fleet.load_client, (0..4).map(Workload::long));
    let mut kills = 0;
    for round in 0..6 {
        until("the worker is at work", async || {
            batch.keep_busy(&fleet.load_client).await;
            let worker = &fleet.workers[round % 2];
            worker.logged("job started") > worker.logged("job ended")
        })
        .await;
        let worker = &mut fleet.workers[round % 2];
        worker.kill().await;
        kills += 1;
        worker.again().await;
    }
    let jobs = batch.jobs();
    let recovery = batch.end(&fleet, Instant::now()).await;
    let more = format!("{kills} kills, all done {:.1} s after the last", recovery.as_secs_f64());
    fleet.tell(test, jobs, &more);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_worker_comes_back_and_is_fenced() {
    let test = "a_paused_worker_comes_back_and_is_fenced";
    let Some(fleet) = Fleet::start(test, Plan::default()).await else { return };
    let zombie = &fleet.workers[0];
    // So long that it will not be over when the worker comes back: the zombie has to be told.
    let load_client = fleet.load_client.clone();
    let long = load_client.order(&Workload::endless(), "long").await;
    let order = Workload::long(1);
    let batch = Batch::begin(&load_client, std::iter::repeat_n(order, 8));
    hangs_at_work(&fleet).await;
    let paused = Instant::now();
    // Its job goes to the other one, and so does everything else.
    until("its job is taken from it", async || fleet.taken() == 1).await;
    let orphaned = paused.elapsed();
    if load_client.job(&long).await["finished_at"].is_null() {
        load_client.cancel(&long).await;
    }
    load_client.end(&long, Manner::Polls).await;
    until("the other has done everything", async || {
        assert!(paused.elapsed() < DEADLINE);
        count(&load_client, "succeeded").await == 8
    })
    .await;
    let before = fleet.s3.visible();
    zombie.signal("CONT");
    until("the zombie notices", async || zombie.logged("the job is dropped") == 1).await;
    // A dream that it may just have stored is its own to remove.
    until("what is stored is as before", async || fleet.s3.visible() == before).await;
    // It is a good worker again.
    let ended = zombie.logged("job ended");
    let jobs = batch.jobs();
    let recovery = batch.end(&fleet, paused).await;
    for number in 0.. {
        if zombie.logged("job ended") > ended {
            break;
        }
        assert!(paused.elapsed() < DEADLINE, "the zombie takes no jobs");
        let job = load_client.order(&Workload::small(number), &format!("after-{number}")).await;
        load_client.end(&job, Manner::Waits).await;
        assert_eq!(results(&fleet, &job).len(), 1);
    }
    let (orphaned, recovery) = (orphaned.as_secs_f64(), recovery.as_secs_f64());
    fleet.tell(
        test,
        jobs,
        &format!("its job went to the other {orphaned:.1} s later, all done after {recovery:.1} s"),
    );
}
