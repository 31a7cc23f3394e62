//! What whoever runs the service sees of it: health on both listeners, metrics, and the commands around it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may fail loudly")]

mod common;

use std::{
    collections::HashMap,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use common::{
    client::{Client, form, problem, quick},
    picture,
    ports::ReservedPort,
    process::ServerProcess,
    server::TestServer,
};
use reverie::{
    config::ServerConfig,
    http::{admin::AdminServer, hosts::Gate, server::Timeouts},
};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// One request from a thread that does nothing else, as from another machine.
fn ask(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(common::client::DEADLINE)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[tokio::test]
async fn readiness_is_not_liveness() {
    let server = TestServer::start().await;
    for client in [server.client.clone(), server.admin_client()] {
        assert_eq!(client.get("/healthz").await.status(), 200);
        let ready = client.get("/readyz").await;
        assert_eq!(ready.status(), 200);
        let checks =
            json!({ "started": true, "accepting": true, "database": true, "store": true, "workers": 1 });
        assert_eq!(ready.json::<Value>().await.unwrap()["checks"], checks);
    }

    let idle = TestServer::idle().await;
    assert_eq!(checks(&idle.client).await["workers"], 0);
    let store = idle.state.config.storage.dir.join("results");
    std::fs::remove_dir(&store).unwrap();
    assert_eq!(checks(&idle.admin_client()).await["store"], false);
    std::fs::create_dir(&store).unwrap();
    assert_eq!(checks(&idle.admin_client()).await["store"], true);
    idle.state.queue.close().await;
    assert_eq!(checks(&idle.client).await["database"], false);
    assert_eq!(idle.client.get("/healthz").await.status(), 200);
    // Nothing of the cause goes out.
    let refused = problem(idle.client.get("/v1/jobs/0198c0de-0000-7000-8000-000000000000").await, 503).await;
    assert!(!refused.to_string().contains("pool"), "{refused}");
}

/// The checks of a server that is not ready.
async fn checks(client: &Client) -> Value {
    let unready = client.get("/readyz").await;
    assert_eq!(unready.status(), 503);
    unready.json::<Value>().await.unwrap()["checks"].take()
}

#[tokio::test]
async fn a_starting_server_is_alive_and_not_ready() {
    let timeouts = Timeouts { keep_alive: common::client::DEADLINE, write: common::client::DEADLINE };
    let admin =
        AdminServer::start("127.0.0.1:0", timeouts, Gate::new(&ServerConfig::default(), "127.0.0.1:0"))
            .unwrap();
    let client = Client::new(format!("http://{}", admin.address));
    assert_eq!(client.get("/healthz").await.status(), 200);
    assert_eq!(checks(&client).await["started"], false);
    problem(client.get("/v1/jobs").await, 404).await;
    // Dropping it with a connection open ends it.
    let server = TestServer::idle().await;
    admin.attach(server.state.clone());
    assert_eq!(checks(&client).await["started"], true);
}

#[tokio::test]
async fn health_is_told_while_everything_else_is_stuck() {
    let server = TestServer::start().await;
    // This test's only thread is the one that serves the first listener: while it waits here, nothing there is
    // answered.
    for path in ["/healthz", "/readyz"] {
        let answer = ask(server.admin.address, path);
        assert!(answer.starts_with("HTTP/1.1 200"), "{path}: {answer}");
    }
}

/// The samples of an exposition by name and labels, each line looked at.
fn samples(text: &str) -> HashMap<String, f64> {
    let mut samples = HashMap::new();
    let mut typed: Vec<&str> = Vec::new();
    assert!(text.ends_with("# EOF\n"));
    for line in text.lines() {
        if let Some(comment) = line.strip_prefix("# ") {
            if let Some(kind) = comment.strip_prefix("TYPE ") {
                typed.push(kind.split(' ').next().unwrap());
            }
            continue;
        }
        let (name, value) = line.rsplit_once(' ').unwrap();
        let metric = name.split('{').next().unwrap();
        let known = |typed: &&str| metric.strip_prefix(*typed).is_some_and(is_suffix);
        assert!(typed.iter().any(known), "{line} has no TYPE");
        assert!(samples.insert(name.to_owned(), value.parse().unwrap()).is_none(), "{line} is there twice");
    }
    samples
}

fn is_suffix(suffix: &str) -> bool {
    matches!(suffix, "" | "_total" | "_bucket" | "_count" | "_sum" | "_info")
}

#[tokio::test]
async fn a_storage_that_is_away_is_said_to_be() {
    let server = TestServer::idle().await;
    let inputs = server.state.config.storage.dir.join("inputs");
    let away = inputs.with_extension("away");
    // As where a disk was unmounted, and something else is in its place.
    std::fs::rename(&inputs, &away).unwrap();
    std::fs::write(&inputs, "").unwrap();
    let refused = server.client.post_form(form(picture(64, 64), &quick())).await;
    assert!(refused.headers().contains_key("retry-after"));
    let refused = problem(refused, 503).await;
    assert_eq!(refused["type"], "urn:reverie:problem:unavailable");
    assert_eq!(server.client.get("/readyz").await.status(), 503);
    assert_eq!(server.client.get("/healthz").await.status(), 200);
    std::fs::remove_file(&inputs).unwrap();
    std::fs::rename(&away, &inputs).unwrap();
    server.client.submit(picture(64, 64), &quick()).await;
    assert_eq!(server.state.queue.depth().await.unwrap(), 1);
}

#[tokio::test]
async fn nothing_is_accepted_while_the_storage_is_another() {
    let server = TestServer::start().await;
    let dir = server.state.config.storage.dir.clone();
    let away = dir.with_extension("away");
    let done = server.client.submit(picture(64, 64), &quick()).await;
    server.client.dream(&done).await;
    let post = || server.client.post_form(form(picture(64, 64), &quick()));
    std::fs::rename(&dir, &away).unwrap();
    // Nothing where it was; then an empty place, as where a disk was unmounted.
    for _ in 0..2 {
        assert_eq!(problem(post().await, 503).await["type"], "urn:reverie:problem:unavailable");
        assert_eq!(checks(&server.client).await["store"], false);
        // Not lost, and not gone.
        problem(server.client.get(&format!("/v1/jobs/{done}/result")).await, 503).await;
        std::fs::create_dir_all(dir.join("inputs")).unwrap();
        assert!(std::fs::read_dir(dir.join("inputs")).unwrap().next().is_none());
    }
    std::fs::remove_dir_all(&dir).unwrap();
    std::fs::rename(&away, &dir).unwrap();
    // Bad news is believed for a second.
    server.client.until_found("/readyz").await;
    let id = server.client.submit(picture(64, 64), &quick()).await;
    server.client.dream(&id).await;
    server.client.dream(&done).await;
}

#[tokio::test]
async fn metrics_tell_what_was_done() {
    let server = TestServer::start().await;
    let id = server.client.submit(picture(96, 80), &quick()).await;
    server.client.dream(&id).await;
    server.client.get("/v1/no/such/path").await;
    let strange = reqwest::Method::from_bytes(b"BREW").unwrap();
    server.client.request(strange, "/v1/models").await;
    let response = server.admin_client().get("/metrics").await;
    assert_eq!(response.status(), 200);
    assert!(response.headers()["content-type"].to_str().unwrap().starts_with("application/openmetrics-text"));
    let text = response.text().await.unwrap();
    assert!(!text.contains(&id), "a path got into the labels");
    let samples = samples(&text);
    for (name, expected) in [
        ("reverie_jobs{status=\"succeeded\"}", 1.0),
        ("reverie_jobs{status=\"queued\"}", 0.0),
        ("reverie_jobs_ended_total{status=\"succeeded\"}", 1.0),
        ("reverie_jobs_ended_total{status=\"failed\"}", 0.0),
        ("reverie_jobs_ended_total{status=\"canceled\"}", 0.0),
        ("reverie_jobs_ended_total{status=\"expired\"}", 0.0),
        ("reverie_jobs_ended_total{status=\"queued\"}", 0.0),
        ("reverie_queue_oldest_seconds", 0.0),
        ("reverie_queue_capacity", 100.0),
        ("reverie_workers", 1.0),
        ("reverie_claim_seconds_count", 1.0),
        ("reverie_job_wait_seconds_count", 1.0),
        ("reverie_job_render_seconds_count", 1.0),
        ("reverie_job_total_seconds_count", 1.0),
        ("reverie_rendered_pixels_total", 96.0 * 80.0),
        ("reverie_iterations_total", 4.0),
        ("reverie_http_requests_total{method=\"POST\",route=\"/v1/jobs\",status=\"202\"}", 1.0),
        ("reverie_http_requests_total{method=\"GET\",route=\"/v1/jobs/{id}/result\",status=\"200\"}", 1.0),
        ("reverie_http_requests_total{method=\"GET\",route=\"none\",status=\"404\"}", 1.0),
        ("reverie_http_requests_total{method=\"other\",route=\"/v1/models\",status=\"405\"}", 1.0),
        ("reverie_http_request_seconds_count{method=\"POST\",route=\"/v1/jobs\"}", 1.0),
        ("reverie_http_requests_in_flight", 0.0),
    ] {
        assert_eq!(samples.get(name), Some(&expected), "{name} in\n{text}");
    }
    for name in ["reverie_worker_busy_seconds_total", "reverie_job_render_seconds_sum"] {
        assert!(samples[name] > 0.0, "{name} in\n{text}");
    }
    if cfg!(target_os = "linux") {
        assert!(samples["process_resident_memory_bytes"] > 1e7, "{text}");
        assert!(samples["process_open_fds"] > 3.0, "{text}");
        assert!(samples["process_cpu_seconds_total"] > 0.0, "{text}");
    }

    let idle = TestServer::idle().await;
    idle.client.submit(picture(64, 64), &quick()).await;
    let scrape = async || self::samples(&idle.admin_client().get("/metrics").await.text().await.unwrap());
    assert_eq!(scrape().await["reverie_jobs{status=\"queued\"}"], 1.0);
    // What ends while it waits is counted as well, and once: canceled twice, erased, and past its deadline.
    let ids = [
        idle.client.submit(picture(64, 64), &quick()).await,
        idle.client.submit(picture(64, 64), &quick()).await,
    ];
    for _ in 0..2 {
        assert_eq!(idle.client.post(&format!("/v1/jobs/{}/cancel", ids[0])).await.status(), 200);
    }
    for id in ids {
        idle.client.request(reqwest::Method::DELETE, &format!("/v1/jobs/{id}")).await;
    }
    let late = form(picture(64, 64), &quick()).text("deadline_seconds", "1");
    let late: Value = idle.client.post_form(late).await.json().await.unwrap();
    idle.client.job_until(late["id"].as_str().unwrap(), |job| job["status"] == "expired").await;
    let ended = |samples: &HashMap<String, f64>, status| {
        samples[&format!("reverie_jobs_ended_total{{status=\"{status}\"}}")]
    };
    // The row says so a moment before it is counted.
    let counted = async {
        loop {
            let samples = scrape().await;
            if ended(&samples, "expired") > 0.0 {
                return samples;
            }
        }
    };
    let samples = tokio::time::timeout(common::client::DEADLINE, counted).await.expect("it is never counted");
    assert_eq!((ended(&samples, "canceled"), ended(&samples, "expired")), (2.0, 1.0));
    // Without its store the service still tells the rest.
    idle.state.queue.close().await;
    let samples = scrape().await;
    assert!(!samples.contains_key("reverie_jobs{status=\"queued\"}"));
    assert!(samples.contains_key("reverie_http_requests_in_flight"));
}

/// Runs the program; whether it succeeded, and what it said.
async fn reverie(arguments: &[&str], settings: &[(&str, &str)]) -> (bool, String) {
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_reverie"));
    let output = command.args(arguments).envs(settings.iter().copied()).output().await.unwrap();
    let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    (output.status.success(), said)
}

#[tokio::test]
async fn a_probe_needs_no_other_program() {
    let server = TestServer::idle().await;
    let address = server.admin.address.to_string();
    let settings = [("REVERIE__SERVER__ADMIN_LISTEN", address.as_str())];
    let (well, said) = reverie(&["health", "--alive"], &settings).await;
    assert!(well && said.contains("\"ok\""), "{said}");
    // Liveness, but there is no worker.
    let (well, said) = reverie(&["health"], &settings).await;
    assert!(!well && said.contains("\"workers\":0"), "{said}");
    // The first listener, where there is no other.
    let listen = server.client.url.strip_prefix("http://").unwrap();
    let settings = [("REVERIE__SERVER__ADMIN_LISTEN", ""), ("REVERIE__SERVER__LISTEN", listen)];
    assert!(reverie(&["health", "--alive"], &settings).await.0);
    let url = format!("{}/healthz", server.client.url);
    assert!(reverie(&["health", "--url", &url], &[]).await.0);
    // An address alone: is it ready?
    let (well, said) = reverie(&["health", "--url", &server.client.url], &[]).await;
    assert!(!well && said.contains("\"workers\":0"), "{said}");
    // Nobody there.
    let closed = ReservedPort::new();
    let (well, said) = reverie(&["health", "--url", &format!("{}/", closed.url())], &[]).await;
    assert!(!well && said.contains("does not answer"), "{said}");
    let (well, said) = reverie(&["health", "--url", "ftp://example.org"], &[]).await;
    assert!(!well && said.contains("not an http:// URL"), "{said}");
}

#[tokio::test]
async fn a_probe_ends_in_time_whatever_answers() {
    // What each says at first, and then over and over.
    for (first, piece, reason) in [
        ("HTTP/1.1 200 OK\r\nx-drip: ", "x", "does not answer"),
        ("HTTP/1.1 200 OK\r\n\r\n", "x", "does not answer"),
        ("SSH-2.0-OpenSSH_9.2\r\n", "x", "is not HTTP"),
    ] {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let answering = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            // An HTTP server waits for the request; one of SSH speaks first.
            if first.starts_with("HTTP") {
                let mut request = [0; 4096];
                assert!(stream.read(&mut request).await.unwrap() > 0);
            }
            stream.write_all(first.as_bytes()).await.unwrap();
            let mut ticks = tokio::time::interval(Duration::from_millis(50));
            // Until the probe hangs up.
            while stream.write_all(piece.as_bytes()).await.is_ok() {
                ticks.tick().await;
            }
        });
        let probe = ["health", "--url", &url, "--timeout", "1"];
        let probing = tokio::time::timeout(common::client::DEADLINE, reverie(&probe, &[]));
        let (well, said) = probing.await.expect("the probe waits for ever");
        assert!(!well && said.contains(reason), "{said}");
        answering.abort();
    }
}

#[tokio::test]
async fn a_configuration_is_checked_without_a_start() {
    let shipped = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/reverie.toml");
    let (right, said) = reverie(&["serve", "--check-config", "--config", shipped], &[]).await;
    assert!(right, "{said}");
    let settings = [("REVERIE__QUEUE__CAPACITY", "-1"), ("REVERIE__SERVER__ADMIN_LISTEN", "nowhere")];
    let (right, said) = reverie(&["serve", "--check-config"], &settings).await;
    assert!(!right && said.contains("queue.capacity") && said.contains("server.admin_listen"), "{said}");
}

#[tokio::test]
async fn a_taken_address_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let mut server = ServerProcess::command(folder.path(), &[("REVERIE__SERVER__ADMIN_LISTEN", &address)]);
    let output = server.stderr(std::process::Stdio::piped()).output().await.unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && said.contains("server.admin_listen"), "{said}");
}
