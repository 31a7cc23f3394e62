//! The service as a fleet: PostgreSQL, a bucket, nginx with the configuration from `deploy/`, two API
//! processes and two workers, all real, and clients that know only the load balancer. `scenario` runs without
//! faults; each other module injects faults while jobs run. In every case each job must end with exactly the
//! dream that one undisturbed server makes of it.
//!
//! Fleets run one at a time: two of them on one small machine would only wait for each other.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may fail loudly")]

mod audit;
mod clock;
#[path = "../common/mod.rs"]
mod common;
mod database;
mod load_client;
mod machines;
mod node;
mod rolling;
mod scenario;
#[path = "../common/s3.rs"]
#[allow(dead_code, reason = "every test uses a part of this")]
mod server;
mod store;
mod versions;
mod workers;
mod workload;

use common::until;
