//! Large pictures: memory grows by the bytes per pixel that admission predicts, and by no more.
//!
//! A render of 100 megapixels is too long for a test, so that the slope between two smaller ones is measured; what
//! a tile takes is in both and falls out. One thread, so that nothing depends on what else the machine does.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may fail loudly")]
#![cfg(target_os = "linux")]

use std::{fs, path::Path, process::Command};

use reverie_dream::plan::BYTES_PER_PIXEL;
use serde_json::Value;

/// Peak memory in bytes of a render of `edge × edge` pixels.
fn peak(folder: &Path, edge: u32) -> u64 {
    let (input, output) = (folder.join(format!("{edge}.png")), folder.join(format!("{edge}.jpg")));
    let pixel = |x: u32, y: u32| image::Rgba([(x % 251) as u8, (y % 241) as u8, ((x ^ y) % 256) as u8, 200]);
    image::RgbaImage::from_fn(edge, edge, pixel).save(&input).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_reverie"));
    command.current_dir(env!("CARGO_MANIFEST_DIR")).arg("render").arg(input).arg("-o").arg(output);
    command.args(["--layer", "stem", "--iterations", "1", "--tile-size", "256", "--threads", "1", "--json"]);
    let run = command.output().unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    let line: Value = serde_json::from_slice(&run.stdout).unwrap();
    line["peak_memory_bytes"].as_u64().unwrap()
}

#[test]
fn memory_grows_with_the_picture_as_promised() {
    let folder = tempfile::tempdir().unwrap();
    let (small, large) = (1500u32, 3500u32);
    let grown = peak(folder.path(), large).saturating_sub(peak(folder.path(), small));
    let slope = grown as f64 / f64::from(large * large - small * small);
    println!("{slope:.1} bytes per pixel");
    // Less than the image and its gradient is no measurement.
    assert!(
        (24.0..BYTES_PER_PIXEL).contains(&slope),
        "{slope:.1} bytes per pixel, predicted are {BYTES_PER_PIXEL}"
    );
}

#[test]
fn the_documents_name_the_figure_that_predictions_use() {
    for file in ["README.md", "docs/operations/scale.md"] {
        let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap();
        assert!(text.contains(&format!("{BYTES_PER_PIXEL} bytes per pixel")), "{file}");
        assert_eq!(text.matches(" bytes per pixel").count(), 1, "{file} names another figure");
    }
}
