//! Finished jobs lose their pictures after a while and are forgotten later; days pass in no time, because the
//! clock is driven by hand.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may fail loudly")]

mod common;

use std::time::Duration;

use bytes::Bytes;
use common::{
    client::{problem, quick},
    picture,
    server::{Setup, TestServer},
};
use reverie::{
    clock::Clock,
    jobs::{JobId, Lease},
    objects::ObjectKey,
};
use serde_json::Value;
use sqlx::{Connection, SqliteConnection, sqlite::SqliteConnectOptions};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

async fn start(works: bool) -> (TestServer, Clock) {
    let clock = Clock::driven(Clock::system().now());
    let setup = Setup::new().await;
    (Setup { works, clock: clock.clone(), ..setup }.start().await, clock)
}

#[tokio::test]
async fn results_are_gone_after_their_time_and_jobs_later() {
    let (server, clock) = start(true).await;
    let id = server.client.submit(picture(64, 64), &quick()).await;
    server.client.dream(&id).await;
    let (job, result) = (format!("/v1/jobs/{id}"), format!("/v1/jobs/{id}/result"));
    let etag = server.client.get(&job).await.headers()["etag"].to_str().unwrap().to_owned();

    clock.advance(DAY * 7 - Duration::from_secs(60));
    server.app.retention.round().await.unwrap();
    assert_eq!(server.client.get(&result).await.status(), 200);

    clock.advance(Duration::from_secs(120));
    assert_eq!(server.app.retention.round().await.unwrap().pictures, 1);
    let refused = problem(server.client.get(&result).await, 410).await;
    assert_eq!(refused["type"], "urn:reverie:problem:gone");
    assert!(server.blobs("results").is_empty() && server.blobs("inputs").is_empty());
    let shown = server.client.get_unless(&job, &etag).await;
    assert_eq!(shown.status(), 200, "clients would go on offering the result");
    let shown: Value = shown.json().await.unwrap();
    assert_eq!((shown["status"].as_str(), &shown["links"]["result"]), (Some("succeeded"), &Value::Null));

    clock.advance(DAY * 23);
    assert_eq!(server.app.retention.round().await.unwrap().jobs, 1);
    problem(server.client.get(&job).await, 404).await;
    problem(server.client.get(&result).await, 404).await;
}

#[tokio::test]
async fn jobs_that_wait_are_never_swept() {
    let (server, clock) = start(false).await;
    let waiting = server.client.submit(picture(64, 64), &quick()).await;
    let mut canceled = Vec::new();
    // More than one batch.
    for _ in 0..120 {
        let id = server.client.submit(picture(16, 16), &quick()).await;
        server.client.post(&format!("/v1/jobs/{id}/cancel")).await;
        canceled.push(id);
    }
    clock.advance(DAY * 365);
    let deleted = server.app.retention.round().await.unwrap();
    assert_eq!((deleted.pictures, deleted.jobs), (120, 120));
    assert_eq!(server.blobs("inputs"), [waiting.as_str()]);
    assert_eq!(server.client.job(&waiting).await["status"], "queued");
    // What never was a picture of a job that succeeded is simply not there.
    problem(server.client.get(&format!("/v1/jobs/{}/result", canceled[0])).await, 404).await;
}

#[tokio::test]
async fn pictures_without_a_job_are_removed_when_old() {
    let (server, clock) = start(true).await;
    let id = server.client.submit(picture(64, 64), &quick()).await;
    server.client.dream(&id).await;
    let objects = &server.state.objects;
    let job: JobId = id.parse().unwrap();
    let lost = Lease { job, token: uuid::Uuid::new_v4() };
    let nobody = JobId::new();
    // An input whose job was never accepted, a dream by a worker that had lost its lease, and what a job had on its
    // way, of one that has ended and of one that is gone.
    let orphans = [
        ObjectKey::Input(nobody),
        ObjectKey::Guide(nobody),
        ObjectKey::result_under(lost),
        ObjectKey::Checkpoint(nobody),
        ObjectKey::Preview(nobody),
        ObjectKey::Checkpoint(job),
        ObjectKey::Preview(job),
    ];
    for key in orphans {
        objects.put(key, Bytes::from_static(b"picture")).await.unwrap();
    }
    // A person's file is none of our business.
    let note = server.state.config.storage.dir.join("inputs/README");
    std::fs::write(&note, "by hand").unwrap();
    // Older than now, as the clock stands still otherwise.
    clock.advance(DAY / 2);
    assert_eq!(server.app.retention.orphans().await.unwrap(), 0, "they may belong to a job that is starting");
    clock.advance(DAY + Duration::from_secs(60));
    assert_eq!(server.app.retention.orphans().await.unwrap(), orphans.len() as u64);
    for folder in ["checkpoints", "previews", "guides"] {
        assert!(server.blobs(folder).is_empty(), "{folder}");
    }
    assert_eq!((server.blobs("inputs").len(), server.blobs("results").len()), (2, 1));
    assert!(note.exists());
    server.client.dream(&id).await;
}

#[tokio::test]
async fn a_dream_of_a_newer_version_keeps_no_other_from_its_end() {
    let (server, clock) = start(true).await;
    let (newer, own) = (
        server.client.submit(picture(64, 64), &quick()).await,
        server.client.submit(picture(64, 64), &quick()).await,
    );
    for id in [&newer, &own] {
        server.client.dream(id).await;
    }
    let options = SqliteConnectOptions::new().filename(server.state.config.storage.dir.join("jobs.sqlite3"));
    let mut connection = SqliteConnection::connect_with(&options).await.unwrap();
    let elsewhere = sqlx::query("UPDATE jobs SET result = '{\"place\": \"elsewhere\"}' WHERE id = $1");
    elsewhere.bind(&newer).execute(&mut connection).await.unwrap();
    clock.advance(DAY * 8);
    assert_eq!(server.app.retention.round().await.unwrap().pictures, 1);
    // What is not known of it is left to the version that knows it.
    assert_eq!(server.blobs("inputs"), [newer.as_str()]);
}

#[tokio::test]
async fn pictures_without_a_job_are_searched_for_once_a_day() {
    let (server, clock) = start(false).await;
    for _ in 0..2 {
        clock.advance(DAY + Duration::from_secs(60));
        let retention = &server.app.retention;
        // The server itself may have been first.
        retention.orphans_in_turn().await.unwrap();
        assert_eq!(retention.orphans_in_turn().await.unwrap(), None, "it was done a moment ago");
    }
}
