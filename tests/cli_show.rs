//! `--show`, in a terminal of each kind: a pseudo-terminal with its environment, and what the program writes there.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may fail loudly")]
#![cfg(target_os = "linux")]

#[path = "common/scratch.rs"]
mod scratch;

use std::{
    fs,
    io::Write,
    process::{Command, Stdio},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use image::GenericImageView;
use reverie_picture::{self as pictures, Format};
use scratch::{QUICK, Scratch, models};

/// Runs a line of shell with the program as `$reverie` in a pseudo-terminal, whose environment says what kind it is; what the
/// terminal was sent. `None` without `script`, which makes the terminal.
fn in_terminal(line: &str, kind: &[(&str, &str)]) -> Option<String> {
    let mut command = Command::new("script");
    command.args(["--quiet", "--return", "--command", line, "/dev/null"]).stdin(Stdio::null());
    for name in ["TERM_PROGRAM", "TMUX", "STY", "KITTY_WINDOW_ID", "KONSOLE_VERSION", "LC_TERMINAL"] {
        command.env_remove(name);
    }
    command.current_dir(env!("CARGO_MANIFEST_DIR")).env("REVERIE__MODELS__DIR", models::models_dir());
    command.env("reverie", env!("CARGO_BIN_EXE_reverie")).env("TERM", "xterm-256color");
    match command.envs(kind.iter().copied()).output() {
        Ok(run) => {
            let sent = String::from_utf8_lossy(&run.stdout).into_owned();
            assert!(run.status.success(), "{sent}");
            Some(sent)
        }
        Err(error) => {
            skip(&format!("script (util-linux) cannot be run: {error}"));
            None
        }
    }
}

/// Says that what follows is skipped; a failure where `CI` is set.
fn skip(why: &str) {
    assert!(std::env::var_os("CI").is_none(), "{why}");
    // Past the test harness, which swallows what passing tests print.
    let _ = std::io::stderr().write_all(format!("skipped: --show: {why}\n").as_bytes());
}

/// Mean of all values.
fn mean(image: &image::DynamicImage) -> f64 {
    let bytes = image.to_rgb8().into_raw();
    bytes.iter().map(|byte| f64::from(*byte)).sum::<f64>() / bytes.len() as f64
}

/// A scratch folder whose photo is wider than a small window.
fn wide() -> Scratch {
    let scratch = Scratch::new();
    let pixel = |x: u32, y: u32| image::Rgb([(x % 251) as u8, (y * 5) as u8, (x ^ y) as u8]);
    image::RgbImage::from_fn(1000, 50, pixel).save(scratch.path("photo.png")).unwrap();
    scratch
}

fn line(scratch: &Scratch, more: &str) -> String {
    format!("\"$reverie\" render '{}' {} {more}", scratch.text("photo.png"), QUICK.join(" "))
}

#[test]
fn a_dream_is_shown_in_a_terminal_by_the_protocol_of_kitty() {
    let scratch = wide();
    let line = line(&scratch, &format!("-o '{}' --show", scratch.text("dream.webp")));
    let Some(sent) = in_terminal(&line, &[("TERM", "xterm-kitty")]) else { return };
    let parts: Vec<&str> = sent
        .split("\x1b_G")
        .skip(1)
        .map(|part| part.split_once("\x1b\\").unwrap().0)
        .map(|part| part.split_once(';').unwrap().1)
        .collect();
    assert!(sent.contains("\x1b_Ga=T,f=100,q=2,m=1;") && parts.len() > 2, "{}", parts.len());
    let shown = image::load_from_memory(&STANDARD.decode(parts.concat()).unwrap()).unwrap();
    assert_eq!(shown.dimensions(), (640, 32));
    // Small, but the dream: its mean is that of the file.
    let dream = image::open(scratch.path("dream.webp")).unwrap();
    assert!((mean(&shown) - mean(&dream)).abs() < 2.0, "{} {}", mean(&shown), mean(&dream));
    assert!(sent.contains("dream.webp ("), "{sent}");
}

#[test]
fn a_dream_that_goes_to_standard_output_is_shown_on_the_terminal_of_the_messages() {
    let scratch = wide();
    let line = line(&scratch, &format!("-o - --show > '{}'", scratch.text("dream.png")));
    let Some(sent) = in_terminal(&line, &[("TERM_PROGRAM", "WezTerm")]) else { return };
    let sequence = sent.split_once("\x1b]1337;File=inline=1;size=").unwrap().1.split_once('\x07').unwrap().0;
    let (head, encoded) = sequence.split_once(':').unwrap();
    let png = STANDARD.decode(encoded).unwrap();
    assert_eq!(head, format!("{};preserveAspectRatio=1", png.len()));
    assert_eq!(image::load_from_memory(&png).unwrap().dimensions(), (640, 32));
    assert_eq!(image::image_dimensions(scratch.path("dream.png")).unwrap(), (1000, 50));
}

#[test]
fn of_a_video_the_first_frame_is_shown() {
    let scratch = wide();
    for format in [Format::Mp4, Format::Webm] {
        if let Err(lacking) = pictures::can_write(format) {
            skip(&lacking.to_string());
            continue;
        }
        let name = format!("dream.{}", format.extension());
        let line = line(&scratch, &format!("-o '{}' --frames 2 --show", scratch.text(&name)));
        let Some(sent) = in_terminal(&line, &[("TERM_PROGRAM", "WezTerm")]) else { return };
        assert!(!sent.contains("note: --show"), "{sent}");
        let sequence = sent.split_once("\x1b]1337;File=inline=1;").unwrap().1.split_once('\x07').unwrap().0;
        let png = STANDARD.decode(sequence.split_once(':').unwrap().1).unwrap();
        let shown = image::load_from_memory(&png).unwrap();
        assert_eq!(shown.dimensions(), (640, 32));
        let first = pictures::first_frame(&fs::read(scratch.path(&name)).unwrap(), format, 1000).unwrap();
        let first = image::load_from_memory(&first).unwrap();
        assert!((mean(&shown) - mean(&first)).abs() < 2.0, "{} {}", mean(&shown), mean(&first));
    }
}

#[test]
fn where_nothing_can_be_shown_a_note_says_why_and_the_dream_is_written() {
    let scratch = wide();
    let line = line(&scratch, &format!("-o '{}' --show", scratch.text("dream.png")));
    for (kind, expected) in [
        (&[][..], "note: --show: this terminal is not known to show pictures; kitty,"),
        (&[("TMUX", "/tmp/tmux"), ("TERM_PROGRAM", "WezTerm")], "note: --show: tmux and screen do not pass"),
    ] {
        let Some(sent) = in_terminal(&line, kind) else { return };
        assert!(sent.contains(expected) && !sent.contains("\x1b_G") && !sent.contains("1337"), "{sent}");
        assert!(scratch.path("dream.png").exists());
        fs::remove_file(scratch.path("dream.png")).unwrap();
    }
    let run = scratch.render("dream.png", &[&QUICK[..], &["--show", "--json"]].concat());
    let told = String::from_utf8_lossy(&run.stderr).into_owned();
    assert!(run.status.success() && scratch.path("dream.png").exists(), "{told}");
    assert!(
        told.contains("note: --show: neither standard output nor standard error is a terminal"),
        "{told}"
    );
    assert_eq!(String::from_utf8(run.stdout).unwrap().lines().count(), 1);
}

#[test]
fn a_terminal_of_sixels_gets_the_dream_in_colours_of_its_own() {
    let scratch = wide();
    let line = line(&scratch, &format!("-o '{}' --show", scratch.text("dream.png")));
    let Some(sent) = in_terminal(&line, &[("TERM", "foot")]) else { return };
    assert!(!sent.contains("note: --show"), "{sent}");
    let sequence = sent.split_once("\x1bP0;1;0q").unwrap().1.split_once("\x1b\\").unwrap().0;
    assert!(sequence.starts_with("\"1;1;640;32#0;2;"), "{}", &sequence[..40]);
    // Six bands of at most six rows.
    assert_eq!(sequence.matches('-').count(), 6);
}
