//! Two versions side by side, as in an upgrade process by process and on the way back.
//!
//! The other version's program is at `$REVERIE_OTHER_VERSION`; `make test-versions` builds one of the next version and runs
//! this with it, and any older binary will do too. Without it there is nothing to compare, and the test says so.

use std::{io::Write, path::PathBuf};

use serde_json::{Value, json};
use tokio::process::Command;

use crate::{
    audit::audit,
    common::client::{Client, problem},
    load_client::id,
    machines::{Fleet, LEASE, Plan},
    rolling::{Clients, until_asked},
    until,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_versions_work_side_by_side() {
    let test = "two_versions_work_side_by_side";
    let Some(other) = std::env::var_os("REVERIE_OTHER_VERSION").map(PathBuf::from) else {
        let line = format!("skipped: {test}: REVERIE_OTHER_VERSION names no program (make test-versions)\n");
        let _ = std::io::stderr().write_all(line.as_bytes());
        return;
    };
    let Some(mut fleet) = Fleet::start(test, Plan::default()).await else { return };
    // As deploy/ has it: first the schema, then one process after another.
    let migrated = Command::new(&other)
        .arg("migrate")
        .env("REVERIE__STORAGE__DATABASE", fleet.cluster.url_of(&fleet.database))
        .env("REVERIE__QUEUE__LEASE_SECONDS", LEASE)
        .env("REVERIE__QUEUE__CAPACITY", "1000")
        .output()
        .await
        .unwrap();
    assert!(migrated.status.success(), "{}", String::from_utf8_lossy(&migrated.stderr));
    let clients = Clients::start(&fleet);
    // Half of the fleet is of the other version for a while, and this one's again afterwards: the downgrade.
    for version in [Some(&*other), None] {
        until_asked(&fleet).await;
        fleet.apis[1].become_version(version).await;
        fleet.workers[1].become_version(version).await;
        if version.is_some() {
            a_job_of_the_next_version_is_its_own(&fleet).await;
        }
        for worker in &fleet.workers {
            let before = worker.logged("job ended");
            until("workers of both versions work", async || worker.logged("job ended") > before).await;
        }
    }
    let ordered = clients.end().await;
    audit(&fleet, &ordered).await;
    fleet.tell(test, ordered.len(), "on two versions side by side");
}

/// A spec that this version cannot read is rendered by the other one, and answered for by nobody else. An older version
/// refuses it, and there is nothing to see.
async fn a_job_of_the_next_version_is_its_own(fleet: &Fleet) {
    let [here, there] = [0, 1].map(|api| Client::new(fleet.ports[api].url()));
    let spec = json!({
        "preset": "surreal", "objectives": [{ "kind": "l2", "layer": "block2" }],
        "octaves": 1, "iterations": 1, "noise": { "width": 64, "height": 48 },
    });
    let answer = there.post_bytes("application/json", json!({ "spec": spec }).to_string()).await;
    if answer.status() == 422 {
        return;
    }
    assert_eq!(answer.status(), 202);
    let job = answer.json::<Value>().await.unwrap();
    let job = id(&job);
    there.dream(&job).await;
    let refusal = problem(here.get(&format!("/v1/jobs/{job}")).await, 503).await;
    assert_eq!(refusal["type"], "urn:reverie:problem:newer-version");
}
