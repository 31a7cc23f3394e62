//! A disk without room, and a database that is taken away: told at once, borne, and over when it is over.

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::Path,
};

use serde_json::{Value, json};
use sqlx::{Connection, SqliteConnection, sqlite::SqliteConnectOptions};

use crate::common::{
    client::{Client, form, problem, quick},
    machine::SmallDisk,
    picture,
    process::ServerProcess,
    until,
};

/// A dream that keeps the worker busy for the rest of a test.
fn endless() -> Value {
    json!({ "objectives": [{ "layer": "block2" }], "octaves": 1, "iterations": 200, "noise": { "width": 256, "height": 256 } })
}

async fn post_spec(client: &Client, spec: &Value) -> reqwest::Response {
    client.post_bytes("application/json", json!({ "spec": spec }).to_string()).await
}

async fn until_ready(client: &Client) {
    until("the server is ready again", async || client.get("/readyz").await.status() == 200).await;
}

#[tokio::test]
async fn a_moment_without_room_is_over_when_it_is_over() {
    let Some(disk) = SmallDisk::mount("a_moment_without_room_is_over_when_it_is_over", 16_384) else {
        return;
    };
    let settings = [("REVERIE__LOG__FILTER", "off"), ("REVERIE__QUEUE__CAPACITY", "1000")];
    let server = ServerProcess::start(disk.path(), &settings).await;
    let busy: Value = post_spec(&server.client, &endless()).await.json().await.unwrap();
    let ballast = disk.fill(0);
    // Rows without pictures, so that it is the database which has no room; its log may have some left.
    let mut refused = None;
    for _ in 0..500 {
        let answer = post_spec(&server.client, &endless()).await;
        if answer.status() != 202 {
            refused = Some(answer);
            break;
        }
    }
    let refused = refused.expect("the disk is never full");
    assert!(refused.headers().contains_key("retry-after"));
    assert_eq!(problem(refused, 507).await["type"], "urn:reverie:problem:storage-full");
    // Not only the first one.
    problem(post_spec(&server.client, &endless()).await, 507).await;
    server.client.until_not_ready().await;
    server.admin.until_not_ready().await;
    assert_eq!(server.client.get("/healthz").await.status(), 200);
    fs::remove_file(ballast).unwrap();
    // The very next write works, without a restart: a cancel, unless the dream was stored just now.
    let cancel = format!("/v1/jobs/{}/cancel", busy["id"].as_str().unwrap());
    assert!(matches!(server.client.post(&cancel).await.status().as_u16(), 200 | 409));
    assert_eq!(post_spec(&server.client, &quick_noise()).await.status(), 202);
    until_ready(&server.client).await;
    server.terminate();
    assert!(server.ended().await);
}

fn quick_noise() -> Value {
    let mut spec = quick();
    spec["noise"] = json!({ "width": 64, "height": 64 });
    spec
}

#[tokio::test]
async fn nothing_is_accepted_into_a_database_that_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let server = ServerProcess::start(folder.path(), &[("REVERIE__LOG__FILTER", "off")]).await;
    let kept = server.client.submit(picture(64, 64), &quick()).await;
    server.client.dream(&kept).await;
    let (file, aside) = (folder.path().join("jobs.sqlite3"), folder.path().join("aside"));
    fs::rename(&file, &aside).unwrap();
    for _ in 0..3 {
        problem(server.client.post_form(form(picture(64, 64), &quick())).await, 503).await;
    }
    server.client.until_not_ready().await;
    assert!(!file.exists(), "another database was begun in its place");
    // Another file in its place is no better.
    fs::copy(&aside, &file).unwrap();
    problem(server.client.post_form(form(picture(64, 64), &quick())).await, 503).await;
    // The file itself is as good as ever.
    fs::rename(&aside, &file).unwrap();
    let after = server.client.submit(picture(64, 64), &quick()).await;
    server.client.dream(&after).await;
    until_ready(&server.client).await;
    // Its log holds what was committed last.
    let log = folder.path().join("jobs.sqlite3-wal");
    fs::rename(&log, &aside).unwrap();
    problem(server.client.post_form(form(picture(64, 64), &quick())).await, 503).await;
    server.client.until_not_ready().await;
}

/// The two are told apart: a database that accepts no write, and a store that accepts no blob.
#[tokio::test]
async fn whichever_of_the_two_stores_accepts_nothing_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let server = ServerProcess::start(folder.path(), &[("REVERIE__LOG__FILTER", "off")]).await;
    let checks = async || {
        server.client.until_not_ready().await;
        let answer: Value = server.client.get("/readyz").await.json().await.unwrap();
        (answer["checks"]["database"].clone(), answer["checks"]["store"].clone())
    };
    // Another program holds the database, as a shell or a backup that hangs does; it can be read all the while.
    let options = SqliteConnectOptions::new().filename(folder.path().join("jobs.sqlite3"));
    let mut holder = SqliteConnection::connect_with(&options).await.unwrap();
    sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut holder).await.unwrap();
    assert_eq!(checks().await, (json!(false), json!(true)));
    sqlx::raw_sql("ROLLBACK").execute(&mut holder).await.unwrap();
    until_ready(&server.client).await;
    // A folder stands where the blob of the check would be written.
    fs::create_dir(folder.path().join("probe")).unwrap();
    fs::write(folder.path().join("probe/in the way"), "").unwrap();
    assert_eq!(checks().await, (json!(true), json!(false)));
    fs::remove_dir_all(folder.path().join("probe")).unwrap();
    until_ready(&server.client).await;
}

fn modes(folder: &Path, seen: &mut Vec<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let (entry, path) = (entry.as_ref().unwrap().metadata().unwrap(), entry.as_ref().unwrap().path());
        let (mode, wanted) = (entry.mode() & 0o777, if entry.is_dir() { 0o700 } else { 0o600 });
        assert_eq!(mode, wanted, "{} is {mode:o}", path.display());
        seen.push(path.file_name().unwrap().to_string_lossy().into_owned());
        if entry.is_dir() {
            modes(&path, seen);
        }
    }
}

#[tokio::test]
async fn what_is_stored_is_for_the_server_alone() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("data");
    // As an earlier version made it.
    for folder in [root.clone(), root.join("inputs")] {
        fs::create_dir(&folder).unwrap();
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
    }
    fs::write(root.join("lock"), "").unwrap();
    fs::set_permissions(root.join("lock"), fs::Permissions::from_mode(0o644)).unwrap();
    let server = ServerProcess::start(&root, &[]).await;
    let id = server.client.submit(picture(64, 64), &quick()).await;
    server.client.dream(&id).await;
    assert_eq!(fs::metadata(&root).unwrap().mode() & 0o777, 0o700);
    let mut seen = Vec::new();
    modes(&root, &mut seen);
    for name in ["jobs.sqlite3", "jobs.sqlite3-wal", "jobs.sqlite3-shm", "inputs", "results", id.as_str()] {
        assert!(seen.iter().any(|seen| seen == name), "{name} was not looked at: {seen:?}");
    }
}
