//! `kill -9` at random points, again and again: every accepted job ends well, with the bytes of a run that
//! nobody disturbed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may fail loudly")]

mod common;

use std::time::Duration;

use common::{client::DEADLINE, picture, process::ServerProcess};
use serde_json::{Value, json};
use tokio::time::{interval, timeout};

const KILLS: u32 = 20;
const JOBS: u64 = 10;

fn spec(seed: u64) -> Value {
    json!({
        "objectives": [{ "kind": "l2", "layer": "block5" }],
        "octaves": 3, "iterations": 8, "seed": seed,
        // What "auto" means is measured by each process anew.
        "precision": "fp32",
    })
}

/// Waits until a job is being rendered, or none is left to be.
async fn until_at_work(server: &ServerProcess, ids: &[String]) {
    let looking = async {
        let mut looks = interval(Duration::from_millis(5));
        loop {
            let mut left = false;
            for id in ids {
                let job = server.client.job(id).await;
                if job["status"] == "running" && job["progress"]["iteration"].as_u64() >= Some(1) {
                    return;
                }
                left |= job["status"] != "succeeded";
            }
            if !left {
                return;
            }
            looks.tick().await;
        }
    };
    timeout(DEADLINE, looking).await.expect("no job is rendered");
}

#[tokio::test]
async fn twenty_kills_lose_nothing() {
    // Each kill costs the job at work an attempt, and on a slow machine they may all hit the same one.
    let settings = [("REVERIE__QUEUE__MAX_ATTEMPTS", "21"), ("REVERIE__LOG__FILTER", "off")];
    let undisturbed = tempfile::tempdir().unwrap();
    let server = ServerProcess::start(undisturbed.path(), &settings).await;
    let (mut expected, mut longest) = (Vec::new(), 0.0_f64);
    for seed in 0..JOBS {
        let id = server.client.submit(picture(128, 96), &spec(seed)).await;
        expected.push(server.client.dream(&id).await);
        let took = server.client.job(&id).await["metrics"]["render_seconds"].as_f64();
        longest = longest.max(took.unwrap());
    }
    server.kill().await;

    let folder = tempfile::tempdir().unwrap();
    let mut server = ServerProcess::start(folder.path(), &settings).await;
    let mut ids = Vec::new();
    // The same points every time, as far as the machine lets them be.
    let mut random = 42u64;
    for kill in 0..KILLS {
        // Half of the jobs are there from the start, the others come between the kills.
        while (ids.len() as u64) < (JOBS / 2 + u64::from(kill) / 2).min(JOBS) {
            ids.push(server.client.submit(picture(128, 96), &spec(ids.len() as u64)).await);
        }
        if kill % 2 == 0 {
            until_at_work(&server, &ids).await;
        }
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        // A point in time is what is wanted here, within a job: nothing is waited for.
        let share = (random >> 33 & 0xff) as f64 / 256.0;
        tokio::time::sleep(Duration::from_secs_f64(longest * share)).await;
        server.kill().await;
        server = ServerProcess::start(folder.path(), &settings).await;
    }
    while (ids.len() as u64) < JOBS {
        ids.push(server.client.submit(picture(128, 96), &spec(ids.len() as u64)).await);
    }
    for (id, expected) in ids.iter().zip(&expected) {
        assert!(server.client.dream(id).await == *expected, "the kills show in the picture");
    }
    let attempts = async |id: &String| server.client.job(id).await["attempt"].as_u64().unwrap();
    let mut all = 0;
    for id in &ids {
        all += attempts(id).await;
    }
    assert!(all > JOBS, "no kill met a job at work");
    // Each job once in the list.
    let page: Value = server.client.get("/v1/jobs?status=succeeded&limit=100").await.json().await.unwrap();
    let mut listed: Vec<&str> =
        page["jobs"].as_array().unwrap().iter().map(|job| job["id"].as_str().unwrap()).collect();
    listed.sort_unstable();
    let mut accepted: Vec<&str> = ids.iter().map(String::as_str).collect();
    accepted.sort_unstable();
    assert_eq!(listed, accepted);
    // A kill between two steps at the end of a job leaves a picture that nobody owns, until the retention finds it.
    let stored = |kind: &str| std::fs::read_dir(folder.path().join(kind)).unwrap().count() as u64;
    assert_eq!(stored("inputs"), JOBS);
    for (kind, least) in [("results", JOBS), ("checkpoints", 0), ("previews", 0)] {
        let found = stored(kind);
        assert!((least..=least + u64::from(KILLS) / 4).contains(&found), "{found} {kind}");
    }
    server.terminate();
    assert!(server.ended().await);
}
