//! What clients and the machines in between may rely on: compression, timeouts, request ids, and
//! who they are taken for.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may fail loudly")]

mod common;

use std::{fs::File, sync::Arc, time::Duration};

use axum::{Router, body::Body, routing::get};
use bytes::Bytes;
use common::{
    client::{DEADLINE, form, quick},
    picture,
    process::ServerProcess,
    server::{Setup, TestServer},
};
use reqwest::{StatusCode, header::HeaderMap};
use reverie::http::{
    connections::Connections,
    server::{self, Terms, Timeouts},
};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::Notify,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

/// Asks with headers of our choice and unpacks nothing.
async fn raw(server: &TestServer, path: &str, headers: &[(&str, &str)]) -> (StatusCode, HeaderMap, Bytes) {
    let plain = reqwest::Client::builder().no_gzip().build().unwrap();
    let mut request = plain.get(format!("{}{path}", server.client.url));
    for &(name, value) in headers {
        request = request.header(name, value);
    }
    let response = request.send().await.unwrap();
    (response.status(), response.headers().clone(), response.bytes().await.unwrap())
}

#[tokio::test]
async fn long_json_is_compressed_for_those_who_ask() {
    let server = TestServer::start().await;
    let layers = "/v1/models/efficientnet-lite0/layers";
    let (_, headers, plain) = raw(&server, layers, &[]).await;
    assert!(!headers.contains_key("content-encoding"));
    let (_, headers, packed) = raw(&server, layers, &[("accept-encoding", "gzip")]).await;
    assert_eq!(headers["content-encoding"], "gzip");
    assert!(headers["vary"].to_str().unwrap().contains("accept-encoding"));
    assert!(packed.len() * 4 < plain.len(), "{} of {}", packed.len(), plain.len());
    let unpacked: Value = server.client.get(layers).await.json().await.unwrap();
    assert_eq!(unpacked, serde_json::from_slice::<Value>(&plain).unwrap());

    // A job's entity tag holds either way.
    let id = server.client.submit(picture(64, 64), &quick()).await;
    server.client.dream(&id).await;
    let job = format!("/v1/jobs/{id}");
    let gzip = ("accept-encoding", "gzip");
    let (_, headers, body) = raw(&server, &job, &[gzip]).await;
    let etag = headers["etag"].to_str().unwrap().to_owned();
    assert!(!headers.contains_key("content-encoding") && !etag.starts_with("W/"), "{etag}");
    assert!(body.len() > 1400, "short answers are not compressed anyway");
    assert_eq!(raw(&server, &job, &[gzip, ("if-none-match", &etag)]).await.0, 304);
    // Pictures and short answers are left alone.
    for path in [format!("{job}/result"), "/healthz".to_owned()] {
        let (_, headers, _) = raw(&server, &path, &[gzip]).await;
        assert!(!headers.contains_key("content-encoding"), "{path}");
        assert!(headers.contains_key("content-length"), "{path}");
    }
}

#[tokio::test]
async fn whoever_refuses_plain_answers_gets_them_all_the_same() {
    let server = TestServer::idle().await;
    for (accepted, coding) in [
        ("identity;q=0", None),
        ("*;q=0", None),
        ("gzip;q=0, Identity ; q=0.0", None),
        ("gzip, *;q=0", Some("gzip")),
        ("gzip;q=0.5, identity;q=0", Some("gzip")),
    ] {
        let accept = [("accept-encoding", accepted)];
        let (status, headers, _) = raw(&server, "/v1/models/efficientnet-lite0/layers", &accept).await;
        let found = headers.get("content-encoding").map(|coding| coding.to_str().unwrap());
        assert_eq!((status.as_u16(), found), (200, coding), "{accepted}");
    }
    let request = server.client.http.post(format!("{}/v1/jobs", server.client.url));
    let request =
        request.header("accept-encoding", "identity;q=0").multipart(form(picture(64, 64), &quick()));
    assert_eq!(request.send().await.unwrap().status(), 202);
}

#[tokio::test]
async fn request_ids_that_are_fit_for_a_log_are_kept() {
    let server = TestServer::idle().await;
    let (long, longer) = ("x".repeat(128), "x".repeat(129));
    for (id, kept) in [("job-17", true), (&*long, true), (&*longer, false), ("a b", false)] {
        let (_, headers, _) = raw(&server, "/healthz", &[("x-request-id", id)]).await;
        let found = headers["x-request-id"].to_str().unwrap();
        assert_eq!(found == id, kept, "{id}: {found}");
        assert!(kept || found.len() == 36, "{found}");
    }
}

#[tokio::test]
async fn pages_may_send_what_the_service_reads() {
    let mut setup = Setup::new().await;
    setup.config.server.cors_origins = vec!["https://dreams.example".into()];
    let server = Setup { works: false, ..setup }.start().await;
    let request =
        server.client.http.request(reqwest::Method::OPTIONS, format!("{}/v1/jobs", server.client.url));
    let request = request.header("origin", "https://dreams.example");
    let request = request.header("access-control-request-method", "POST");
    let wanted = ["traceparent", "tracestate", "x-request-id", "idempotency-key", "cancel-after", "prefer"];
    let response = request.header("access-control-request-headers", wanted.join(",")).send().await.unwrap();
    let allowed = response.headers()["access-control-allow-headers"].to_str().unwrap();
    let allowed: Vec<&str> = allowed.split(',').map(str::trim).collect();
    assert!(wanted.iter().all(|name| allowed.contains(name)), "{allowed:?}");
}

#[tokio::test]
async fn links_begin_with_the_public_url_whatever_a_request_says() {
    let mut setup = Setup::new().await;
    setup.config.server.public_url = "https://dreams.example/reverie".parse().unwrap();
    setup.config.server.trusted_proxies = vec!["127.0.0.1".parse::<std::net::IpAddr>().unwrap().into()];
    let server = Setup { works: false, ..setup }.start().await;
    let id = server.client.submit(picture(64, 64), &quick()).await;
    server.client.submit(picture(64, 64), &quick()).await;
    let path = format!("/v1/jobs/{id}");
    let public = |path: &str| Value::from(format!("https://dreams.example/reverie{path}"));
    // Not even a trusted proxy changes them.
    let told = [
        ("x-forwarded-proto", "http"),
        ("x-forwarded-host", "invented.example"),
        ("forwarded", "for=192.0.2.1;proto=http;host=invented.example"),
    ];
    let json =
        async |path: &str| -> Value { serde_json::from_slice(&raw(&server, path, &told).await.2).unwrap() };
    let links = json(&path).await["links"].clone();
    assert_eq!((&links["self"], &links["result"]), (&public(&path), &Value::Null));
    assert_eq!(links["events"], public(&format!("{path}/events")));
    let next = json("/v1/jobs?limit=1").await["links"]["next"].clone();
    assert!(next.as_str().unwrap().starts_with("https://dreams.example/reverie/v1/jobs?"), "{next}");
    let model = json("/v1/models/efficientnet-lite0").await["links"].clone();
    assert_eq!(model["layers"], public("/v1/models/efficientnet-lite0/layers"));
    assert_eq!(json("/v1/models").await["models"][0]["links"], model);
    let posted = server.client.post_form(form(picture(64, 64), &quick())).await;
    let location = posted.headers()["location"].to_str().unwrap();
    assert!(location.starts_with("https://dreams.example/reverie/v1/jobs/"), "{location}");
}

#[tokio::test]
async fn a_connection_that_asks_nothing_is_closed() {
    let mut setup = Setup::new().await;
    setup.config.server.keep_alive = Duration::from_secs(1);
    let server = Setup { works: false, ..setup }.start().await;
    let address = server.client.url.strip_prefix("http://").unwrap();
    let whole = format!("GET /healthz HTTP/1.1\r\nHost: {address}\r\n\r\n");
    // Silent from the start; silent in the middle of a head; silent after an answer.
    for said in ["", "GET /healthz HTTP/1.1\r\nHo", &whole] {
        let mut connection = TcpStream::connect(address).await.unwrap();
        connection.write_all(said.as_bytes()).await.unwrap();
        let mut answer = String::new();
        let closed = timeout(DEADLINE, connection.read_to_string(&mut answer)).await;
        closed.expect("the connection stays open").unwrap();
        assert_eq!(answer.starts_with("HTTP/1.1 200"), said == whole, "{said:?}: {answer:?}");
    }
}

#[tokio::test]
async fn a_client_that_does_not_read_is_cut_off() {
    struct Told(Arc<Notify>);
    impl Drop for Told {
        fn drop(&mut self) {
            self.0.notify_one();
        }
    }
    let ended = Arc::new(Notify::new());
    let told = Arc::clone(&ended);
    // An answer without an end, which tells when nobody writes it any more.
    let endless = move || {
        let told = Told(Arc::clone(&told));
        let pieces = futures::stream::repeat_with(move || {
            let _held = &told;
            Ok::<_, std::io::Error>(Bytes::from_static(&[0; 65_536]))
        });
        async { Body::from_stream(pieces) }
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let timeouts = Timeouts { keep_alive: DEADLINE, write: Duration::from_millis(200) };
    let router = Router::new().route("/", get(endless));
    let terms = Terms { timeouts, connections: Connections::few(), tls: None };
    tokio::spawn(server::serve(listener, router, terms, CancellationToken::new()));
    let mut connection = TcpStream::connect(address).await.unwrap();
    connection.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    timeout(DEADLINE, ended.notified()).await.expect("the server waits for ever");
}

#[tokio::test]
async fn the_log_names_the_client_behind_a_trusted_proxy() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let settings = [
        ("REVERIE__LOG__FORMAT", "json"),
        ("REVERIE__LOG__FILTER", "info"),
        ("REVERIE__SERVER__TRUSTED_PROXIES", "127.0.0.1,10.0.0.0/8"),
    ];
    let mut command = ServerProcess::command(folder.path(), &settings);
    command.stderr(File::create(&log).unwrap());
    let server = ServerProcess::of(command).await;
    let request = server.client.http.get(format!("{}/healthz", server.client.url));
    let request =
        request.header("x-forwarded-for", "198.51.100.7, 192.0.2.1").header("x-request-id", "abc-1");
    let response = request.send().await.unwrap();
    // Whoever numbers requests already is left to it.
    assert_eq!(response.headers()["x-request-id"], "abc-1");
    server.terminate();
    assert!(server.ended().await);
    let text = std::fs::read_to_string(&log).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let answered: Vec<&Value> = lines.iter().filter(|line| line["message"] == "answered").collect();
    assert_eq!(answered.len(), 1, "{text}");
    let span = &answered[0]["spans"][0];
    assert_eq!((&span["client"], &span["id"]), (&"192.0.2.1".into(), &"abc-1".into()), "{text}");
}
