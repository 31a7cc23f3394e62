//! What strangers and faults do to a server, and the bounds that hold while they do.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may fail loudly")]

#[path = "../common/mod.rs"]
mod common;
#[cfg(target_os = "linux")]
mod disk;
mod postgres;
mod retention;
mod rows;
mod sick;
