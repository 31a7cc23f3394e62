//! What `deploy/` ships, run for real where a test can: nginx with the shipped configuration in front of servers,
//! Prometheus with the shipped configuration, alerts and dashboard beside one that works, and the autoscaler's query.
//!
//! The programs are those of the system. `scripts/test-servers` finds or fetches them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may fail loudly")]

mod autoscaler;
mod balancer;
#[path = "../common/mod.rs"]
mod common;
mod monitoring;
mod settings;

use std::path::{Path, PathBuf};

/// The files of `deploy/`.
fn shipped(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy").join(path)
}
