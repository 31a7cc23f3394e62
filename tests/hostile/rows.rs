//! Rows of a newer version under a real server: it starts, works around them, and leaves them as they are.

use std::{path::Path, time::Duration};

use reverie::{
    clock::Clock,
    jobs::{JobId, JobQueue, NewJob, QueueOptions, sqlite::SqliteQueue},
};
use reverie_dream::spec;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection, SqliteConnection, sqlite::SqliteConnectOptions};

use crate::common::{
    client::{problem, quick},
    process::ServerProcess,
    server::catalogue,
};

async fn connect(folder: &Path) -> SqliteConnection {
    let options = SqliteConnectOptions::new().filename(folder.join("jobs.sqlite3"));
    SqliteConnection::connect_with(&options.busy_timeout(Duration::from_secs(10))).await.unwrap()
}

/// Jobs from noise that wait, with specs as `change` leaves them; none needs a picture.
async fn add(folder: &Path, changes: &[fn(&mut Value)]) -> Vec<JobId> {
    let (capacity, lease) = (64, Duration::from_secs(30));
    let options = QueueOptions {
        capacity,
        lease,
        max_attempts: 3,
        clock: Clock::system(),
        tenants: Default::default(),
    };
    let queue = SqliteQueue::open(&folder.join("jobs.sqlite3"), options).await.unwrap();
    let mut wanted = quick();
    wanted["noise"] = json!({ "width": 64, "height": 64 });
    let start = spec::InputKind::Nothing { image: "" };
    let spec = spec::resolve("", wanted, &*catalogue().await, start).unwrap();
    let mut ids = Vec::new();
    for change in changes {
        let id = JobId::new();
        queue.enqueue(NewJob::new(id, spec.clone())).await.unwrap();
        let mut newer = serde_json::to_value(&spec).unwrap();
        change(&mut newer);
        let update = format!("UPDATE jobs SET spec = '{newer}' WHERE id = '{id}'");
        sqlx::raw_sql(AssertSqlSafe(update)).execute(&mut connect(folder).await).await.unwrap();
        ids.push(id);
    }
    queue.close().await;
    ids
}

#[tokio::test]
async fn a_server_works_beside_rows_of_tomorrow() {
    let folder = tempfile::tempdir().unwrap();
    let ids = add(
        folder.path(),
        &[
            |spec| spec["preset"] = "surreal".into(),
            |spec| spec["normalization"] = "whitening".into(),
            |spec| spec["format"] = "avif".into(),
            |spec| spec["palette"] = json!({ "colours": ["teal"] }),
        ],
    )
    .await;
    let (strange, extended) = (&ids[..3], ids[3]);
    // One of them was at work when its server ended.
    let running = format!(
        "UPDATE jobs SET state = 'running', attempt = 1, lease_token = '{}', lease_expires_at = 1, started_at = 1
        WHERE id = '{}'",
        uuid::Uuid::new_v4(),
        strange[2]
    );
    sqlx::raw_sql(AssertSqlSafe(running)).execute(&mut connect(folder.path()).await).await.unwrap();
    for start in 0..2 {
        let server = ServerProcess::start(folder.path(), &[("REVERIE__LOG__FILTER", "off")]).await;
        assert_eq!(server.client.get("/readyz").await.status(), 200);
        // It is behind the others in the queue, and what is not known of it is no reason to refuse it.
        server.client.dream(&extended.to_string()).await;
        for id in strange {
            let refused = problem(server.client.get(&format!("/v1/jobs/{id}")).await, 503).await;
            assert_eq!(refused["type"], "urn:reverie:problem:newer-version");
        }
        let list = server.client.get("/v1/jobs").await;
        assert_eq!(list.status(), 200);
        let list: Value = list.json().await.unwrap();
        assert_eq!(list["jobs"].as_array().unwrap().len(), 1, "start {start}");
        assert_eq!(server.admin.get("/metrics").await.status(), 200);
        server.terminate();
        assert!(server.ended().await);
    }
    let snapshot =
        "SELECT group_concat(state || ' ' || attempt, ', ') FROM (SELECT * FROM jobs ORDER BY id LIMIT 3)";
    let snapshot: String =
        sqlx::query_scalar(snapshot).fetch_one(&mut connect(folder.path()).await).await.unwrap();
    // The attempt that was lost is the only one that counts.
    assert_eq!(snapshot, "queued 0, queued 0, queued 1");
    let kept = format!("SELECT spec FROM jobs WHERE id = '{extended}'");
    let kept: String =
        sqlx::query_scalar(AssertSqlSafe(kept)).fetch_one(&mut connect(folder.path()).await).await.unwrap();
    assert!(kept.contains(r#""palette":{"colours":["teal"]}"#), "{kept}");
}

/// `auto` means what it meant at the first attempt, whatever this machine would choose: the same bytes after a crash.
#[tokio::test]
async fn a_precision_that_was_decided_stays() {
    let folder = tempfile::tempdir().unwrap();
    let ids = add(folder.path(), &[|_| {}, |_| {}]).await;
    let decided = ["fp32", "bf16"];
    for (id, decided) in ids.iter().zip(decided) {
        let update = format!("UPDATE jobs SET resolved_precision = '{decided}' WHERE id = '{id}'");
        sqlx::raw_sql(AssertSqlSafe(update)).execute(&mut connect(folder.path()).await).await.unwrap();
    }
    let server = ServerProcess::start(folder.path(), &[("REVERIE__LOG__FILTER", "off")]).await;
    for (id, decided) in ids.iter().zip(decided) {
        let dream = server.client.dream(&id.to_string()).await;
        let recipe = reverie_picture::recipe::extract(&dream).unwrap();
        let recipe: Value = serde_json::from_str(&recipe).unwrap();
        assert_eq!(recipe["spec"]["precision"], decided, "{recipe}");
    }
}
