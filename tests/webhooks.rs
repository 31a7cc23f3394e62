//! Webhooks end to end: real servers tell real receivers of the end of jobs, also after they were killed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may fail loudly")]

mod common;

use std::{
    collections::HashSet,
    process::Stdio,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use common::{
    client::{Client, DEADLINE, form, pointers, problem, quick},
    picture,
    postgres::cluster,
    process::ServerProcess,
    receiver::{Answer, Received, Receiver, deliver},
    server::{Setup, TestServer},
};
use reqwest::{Response, multipart::Form};
use reverie::{
    clock::{Clock, Timestamp},
    config::Database,
    http::contract,
    keys::WebhookSecret,
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    process::{ChildStdout, Command},
    time::timeout,
};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const NEXT_SECRET: &str = "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// A server without a worker, so that its jobs end as they are canceled.
async fn idle() -> Setup {
    let mut setup = Setup { works: false, ..Setup::new().await };
    deliver(&mut setup.config, &[SECRET]);
    setup
}

/// A form of a small job with more fields.
fn told(fields: &[(&'static str, String)]) -> Form {
    let form = form(picture(64, 64), &quick());
    fields.iter().fold(form, |form, (name, value)| form.text(*name, value.clone()))
}

/// Submits a job that tells a URL of its end; its id.
async fn submit(client: &Client, url: String) -> String {
    accepted(client.post_form(told(&[("webhook", url)])).await).await
}

async fn accepted(response: Response) -> String {
    let status = response.status();
    let job: Value = response.json().await.unwrap();
    assert_eq!(status, 202, "{job}");
    job["id"].as_str().unwrap().to_owned()
}

async fn cancel(client: &Client, id: &str) {
    assert_eq!(client.post(&format!("/v1/jobs/{id}/cancel")).await.status(), 200);
}

/// The one delivery of a job.
async fn delivery(client: &Client, id: &str) -> Value {
    let list: Value = client.get(&format!("/v1/jobs/{id}/deliveries")).await.json().await.unwrap();
    assert_eq!(list["deliveries"].as_array().unwrap().len(), 1, "{list}");
    list["deliveries"][0].clone()
}

/// Waits until a job's delivery is in a state.
async fn until(client: &Client, id: &str, state: &str) -> Value {
    common::until("the delivery gets there", async || delivery(client, id).await["state"] == state).await;
    delivery(client, id).await
}

/// Statuses of the attempts.
fn statuses(delivery: &Value) -> Vec<Option<u64>> {
    delivery["attempts"].as_array().unwrap().iter().map(|attempt| attempt["status"].as_u64()).collect()
}

#[tokio::test]
async fn the_end_of_a_job_is_told_signed_and_told_again_until_it_arrives() {
    let mut setup = idle().await;
    deliver(&mut setup.config, &[NEXT_SECRET, SECRET]);
    setup.clock = Clock::driven(Timestamp::from_millis(1_700_000_000_900));
    let clock = setup.clock.clone();
    let server = setup.start().await;
    let count = AtomicU32::new(0);
    let mut receiver = Receiver::start(move |_| match count.fetch_add(1, Ordering::SeqCst) {
        0 => Answer::Status(503),
        1 => Answer::Redirect("/elsewhere".into()),
        _ => Answer::Status(204),
    })
    .await;
    let id = submit(&server.client, receiver.url("/hook?for=me")).await;
    assert_eq!(server.client.get(&format!("/v1/jobs/{id}/deliveries")).await.status(), 200);
    cancel(&server.client, &id).await;
    let mut ids = HashSet::new();
    for (attempt, seconds) in [(0, 0), (1, 6), (2, 331)] {
        clock.advance(Duration::from_secs(seconds));
        let request = receiver.next().await;
        assert_eq!(
            (&*request.target, &*request.headers["content-type"]),
            ("/hook?for=me", "application/json")
        );
        let body: Value = serde_json::from_slice(&request.body).unwrap();
        let job = server.client.job(&id).await;
        assert_eq!((&body["type"], &body["timestamp"]), (&json!("job.canceled"), &job["finished_at"]));
        assert_eq!(body["data"], job);
        let sent = clock.now().as_millis() / 1000;
        assert_eq!(request.headers["webhook-timestamp"], sent.to_string(), "attempt {attempt}");
        let webhook_id = &request.headers["webhook-id"];
        // The next secret and the one of now both sign, as `keys::webhook_secret` is compared with others' values.
        let signatures: Vec<String> = [NEXT_SECRET, SECRET]
            .map(|secret| secret.parse::<WebhookSecret>().unwrap().sign(webhook_id, sent, &request.body))
            .into();
        assert_eq!(request.headers["webhook-signature"], signatures.join(" "));
        ids.insert(webhook_id.clone());
        let made = async || statuses(&delivery(&server.client, &id).await).len() > attempt;
        common::until("the attempt is noted", made).await;
    }
    let done = until(&server.client, &id, "delivered").await;
    assert_eq!(statuses(&done), [Some(503), Some(302), Some(204)]);
    assert_eq!((done["event"].as_str(), done["next_attempt_at"].as_str()), (Some("canceled"), None));
    assert_eq!(ids, HashSet::from([done["id"].as_str().unwrap().to_owned()]), "another id each time");
    assert!(receiver.rest().is_empty(), "the redirect was followed");
    let metrics = server.admin_client().get("/metrics").await.text().await.unwrap();
    for told in [
        "attempts_total{status=\"delivered\"} 1",
        "attempts_total{status=\"pending\"} 2",
        "attempt_seconds_count 3",
    ] {
        assert!(metrics.contains(&format!("reverie_webhook_{told}")), "{told}: {metrics}");
    }
}

#[tokio::test]
async fn a_dream_is_told_and_410_ends_it_until_it_is_replayed() {
    let mut setup = Setup::new().await;
    deliver(&mut setup.config, &[SECRET]);
    let server = setup.start().await;
    let count = AtomicU32::new(0);
    let mut receiver = Receiver::start(move |_| match count.fetch_add(1, Ordering::SeqCst) {
        0 => Answer::Status(410),
        _ => Answer::Status(200),
    })
    .await;
    let body = json!({
        "image": contract::EXAMPLE_IMAGE, "spec": quick(),
        "webhook": receiver.url("/"), "webhook_events": ["succeeded"],
    });
    let id = accepted(server.client.post_bytes("application/json", body.to_string()).await).await;
    let first = receiver.next().await;
    let message: Value = serde_json::from_slice(&first.body).unwrap();
    assert_eq!(
        (&message["type"], &message["data"]["status"]),
        (&json!("job.succeeded"), &json!("succeeded"))
    );
    assert!(message["data"]["links"]["result"].is_string(), "{message}");
    until(&server.client, &id, "gone").await;
    let replayed = server.client.post(&format!("/v1/jobs/{id}/deliveries")).await;
    assert_eq!(replayed.status(), 202);
    assert_eq!(receiver.next().await.headers["webhook-id"], first.headers["webhook-id"]);
    let done = until(&server.client, &id, "delivered").await;
    assert_eq!(statuses(&done), [Some(410), Some(200)]);
    // Another end than was asked for.
    let fields = [("webhook", receiver.url("/")), ("webhook_events", "failed, expired".to_owned())];
    let quiet = accepted(server.client.post_form(told(&fields)).await).await;
    server.client.dream(&quiet).await;
    let list: Value = server.client.get(&format!("/v1/jobs/{quiet}/deliveries")).await.json().await.unwrap();
    assert_eq!(list, json!({ "deliveries": [] }));
}

#[tokio::test]
async fn a_webhook_that_cannot_be_is_refused() {
    let server = idle().await.start().await;
    let client = &server.client;
    let refused = async |fields: &[(&'static str, &str)]| {
        let fields: Vec<_> = fields.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        problem(client.post_form(told(&fields)).await, 422).await
    };
    for url in [
        "example.org",
        "ftp://127.0.0.1/",
        "http://10.0.0.1/",
        "http://user:word@127.0.0.1/",
        "http://[::1]/",
    ] {
        assert_eq!(pointers(&refused(&[("webhook", url)]).await), ["/webhook"], "{url}");
    }
    let url = ("webhook", "http://127.0.0.1:1/");
    for events in ["running", "succeeded,done", "[]"] {
        let refusal = refused(&[url, ("webhook_events", events)]).await;
        assert_eq!(pointers(&refusal), ["/webhook_events"], "{events}");
    }
    assert_eq!(pointers(&refused(&[("webhook_events", "failed")]).await), ["/webhook_events"]);
    let body = json!({ "webhook": 7, "webhook_events": "failed", "spec": { "noise": {} } });
    let refusal = problem(client.post_bytes("application/json", body.to_string()).await, 422).await;
    assert_eq!(pointers(&refusal), ["/webhook", "/webhook_events"]);
    // A repeated request that is to be told elsewhere is another request.
    let keyed = async |url: &str| {
        let request = client.http.post(format!("{}/v1/jobs", client.url)).header("idempotency-key", "k");
        request.multipart(told(&[("webhook", url.to_owned())])).send().await.unwrap()
    };
    let first = accepted(keyed("http://127.0.0.1:1/").await).await;
    assert_eq!(accepted(keyed("http://127.0.0.1:1/").await).await, first);
    assert_eq!(
        problem(keyed("http://127.0.0.1:2/").await, 422).await["type"],
        "urn:reverie:problem:key-reused"
    );
    // Without secrets nothing is signed, so nothing is promised.
    let mut setup = idle().await;
    setup.config.webhooks.secrets.clear();
    let unsigned = setup.start().await;
    let refusal = unsigned.client.post_form(told(&[("webhook", url.1.to_owned())])).await;
    assert!(problem(refusal, 422).await.to_string().contains("webhooks.secrets"));
}

#[tokio::test]
async fn a_silent_receiver_delays_no_other() {
    let server = idle().await.start().await;
    let mut silent = Receiver::start(|_| Answer::Silence).await;
    let mut quick = Receiver::start(|_| Answer::Status(200)).await;
    for _ in 0..7 {
        let id = submit(&server.client, silent.url("/")).await;
        cancel(&server.client, &id).await;
    }
    for _ in 0..4 {
        silent.next().await;
    }
    // The silent one has all the attempts that one receiver gets, and holds them; the other's is made all the same.
    let id = submit(&server.client, quick.url("/")).await;
    cancel(&server.client, &id).await;
    quick.next().await;
    until(&server.client, &id, "delivered").await;
    assert_eq!((silent.connections(), silent.rest().len()), (4, 0));
}

/// Settings of a server process that delivers.
fn settings() -> Vec<(&'static str, &'static str)> {
    vec![
        ("REVERIE__WEBHOOKS__SECRETS", SECRET),
        ("REVERIE__EGRESS__ALLOW_HTTP", "true"),
        ("REVERIE__EGRESS__ALLOWED_NETWORKS", "127.0.0.0/8"),
    ]
}

#[tokio::test]
async fn a_killed_server_tells_what_it_owes() {
    let folder = tempfile::tempdir().unwrap();
    let count = AtomicU32::new(0);
    let mut receiver = Receiver::start(move |_| match count.fetch_add(1, Ordering::SeqCst) {
        // The message arrives, and the server never learns it.
        0 => Answer::Silence,
        _ => Answer::Status(200),
    })
    .await;
    let server = ServerProcess::start(folder.path(), &settings()).await;
    let sent = submit(&server.client, receiver.url("/")).await;
    server.client.job_until(&sent, |job| job["finished_at"].is_string()).await;
    let first = receiver.next().await;
    // This one ends, and the server is killed at once: it may have told it or not.
    let owed = submit(&server.client, receiver.url("/")).await;
    server.client.job_until(&owed, |job| job["finished_at"].is_string()).await;
    server.kill().await;
    let server = ServerProcess::start(folder.path(), &settings()).await;
    let mut ids = HashSet::new();
    for id in [&sent, &owed] {
        until(&server.client, id, "delivered").await;
        ids.insert(delivery(&server.client, id).await["id"].as_str().unwrap().to_owned());
    }
    let again = receiver.rest();
    assert!(again.iter().any(|request| request.headers["webhook-id"] == first.headers["webhook-id"]));
    let told: HashSet<String> = again.iter().map(|request| request.headers["webhook-id"].clone()).collect();
    assert_eq!((told.len(), told), (2, ids));
}

#[tokio::test]
async fn a_server_that_stops_tells_the_end_of_its_last_job() {
    let folder = tempfile::tempdir().unwrap();
    let mut receiver = Receiver::start(|_| Answer::Status(200)).await;
    let server = ServerProcess::start(folder.path(), &settings()).await;
    let id = submit(&server.client, receiver.url("/")).await;
    server.client.job_until(&id, |job| job["status"] == "running").await;
    server.terminate();
    assert!(server.ended().await);
    let told = receiver.rest();
    assert_eq!(told.len(), 1, "the end of the job was not told");
    assert!(String::from_utf8_lossy(&told[0].body).contains("job.succeeded"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_tell_each_end_once() {
    let Some(cluster) = cluster("webhooks::two_processes_tell_each_end_once") else { return };
    let database = Database::Postgres(cluster.database().await);
    let mut servers: Vec<TestServer> = Vec::new();
    for _ in 0..2 {
        let mut setup = idle().await;
        setup.config.storage.database = database.clone();
        servers.push(setup.start().await);
    }
    let mut receiver = Receiver::start(|_| Answer::Status(200)).await;
    let mut jobs = Vec::new();
    for number in 0..20 {
        let client = &servers[number % 2].client;
        let id = submit(client, receiver.url("/")).await;
        cancel(client, &id).await;
        jobs.push(id);
    }
    for id in &jobs {
        until(&servers[0].client, id, "delivered").await;
    }
    let messages: Vec<Received> = receiver.rest();
    let ids: HashSet<&String> = messages.iter().map(|message| &message.headers["webhook-id"]).collect();
    assert_eq!((messages.len(), ids.len()), (jobs.len(), jobs.len()), "a message came twice");
}

/// The code in `docs/webhooks.md`, in this language.
fn receiver_of_the_guide(language: &str) -> String {
    let guide = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/webhooks.md");
    let text = std::fs::read_to_string(guide).unwrap();
    let (_, rest) = text.split_once(&format!("```{language}\n")).unwrap();
    rest.split_once("```").unwrap().0.to_owned()
}

async fn line(lines: &mut Lines<BufReader<ChildStdout>>) -> String {
    timeout(DEADLINE, lines.next_line()).await.expect("the receiver is silent").unwrap().unwrap()
}

/// The receivers of the guide know nothing of this code: they accept what the server sends, and nothing else.
#[tokio::test]
async fn the_receivers_of_the_guide_work() {
    let folder = tempfile::tempdir().unwrap();
    let mut setup = idle().await;
    deliver(&mut setup.config, &[NEXT_SECRET, SECRET]);
    let server = setup.start().await;
    for (program, language, file) in [("python3", "python", "receiver.py"), ("node", "js", "receiver.mjs")] {
        let path = folder.path().join(file);
        std::fs::write(&path, receiver_of_the_guide(language)).unwrap();
        let child = Command::new(program)
            .arg(&path)
            .env("WEBHOOK_SECRET", SECRET)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn();
        let mut child = match child {
            Ok(child) => child,
            Err(_) if std::env::var_os("CI").is_none() => {
                println!("{program} is not installed: its receiver is not tried");
                continue;
            }
            Err(error) => panic!("{program}: {error}"),
        };
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let port = line(&mut lines).await.strip_prefix("port ").unwrap().to_owned();
        let url = format!("http://127.0.0.1:{port}/");
        let id = submit(&server.client, url.clone()).await;
        cancel(&server.client, &id).await;
        assert_eq!(line(&mut lines).await, format!("job.canceled {id}"), "{program}");
        assert_eq!(statuses(&until(&server.client, &id, "delivered").await), [Some(204)], "{program}");
        // Signed by another secret, and signed long ago.
        let now = Clock::system().now().as_millis() / 1000;
        for (secret, seconds, expected) in
            [(SECRET, now, 204), (NEXT_SECRET, now, 401), (SECRET, now - 3600, 401)]
        {
            let body = r#"{"type":"job.canceled","data":{"id":"forged"}}"#;
            let signature = secret.parse::<WebhookSecret>().unwrap().sign("msg_1", seconds, body.as_bytes());
            let request = server.client.http.post(&url).header("webhook-id", "msg_1").body(body);
            let request = request.header("webhook-timestamp", seconds).header("webhook-signature", signature);
            assert_eq!(request.send().await.unwrap().status(), expected, "{program} {seconds}");
        }
    }
}
