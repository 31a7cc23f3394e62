//! What whoever runs the service sees of it: health on both listeners.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may fail loudly")]

mod common;

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
};

use common::{
    client::{Client, problem},
    server::TestServer,
};
use reverie::http::{admin::AdminServer, listen::Patience};
use serde_json::{Value, json};

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
    let refused = problem(idle.client.get("/v1/jobs/0198c0de-0000-7000-8000-000000000000").await, 500).await;
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
    let patience = Patience { idle: common::client::DEADLINE, stall: common::client::DEADLINE };
    let admin = AdminServer::start("127.0.0.1:0", patience).unwrap();
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
