//! Signed links: they show one picture without a key for some time, and nothing else.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may fail loudly")]

mod common;

use std::time::Duration;

use common::{
    client::{pointers, problem, quick},
    picture,
    server::Setup,
};
use reqwest::Method;
use reverie::clock::{Clock, Timestamp};
use serde_json::{Value, json};

const SECRET: &str = "0123456789abcdef0123456789abcdef";
const NEXT_SECRET: &str = "fedcba9876543210fedcba9876543210";

#[tokio::test]
async fn a_link_shows_one_picture_until_it_expires_or_its_key_is_revoked() {
    let mut setup = Setup::new().await;
    let admin = setup.require_keys();
    setup.config.auth.link_secrets = vec![SECRET.parse().unwrap(), NEXT_SECRET.parse().unwrap()];
    setup.clock = Clock::driven(Timestamp::from_millis(1_700_000_000_000));
    let clock = setup.clock.clone();
    let server = setup.start().await;
    let (stranger, writer) = (&server.client, server.client_of("lab", "jobs:read,jobs:write").await);
    let id = writer.submit(picture(64, 64), &quick()).await;
    let other = writer.submit(picture(64, 64), &quick()).await;
    let dream = writer.dream(&id).await;
    writer.dream(&other).await;
    let path = format!("/v1/jobs/{id}");
    // A key that may only read can hand on what it reads.
    let reader = server.client_of("lab", "jobs:read").await;
    let sign = async |body: Option<Value>| {
        let request = reader.http.post(format!("{}{path}/links", reader.url));
        let request = if let Some(body) = body { request.json(&body) } else { request };
        request.send().await.unwrap()
    };
    let answer = sign(Some(json!({ "expires_in_seconds": 60 }))).await;
    assert_eq!(
        (answer.status().as_u16(), &answer.headers()["cache-control"]),
        (200, &"no-store".parse().unwrap())
    );
    let links: Value = answer.json().await.unwrap();
    assert_eq!(links["expires_at"], "2023-11-14T22:14:20.000Z");
    let link = links["result"].as_str().unwrap().to_owned();
    let response = stranger.get(&link).await;
    assert_eq!(response.status(), 200);
    assert!(response.bytes().await.unwrap() == dream, "another picture");
    assert_eq!(stranger.request(Method::HEAD, &link).await.status(), 200);
    // It is over, so the link leads to no preview; but it is let in.
    problem(stranger.get(links["preview"].as_str().unwrap()).await, 409).await;

    // For nothing else.
    let query = link.split_once('?').unwrap().1.to_owned();
    for (method, target) in [
        (Method::GET, path.clone()),
        (Method::DELETE, path.clone()),
        (Method::GET, format!("{path}/events")),
        (Method::GET, format!("{path}/preview")),
        (Method::GET, format!("/v1/jobs/{other}/result")),
        (Method::GET, "/v1/jobs".to_owned()),
        (Method::POST, format!("{path}/cancel")),
        (Method::POST, format!("{path}/links")),
    ] {
        problem(stranger.request(method.clone(), &format!("{target}?{query}")).await, 401).await;
    }
    for (part, changed) in [
        ("expires=1700000060", "expires=1700000061"),
        ("expires=", "expires=x"),
        ("&key=", "&key=0"),
        ("&signature=", "&signature=A"),
        ("&signature=", "&more=1&signature="),
    ] {
        assert!(link.contains(part));
        problem(stranger.get(&link.replace(part, changed)).await, 401).await;
    }
    // A wrong key is not helped by a link.
    let wrong = stranger.with_key("rvk_0123456789abcdef_00").get(&link).await;
    problem(wrong, 401).await;
    for body in
        [json!({ "expires_in_seconds": 0 }), json!({ "expires_in_seconds": 604_801 }), json!({ "days": 1 })]
    {
        assert_eq!(pointers(&problem(sign(Some(body)).await, 422).await).len(), 1);
    }

    let lasting: Value = sign(None).await.json().await.unwrap();
    let lasting = lasting["result"].as_str().unwrap();
    clock.advance(Duration::from_secs(60));
    let expired = problem(stranger.get(&link).await, 401).await;
    assert!(
        expired["detail"].as_str().unwrap().contains("the link expired at 2023-11-14T22:14:20"),
        "{expired}"
    );
    assert_eq!(stranger.get(lasting).await.status(), 200);
    let key = lasting.split("key=").nth(1).unwrap().split('&').next().unwrap();
    let admin = stranger.with_key(&admin);
    assert!(admin.request(Method::DELETE, &format!("/v1/keys/{key}")).await.status().is_success());
    let revoked = problem(stranger.get(lasting).await, 401).await;
    assert!(revoked["detail"].as_str().unwrap().contains("revoked"), "{revoked}");
}

#[tokio::test]
async fn a_server_without_keys_or_secrets_signs_nothing() {
    for keys in [true, false] {
        let mut setup = Setup { works: false, ..Setup::new().await };
        let token = setup.require_keys();
        if !keys {
            setup.config.auth.mode = reverie::config::AuthMode::Off;
            setup.config.auth.link_secrets = vec![SECRET.parse().unwrap()];
        }
        let server = setup.start().await;
        let client = server.client.with_key(&token);
        let id = client.submit(picture(64, 64), &quick()).await;
        let refusal = problem(client.post(&format!("/v1/jobs/{id}/links")).await, 403).await;
        assert!(refusal.to_string().contains("auth.link_secrets"), "{refusal}");
    }
}
