//! Pictures that are sent ahead of their jobs.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may fail loudly")]

mod common;

use std::time::Duration;

use common::{
    client::{Client, pointers, problem, quick},
    picture,
    server::{Setup, TestServer},
};
use reqwest::{Method, Response};
use reverie::clock::{Clock, Timestamp};
use serde_json::{Value, json};

const JOBS: &str = "jobs:read,jobs:write";
const SECRET: &str = "0123456789abcdef0123456789abcdef";

async fn announce(client: &Client, body: Value) -> Response {
    client.http.post(format!("{}/v1/uploads", client.url)).json(&body).send().await.unwrap()
}

async fn made(client: &Client, bytes: usize) -> Value {
    let made = announce(client, json!({ "bytes": bytes })).await;
    assert_eq!(
        (made.status().as_u16(), &made.headers()["cache-control"]),
        (201, &"no-store".parse().unwrap())
    );
    made.json().await.unwrap()
}

/// Sends a file to the URL of an upload; a path is one of this server.
async fn send(client: &Client, upload: &Value, file: Vec<u8>) -> Response {
    let url = upload["url"].as_str().unwrap();
    let url = if url.starts_with('/') { format!("{}{url}", client.url) } else { url.to_owned() };
    client.http.put(url).body(file).send().await.unwrap()
}

async fn submit(client: &Client, path: &str, upload: &Value) -> Response {
    let body = json!({ "image": { "upload": upload["id"] }, "spec": quick() });
    client.http.post(format!("{}{path}", client.url)).json(&body).send().await.unwrap()
}

async fn with_links() -> (TestServer, Clock) {
    let mut setup = Setup::new().await;
    setup.require_keys();
    setup.config.auth.link_secrets = vec![SECRET.parse().unwrap()];
    setup.clock = Clock::driven(Timestamp::from_millis(1_700_000_000_000));
    let clock = setup.clock.clone();
    (setup.start().await, clock)
}

#[tokio::test]
async fn a_picture_is_sent_ahead_and_dreamed_on_until_it_expires() {
    let (server, clock) = with_links().await;
    let (lab, stranger) = (server.client_of("lab", JOBS).await, &server.client);
    let photo = picture(64, 64);
    let upload = made(&lab, photo.len()).await;
    assert_eq!((&upload["method"], &upload["headers"]), (&json!("PUT"), &json!({})));
    assert_eq!(upload["expires_at"], "2023-11-14T23:13:20.000Z");
    let empty = problem(submit(&lab, "/v1/jobs", &upload).await, 422).await;
    assert_eq!(
        (pointers(&empty), &empty["detail"]),
        (vec!["/image"], &json!("/image: nothing was sent to this upload yet"))
    );
    // The URL works without a key, for this method and nothing else.
    assert_eq!(send(stranger, &upload, photo.clone()).await.status(), 204);
    let path = upload["url"].as_str().unwrap();
    problem(stranger.request(Method::GET, path).await, 401).await;
    let (changed, _) = path.rsplit_once('&').unwrap();
    let other = json!({ "url": format!("{changed}&signature=AAAA") });
    problem(send(stranger, &other, photo.clone()).await, 401).await;
    // Any number of jobs, each of which has a picture of its own.
    let mut ids = Vec::new();
    for _ in 0..2 {
        let accepted = submit(&lab, "/v1/jobs", &upload).await;
        assert_eq!(accepted.status(), 202);
        let job: Value = accepted.json().await.unwrap();
        ids.push(job["id"].as_str().unwrap().to_owned());
    }
    assert_eq!(submit(&lab, "/v1/dry-run", &upload).await.status(), 200);
    // A form names it as a URN.
    let named = format!("urn:reverie:upload:{}", upload["id"].as_str().unwrap());
    let form = reqwest::multipart::Form::new().text("image", named).text("spec", quick().to_string());
    let accepted = lab.post_form(form).await;
    assert_eq!(accepted.status(), 202);
    let job: Value = accepted.json().await.unwrap();
    ids.push(job["id"].as_str().unwrap().to_owned());
    for id in &ids {
        lab.dream(id).await;
    }
    let input = lab.get(&format!("/v1/jobs/{}/input", ids[1])).await;
    assert_eq!(input.bytes().await.unwrap(), photo);
    assert_eq!(server.blobs("uploads").len(), 1);
    // Another tenant's does not exist, and an expired one no longer.
    let other = server.client_of("other", JOBS).await;
    for path in ["/v1/jobs", "/v1/dry-run"] {
        let refusal = problem(submit(&other, path, &upload).await, 404).await;
        assert_eq!(refusal["detail"], format!("there is no upload {}", upload["id"]).as_str());
    }
    let unsigned = json!({ "url": path.split('?').next().unwrap() });
    problem(send(&other, &unsigned, photo.clone()).await, 404).await;
    problem(send(stranger, &unsigned, photo.clone()).await, 401).await;
    clock.advance(Duration::from_secs(3600));
    problem(send(stranger, &upload, photo.clone()).await, 401).await;
    problem(send(&lab, &unsigned, photo).await, 404).await;
    problem(submit(&lab, "/v1/jobs", &upload).await, 404).await;
    let deleted = server.app.retention.round().await.unwrap();
    assert_eq!((deleted.uploads, server.blobs("uploads").len()), (1, 0));
    let usage: Value = lab.get("/v1/usage").await.json().await.unwrap();
    for id in ids {
        lab.request(Method::DELETE, &format!("/v1/jobs/{id}")).await;
    }
    assert!(usage["stored_bytes"].as_u64().unwrap() > 0);
    let usage: Value = lab.get("/v1/usage").await.json().await.unwrap();
    assert_eq!(usage["stored_bytes"], 0);
}

#[tokio::test]
async fn what_is_sent_ahead_is_checked_like_any_picture() {
    let server = TestServer::idle().await;
    let client = &server.client;
    for (body, pointer) in
        [(json!({}), "/bytes"), (json!({ "bytes": 0 }), "/bytes"), (json!({ "bytes": 1, "a": 1 }), "/a")]
    {
        assert_eq!(pointers(&problem(announce(client, body).await, 422).await), [pointer]);
    }
    let most = server.state.config.limits.max_body_bytes;
    problem(announce(client, json!({ "bytes": most + 1 })).await, 422).await;
    let upload = made(client, 20).await;
    // Without links to sign, the URL is for those with a key; this server asks for none.
    assert!(!upload["url"].as_str().unwrap().contains('?'), "{upload}");
    let refusal = problem(send(client, &upload, vec![7; 21]).await, 413).await;
    assert_eq!(refusal["detail"], "the body is too long; at most 20 bytes are allowed");
    assert_eq!(send(client, &upload, b"not a picture".to_vec()).await.status(), 204);
    problem(submit(client, "/v1/jobs", &upload).await, 415).await;
    problem(send(client, &upload, Vec::new()).await, 400).await;
    for wrong in [json!({ "upload": "7" }), json!({ "upload": 7 }), json!({ "uploads": "a" }), json!({})] {
        let body = json!({ "image": wrong, "spec": quick() });
        let refused = client.post_bytes("application/json", body.to_string()).await;
        let refusal = problem(refused, 422).await;
        assert!(refusal["detail"].as_str().unwrap().contains("POST /v1/uploads"), "{refusal}");
    }
    let url = format!("{}{}", client.url, upload["url"].as_str().unwrap());
    let wrong_digest = format!("sha-256=:{}:", "A".repeat(43) + "=");
    let changed = client.http.put(url).header("content-digest", wrong_digest).body("x").send().await.unwrap();
    problem(changed, 400).await;
}
