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

use std::time::Duration;

use tokio::time::{interval, timeout};

/// Looks again until something is so, or a deadline makes it a failure.
async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let waiting = async {
        let mut looks = interval(Duration::from_millis(50));
        while !is_so().await {
            looks.tick().await;
        }
    };
    let waited = timeout(common::client::DEADLINE, waiting).await;
    assert!(waited.is_ok(), "waited in vain: {what}");
}
