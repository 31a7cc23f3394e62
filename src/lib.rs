//! Reverie renders DeepDreams as a service.
//!
//! ```text
//! http ──► jobs, objects ◄── worker ──► reverie_engine      (all of them use the spec of reverie_dream)
//! ```
//!
//! Imports point one way: of these modules only [`app`] and [`cli`], which assemble the server, import
//! [`http`]. Only the crates below know libtorch.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod admission;
pub mod app;
pub mod auth;
pub mod cli;
pub mod clock;
pub mod config;
pub mod download;
pub mod egress;
pub mod http;
pub mod jobs;
pub mod keys;
pub mod metrics;
pub mod objects;
pub mod private;
pub mod recent;
mod retry;
pub mod telemetry;
pub mod tile;
pub mod webhooks;
pub mod worker;

/// The allocator of the whole process, including libtorch. The C library's allocator returns every mapping to
/// the system when it is freed, and mapping again in the next step costs page faults: 15 % of a dream's time.
/// It stands here rather than in the program so that tests and benchmarks use it too. Not for fuzzing:
/// AddressSanitizer has its own allocator.
#[cfg(all(target_os = "linux", not(fuzzing)))]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
