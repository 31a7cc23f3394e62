//! Nothing that was accepted is lost, however the server ends: real processes, killed in the middle of a real
//! render.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may fail loudly")]

mod common;

use std::process::Stdio;

use common::{client::problem, picture, process::ServerProcess};
use serde_json::{Value, json};

/// A dream that takes long enough to be interrupted.
async fn long(server: &ServerProcess) -> Value {
    let spec = json!({
        "objectives": [{ "kind": "l2", "layer": "block3" }],
        "octaves": 2, "iterations": 10, "seed": 3,
        // What "auto" means is measured by each process anew, and kept with each job.
        "precision": "fp32",
    });
    server.client.lasting(picture(192, 192), spec, 4.0).await
}

fn is_rendering(job: &Value) -> bool {
    job["status"] == "running" && job["progress"]["fraction"].as_f64().is_some_and(|done| done > 0.0)
}

#[tokio::test]
async fn a_killed_server_finishes_its_jobs_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let server = ServerProcess::start(folder.path(), &[]).await;
    let long = long(&server).await;
    let cut_off = server.client.submit(picture(192, 192), &long).await;
    let waiting = server.client.submit(picture(64, 64), &common::client::quick()).await;
    server.client.job_until(&cut_off, is_rendering).await;
    server.kill().await;

    let server = ServerProcess::start(folder.path(), &[]).await;
    let dream = server.client.dream(&cut_off).await;
    assert_eq!(server.client.job(&cut_off).await["attempt"], 2);
    server.client.dream(&waiting).await;
    assert_eq!(server.client.job(&waiting).await["attempt"], 1);
    // The same job without an interruption.
    let undisturbed = server.client.submit(picture(192, 192), &long).await;
    assert!(server.client.dream(&undisturbed).await == dream, "the interruption shows in the picture");
    server.terminate();
    assert!(server.ended().await);
}

#[tokio::test]
async fn a_killed_job_goes_on_after_its_last_octave() {
    let folder = tempfile::tempdir().unwrap();
    let server = ServerProcess::start(folder.path(), &[]).await;
    let long = long(&server).await;
    let id = server.client.submit(picture(192, 192), &long).await;
    let checkpoint = folder.path().join("checkpoints").join(&id);
    server.client.job_until(&id, |job| job["progress"]["octave"] == 2 && checkpoint.exists()).await;
    server.kill().await;

    let server = ServerProcess::start(folder.path(), &[]).await;
    let again = server.client.job_until(&id, |job| job["progress"]["octave"].is_number()).await;
    assert_eq!(again["progress"]["octave"], 2, "the first octave was dreamed again");
    let begun = again["progress"]["resumed_from"].as_f64().unwrap();
    assert!(begun > 0.0 && begun < again["progress"]["fraction"].as_f64().unwrap(), "{again}");
    let dream = server.client.dream(&id).await;
    for leftover in ["checkpoints", "previews"] {
        assert!(!folder.path().join(leftover).join(&id).exists(), "{leftover} are left");
    }
    let undisturbed = server.client.submit(picture(192, 192), &long).await;
    assert!(server.client.dream(&undisturbed).await == dream, "the interruption shows in the picture");
    server.terminate();
    assert!(server.ended().await);
}

#[tokio::test]
async fn a_stopped_server_gives_its_job_back_unharmed() {
    let folder = tempfile::tempdir().unwrap();
    let server = ServerProcess::start(folder.path(), &[]).await;
    let long = long(&server).await;
    let id = server.client.submit(picture(192, 192), &long).await;
    server.client.job_until(&id, is_rendering).await;
    server.terminate();
    // The job goes on for now, and the server says that it takes no others.
    let client = server.client.clone();
    client.until_not_ready().await;
    let refused = client.post_form(common::client::form(picture(64, 64), &json!({}))).await;
    assert!(refused.headers().contains_key("retry-after"));
    problem(refused, 503).await;
    assert_eq!(client.job(&id).await["status"], "running");
    // A second signal: no more waiting.
    server.terminate();
    assert!(server.ended().await);

    let server = ServerProcess::start(folder.path(), &[]).await;
    server.client.dream(&id).await;
    assert_eq!(server.client.job(&id).await["attempt"], 1, "the attempt was not given back");
    server.terminate();
    assert!(server.ended().await);
}

#[tokio::test]
async fn a_folder_has_one_server() {
    let folder = tempfile::tempdir().unwrap();
    let _server = ServerProcess::start(folder.path(), &[]).await;
    let mut second = ServerProcess::command(folder.path(), &[]);
    let output = second.stderr(Stdio::piped()).output().await.unwrap();
    assert!(!output.status.success());
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(errors.contains("in use by another server"), "{errors}");
}

#[tokio::test]
async fn a_wrong_configuration_is_told_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let settings = [("REVERIE__QUEUE__CAPACITY", "none"), ("REVERIE__SERVER__PORT", "80")];
    let mut server = ServerProcess::command(folder.path(), &settings);
    let output = server.stderr(Stdio::piped()).output().await.unwrap();
    assert!(!output.status.success());
    let errors = String::from_utf8(output.stderr).unwrap();
    for name in ["queue.capacity", "server.port"] {
        assert!(errors.contains(name), "{name} is missing in {errors}");
    }
}
