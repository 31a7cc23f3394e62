//! What was found by search stays found: the corpus of `fuzz/`, each input through the function that the search calls.
//!
//! An input that broke something goes into `fuzz/corpus/` with the change that mends it. `make fuzz` searches on.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may fail loudly")]

#[allow(dead_code, unused_imports, reason = "the targets need more")]
#[path = "../fuzz/src/lib.rs"]
mod checks;

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use checks::{Check, TARGETS};

/// The slowest takes a few milliseconds, and seconds on a busy machine where a decoder's panic, which is caught, prints a
/// backtrace. What does not end takes longer than this.
const SOON: Duration = Duration::from_secs(30);

/// Reads every file of a target's corpus; a panic is preceded by its name.
fn replay(name: &str) {
    let check: Check = TARGETS.iter().find(|(target, _)| *target == name).unwrap().1;
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(name);
    let mut files: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() > 5, "only {} inputs in {}", files.len(), folder.display());
    for file in files {
        println!("{}", file.display());
        let started = Instant::now();
        check(&fs::read(&file).unwrap());
        assert!(started.elapsed() < SOON, "it took {:?}", started.elapsed());
    }
}

#[test]
fn pictures() {
    replay("picture");
}

#[test]
fn graph_defs() {
    replay("graph_def");
}

#[test]
fn onnx_files() {
    replay("onnx");
}

#[test]
fn torch_files() {
    replay("torch_file");
}

#[test]
fn safetensors_files() {
    replay("safetensors");
}

#[test]
fn caffe_models() {
    replay("caffe");
}

#[test]
fn specs() {
    replay("spec");
}

#[test]
fn forms() {
    replay("form");
}

/// Small files that would take seconds to hours, as the same bytes count again and again.
#[test]
fn costly_pictures_are_refused() {
    for (name, reason) in [
        ("found_scans.jpg", "JPEG with more than 100 scans is not read"),
        ("found_parts.tif", "a part is larger than its place"),
        ("found_strips.tif", "its parts overlap"),
        ("found_noops.tif", "its parts overlap"),
        ("found_count.tif", "other combination was found"),
        ("found_frame.webp", "its frame is larger than its canvas"),
        ("found_palette5.png", "its palette has no whole number of colours"),
        ("found_palette300.png", "its palette has no whole number of colours"),
    ] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/picture").join(name);
        let refusal = reverie_picture::verify(&fs::read(path).unwrap(), 1 << 20).unwrap_err().to_string();
        assert!(refusal.contains(reason), "{name}: {refusal}");
    }
}

/// A target without a test, or a folder without a target, would be searched and forgotten.
#[test]
fn every_folder_has_a_target() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    let mut folders: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    folders.sort();
    let mut targets: Vec<_> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    targets.sort();
    assert_eq!(folders, targets);
}

/// Names of what a package needs when it is built, as its manifest has them.
fn dependencies(manifest: &str) -> Vec<&str> {
    let mut inside = false;
    let mut names = Vec::new();
    for line in manifest.lines() {
        if line.starts_with('[') {
            inside =
                line == "[dependencies]" || line.starts_with("[target.") && line.ends_with(".dependencies]");
        } else if inside && line.contains('=') && !line.starts_with('#') && !line.contains("optional = true")
        {
            names.extend(line.split([' ', '.', '=']).next());
        }
    }
    names
}

/// `make fuzz` takes the versions that fuzz/Cargo.lock holds, and stops where a package needs one that it does not.
#[test]
fn the_lock_file_of_the_fuzzer_has_what_the_packages_need() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let lock = fs::read_to_string(root.join("fuzz/Cargo.lock")).unwrap();
    let folders = fs::read_dir(root.join("crates")).unwrap().map(|entry| entry.unwrap().path());
    let mut packages = 0;
    for folder in folders.chain([root.to_owned()]) {
        let manifest = fs::read_to_string(folder.join("Cargo.toml")).unwrap();
        let name = manifest.lines().find_map(|line| line.strip_prefix("name = ")).unwrap();
        // What the fuzzer does not link is not in its lock file.
        let Some((_, entry)) = lock.split_once(&format!("\nname = {name}\n")) else { continue };
        let entry = entry.split("\n[[package]]").next().unwrap();
        let needed = dependencies(&manifest);
        assert!(needed.len() > 1, "{name} needs {needed:?}");
        for needed in needed {
            let held = entry.contains(&format!(" \"{needed}\"")) || entry.contains(&format!(" \"{needed} "));
            assert!(
                held,
                "fuzz/Cargo.lock: {name} without {needed}; run `cargo metadata --manifest-path fuzz/Cargo.toml`"
            );
        }
        packages += 1;
    }
    assert!(packages > 6, "only {packages} packages");
}
