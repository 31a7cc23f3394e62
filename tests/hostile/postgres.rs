//! PostgreSQL goes away: whoever asks is told soon, however many ask at once.

use std::{
    fs,
    os::unix::net::UnixListener,
    path::PathBuf,
    time::{Duration, Instant},
};

use serde_json::json;
use tokio::task::{JoinSet, block_in_place};

use crate::common::{
    client::{DEADLINE, quick},
    postgres::Cluster,
    process::ServerProcess,
};

/// Any request is answered within this time.
const BOUND: Duration = Duration::from_secs(6);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everyone_is_answered_soon_while_the_database_is_away() {
    let Some(cluster) = Cluster::with(&["-c", "fsync=off", "-c", "shared_buffers=32MB"]) else {
        assert!(std::env::var_os("CI").is_none(), "no PostgreSQL server programs");
        eprintln!("skipped: everyone_is_answered_soon_while_the_database_is_away: no PostgreSQL programs");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let url = cluster.url_of(&cluster.database().await);
    let settings = [("REVERIE__STORAGE__DATABASE", url.as_str()), ("REVERIE__LOG__FILTER", "off")];
    let server = ServerProcess::start(folder.path(), &settings).await;
    let mut spec = quick();
    spec["noise"] = json!({ "width": 64, "height": 64 });
    let body = json!({ "spec": spec }).to_string();
    let first = server.client.post_bytes("application/json", body.clone()).await;
    assert_eq!(first.status(), 202);
    block_in_place(|| cluster.stop());
    let socket = socket(&cluster);
    // The server takes its socket away last.
    while socket.exists() {
        tokio::task::yield_now().await;
    }
    // Nobody listens, as where the machine is there and the server is not.
    drop(UnixListener::bind(&socket).unwrap());
    let refused = soon(&server, &body).await;
    // Somebody listens and says nothing, as a machine that hangs.
    fs::remove_file(&socket).unwrap();
    let silent = UnixListener::bind(&socket).unwrap();
    let hanging = soon(&server, &body).await;
    drop(silent);
    fs::remove_file(&socket).unwrap();
    eprintln!(
        "the slowest of 8 answers took {:.1} s where connections are refused, {:.1} s where they hang",
        refused.as_secs_f64(),
        hanging.as_secs_f64()
    );
    block_in_place(|| cluster.start());
    // Everything works again.
    let id = server.client.submit(crate::common::picture(64, 64), &quick()).await;
    server.client.dream(&id).await;
}

/// Where the server listens, which is in its address.
fn socket(cluster: &Cluster) -> PathBuf {
    let url = cluster.url("").replace("%2F", "/");
    let folder = url.split_once('@').unwrap().1.trim_end_matches('/');
    PathBuf::from(folder).join(".s.PGSQL.5432")
}

/// Lets clients ask until the slowest answer keeps to the bound, and returns what it took: beside other load one can be late,
/// but where the service waits for too long all rounds are.
async fn soon(server: &ServerProcess, body: &str) -> Duration {
    let (began, mut least) = (Instant::now(), Duration::MAX);
    while least >= BOUND {
        assert!(began.elapsed() < DEADLINE, "the slowest of 8 answers always took {least:?} and longer");
        least = least.min(slowest(server, body).await);
    }
    least
}

/// Six clients post at once, half of them with a key, and two look; all must be told to come back. How long it took.
async fn slowest(server: &ServerProcess, body: &str) -> Duration {
    let mut clients = JoinSet::new();
    for number in 0..6 {
        let (client, body) = (server.client.clone(), body.to_owned());
        clients.spawn(async move {
            let began = Instant::now();
            let request = client.http.post(format!("{}/v1/jobs", client.url));
            let request = request.header("content-type", "application/json");
            // With a key there is one more question to the database.
            let request =
                if number % 2 == 0 { request } else { request.header("idempotency-key", number.to_string()) };
            let status = request.body(body).send().await.unwrap().status();
            (status.as_u16(), began.elapsed())
        });
    }
    for path in ["/v1/jobs", "/v1/jobs/0198c0de-5a7e-7000-8000-00000000d0e5"] {
        let client = server.client.clone();
        clients.spawn(async move {
            let began = Instant::now();
            (client.get(path).await.status().as_u16(), began.elapsed())
        });
    }
    let answers = clients.join_all().await;
    assert!(answers.iter().all(|(status, _)| *status == 503), "{answers:?}");
    answers.iter().map(|(_, took)| *took).max().unwrap()
}
