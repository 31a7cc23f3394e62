//! Blobs in a bucket: what every blob store must do, a store that misbehaves, and the service on top.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may fail loudly")]

#[path = "../common/mod.rs"]
mod common;
mod contract;
mod faults;
#[path = "../common/s3.rs"]
#[allow(dead_code, reason = "every test uses a part of this")]
mod server;
mod service;
