//! Lets Reverie's binaries find libtorch when they start.
//!
//! The torch-sys crate links against the libtorch in `LIBTORCH`, but a build
//! script can add linker arguments only to its own package. Without the run
//! paths added here every binary and every test would need `LD_LIBRARY_PATH`.

use std::env;
use std::path::{Path, PathBuf};

/// Tells the linker where libtorch is.
pub fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=LIBTORCH");
    println!("cargo::rerun-if-env-changed=REVERIE_RELOCATABLE");

    // `.cargo/config.toml` sets it, unless the user did.
    let libtorch = PathBuf::from(env::var_os("LIBTORCH").unwrap_or_else(|| ".libtorch".into()));
    let lib = libtorch.join("lib");
    println!("cargo::rerun-if-changed={}", lib.display());
    if !lib.is_dir() {
        println!(
            "cargo::error=libtorch not found at {}: run scripts/setup (or set LIBTORCH)",
            libtorch.display()
        );
        return;
    }

    let lib = lib.canonicalize().unwrap_or(lib);
    match env::var("CARGO_CFG_TARGET_OS").as_deref() {
        Ok("linux") => add_run_paths(&lib, "$ORIGIN"),
        Ok("macos") => add_run_paths(&lib, "@loader_path"),
        _ => {} // Windows has no run paths: there PATH decides
    }
}

/// The libtorch that was linked against, and then `../lib` beside an installed
/// binary, for a package that carries its own copy. With `REVERIE_RELOCATABLE`
/// only the latter: a package should not look into folders of the machine that
/// built it.
fn add_run_paths(lib: &Path, origin: &str) {
    if env::var_os("REVERIE_RELOCATABLE").is_none_or(|value| value.is_empty()) {
        println!("cargo::rustc-link-arg=-Wl,-rpath,{}", lib.display());
    }
    println!("cargo::rustc-link-arg=-Wl,-rpath,{origin}/../lib");
}
