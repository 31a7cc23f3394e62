//! Animations over HTTP: in every format, and after the server was killed in the middle of one.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may fail loudly")]

mod common;
#[path = "common/frames.rs"]
mod frames;

use std::time::Duration;

use common::{
    client::{form, pointers, problem, quick},
    picture,
    process::ServerProcess,
    server::{Setup, TestServer},
};
use frames::check;
use serde_json::{Value, json};

/// A short animation.
fn moving(frames: u32) -> Value {
    let mut spec = quick();
    spec["precision"] = "fp32".into();
    spec["motion"] = json!({ "frames": frames, "zoom": 1.04, "fps": 10 });
    spec
}

#[tokio::test]
async fn a_job_may_be_an_animation() {
    let server = TestServer::start().await;
    for (format, media_type, ending) in
        [("gif", "image/gif", "gif"), ("webp", "image/webp", "webp"), ("png", "image/png", "png")]
    {
        let mut spec = moving(3);
        spec["format"] = format.into();
        let id = server.client.submit(picture(96, 80), &spec).await;
        let dream = server.client.dream(&id).await;
        check(&dream, 3, (96, 80), 100.0);
        let job = server.client.job(&id).await;
        assert_eq!(job["result"]["media_type"], media_type, "{job}");
        assert_eq!((&job["progress"]["frame"], &job["progress"]["frames"]), (&json!(3), &json!(3)), "{job}");
        assert_eq!(job["spec"]["motion"]["playback"], "repeat");
        let response = server.client.get(&format!("/v1/jobs/{id}/result")).await;
        assert_eq!(response.headers()["content-type"], media_type);
        let disposition = response.headers()["content-disposition"].to_str().unwrap().to_owned();
        assert!(disposition.ends_with(&format!(".{ending}\"")), "{disposition}");
        // Of the first frame.
        let small = server.client.get(&format!("/v1/jobs/{id}/thumbnail")).await.bytes().await.unwrap();
        assert_eq!(image::load_from_memory(&small).unwrap().width(), 96);
    }
    let id = server.client.submit(picture(96, 80), &quick()).await;
    server.client.dream(&id).await;
    let still = server.client.job(&id).await;
    assert!(still["spec"].get("motion").is_none() && still["progress"].get("frame").is_none(), "{still}");
}

#[tokio::test]
async fn the_preview_is_the_newest_frame_and_a_canceled_animation_stops() {
    let server = TestServer::start().await;
    let id = server.client.submit(picture(96, 80), &moving(1000)).await;
    let first = server.client.until_found(&format!("/v1/jobs/{id}/preview")).await.bytes().await.unwrap();
    assert_eq!(image::guess_format(&first).unwrap(), image::ImageFormat::Jpeg);
    let frame = |job: &Value| job["progress"]["frame"].as_u64().unwrap_or(0);
    let seen = frame(&server.client.job(&id).await);
    server.client.job_until(&id, |job| frame(job) > seen + 3).await;
    let later = server.client.get(&format!("/v1/jobs/{id}/preview")).await.bytes().await.unwrap();
    assert!(first != later, "the preview stays what it was");
    server.client.post(&format!("/v1/jobs/{id}/cancel")).await;
    let job = server.client.job_until(&id, |job| job["finished_at"].is_string()).await;
    assert_eq!(job["status"], "canceled", "{job}");
    assert!(server.blobs("checkpoints").is_empty() && server.blobs("previews").is_empty());
}

#[tokio::test]
async fn what_is_wrong_with_an_animation_is_told_at_its_member() {
    let server = TestServer::idle().await;
    for (member, value, expected) in [
        ("frames", json!(10_000), "10000 is not allowed; give a whole number from 1 to 1000"),
        ("frames", json!(2.5), "2.5 is not allowed"),
        ("zoom", json!(0), "0 is not allowed; give a number from 0.8 to 1.25"),
        ("rotate", json!("left"), "\"left\" is not allowed"),
        ("shift_y", json!(1e9), "from -256 to 256"),
        ("iterations", json!(0), "from 1 to 100"),
        ("fps", json!(0), "from 1 to 50"),
        ("playback", json!("never"), "repeat, boomerang, once"),
        ("speed", json!(2), "unknown field; allowed are frames"),
    ] {
        let spec = json!({ "motion": { member: value } });
        let told = problem(server.client.post_form(form(picture(96, 80), &spec)).await, 422).await;
        assert_eq!(pointers(&told), [format!("/spec/motion/{member}")], "{told}");
        let said = told["errors"][0]["detail"].as_str().unwrap();
        assert!(said.contains(expected), "{said}");
    }
    let mut jpeg = moving(2);
    jpeg["format"] = "jpeg".into();
    let told = problem(server.client.post_form(form(picture(96, 80), &jpeg)).await, 422).await;
    assert_eq!(pointers(&told), ["/spec/format"]);
    assert!(told["errors"][0]["detail"].as_str().unwrap().contains("\"webp\""), "{told}");
    assert!(server.blobs("inputs").is_empty());
}

#[tokio::test]
async fn an_animation_that_takes_too_long_is_refused_with_the_frames_that_fit() {
    let mut setup = Setup::new().await;
    setup.config.limits.max_job_seconds = Some(Duration::from_secs(20));
    let server = Setup { works: false, ..setup }.start().await;
    let spec = |frames: u64| json!({ "iterations": 10, "octaves": 2, "motion": { "frames": frames } });
    let told = problem(server.client.post_form(form(picture(400, 300), &spec(1000))).await, 422).await;
    assert_eq!(told["type"], "urn:reverie:problem:too-much-work");
    let frames = told["prediction"]["frames"].as_u64().unwrap();
    assert!(frames > 1 && frames < 1000, "{told}");
    assert!(
        told["detail"].as_str().unwrap().contains(&format!("{frames} frames of this size fit")),
        "{told}"
    );
    server.client.submit(picture(400, 300), &spec(frames)).await;
    problem(server.client.post_form(form(picture(400, 300), &spec(frames + frames / 4 + 1))).await, 422)
        .await;
    // A single picture is told nothing of frames.
    let still = json!({ "iterations": 1000, "octaves": 16 });
    let told = problem(server.client.post_form(form(picture(400, 300), &still)).await, 422).await;
    assert!(told["prediction"].get("frames").is_none(), "{told}");
}

#[tokio::test]
async fn a_killed_animation_goes_on_after_its_last_frame_to_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let server = ServerProcess::start(folder.path(), &[]).await;
    let mut spec = moving(12);
    spec["format"] = "webp".into();
    let id = server.client.submit(picture(192, 192), &spec).await;
    let checkpoint = folder.path().join("checkpoints").join(&id);
    let frame = |job: &Value| job["progress"]["frame"].as_u64().unwrap_or(0);
    server.client.job_until(&id, |job| frame(job) >= 3 && checkpoint.exists()).await;
    server.kill().await;

    let server = ServerProcess::start(folder.path(), &[]).await;
    let again = server.client.job_until(&id, |job| job["attempt"] == 2 && frame(job) > 0).await;
    assert!(frame(&again) > 1, "the first frame was dreamed again: {again}");
    assert!(again["progress"]["resumed_from"].as_f64().unwrap() > 0.0, "{again}");
    let dream = server.client.dream(&id).await;
    check(&dream, 12, (192, 192), 100.0);
    for leftover in ["checkpoints", "previews"] {
        assert!(!folder.path().join(leftover).join(&id).exists(), "{leftover} are left");
    }
    let undisturbed = server.client.submit(picture(192, 192), &spec).await;
    assert!(server.client.dream(&undisturbed).await == dream, "the interruption shows in the animation");
    server.terminate();
    assert!(server.ended().await);
}
