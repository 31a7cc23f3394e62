//! The model that tests dream with, alone: `models/` may hold others, which would be the default.
#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "every test uses a part of this, and tests may fail loudly"
)]

use std::{
    fs,
    path::{Path, PathBuf},
};

/// A folder with EfficientNet-Lite0 and nothing else.
pub fn models_dir() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("reference-model");
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/efficientnet-lite0.pth");
    let link = folder.join("efficientnet-lite0.pth");
    fs::create_dir_all(&folder).unwrap();
    if fs::read_link(&link).ok() != Some(file.clone()) {
        // By renaming, since other processes may dream with it at this moment.
        let new = folder.join(format!(".new-{}", std::process::id()));
        // What fails has been done by another thread.
        drop(std::os::unix::fs::symlink(&file, &new));
        drop(fs::rename(&new, &link));
    }
    folder
}
