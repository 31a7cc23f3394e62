//! Several pictures in one run of `reverie render`: what is taken, how dreams are named, what is refused, and what one failure
//! or a stop leaves of the others.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may fail loudly")]
#![cfg(unix)]

#[path = "common/scratch.rs"]
mod scratch;

use std::{
    fs,
    path::Path,
    process::{Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use scratch::{Scratch, models, reverie};
use serde_json::Value;

/// As the other tests have it, and the same bytes each time.
const QUICK: [&str; 8] = ["--layer", "block3", "--iterations", "2", "--octaves", "2", "--precision", "fp32"];

fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Renders these inputs of the scratch folder to `out`, one of its paths.
fn render(scratch: &Scratch, inputs: &[&str], out: &str, more: &[&str]) -> Output {
    let (inputs, out) = (inputs.iter().map(|name| scratch.text(name)).collect::<Vec<_>>(), scratch.text(out));
    let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
    reverie(&[&["render"][..], &inputs, &["-o", &out], &QUICK, more].concat())
}

/// Names in a folder, sorted.
fn names(folder: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort_unstable();
    names
}

/// A scratch folder with `photo.png`, and in `album` two pictures, one of them without an ending, and what is none.
fn album() -> Scratch {
    let scratch = Scratch::new();
    fs::create_dir_all(scratch.path("album/inner.png")).unwrap();
    let image = image::RgbImage::from_fn(60, 80, |x, y| image::Rgb([(y * 3) as u8, (x * 4) as u8, 90]));
    image.save(scratch.path("album/b.jpg")).unwrap();
    image.save(scratch.path("album/a.png")).unwrap();
    fs::rename(scratch.path("album/a.png"), scratch.path("album/a")).unwrap();
    fs::write(scratch.path("album/notes.txt"), "no picture").unwrap();
    fs::write(scratch.path("album/.hidden.png"), "no picture").unwrap();
    scratch
}

#[test]
fn files_and_folders_are_rendered_to_a_folder_as_each_would_be_alone() {
    let scratch = album();
    let run = render(&scratch, &["photo.png", "album"], "new/dreams", &["--format", "webp", "--json"]);
    let told = errors(&run);
    assert!(run.status.success(), "{told}");
    assert_eq!(names(&scratch.path("new/dreams")), ["a.webp", "b.webp", "photo.webp"]);
    assert!(told.contains("album: left out, as no pictures: inner.png, notes.txt\n"), "{told}");
    assert!(!told.contains("hidden"), "{told}");
    let lines: Vec<Value> = String::from_utf8(run.stdout)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let inputs: Vec<String> = lines.iter().map(|line| line["input"].as_str().unwrap().to_owned()).collect();
    assert_eq!(inputs, ["photo.png", "album/a", "album/b.jpg"].map(|name| scratch.text(name)));
    assert_eq!(lines[2]["output"], scratch.text("new/dreams/b.webp"));
    assert_eq!((&lines[2]["width"], &lines[2]["height"]), (&60.into(), &80.into()));
    assert!(scratch.render("alone.webp", &QUICK).status.success());
    assert!(
        fs::read(scratch.path("alone.webp")).unwrap()
            == fs::read(scratch.path("new/dreams/photo.webp")).unwrap(),
        "a dream depends on those beside it"
    );
    // What a pattern of the shell leaves of several may be one.
    fs::create_dir(scratch.path("one")).unwrap();
    let run = render(&scratch, &["photo.png"], "one", &[]);
    assert!(run.status.success() && errors(&run).contains("1 of 1: "), "{}", errors(&run));
    assert_eq!(names(&scratch.path("one")), ["photo.png"]);
}

#[test]
fn one_that_fails_does_not_stop_the_others() {
    let scratch = album();
    fs::write(scratch.path("album/broken.jpg"), "no picture either").unwrap();
    let run = render(&scratch, &["album", "none.png", "photo.png"], "out", &["--json"]);
    let told = errors(&run);
    assert_eq!(run.status.code(), Some(1), "{told}");
    assert_eq!(names(&scratch.path("out")), ["a.png", "b.png", "photo.png"]);
    let broken = scratch.text("album/broken.jpg");
    assert!(told.contains(&format!("error: 3 of 5: {broken}: this is not an image")), "{told}");
    assert!(told.contains("error: 4 of 5: ") && told.contains("none.png: No such file"), "{told}");
    let last = told.lines().last().unwrap();
    assert!(last.starts_with("3 of 5 dreams are written to ") && last.contains(&broken), "{told}");
    let lines = String::from_utf8(run.stdout).unwrap();
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 5);
    assert!(lines[2]["input"] == broken && lines[2]["error"].as_str().unwrap().contains("not an image"));
    assert!(lines[4]["error"].is_null() && lines[4]["output"] == scratch.text("out/photo.png"));
    // A mask is for pictures of its size; the message says which picture it does not fit.
    image::GrayImage::from_pixel(60, 80, image::Luma([255])).save(scratch.path("mask.png")).unwrap();
    let mask = scratch.text("mask.png");
    let run = render(&scratch, &["photo.png", "album/b.jpg"], "masked", &["--mask", &mask]);
    let told = errors(&run);
    assert_eq!((run.status.code(), names(&scratch.path("masked"))), (Some(1), vec!["b.png".to_owned()]));
    assert!(told.contains(&format!("1 of 2: {}: {mask}: the mask has", scratch.text("photo.png"))), "{told}");
}

#[test]
fn names_that_collide_or_are_taken_are_refused_before_anything_is_rendered() {
    let scratch = album();
    fs::copy(scratch.path("photo.png"), scratch.path("album/photo.png")).unwrap();
    let run = render(&scratch, &["photo.png", "album"], "out", &[]);
    let told = errors(&run);
    assert_eq!(run.status.code(), Some(1), "{told}");
    let [one, other, out] = ["photo.png", "album/photo.png", "out/photo.png"].map(|name| scratch.text(name));
    assert!(told.contains(&format!("{one} and {other} would both be written to {out}")), "{told}");
    assert!(!scratch.path("out").exists());
    // The folder of the inputs is a good one for dreams of another format, and a photo is never lost.
    let run = render(&scratch, &["album"], "album", &[]);
    let told = errors(&run);
    assert_eq!(run.status.code(), Some(1), "{told}");
    assert!(told.contains(&format!("already there: {other}; ")) && told.contains("--force"), "{told}");
    assert_eq!(fs::read(&other).unwrap(), fs::read(&one).unwrap());
    let run = render(&scratch, &["album"], "album", &["--force"]);
    assert!(run.status.success(), "{}", errors(&run));
    assert_ne!(fs::read(&other).unwrap(), fs::read(&one).unwrap());
    assert!(names(&scratch.path("album")).contains(&"b.png".to_owned()));
    // An empty folder, and one that only looks so.
    fs::create_dir(scratch.path("empty")).unwrap();
    fs::write(scratch.path("empty/.hidden"), "").unwrap();
    let told = errors(&render(&scratch, &["empty"], "out", &[]));
    assert!(told.contains("empty: there is no picture (PNG, "), "{told}");
}

#[test]
fn what_does_not_go_together_is_a_mistake_of_the_command_line() {
    let scratch = album();
    let both = ["photo.png", "album"].map(|name| scratch.text(name));
    fs::create_dir(scratch.path("out")).unwrap();
    fs::write(scratch.path("file"), "").unwrap();
    let before = scratch.files();
    for (inputs, out, more, expected) in [
        (
            &[&*both[0], &both[1]][..],
            "dream.png",
            &[][..],
            "dream.png names a file, and several dreams need a folder",
        ),
        (&[&both[1]], "file", &[], "file names a file"),
        (&[&both[1]], "-", &[], "standard output takes one dream"),
        (&["-", &both[0]], "out", &[], "standard input (-) is one picture"),
        (&[&both[1]], "out", &["--replay", &both[0]], "--replay renders one dream again"),
        (&[&both[0]], "out/", &["--noise", "20x20"], "--noise starts without a picture"),
    ] {
        let out = if out == "-" { out.to_owned() } else { scratch.text(out) };
        let run = reverie(&[&["render"][..], inputs, &["-o", &out], more].concat());
        let told = errors(&run);
        assert_eq!(run.status.code(), Some(2), "{inputs:?} {more:?}: {told}");
        assert!(told.starts_with("error: ") && told.contains(expected), "{told}");
    }
    assert_eq!((scratch.files(), names(&scratch.path("out"))), (before, Vec::new()));
    // One spec is as good for several as options are.
    fs::write(scratch.path("spec.json"), "{\"format\": \"jpeg\", \"seed\": 3}").unwrap();
    let spec = scratch.text("spec.json");
    let run = render(&scratch, &["album"], "out", &["--spec", &spec]);
    assert!(run.status.success(), "{}", errors(&run));
    assert_eq!(names(&scratch.path("out")), ["a.jpg", "b.jpg"]);
}

#[test]
fn a_stop_keeps_the_dreams_that_are_finished() {
    let scratch = Scratch::new();
    fs::create_dir(scratch.path("in")).unwrap();
    // The first is small, and the second takes a minute and more.
    fs::copy(scratch.path("photo.png"), scratch.path("in/a.png")).unwrap();
    image::RgbImage::from_fn(1200, 900, |x, y| image::Rgb([x as u8, y as u8, 7]))
        .save(scratch.path("in/b.png"))
        .unwrap();
    let mut command = Command::new("env");
    command.args(["--default-signal=INT", env!("CARGO_BIN_EXE_reverie"), "render", &scratch.text("in")]);
    command.args(["-o", &scratch.text("out"), "--layer", "block3", "--iterations", "60"]);
    command.current_dir(env!("CARGO_MANIFEST_DIR")).env("REVERIE__MODELS__DIR", models::models_dir());
    let run = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    // The first dream, and the file that the second is to be written to.
    let deadline = Instant::now() + Duration::from_secs(120);
    while names(&scratch.path("out")).len() < 2 || !names(&scratch.path("out")).contains(&"a.png".to_owned())
    {
        assert!(Instant::now() < deadline, "{:?}", names(&scratch.path("out")));
        thread::yield_now();
    }
    assert!(Command::new("kill").args(["-s", "INT", &run.id().to_string()]).status().unwrap().success());
    let run = run.wait_with_output().unwrap();
    let told = errors(&run);
    assert_eq!(run.status.code(), Some(130), "{told}");
    assert!(told.contains("stopped; 1 of 2 dreams are written to "), "{told}");
    assert_eq!(names(&scratch.path("out")), ["a.png"]);
}
