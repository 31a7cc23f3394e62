//! One program, many roles: processes that only answer clients, processes that only work, and what they say when
//! their role, their database or their settings do not fit.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may fail loudly")]

mod common;

use std::{collections::HashSet, process::Stdio, time::Duration};

use common::{
    client::{Client, DEADLINE, form, quick},
    events::Events,
    picture,
    ports::ReservedPort,
    postgres::cluster,
    process::{ServerProcess, WorkerProcess, ended, reverie},
};
use serde_json::{Value, json};
use tokio::time::{interval, timeout};

#[tokio::test]
async fn roles_that_an_embedded_store_cannot_have_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    for arguments in [&["worker"][..], &["serve", "--workers", "0"]] {
        let (code, _, errors) = ended(folder.path(), arguments, &[]).await;
        assert_eq!(code, 1, "{errors}");
        assert!(errors.contains("needs a PostgreSQL database"), "{errors}");
        assert!(errors.contains("storage.database"), "{errors}");
    }
    assert!(folder.path().read_dir().unwrap().next().is_none(), "something was begun");
    let nothing_to_do =
        [("REVERIE__STORAGE__DATABASE", "postgres://host/reverie"), ("REVERIE__WORKER__COUNT", "0")];
    let (code, _, errors) = ended(folder.path(), &["worker", "--check-config"], &nothing_to_do).await;
    assert!(code == 1 && errors.contains("worker.count"), "{errors}");
    let (code, output, _) = ended(folder.path(), &["serve", "--check-config"], &nothing_to_do).await;
    assert!(code == 0 && output.contains("is valid"), "{output}");
}

/// The first answer to the question whether a process is ready: status and body.
async fn first_readiness(admin: &str) -> (u16, Value) {
    let client = Client::new(format!("http://{admin}"));
    let waiting = async {
        let mut looks = interval(Duration::from_millis(20));
        loop {
            looks.tick().await;
            if let Ok(answer) = client.http.get(format!("{}/readyz", client.url)).send().await {
                return (answer.status().as_u16(), answer.json().await.unwrap());
            }
        }
    };
    timeout(DEADLINE, waiting).await.expect("nobody answers")
}

#[tokio::test]
async fn a_start_that_waits_can_be_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let (admin_port, database_port) = (ReservedPort::new(), ReservedPort::new());
    let (admin, database) = (admin_port.to_string(), database_port.to_string());
    let url = format!("postgres://dream@{database}/reverie");
    let settings = [
        ("REVERIE__STORAGE__DATABASE", url.as_str()),
        ("REVERIE__STORAGE__CONNECT_TIMEOUT_SECONDS", "3600"),
        ("REVERIE__SERVER__ADMIN_LISTEN", admin.as_str()),
    ];
    let mut child = reverie(folder.path(), &settings).arg("worker").stderr(Stdio::null()).spawn().unwrap();
    assert_eq!(first_readiness(&admin).await.0, 503);
    let id = child.id().unwrap().to_string();
    assert!(std::process::Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
    let status = timeout(DEADLINE, child.wait()).await.expect("it goes on waiting").unwrap();
    assert!(status.success(), "{status}");
}

#[tokio::test]
async fn an_unreachable_database_is_waited_for_and_then_named() {
    let folder = tempfile::tempdir().unwrap();
    let (admin_port, database_port) = (ReservedPort::new(), ReservedPort::new());
    let (admin, database) = (admin_port.to_string(), database_port.to_string());
    let url = format!("postgres://dream:s3cret@{database}/reverie");
    let settings = [
        ("REVERIE__STORAGE__DATABASE", url.as_str()),
        ("REVERIE__STORAGE__CONNECT_TIMEOUT_SECONDS", "4"),
        ("REVERIE__SERVER__ADMIN_LISTEN", admin.as_str()),
    ];
    let (outcome, readiness) =
        tokio::join!(ended(folder.path(), &["serve"], &settings), first_readiness(&admin));
    assert_eq!((readiness.0, &readiness.1["checks"]["started"]), (503, &json!(false)));
    let (code, _, errors) = outcome;
    assert_eq!(code, 1, "{errors}");
    for part in [
        &*database,
        "storage.database",
        "storage.connect_timeout_seconds",
        "the start waits for the database",
    ] {
        assert!(errors.contains(part), "{part} is missing in {errors}");
    }
    assert!(!errors.contains("s3cret"), "{errors}");
}

#[tokio::test]
async fn settings_that_differ_are_told_and_migrated() {
    let Some(cluster) = cluster("roles::settings_that_differ_are_told_and_migrated") else { return };
    let (folder, database) = (tempfile::tempdir().unwrap(), cluster.database().await);
    let url = cluster.url_of(&database);
    let with = |capacity: &'static str| {
        [("REVERIE__STORAGE__DATABASE", url.clone()), ("REVERIE__QUEUE__CAPACITY", capacity.to_owned())]
    };
    let run = async |arguments: &[&str], capacity| {
        let settings = with(capacity);
        let settings: Vec<(&str, &str)> = settings.iter().map(|(name, value)| (*name, &**value)).collect();
        ended(folder.path(), arguments, &settings).await
    };
    let (code, output, errors) = run(&["migrate"], "7").await;
    assert!(code == 0 && output.contains("is up to date"), "{output}{errors}");
    let (code, _, errors) = run(&["serve"], "8").await;
    assert_eq!(code, 1);
    assert!(errors.contains("queue.capacity is 8 in this configuration and 7 in the database"), "{errors}");
    let (code, output, _) = run(&["migrate"], "8").await;
    assert!(code == 0 && output.contains("queue.capacity was 7 and is 8"), "{output}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_are_served_by_one_process_and_jobs_done_by_another() {
    let test = "roles::clients_are_served_by_one_process_and_jobs_done_by_another";
    let Some(cluster) = cluster(test) else { return };
    let (folder, database) = (tempfile::tempdir().unwrap(), cluster.database().await);
    let url = cluster.url_of(&database);
    let settings = [("REVERIE__STORAGE__DATABASE", &*url)];
    let api = {
        let mut command = ServerProcess::command(folder.path(), &settings);
        command.args(["--workers", "0"]);
        ServerProcess::of(command).await
    };
    // It is ready by itself: what it accepts is kept until there are workers.
    assert_eq!(api.client.get("/readyz").await.status(), 200);
    let early = api.client.submit(picture(64, 64), &quick()).await;
    assert_eq!(api.client.job(&early).await["queue_position"], 1);
    let worker = WorkerProcess::start(folder.path(), &settings).await;
    let ready: Value = worker.admin.get("/readyz").await.json().await.unwrap();
    assert_eq!((&ready["status"], &ready["checks"]["workers"]), (&json!("ready"), &json!(1)));
    assert_eq!(worker.admin.get("/v1/jobs").await.status(), 404);
    let metrics = worker.admin.get("/metrics").await.text().await.unwrap();
    assert!(metrics.contains("reverie_workers 1"), "{metrics}");
    api.client.dream(&early).await;

    // A bounded wait ends when the job does, elsewhere.
    let request = api.client.http.post(format!("{}/v1/jobs", api.client.url)).header("prefer", "wait=60");
    let waited = request.multipart(form(picture(64, 64), &quick())).send().await.unwrap();
    assert_eq!(waited.status(), 200);
    assert_eq!(waited.json::<Value>().await.unwrap()["status"], "succeeded");

    // So do events, pauses and cancels reach whom they concern.
    let long = json!({
        "objectives": [{ "kind": "l2", "layer": "block3" }], "octaves": 2, "iterations": 500, "seed": 3,
    });
    let id = api.client.submit(picture(192, 192), &long).await;
    let mut events = Events::open(&api.client, &id, None).await;
    let progress = async {
        while let Some(event) = events.next().await {
            if event.name == "progress" && event.data["status"] == "running" {
                return;
            }
        }
        panic!("the stream has ended");
    };
    timeout(DEADLINE, progress).await.expect("there is no progress");
    for (what, state) in [("pause", "paused"), ("resume", "running")] {
        assert!(api.client.post(&format!("/v1/jobs/{id}/{what}")).await.status().is_success());
        api.client.job_until(&id, |job| job["status"] == state).await;
    }
    let canceled = api.client.post(&format!("/v1/jobs/{id}/cancel")).await;
    assert!(canceled.status().is_success());
    let job = api.client.job_until(&id, |job| job["finished_at"].is_string()).await;
    assert_eq!(job["status"], "canceled");
}

/// Posts a job until it is accepted, as a careful client does: with a key, so that nothing is done twice.
async fn submit_in_a_storm(client: &Client, key: &str) -> String {
    let mut tries = interval(Duration::from_millis(200));
    let trying = async {
        loop {
            tries.tick().await;
            let request = client.http.post(format!("{}/v1/jobs", client.url)).header("idempotency-key", key);
            let answer = request.multipart(form(picture(64, 64), &quick())).send().await.unwrap();
            match answer.status().as_u16() {
                202 => return answer.json::<Value>().await.unwrap()["id"].as_str().unwrap().to_owned(),
                503 => {}
                other => panic!("{other}: {}", answer.text().await.unwrap()),
            }
        }
    };
    timeout(DEADLINE, trying).await.expect("the job is not accepted")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_are_done_once_while_connections_are_killed() {
    let Some(cluster) = cluster("roles::jobs_are_done_once_while_connections_are_killed") else { return };
    let (folder, database) = (tempfile::tempdir().unwrap(), cluster.database().await);
    let url = cluster.url_of(&database);
    let settings = [("REVERIE__STORAGE__DATABASE", &*url), ("REVERIE__LOG__FILTER", "off")];
    let mut api = ServerProcess::command(folder.path(), &settings);
    api.args(["--workers", "0"]);
    let api = ServerProcess::of(api).await;
    let _worker = WorkerProcess::start(folder.path(), &settings).await;
    let storm = async {
        let mut rounds = interval(Duration::from_millis(100));
        let mut killed = 0;
        loop {
            rounds.tick().await;
            killed += cluster.end_connections(&database).await;
            if killed > 100 {
                return;
            }
        }
    };
    let clients = async {
        let mut ids = Vec::new();
        for number in 0..12 {
            ids.push(submit_in_a_storm(&api.client, &format!("key-{number}")).await);
        }
        ids
    };
    let (ids, ()) = tokio::join!(clients, storm);
    assert_eq!(ids.iter().collect::<HashSet<_>>().len(), 12, "two keys became one job");
    let mut first = None;
    for id in &ids {
        // Equal request_headers are equal dreams, and each is still there.
        let dream = api.client.dream(id).await;
        assert!(*first.get_or_insert_with(|| dream.clone()) == dream, "{id} became another dream");
    }
    let all: Value = api.client.get("/v1/jobs?limit=100").await.json().await.unwrap();
    assert_eq!(all["jobs"].as_array().unwrap().len(), 12, "something was done twice");
}
