//! Two versions side by side, as in an upgrade process by process and on the way back.
//!
//! The other version's program is at `$REVERIE_OTHER_VERSION`; `make test-versions` builds one of the next version and runs
//! this with it, and any older binary will do too. Without it there is nothing to compare, and the test says so.

use std::{io::Write, path::PathBuf};

use tokio::process::Command;

use crate::{
    audit::audit,
    machines::{Fleet, Plan},
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
        .env("REVERIE__QUEUE__LEASE_SECONDS", "4")
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
        for worker in &fleet.workers {
            let before = worker.logged("job ended");
            until("workers of both versions work", async || worker.logged("job ended") > before).await;
        }
    }
    let ordered = clients.end().await;
    audit(&fleet, &ordered).await;
    fleet.tell(test, ordered.len(), "on two versions side by side");
}
