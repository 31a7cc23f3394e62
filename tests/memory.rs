//! Large pictures: memory grows by the bytes per pixel that admission predicts, and by no more.
//!
//! A render of 100 megapixels is too long for a test, so that the slope between two smaller ones is measured; what
//! a tile takes is in both and falls out. One thread, so that nothing depends on what else the machine does.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may fail loudly")]
#![cfg(target_os = "linux")]

use std::{fs, path::Path, process::Command};

use reverie_dream::plan::{
    BYTES_PER_FOURIER_PIXEL, BYTES_PER_MOVING_PIXEL, BYTES_PER_PIXEL, BYTES_PER_RESTORED_PIXEL,
    BYTES_PER_SHRUNK_PIXEL, BYTES_PER_TRANSFORMED_PIXEL,
};
use serde_json::Value;

/// Peak memory in bytes of a render of `edge × edge` pixels with further arguments.
fn peak(folder: &Path, edge: u32, more: &[&str]) -> u64 {
    let ending = if more.contains(&"--frames") { "webp" } else { "jpg" };
    let (input, output) = (folder.join(format!("{edge}.png")), folder.join(format!("{edge}.{ending}")));
    let pixel = |x: u32, y: u32| image::Rgba([(x % 251) as u8, (y % 241) as u8, ((x ^ y) % 256) as u8, 200]);
    image::RgbaImage::from_fn(edge, edge, pixel).save(&input).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_reverie"));
    command.current_dir(env!("CARGO_MANIFEST_DIR")).arg("render").arg(input).arg("-o").arg(output);
    command.args(["--layer", "stem", "--iterations", "1", "--tile-size", "256", "--threads", "1", "--json"]);
    let run = command.args(more).output().unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    let line: Value = serde_json::from_slice(&run.stdout).unwrap();
    line["peak_memory_bytes"].as_u64().unwrap()
}

/// Bytes of memory for each pixel that the larger of two pictures has more.
fn slope(small: u32, large: u32, more: &[&str]) -> f64 {
    let folder = tempfile::tempdir().unwrap();
    let grown = peak(folder.path(), large, more).saturating_sub(peak(folder.path(), small, more));
    let slope = grown as f64 / f64::from(large * large - small * small);
    println!("{more:?}: {slope:.1} bytes per pixel");
    slope
}

#[test]
fn a_photo_that_is_shrunk_takes_little_memory() {
    let shrunk = ["--max-edge", "300", "--octaves", "1", "--restore-size"];
    for (more, predicted) in [(&shrunk[..4], BYTES_PER_SHRUNK_PIXEL), (&shrunk[..], BYTES_PER_RESTORED_PIXEL)]
    {
        let slope = slope(2000, 4000, more);
        assert!((4.0..predicted).contains(&slope), "{slope:.1} bytes per pixel, predicted are {predicted}");
    }
}

#[test]
fn memory_grows_with_the_picture_as_promised() {
    let (small, large) = (1500u32, 3500u32);
    let slope = slope(small, large, &["--max-edge", "0", "--octaves", "4"]);
    // Less than the image and its gradient is no measurement.
    assert!(
        (24.0..BYTES_PER_PIXEL).contains(&slope),
        "{slope:.1} bytes per pixel, predicted are {BYTES_PER_PIXEL}"
    );
}

#[test]
fn waves_and_transformations_take_as_much_more_as_promised() {
    let still = ["--max-edge", "0", "--octaves", "2"];
    let fourier = ["--parametrization", "fourier"];
    let transformed = ["--random-scale", "0.1", "--random-rotation", "5"];
    for (more, beside) in
        [(&fourier[..], BYTES_PER_FOURIER_PIXEL), (&transformed[..], BYTES_PER_TRANSFORMED_PIXEL)]
    {
        let slope = slope(1500, 3000, &[&still[..], more].concat());
        let predicted = BYTES_PER_PIXEL + beside;
        assert!((24.0..predicted).contains(&slope), "{slope:.1} bytes per pixel, predicted are {predicted}");
    }
}

#[test]
fn an_animation_takes_as_much_more_as_promised() {
    let still = ["--max-edge", "0", "--octaves", "3", "--preserve-colors=0.5"];
    let moving = ["--frames", "3", "--frame-iterations", "1", "--rotate", "1", "--quality", "50"];
    let slope = slope(1000, 2000, &[&still[..], &moving].concat());
    let predicted = BYTES_PER_PIXEL + BYTES_PER_MOVING_PIXEL;
    // Less than three images and a gradient is no measurement.
    assert!((40.0..predicted).contains(&slope), "{slope:.1} bytes per pixel, predicted are {predicted}");
}

#[test]
fn the_documents_name_the_figure_that_predictions_use() {
    for file in ["README.md", "docs/operations/scale.md"] {
        let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap();
        assert!(text.contains(&format!("{BYTES_PER_PIXEL} bytes per pixel")), "{file}");
        assert_eq!(text.matches(" bytes per pixel").count(), 1, "{file} names another figure");
    }
}
