//! Attacks and faults: what strangers and sick machines do to a server, and what it may cost.
//!
//! Each test names the bound that it asserts; `docs/reliability.md` lists all of them.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may fail loudly")]

#[path = "../common/mod.rs"]
mod common;

mod connections;
mod disk;
mod postgres;
mod requests;
mod retention;
mod rows;
mod sick;
mod target;
mod uploads;
