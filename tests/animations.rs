//! Animations: from the command line and over HTTP, in every format, and after the server was killed in the middle of one.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may fail loudly")]

mod common;
#[path = "common/scratch.rs"]
mod scratch;

use std::{fs, io::Cursor, time::Duration};

use common::{
    client::{form, pointers, problem, quick},
    picture,
    process::ServerProcess,
    server::{Setup, TestServer},
};
use image::{
    AnimationDecoder, Frame,
    codecs::{gif::GifDecoder, png::PngDecoder, webp::WebPDecoder},
};
use scratch::{QUICK, Scratch, reverie};
use serde_json::{Value, json};

/// The frames of a file, by its first bytes, as another decoder finds them.
fn frames(file: &[u8]) -> Vec<Frame> {
    let bytes = Cursor::new(file);
    let frames = match image::guess_format(file).unwrap() {
        image::ImageFormat::Png => PngDecoder::new(bytes).unwrap().apng().unwrap().into_frames(),
        image::ImageFormat::WebP => WebPDecoder::new(bytes).unwrap().into_frames(),
        image::ImageFormat::Gif => GifDecoder::new(bytes).unwrap().into_frames(),
        other => panic!("{other:?}"),
    };
    frames.collect_frames().unwrap()
}

/// Checks number, size and time of frames, and that each differs from the one before.
fn check(file: &[u8], count: usize, (width, height): (u32, u32), milliseconds: f64) {
    let frames = frames(file);
    assert_eq!(frames.len(), count);
    for frame in &frames {
        let (numerator, denominator) = frame.delay().numer_denom_ms();
        assert_eq!(f64::from(numerator) / f64::from(denominator), milliseconds);
        assert_eq!(frame.buffer().dimensions(), (width, height));
    }
    assert!(frames.windows(2).all(|pair| pair[0].buffer() != pair[1].buffer()));
}

/// As [`QUICK`], and the same bytes each time.
const EXACT: [&str; 2] = ["--precision", "fp32"];

#[test]
fn an_animation_is_rendered_in_every_format_and_replayed_to_the_same_bytes() {
    let scratch = Scratch::new();
    let motion = ["--frames", "4", "--zoom", "1.05", "--rotate", "-2", "--fps", "20", "--json"];
    for (ending, more) in [
        ("png", &[][..]),
        ("webp", &[]),
        ("webp", &["--lossless", "--shift-x", "-1.5", "--frame-iterations", "1"]),
        ("gif", &["--preserve-colors=0.5"]),
    ] {
        let name = format!("dream.{ending}");
        let output = scratch.render(&name, &[&QUICK[..], &EXACT, &motion, more].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let line: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!((&line["width"], &line["height"]), (&json!(90), &json!(70)));
        assert_eq!(
            (&line["spec"]["motion"]["frames"], &line["spec"]["motion"]["rotate"]),
            (&json!(4), &json!(-2.0))
        );
        let dream = fs::read(scratch.path(&name)).unwrap();
        check(&dream, 4, (90, 70), 50.0);
        let again = format!("again.{ending}");
        let replay = scratch.render(&again, &["--replay", &scratch.text(&name)]);
        assert!(replay.status.success(), "{}", String::from_utf8_lossy(&replay.stderr));
        assert!(fs::read(scratch.path(&again)).unwrap() == dream, "{ending}: the replay differs");
        // An option changes its own member, and leaves the rest of the motion.
        let shorter = ["--replay", &scratch.text(&name), "--frames", "2", "--playback", "once", "--json"];
        let shorter = scratch.render(&again, &shorter);
        let line: Value = serde_json::from_slice(&shorter.stdout).unwrap();
        let motion = &line["spec"]["motion"];
        assert_eq!(
            (&motion["frames"], &motion["fps"], &motion["zoom"]),
            (&json!(2), &json!(20), &json!(1.05))
        );
        let shorter = frames(&fs::read(scratch.path(&again)).unwrap());
        assert!(shorter.iter().zip(frames(&dream)).all(|(one, other)| *one.buffer() == *other.buffer()));
    }
}

#[test]
fn a_boomerang_shows_its_way_back() {
    let scratch = Scratch::new();
    let output =
        scratch.render("dream.gif", &[&QUICK[..], &["--frames", "3", "--playback", "boomerang"]].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let frames = frames(&fs::read(scratch.path("dream.gif")).unwrap());
    assert_eq!(frames.len(), 4);
    assert!(frames[1].buffer() == frames[3].buffer() && frames[0].buffer() != frames[2].buffer());
}

#[test]
fn an_animation_from_noise_has_the_size_to_which_its_first_frame_grew() {
    let scratch = Scratch::new();
    let output = scratch.text("noise.webp");
    let arguments = ["render", "-o", &output, "--preset", "multiscale", "--noise", "40x30", "--frames", "3"];
    let run = reverie(&[&arguments[..], &QUICK, &["--fps", "10"]].concat());
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    check(&fs::read(&output).unwrap(), 3, (56, 42), 100.0);
}

#[test]
fn what_no_animation_can_be_is_refused_with_what_it_can() {
    let scratch = Scratch::new();
    for (more, expected) in [
        (&["--frames", "0"][..], &["--frames: 0 is not allowed", "from 1 to 1000"][..]),
        (&["--frames", "10000"], &["--frames: 10000 is not allowed", "from 1 to 1000"]),
        (&["--zoom", "1.3"], &["--zoom: 1.3 is not allowed", "from 0.8 to 1.25"]),
        (&["--zoom", "much"], &["must be a number"]),
        (&["--rotate", "-46"], &["--rotate: -46.0 is not allowed", "from -45 to 45"]),
        (&["--shift-x", "300"], &["--shift-x: 300.0 is not allowed", "from -256 to 256"]),
        (&["--shift-y", "-300"], &["--shift-y: -300.0 is not allowed"]),
        (&["--frame-iterations", "0"], &["--frame-iterations: 0 is not allowed", "from 1 to 100"]),
        (&["--fps", "51"], &["--fps: 51 is not allowed", "from 1 to 50"]),
        (&["--playback", "twice"], &["--playback: \"twice\" is not allowed", "repeat, boomerang, once"]),
        (&["--frames", "2", "--restore-size"], &["--restore-size: is for single pictures"]),
    ] {
        scratch.refuses(more, expected);
    }
    let jpeg = scratch.render("dream.jpg", &["--frames", "2"]);
    let errors = String::from_utf8(jpeg.stderr).unwrap();
    assert!(!jpeg.status.success() && errors.contains("a JPEG holds a single picture"), "{errors}");
    assert!(errors.contains("webp") && errors.contains("gif") && !scratch.path("dream.jpg").exists());
}

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

/// Peak memory in bytes of a render of an animation.
#[cfg(target_os = "linux")]
fn peak(scratch: &Scratch, photo: &str, frames: &str) -> (u64, u64) {
    let output = scratch.text("long.webp");
    let arguments =
        ["render", photo, "-o", &output, "--frames", frames, "--layer", "stem", "--iterations", "1"];
    let more = ["--frame-iterations", "1", "--octaves", "1", "--threads", "1", "--quality", "50", "--json"];
    let run = reverie(&[&arguments[..], &more].concat());
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    let line: Value = serde_json::from_slice(&run.stdout).unwrap();
    (line["peak_memory_bytes"].as_u64().unwrap(), fs::metadata(&output).unwrap().len())
}

#[cfg(target_os = "linux")]
#[test]
fn memory_grows_with_the_file_of_an_animation_and_not_with_its_frames() {
    let scratch = Scratch::new();
    let photo = scratch.text("large.png");
    let pixel = |x: u32, y: u32| image::Rgb([(x % 251) as u8, (y % 241) as u8, ((x ^ y) % 256) as u8]);
    image::RgbImage::from_fn(600, 600, pixel).save(&photo).unwrap();
    let ((few, small), (many, large)) = (peak(&scratch, &photo, "3"), peak(&scratch, &photo, "33"));
    let (grown, file) = (many.saturating_sub(few), large - small);
    println!("30 frames more: {grown} bytes of memory, {file} of the file");
    // As floats, thirty frames would be 130 MB; ten of them are left to the allocators.
    let frame = 600 * 600 * 12;
    assert!(grown < 3 * file + 10 * frame, "{grown} bytes more for {file} bytes of file");
}
