//! Clients that behave badly, or come all at once: answers stay right, and handles and memory come back.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may fail loudly")]

mod common;

use common::{
    client::{DEADLINE, form, problem, quick},
    events::Events,
    header_bomb,
    machine::{megabytes, open_files},
    picture,
    process::ServerProcess,
    until,
};
use futures::{StreamExt, stream};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

/// A job that no test waits for keeps the worker busy, and the queue filled.
fn endless() -> Value {
    json!({ "objectives": [{ "layer": "block5" }], "octaves": 1, "iterations": 1000 })
}

/// A server whose worker is busy.
async fn busy(folder: &std::path::Path, settings: &[(&str, &str)]) -> (ServerProcess, String) {
    let settings = [settings, &[("REVERIE__LIMITS__MAX_JOB_SECONDS", "0")]].concat();
    let server = ServerProcess::start(folder, &settings).await;
    let id = server.client.submit(picture(960, 960), &endless()).await;
    // Its first steps take what memory the render needs.
    server.client.job_until(&id, |job| job["progress"]["iteration"].as_u64() >= Some(3)).await;
    (server, id)
}

/// Files that may be open beyond those of the warm-up: the pool opens connections to the database as it needs them,
/// three files each. A leak of one file in twenty requests would be more.
const POOL: usize = 24;

/// Waits until the process has at most so many files open.
async fn until_files(process: u32, most: usize) {
    until(&format!("at most {most} files are open"), async || open_files(process) <= most).await;
}

/// The memory in megabytes that no round of clients may leave behind.
const LEFT_BEHIND: u64 = 8;

/// Plays rounds of clients until two in a row leave the process's memory as it was. The render beside takes memory of its own,
/// above all in its first seconds, so a round that ends with more says nothing; what clients leave behind would be there
/// after every round, for as long as rounds are played.
async fn until_nothing_is_left(process: u32, round: impl AsyncFn()) {
    let (mut least, mut well) = (u64::MAX, 0);
    let playing = async {
        // Once may be luck, where the render has just given some back.
        while well < 2 {
            let before = megabytes(process);
            round().await;
            let left = megabytes(process).saturating_sub(before);
            well = if left < LEFT_BEHIND { well + 1 } else { 0 };
            least = least.min(left);
        }
    };
    let played = timeout(DEADLINE, playing).await;
    assert!(played.is_ok(), "memory grew by at least {least} MB in every round");
}

/// Connects, says a part of what there is to say, and goes away.
async fn hang_up(address: &str, said: &[u8]) {
    let mut connection = TcpStream::connect(address).await.unwrap();
    // The server may have hung up itself.
    let _ = connection.write_all(said).await;
}

#[tokio::test]
async fn thousands_of_clients_that_hang_up_leave_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (server, id) = busy(folder.path(), &[]).await;
    let address = server.client.url.strip_prefix("http://").unwrap().to_owned();
    let body = vec![7; 64 * 1024];
    let part = format!(
        "POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=X\r\n\
         Content-Length: {}\r\n\r\n--X\r\nContent-Disposition: form-data; name=\"image\"\r\n\r\n",
        body.len() + 200
    );
    let upload = [part.as_bytes(), &body[..body.len() / 2]].concat();
    let poll = format!("GET /v1/jobs/{id} HTTP/1.1\r\nHost: localhost\r\n\r\n").into_bytes();
    let round = async |times: usize| {
        let all = (0..times).map(|index| hang_up(&address, if index % 2 == 0 { &upload } else { &poll }));
        stream::iter(all).buffer_unordered(50).collect::<Vec<()>>().await;
    };
    // Pools and buffers are warm after this.
    round(100).await;
    let process = server.id();
    server.client.job(&id).await;
    let files = open_files(process);
    // A thousand half uploads are 32 MB.
    until_nothing_is_left(process, async || {
        round(2000).await;
        until_files(process, files + POOL).await;
    })
    .await;
    assert_eq!(std::fs::read_dir(folder.path().join("inputs")).unwrap().count(), 1);
    assert_eq!(server.client.job(&id).await["status"], "running");
}

/// Requests that the server has not answered yet, as it says itself.
async fn in_flight(server: &ServerProcess) -> usize {
    let metrics = server.admin.get("/metrics").await.text().await.unwrap();
    let line = metrics.lines().find_map(|line| line.strip_prefix("reverie_http_requests_in_flight "));
    line.unwrap().parse().unwrap()
}

/// Waits until as many requests are being answered as `wanted` likes.
async fn until_in_flight(server: &ServerProcess, wanted: impl Fn(usize) -> bool) {
    until("the requests are where they should be", async || wanted(in_flight(server).await)).await;
}

#[tokio::test]
async fn a_thousand_waits_and_streams_that_break_off_leave_nothing() {
    const AT_ONCE: usize = 50;
    let folder = tempfile::tempdir().unwrap();
    let (server, id) = busy(folder.path(), &[]).await;
    let address = server.client.url.strip_prefix("http://").unwrap().to_owned();
    let wait =
        format!("GET /v1/jobs/{id} HTTP/1.1\r\nHost: localhost\r\nPrefer: wait=60\r\n\r\n").into_bytes();
    let follow = format!("GET /v1/jobs/{id}/events HTTP/1.1\r\nHost: localhost\r\n\r\n").into_bytes();
    let open = async |said: &[u8]| {
        let mut connection = TcpStream::connect(&address).await.unwrap();
        connection.write_all(said).await.unwrap();
        connection
    };
    let round = async || {
        let waiting = futures::future::join_all((0..AT_ONCE).map(|_| open(&wait))).await;
        until_in_flight(&server, |requests| requests >= AT_ONCE).await;
        let mut streams = futures::future::join_all((0..AT_ONCE).map(|_| open(&follow))).await;
        for stream in &mut streams {
            // The head and the first event: the stream is under way.
            let mut begun = [0; 256];
            assert!(timeout(DEADLINE, stream.read(&mut begun)).await.unwrap().unwrap() > 0);
        }
        drop((waiting, streams));
        until_in_flight(&server, |requests| requests == 0).await;
    };
    round().await;
    let process = server.id();
    server.client.job(&id).await;
    let files = open_files(process);
    until_nothing_is_left(process, async || {
        for _ in 0..5 {
            round().await;
        }
        until_files(process, files + POOL).await;
    })
    .await;
    assert_eq!(server.client.job(&id).await["status"], "running");
}

#[tokio::test]
async fn a_header_bomb_costs_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let server = ServerProcess::start(folder.path(), &[]).await;
    let memory = megabytes(server.id());
    let bombs = (0..20).map(|_| server.client.post_form(form(header_bomb(60_000, 60_000), &quick())));
    for refused in futures::future::join_all(bombs).await {
        problem(refused, 422).await;
    }
    let grown = megabytes(server.id()).saturating_sub(memory);
    // One such picture would take 10 GB.
    assert!(grown < 256, "memory grew by {grown} MB");
}

#[tokio::test]
async fn two_hundred_streams_and_a_thousand_pollers_are_answered() {
    let folder = tempfile::tempdir().unwrap();
    let (server, id) = busy(folder.path(), &[]).await;
    let memory = megabytes(server.id());
    let path = format!("/v1/jobs/{id}");
    let mut streams = Vec::new();
    for _ in 0..200 {
        let mut events = Events::open(&server.client, &id, None).await;
        assert!(matches!(events.next().await.unwrap().name.as_str(), "progress" | "preview"));
        streams.push(events);
    }
    // All at once, each three times, while a render goes on.
    let poller = async || {
        for _ in 0..3 {
            let response = server.client.get(&path).await;
            assert_eq!(response.status(), 200);
            response.json::<Value>().await.unwrap();
        }
    };
    futures::future::join_all((0..1000).map(|_| poller())).await;
    let grown = megabytes(server.id()).saturating_sub(memory);
    assert!(grown < 256, "memory grew by {grown} MB");
    assert_eq!(server.admin.get("/readyz").await.status(), 200);
    // Everyone hears the end.
    server.client.post(&format!("{path}/cancel")).await;
    let ended = futures::future::join_all(streams.iter_mut().map(|events| async {
        let mut last = None;
        while let Some(event) = events.next().await {
            last = Some(event.name);
        }
        last
    }));
    let ended = ended.await;
    assert!(ended.iter().all(|last| last.as_deref() == Some("canceled")), "{ended:?}");
}

#[tokio::test]
async fn a_hundred_uploads_find_ten_places() {
    let folder = tempfile::tempdir().unwrap();
    let (server, id) = busy(folder.path(), &[("REVERIE__QUEUE__CAPACITY", "10")]).await;
    let endless = server.client.job(&id).await["metrics"]["predicted_seconds"].as_f64().unwrap() as u64;
    let memory = megabytes(server.id());
    let uploads = (0..100).map(|_| server.client.post_form(form(picture(256, 256), &quick())));
    let mut accepted = 0;
    for response in futures::future::join_all(uploads).await {
        if response.status() == 202 {
            accepted += 1;
            continue;
        }
        let wait = response.headers()["retry-after"].to_str().unwrap().parse::<u64>().unwrap();
        // Half of the endless job at least, all of it at most, and up to ten quick ones.
        assert!((endless / 2..endless + 60).contains(&wait), "{wait} of {endless}");
        problem(response, 429).await;
    }
    assert_eq!(accepted, 10);
    assert_eq!(std::fs::read_dir(folder.path().join("inputs")).unwrap().count(), 11);
    let grown = megabytes(server.id()).saturating_sub(memory);
    assert!(grown < 256, "memory grew by {grown} MB");
}
