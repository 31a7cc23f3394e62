//! Where `reverie render` reads and writes: files, links, standard input and output, pipes, and what a stop leaves behind.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may fail loudly")]
#![cfg(unix)]

#[path = "common/scratch.rs"]
mod scratch;

use std::{
    fs::{self, File},
    io::Write,
    os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink},
    process::{Child, Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use scratch::{Scratch, models, reverie};
use serde_json::Value;

/// As the other tests have it, and the same bytes each time: `auto` measures which precision is faster, and may find another
/// one while the machine is busy.
const QUICK: [&str; 8] = ["--layer", "block3", "--iterations", "2", "--octaves", "2", "--precision", "fp32"];

fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The program, in the folder of the sources and with the reference model.
fn program() -> Command {
    // Where the tests run in the background of a shell, Ctrl-C is ignored, and the program would inherit that.
    let mut command = Command::new("env");
    command.args(["--default-signal=INT", env!("CARGO_BIN_EXE_reverie")]);
    command.current_dir(env!("CARGO_MANIFEST_DIR")).env("REVERIE__MODELS__DIR", models::models_dir());
    command
}

/// The program with everything led elsewhere, started.
fn start(arguments: &[&str], input: Stdio) -> Child {
    let mut command = program();
    command.args(arguments);
    command.stdin(input).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

#[test]
fn what_a_dream_is_made_from_is_never_written_over_without_force() {
    let scratch = Scratch::new();
    let photo = fs::read(scratch.path("photo.png")).unwrap();
    symlink(scratch.path("photo.png"), scratch.path("link.png")).unwrap();
    fs::hard_link(scratch.path("photo.png"), scratch.path("twin.png")).unwrap();
    fs::create_dir(scratch.path("sub")).unwrap();
    image::GrayImage::from_pixel(90, 70, image::Luma([255])).save(scratch.path("mask.png")).unwrap();
    fs::copy(scratch.path("mask.png"), scratch.path("guide.png")).unwrap();
    fs::write(scratch.path("spec.png"), "{}").unwrap();
    assert!(scratch.render("dream.png", &QUICK).status.success());
    let [mask, guide, spec, dream] =
        ["mask.png", "guide.png", "spec.png", "dream.png"].map(|name| scratch.text(name));
    let (before, contents) = (scratch.files(), |name: &str| fs::read(scratch.path(name)).unwrap());
    for (output, more, role) in [
        ("photo.png", &[][..], "input"),
        ("sub/../photo.png", &[], "input"),
        ("link.png", &[], "input"),
        ("twin.png", &[], "input"),
        ("mask.png", &["--mask", &mask], "mask"),
        ("guide.png", &["--guide", &guide], "guide"),
        ("spec.png", &["--spec", &spec], "spec"),
        ("dream.png", &["--replay", &dream], "dream to replay"),
    ] {
        let old = contents(output);
        let refused = scratch.render(output, &[&QUICK[..], more].concat());
        let told = errors(&refused);
        assert_eq!(refused.status.code(), Some(1), "{output}: {told}");
        assert!(told.contains(&format!("is the {role}, ")) && told.contains("--force"), "{told}");
        assert!(contents(output) == old && scratch.files() == before, "{output}");
    }
    // Standard input and output have no names and are files all the same.
    let appended = File::options().append(true).open(scratch.path("photo.png")).unwrap();
    let mut command = program();
    command.args(["render", &scratch.text("photo.png"), "-o", "-"]);
    let refused = command.args(QUICK).stdout(appended).output().unwrap();
    assert!(errors(&refused).contains("standard output is the input"), "{}", errors(&refused));
    let stdin = File::open(scratch.path("photo.png")).unwrap();
    let refused =
        start(&["render", "-", "-o", &scratch.text("link.png")], stdin.into()).wait_with_output().unwrap();
    assert!(errors(&refused).contains("is the input, standard input"), "{}", errors(&refused));
    assert!(contents("photo.png") == photo);
    // What is no source may be written over, and a source where that is wanted.
    assert!(scratch.render("mask.png", &QUICK).status.success());
    assert!(contents("mask.png") == contents("dream.png"));
    assert!(scratch.render("link.png", &[&QUICK[..], &["--force"]].concat()).status.success());
    assert!(contents("photo.png") == contents("dream.png") && scratch.path("link.png").is_symlink());
    assert!(contents("twin.png") == photo);
    assert_eq!(scratch.files(), before);
}

#[test]
fn a_wrong_output_costs_no_dream() {
    let scratch = Scratch::new();
    let long = ["--layer", "block10", "--iterations", "1000", "--octaves", "8"];
    fs::create_dir(scratch.path("folder.png")).unwrap();
    let (photo, noise) = (scratch.text("photo.png"), ["--noise", "224x224"]);
    for (output, input, expected) in [
        ("none/dream.png", &[&*photo][..], "none/dream.png: No such file"),
        ("folder.png", &noise, "folder.png is a folder"),
    ] {
        let began = Instant::now();
        let refused = reverie(&[&["render", "-o", &scratch.text(output)], input, &long].concat());
        assert_eq!(refused.status.code(), Some(1));
        assert!(errors(&refused).contains(expected), "{}", errors(&refused));
        assert!(began.elapsed() < Duration::from_secs(30), "it was dreamed first");
    }
}

#[test]
fn new_files_follow_the_umask_and_old_ones_keep_their_mode() {
    let scratch = Scratch::new();
    let mode = |name: &str| fs::metadata(scratch.path(name)).unwrap().mode() & 0o7777;
    let render = |umask: &str, name: &str| {
        let mut command = Command::new("sh");
        command.current_dir(env!("CARGO_MANIFEST_DIR")).env("REVERIE__MODELS__DIR", models::models_dir());
        command.args(["-c", &format!("umask {umask}; exec \"$@\""), "sh"]);
        command.args([
            env!("CARGO_BIN_EXE_reverie"),
            "render",
            &scratch.text("photo.png"),
            "-o",
            &scratch.text(name),
        ]);
        let output = command.args(QUICK).output().unwrap();
        assert!(output.status.success(), "{}", errors(&output));
    };
    for (umask, expected) in [("002", 0o664), ("027", 0o640), ("077", 0o600)] {
        let name = format!("{umask}.png");
        render(umask, &name);
        assert_eq!(mode(&name), expected, "umask {umask}: {:o}", mode(&name));
    }
    fs::write(scratch.path("old.png"), "old").unwrap();
    fs::set_permissions(scratch.path("old.png"), fs::Permissions::from_mode(0o604)).unwrap();
    render("077", "old.png");
    assert_eq!(mode("old.png"), 0o604);
    assert!(fs::read(scratch.path("old.png")).unwrap() == fs::read(scratch.path("077.png")).unwrap());
}

#[test]
fn pictures_go_through_standard_input_and_output_and_pipes() {
    let scratch = Scratch::new();
    assert!(scratch.render("dream.png", &QUICK).status.success());
    let dream = fs::read(scratch.path("dream.png")).unwrap();
    let photo = || Stdio::from(File::open(scratch.path("photo.png")).unwrap());
    let render = |more: &[&str]| {
        let run = start(&[&["render", "-"][..], more, &QUICK].concat(), photo()).wait_with_output().unwrap();
        assert!(run.status.success(), "{}", errors(&run));
        run
    };
    assert!(render(&["-o", "-"]).stdout == dream);
    assert!(render(&["-o", "/dev/stdout"]).stdout == dream);
    let jpeg = render(&["-o", "-", "--format", "jpeg"]).stdout;
    assert_eq!(image::guess_format(&jpeg).unwrap(), image::ImageFormat::Jpeg);
    // The line about the result does not get into the picture.
    let both = render(&["-o", "-", "--json", "--seed", "0"]);
    let line: Value = serde_json::from_str(errors(&both).lines().last().unwrap()).unwrap();
    assert_eq!((line["output"].as_str(), line["width"].as_u64()), (Some("standard output"), Some(90)));
    assert!(both.stdout == dream);
    // A pipe stays a pipe, and a file may have any name where the format is told.
    let pipe = scratch.text("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let reader = thread::spawn({
        let pipe = pipe.clone();
        move || fs::read(pipe).unwrap()
    });
    render(&["-o", &pipe, "--format", "png"]);
    assert!(reader.join().unwrap() == dream);
    assert!(fs::metadata(&pipe).unwrap().file_type().is_fifo());
    render(&["-o", &scratch.text("dream"), "--format", "png"]);
    assert!(fs::read(scratch.path("dream")).unwrap() == dream);
    let disagree = scratch.render("other.png", &["--format", "jpeg"]);
    assert!(errors(&disagree).contains("ends as a png file, and --format says jpg"), "{}", errors(&disagree));
    // What was written before stays.
    fs::write(scratch.path("log"), "before").unwrap();
    let log = File::options().append(true).open(scratch.path("log")).unwrap();
    let mut command = program();
    command.args(["render", &scratch.text("photo.png"), "-o", "/dev/stdout"]);
    assert!(command.args(QUICK).stdout(log).status().unwrap().success());
    assert!(fs::read(scratch.path("log")).unwrap() == [b"before", &dream[..]].concat());
}

#[test]
fn nothing_on_standard_input_and_nobody_at_standard_output_are_failures() {
    let scratch = Scratch::new();
    let empty =
        start(&["render", "-", "-o", &scratch.text("dream.png")], Stdio::null()).wait_with_output().unwrap();
    assert_eq!(empty.status.code(), Some(1));
    assert!(errors(&empty).contains("standard input is empty (0 bytes)"), "{}", errors(&empty));
    let mut run =
        start(&[&["render", &scratch.text("photo.png"), "-o", "-"][..], &QUICK].concat(), Stdio::null());
    drop(run.stdout.take());
    let run = run.wait_with_output().unwrap();
    assert_eq!(run.status.code(), Some(1), "{}", errors(&run));
    assert!(errors(&run).contains("standard output: "), "{}", errors(&run));
    assert_eq!(scratch.files(), ["photo.png"]);
}

#[test]
fn a_stopped_render_leaves_nothing_and_says_so() {
    let scratch = Scratch::new();
    let (photo, dream) = (scratch.text("photo.png"), scratch.text("dream.png"));
    fs::write(&dream, "old").unwrap();
    let long =
        ["render", &photo, "-o", &dream, "--layer", "block3", "--iterations", "1000", "--octaves", "8"];
    for (signal, code) in [("INT", 130), ("TERM", 143)] {
        let run = begun(&scratch, &long);
        send(&run, &[signal]);
        let run = run.wait_with_output().unwrap();
        assert_eq!(run.status.code(), Some(code), "{}", errors(&run));
        assert!(errors(&run).contains("stopped; no file was written"), "{}", errors(&run));
        assert_eq!(scratch.files(), ["dream.png", "photo.png"]);
        assert_eq!(fs::read(&dream).unwrap(), b"old");
    }
    // The second signal does not wait for the pass at work, and the process is not killed under it.
    for _ in 0..8 {
        let run = begun(&scratch, &long);
        send(&run, &["INT", "TERM"]);
        let run = run.wait_with_output().unwrap();
        assert!(matches!(run.status.code(), Some(130 | 143)), "{}: {}", run.status, errors(&run));
        assert_eq!(scratch.files(), ["dream.png", "photo.png"]);
    }
}

/// The program, at work on its output.
fn begun(scratch: &Scratch, arguments: &[&str]) -> Child {
    let run = start(arguments, Stdio::null());
    let deadline = Instant::now() + Duration::from_secs(60);
    while scratch.files().len() < 3 {
        assert!(Instant::now() < deadline, "nothing was begun: {:?}", scratch.files());
        thread::yield_now();
    }
    run
}

fn send(run: &Child, signals: &[&str]) {
    for signal in signals {
        assert!(Command::new("kill").args(["-s", signal, &run.id().to_string()]).status().unwrap().success());
    }
}

#[test]
fn exit_codes_are_as_the_help_says() {
    let help = String::from_utf8(reverie(&["render", "--help"]).stdout).unwrap();
    assert!(help.contains("Exit codes:\n  0    the dream is written\n  1    it is not"), "{help}");
    assert!(help.contains("130  stopped by Ctrl-C"), "{help}");
    assert_eq!(reverie(&["render", "--no-such-option"]).status.code(), Some(2));
    assert_eq!(reverie(&["render", "none.jpg", "-o", "x.png"]).status.code(), Some(1));
    // No noise from a pipe that breaks in the middle of an upload.
    let mut run = start(&["render", "-", "-o", "/dev/null"], Stdio::piped());
    run.stdin.take().unwrap().write_all(b"GIF89a").unwrap();
    let run = run.wait_with_output().unwrap();
    assert_eq!(run.status.code(), Some(1));
    assert!(
        errors(&run).starts_with("error: standard input: the GIF file cannot be decoded"),
        "{}",
        errors(&run)
    );
}
