//! Reverie renders DeepDreams as a service.
//!
//! ```text
//! http ──► jobs, objects ◄── worker ──► render ──► graph ◄── import ◄── models
//!                                          └──► picture      (spec is read by all)
//! ```
//!
//! Imports point one way: nothing imports [`http`], and only [`render`] knows libtorch.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod admission;
pub mod app;
pub mod cli;
pub mod clock;
pub mod config;
pub mod http;
pub mod jobs;
pub mod metrics;
pub mod objects;
pub mod private;
pub mod recent;
pub mod telemetry;
pub mod worker;

/// Also what libtorch allocates with. The C library's allocator hands every map back to the system when it is freed, and
/// the next step's maps come with page faults: 15 % of a dream's time. Here rather than in the program, so that tests
/// and benchmarks have it too. Not where inputs are searched for: AddressSanitizer has an allocator of its own.
#[cfg(all(target_os = "linux", not(fuzzing)))]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
