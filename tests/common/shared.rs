//! Where the large reference data lies: `$REVERIE_SHARED`, or `../shared` beside the checkout. It is not part
//! of the repository, so its absence skips a test by name, except in continuous integration.

use std::{
    io::Write,
    path::{Path, PathBuf},
};

/// `path` inside the reference data; `None` (and a line that names `test`) where the data is missing.
///
/// # Panics
/// Where it is missing and `CI` is set: there nothing may be skipped.
pub fn shared(test: &str, path: &str) -> Option<PathBuf> {
    let beside = || {
        // The checkout is the package's folder, or one of those above a crate's.
        let mut above = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors();
        let checkout = above.find(|folder| folder.join("Cargo.lock").exists());
        checkout.unwrap_or(Path::new("")).join("../shared")
    };
    let root = std::env::var_os("REVERIE_SHARED").map_or_else(beside, PathBuf::from);
    let full = root.join(path);
    if full.exists() {
        return Some(full);
    }
    assert!(std::env::var_os("CI").is_none(), "{test} needs {}", full.display());
    // Not println!: the test harness swallows what passing tests print, and a skip must be seen. In one
    // piece, as tests run side by side.
    let line = format!("skipped: {test}: {} is missing\n", full.display());
    let _ = std::io::stderr().write_all(line.as_bytes());
    None
}
