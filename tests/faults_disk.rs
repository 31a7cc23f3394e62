//! A full disk: the one who asks is told, nothing half-stored is ever seen, the server lives, and once there is
//! room again everything works.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may fail loudly")]

mod common;

use std::path::Path;

use common::{
    client::{form, problem, quick},
    machine::SmallDisk,
    picture,
    process::ServerProcess,
};
use serde_json::{Value, json};

/// A picture that does not compress: about `width * height * 3` bytes.
fn noise(width: u32, height: u32) -> Vec<u8> {
    let mut state = 1u32;
    let image = image::RgbImage::from_fn(width, height, |_, _| {
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        };
        image::Rgb([next(), next(), next()])
    });
    let mut file = std::io::Cursor::new(Vec::new());
    image.write_to(&mut file, image::ImageFormat::Png).unwrap();
    file.into_inner()
}

fn blobs(folder: &Path, kind: &str) -> usize {
    std::fs::read_dir(folder.join(kind)).unwrap().count()
}

#[tokio::test]
async fn an_upload_that_does_not_fit_is_refused() {
    let Some(disk) = SmallDisk::mount("an_upload_that_does_not_fit_is_refused", 16_384) else { return };
    let server = ServerProcess::start(disk.path(), &[("REVERIE__LOG__FILTER", "off")]).await;
    let before = server.client.submit(picture(64, 64), &quick()).await;
    server.client.dream(&before).await;
    let ballast = disk.fill(64);
    // About 190 kilobytes, for which there is no room.
    for _ in 0..3 {
        let refused = server.client.post_form(form(noise(256, 256), &quick())).await;
        assert!(refused.headers().contains_key("retry-after"));
        let refused = problem(refused, 507).await;
        assert_eq!(refused["type"], "urn:reverie:problem:storage-full");
        assert!(!refused.to_string().contains("os error"), "{refused}");
    }
    assert_eq!(blobs(disk.path(), "inputs"), 1, "something half-stored is there");
    // What is there already can still be had.
    server.client.dream(&before).await;
    std::fs::remove_file(ballast).unwrap();
    let after = server.client.submit(noise(256, 256), &quick()).await;
    server.client.dream(&after).await;
    server.terminate();
    assert!(server.ended().await);
}

#[tokio::test]
async fn a_dream_that_does_not_fit_waits_for_room() {
    let Some(disk) = SmallDisk::mount("a_dream_that_does_not_fit_waits_for_room", 16_384) else { return };
    // A full disk is no fault of the job: it needs no second attempt.
    let settings = [("REVERIE__LOG__FILTER", "off"), ("REVERIE__QUEUE__MAX_ATTEMPTS", "1")];
    let server = ServerProcess::start(disk.path(), &settings).await;
    // A small upload whose dream is several times larger, so that the job's row still finds room.
    let mut spec = quick();
    spec["iterations"] = json!(4);
    let mut file = std::io::Cursor::new(Vec::new());
    let image = image::load_from_memory(&noise(512, 512)).unwrap();
    image.write_to(&mut file, image::ImageFormat::Jpeg).unwrap();
    let file = file.into_inner();
    // Room for the upload and for rows.
    let ballast = disk.fill(file.len() as u64 / 1024 + 300);
    let id = server.client.submit(file, &spec).await;
    // The dream is done and does not fit: the worker keeps it.
    let job = server.client.job_until(&id, |job| job["progress"]["fraction"] == 1.0).await;
    assert!(job["error"].is_null() && job["result"].is_null(), "{job}");
    assert_eq!(blobs(disk.path(), "results"), 0, "something half-stored is there");
    assert_eq!(server.client.get("/healthz").await.status(), 200);
    std::fs::remove_file(ballast).unwrap();
    server.client.dream(&id).await;
    assert_eq!(blobs(disk.path(), "results"), 1);
    let job: Value = server.client.job(&id).await;
    assert_eq!(job["attempt"], 1, "{job}");
    server.terminate();
    assert!(server.ended().await);
}

#[tokio::test]
async fn a_checkpoint_that_does_not_fit_is_done_without() {
    let Some(disk) = SmallDisk::mount("a_checkpoint_that_does_not_fit_is_done_without", 24_576) else {
        return;
    };
    let server = ServerProcess::start(disk.path(), &[("REVERIE__LOG__FILTER", "off")]).await;
    let mut file = std::io::Cursor::new(Vec::new());
    let image = image::load_from_memory(&noise(1024, 1024)).unwrap();
    image.write_to(&mut file, image::ImageFormat::Jpeg).unwrap();
    let spec = json!({
        "objectives": [{ "layer": "block2" }], "octaves": 3, "iterations": 8, "format": "jpeg", "quality": 50,
    });
    let file = file.into_inner();
    // Room for the upload, previews, rows and the dream, but not for the 3.3 megabytes of the first checkpoint.
    let ballast = disk.fill(file.len() as u64 / 1024 + 2500);
    let id = server.client.submit(file, &spec).await;
    let job = server.client.job_until(&id, |job| job["links"]["preview"].is_string()).await;
    assert_eq!(job["status"], "running", "{job}");
    assert_eq!(blobs(disk.path(), "checkpoints"), 0, "something half-stored is there");
    server.client.dream(&id).await;
    assert_eq!(server.client.job(&id).await["attempt"], 1);
    std::fs::remove_file(ballast).unwrap();
    let after = server.client.submit(picture(64, 64), &quick()).await;
    server.client.dream(&after).await;
    assert_eq!((blobs(disk.path(), "checkpoints"), blobs(disk.path(), "previews")), (0, 0));
    server.terminate();
    assert!(server.ended().await);
}
