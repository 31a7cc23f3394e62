//! Animations from the command line: in every format, replayed, refused; and what memory they take.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may fail loudly")]

#[path = "common/frames.rs"]
mod frames;
#[path = "common/scratch.rs"]
mod scratch;

use std::fs;

use frames::{check, frames};
use scratch::{QUICK, Scratch, reverie};
use serde_json::{Value, json};

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
fn an_animation_that_changes_is_replayed_to_the_same_bytes() {
    let scratch = Scratch::new();
    let motion = ["--frames", "5", "--zoom", "1.05"];
    let schedule = json!([
        { "frame": 2, "objectives": [{ "layer": "block4", "channels": [1] }], "fade": 3 },
        { "frame": 5, "step": 0.5 },
    ]);
    let schedule = schedule.to_string();
    let changed = [&QUICK[..], &EXACT, &motion, &["--schedule", &schedule, "--json"]].concat();
    let output = scratch.render("dream.png", &changed);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let line: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (&line["spec"]["schedule"][0]["fade"], &line["spec"]["schedule"][1]["step"]),
        (&json!(3), &json!(0.5))
    );
    let dream = fs::read(scratch.path("dream.png")).unwrap();
    let replay = scratch.render("again.png", &["--replay", &scratch.text("dream.png")]);
    assert!(replay.status.success(), "{}", String::from_utf8_lossy(&replay.stderr));
    assert!(fs::read(scratch.path("again.png")).unwrap() == dream, "the replay differs");
    let plain = [&QUICK[..], &EXACT, &motion].concat();
    assert!(scratch.render("plain.png", &plain).status.success());
    let [changed, plain] =
        ["dream.png", "plain.png"].map(|name| frames(&fs::read(scratch.path(name)).unwrap()));
    let same: Vec<bool> =
        changed.iter().zip(&plain).map(|(one, other)| one.buffer() == other.buffer()).collect();
    assert_eq!(same, [true, false, false, false, false]);
    for (schedule, expected) in [
        ("[", &["--schedule", "must be JSON"][..]),
        ("[{\"octave\": 2, \"step\": 1}]", &["--schedule", "an animation changes at a \"frame\""]),
        ("[{\"frame\": 9, \"step\": 1}]", &["--schedule", "9 is not among the 5 frames"]),
    ] {
        scratch.refuses(&[&motion[..], &["--schedule", schedule]].concat(), expected);
    }
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
