//! nginx with the shipped configuration in front of real servers.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    os::unix::fs::PermissionsExt,
    time::{Duration, Instant},
};

use futures::future::join_all;
use reqwest::{Response, StatusCode};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpSocket,
};

use crate::common::{
    balancer::Balancer,
    client::{DEADLINE, form, problem, quick},
    events::Events,
    machine::SmallDisk,
    picture,
    ports::ReservedPort,
    process::ServerProcess,
    programs::program,
    server::TestServer,
};

/// One in front of the servers at these URLs; `None` where there is no nginx.
async fn before(test: &str, servers: &[&str]) -> Option<Balancer> {
    let nginx = program(test, "nginx")?;
    let addresses: Vec<&str> = servers.iter().map(|url| url.strip_prefix("http://").unwrap()).collect();
    Some(Balancer::start(&nginx, &addresses).await)
}

#[tokio::test]
async fn events_pass_one_by_one() {
    let server = TestServer::idle().await;
    let Some(balancer) = before("events_pass_one_by_one", &[&server.client.url]).await else {
        return;
    };
    let id = balancer.client.submit(picture(64, 48), &quick()).await;
    // Nobody works: the stream stays open, and a balancer that gathered bytes would show nothing of it. (nginx 1.22 passes
    // events this small at once even where it buffers; that it is told not to is for those that fill a buffer.)
    let mut events = Events::open(&balancer.client, &id, None).await;
    assert_eq!(events.next().await.unwrap().name, "progress");
    assert_eq!(balancer.client.post(&format!("/v1/jobs/{id}/cancel")).await.status(), 200);
    let mut last = None;
    while let Some(event) = events.next().await {
        last = Some(event.name);
    }
    assert_eq!(last.as_deref(), Some("canceled"));
}

#[tokio::test]
async fn the_longest_wait_is_not_cut() {
    let server = TestServer::idle().await;
    let Some(balancer) = before("the_longest_wait_is_not_cut", &[&server.client.url]).await else {
        return;
    };
    let id = balancer.client.submit(picture(64, 48), &quick()).await;
    let began = Instant::now();
    let request = balancer.client.http.get(format!("{}/v1/jobs/{id}", balancer.client.url));
    let response = request.header("prefer", "wait=60").send().await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["preference-applied"], "wait=60");
    assert!(began.elapsed() >= Duration::from_secs(59), "{:?}", began.elapsed());
    assert_eq!(response.json::<Value>().await.unwrap()["status"], "queued");
}

#[tokio::test]
async fn bodies_pass_up_to_the_service_s_limit_and_are_refused_in_its_words() {
    let server = TestServer::idle().await;
    let test = "bodies_pass_up_to_the_service_s_limit_and_are_refused_in_its_words";
    let Some(balancer) = before(test, &[&server.client.url]).await else { return };
    const MEGABYTE: usize = 1024 * 1024;
    let send = async |megabytes: usize| {
        let kind = "multipart/form-data; boundary=b";
        balancer.client.post_bytes(kind, vec![b' '; megabytes * MEGABYTE]).await
    };
    // No form, but let in.
    problem(send(31).await, 400).await;
    let service = problem(send(33).await, 413).await;
    assert!(service["detail"].as_str().unwrap().contains("33554432"), "{service}");
    let nginx = problem(send(35).await, 413).await;
    assert!(nginx["detail"].as_str().unwrap().contains("34 MiB"), "{nginx}");
    assert_eq!((&nginx["type"], &nginx["title"]), (&service["type"], &service["title"]));
    assert_eq!(nginx["instance"], service["instance"]);
}

#[tokio::test]
async fn a_full_folder_for_uploads_is_told_as_the_service_tells_it() {
    let test = "a_full_folder_for_uploads_is_told_as_the_service_tells_it";
    let (Some(nginx), Some(disk)) = (program(test, "nginx"), SmallDisk::mount(test, 4096)) else { return };
    fs::set_permissions(disk.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let server = TestServer::idle().await;
    let address = server.client.url.strip_prefix("http://").unwrap();
    let balancer = Balancer::start_on(disk.path(), &nginx, &[address]).await;
    let response = balancer.client.post_bytes("multipart/form-data; boundary=b", vec![b' '; 8 << 20]).await;
    assert_eq!(response.headers()["retry-after"], "5");
    let refusal = problem(response, 503).await;
    assert!(refusal["detail"].as_str().unwrap().contains("no room for uploads"), "{refusal}");
    // What was written of it is gone, and what fits passes.
    balancer.client.submit(picture(64, 48), &quick()).await;
}

#[tokio::test]
async fn one_address_cannot_send_any_number_of_requests() {
    let server = TestServer::idle().await;
    let test = "one_address_cannot_send_any_number_of_requests";
    let Some(balancer) = before(test, &[&server.client.url]).await else { return };
    let client = &balancer.client;
    let refused = async {
        loop {
            // No form: refused by the service, at no cost, until the balancer does it. Many at once, or a slow machine stays
            // below the limit.
            let answers = join_all((0..16).map(|_| client.post_bytes("text/plain", "no form"))).await;
            if let Some(refused) = answers.into_iter().find(|answer| answer.status() != 415) {
                break refused;
            }
        }
    };
    let refused = tokio::time::timeout(DEADLINE, refused).await.expect("nobody is ever refused");
    assert_eq!(refused.headers()["retry-after"], "5");
    assert_eq!(problem(refused, 429).await["type"], "urn:reverie:problem:too-many-requests");
    // Reading goes on.
    assert_eq!(client.get("/v1/models").await.status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_address_cannot_take_all_connections() {
    // As nginx.conf says.
    const MOST: usize = 1024;
    let server = TestServer::idle().await;
    let test = "one_address_cannot_take_all_connections";
    let Some(balancer) = before(test, &[&server.client.url]).await else { return };
    let address: SocketAddr = balancer.client.url.strip_prefix("http://").unwrap().parse().unwrap();
    let open = async |from: Ipv4Addr, request: &str| {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::from((from, 0))).unwrap();
        let mut stream = socket.connect(address).await.unwrap();
        stream.write_all(format!("{request} HTTP/1.1\r\nHost: localhost\r\n").as_bytes()).await.unwrap();
        stream
    };
    let id = balancer.client.submit(picture(64, 48), &quick()).await;
    let hold = async || {
        let mut stream = open(Ipv4Addr::LOCALHOST, &format!("GET /v1/jobs/{id}")).await;
        stream.write_all(b"Prefer: wait=60\r\n\r\n").await.unwrap();
        stream
    };
    let mut held = Vec::new();
    for _ in 0..MOST {
        held.push(hold().await);
    }
    let refused = async {
        loop {
            let answer = balancer.client.get("/v1/models").await;
            if answer.status() != 200 {
                break answer;
            }
            // One of so many at once may have been answered already: on a busy machine the server's queue of connections
            // is full for a moment.
            held.push(hold().await);
        }
    };
    let refused = tokio::time::timeout(DEADLINE, refused).await.expect("nobody is ever refused");
    assert_eq!(problem(refused, 429).await["type"], "urn:reverie:problem:too-many-requests");
    // Another address is answered.
    let mut other = open(Ipv4Addr::new(127, 0, 0, 2), "GET /v1/models").await;
    other.write_all(b"Connection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    other.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    drop(held);
}

#[tokio::test]
async fn requests_go_to_every_server_and_none_fails_for_one_that_is_gone() {
    let (one, other, gone) = (TestServer::idle().await, TestServer::idle().await, ReservedPort::new());
    let test = "requests_go_to_every_server_and_none_fails_for_one_that_is_gone";
    let servers = [&*one.client.url, &gone.url(), &other.client.url];
    let Some(balancer) = before(test, &servers).await else { return };
    for _ in 0..10 {
        assert_eq!(balancer.client.get("/readyz").await.status(), 503, "there are no workers");
        assert_eq!(balancer.client.get("/v1/models").await.status(), 200);
        balancer.client.submit(picture(64, 48), &quick()).await;
    }
    for url in servers {
        let address = url.strip_prefix("http://").unwrap();
        balancer.until_logged(|log| log.contains(address)).await;
    }
}

#[tokio::test]
async fn the_client_is_reported_and_cannot_be_invented() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let settings = [
        ("REVERIE__LOG__FORMAT", "json"),
        ("REVERIE__LOG__FILTER", "info"),
        ("REVERIE__SERVER__TRUSTED_PROXIES", "127.0.0.1"),
        ("REVERIE__SERVER__PUBLIC_URL", "https://dreams.example"),
    ];
    let mut command = ServerProcess::command(folder.path(), &settings);
    command.stderr(fs::File::create(&log).unwrap());
    let server = ServerProcess::of(command).await;
    let Some(balancer) = before("the_client_is_reported_and_cannot_be_invented", &[&server.client.url]).await
    else {
        return;
    };
    let request = balancer.client.http.post(format!("{}/v1/jobs", balancer.client.url));
    let invented = request
        .header("forwarded", "for=192.0.2.1;host=invented.example;proto=https")
        .header("x-forwarded-host", "invented.example")
        .header("x-request-id", "mine")
        .multipart(form(picture(64, 48), &quick()));
    let response = invented.send().await.unwrap();
    assert_eq!(response.headers()["x-request-id"], "mine");
    let job: Value = response.json().await.unwrap();
    let link = job["links"]["self"].as_str().unwrap();
    assert!(link.starts_with("https://dreams.example/v1/jobs/"), "{job}");
    balancer.until_logged(|log| log.contains(r#""id":"mine""#)).await;
    server.terminate();
    assert!(server.ended().await);
    let text = fs::read_to_string(&log).unwrap();
    let of_request = |line: &Value| line["message"] == "answered" && line["spans"][0]["id"] == "mine";
    let mut lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let line = lines.find(of_request).expect("the request is not in the log");
    assert_eq!(line["spans"][0]["client"], "127.0.0.1", "{line}");
}

#[tokio::test]
async fn without_servers_the_answer_is_a_problem_document() {
    let gone = ReservedPort::new();
    let test = "without_servers_the_answer_is_a_problem_document";
    let Some(balancer) = before(test, &[&gone.url()]).await else { return };
    // The path holds what must not end the string of a document.
    let response = balancer.client.get("/v1/jobs/%22?a=\"\\").await;
    assert_eq!(response.headers()["retry-after"], "5");
    assert_eq!(problem(response, 503).await["instance"], "/v1/jobs/%22");
}

#[tokio::test]
async fn jobs_with_a_key_are_accepted_while_a_server_stops() {
    let test = "jobs_with_a_key_are_accepted_while_a_server_stops";
    let folder = tempfile::tempdir().unwrap();
    let stopping = ServerProcess::start(folder.path(), &[]).await;
    let other = TestServer::idle().await;
    let servers = [&*stopping.client.url, &*other.client.url];
    let Some(balancer) = before(test, &servers).await else { return };
    // A job keeps the one at work while it takes no others.
    let long =
        json!({ "objectives": [{ "kind": "l2", "layer": "block5" }], "octaves": 1, "iterations": 1000 });
    let id = stopping.client.submit(picture(256, 256), &long).await;
    stopping.client.job_until(&id, |job| job["status"] == "running").await;
    stopping.terminate();
    stopping.client.until_not_ready().await;

    let mut refused = 0;
    for number in 0..6 {
        let (key, plain) =
            (post(&balancer, Some(&format!("key-{number}"))).await, post(&balancer, None).await);
        assert_eq!(key.status(), StatusCode::ACCEPTED, "{}", key.text().await.unwrap());
        refused += u32::from(plain.status() == StatusCode::SERVICE_UNAVAILABLE);
    }
    // Without a key nobody knows whether it is safe to send a job twice: it is refused where the server that it meets stops.
    assert!(refused < 6, "every job without a key was refused");
    let asked = stopping.client.url.strip_prefix("http://").unwrap();
    let passed_on = |line: &str| line.contains(asked) && line.contains(r#""statuses":"503, 202""#);
    balancer.until_logged(|log| log.lines().any(passed_on)).await;
}

async fn post(balancer: &Balancer, key: Option<&str>) -> Response {
    let mut request = balancer.client.http.post(format!("{}/v1/jobs", balancer.client.url));
    if let Some(key) = key {
        request = request.header("idempotency-key", key);
    }
    request.multipart(form(picture(64, 48), &quick())).send().await.unwrap()
}
