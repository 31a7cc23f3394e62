//! Every way to be refused: each names what was wrong and what is allowed, and leaves nothing behind.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may fail loudly")]

mod common;

use common::{
    client::{form, pointers, problem, quick},
    header_bomb, picture,
    server::{Setup, TestServer},
};
use reqwest::{
    Method,
    multipart::{Form, Part},
};
use reverie::jobs::Counts;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

#[tokio::test]
async fn what_cannot_be_dreamed_is_refused_and_leaves_nothing() {
    let mut setup = Setup::new().await;
    setup.config.limits.max_pixels = 10_000;
    let server = Setup { works: false, ..setup }.start().await;
    let client = &server.client;
    let good = || Part::bytes(picture(64, 64));

    let not_an_image = form(b"GIF, or so I say".to_vec(), &quick());
    problem(client.post_form(not_an_image).await, 415).await;
    // Files that cannot be read are named, together with everything else that is wrong.
    let text = || Part::bytes(b"<svg/>".to_vec()).file_name("picture.svg");
    let refused = Form::new().part("image", good()).part("mask", text()).text("spec", "{}");
    let refused = problem(client.post_form(refused).await, 415).await;
    assert_eq!(pointers(&refused), ["/mask"]);
    assert!(refused["detail"].as_str().unwrap().starts_with("/mask: "), "{refused}");
    let refused = Form::new().part("image", text()).text("spec", "{\"iterations\":0}").text("priority", "99");
    let refused = problem(client.post_form(refused).await, 422).await;
    assert_eq!(pointers(&refused), ["/priority", "/spec/iterations", "/image"]);
    let mut truncated = picture(96, 80);
    truncated.truncate(truncated.len() / 2);
    let refused = problem(client.post_form(form(truncated, &quick())).await, 422).await;
    assert_eq!(pointers(&refused), ["/image"]);
    let refused = problem(client.post_form(form(header_bomb(60_000, 60_000), &quick())).await, 422).await;
    assert!(refused["detail"].as_str().unwrap().contains("60000×60000"), "{refused}");
    let refused = problem(client.post_form(form(picture(101, 100), &quick())).await, 422).await;
    assert!(refused["detail"].as_str().unwrap().contains("10000"), "{refused}");

    let wrong = json!({
        "iterations": 0, "octaves": 1_000_000, "colour": "red",
        "objectives": [{ "layer": "blok2" }, { "layer": "block2", "channels": [99_999] }],
    });
    let refused = problem(client.post_form(form(picture(101, 100), &wrong)).await, 422).await;
    let mut found = pointers(&refused);
    found.sort_unstable();
    let expected = [
        "/image",
        "/spec/colour",
        "/spec/iterations",
        "/spec/objectives/0/layer",
        "/spec/objectives/1/channels",
        "/spec/octaves",
    ];
    assert_eq!(found, expected, "{refused}");
    let unknown = Form::new().part("image", good()).text("pixels", "1");
    let refused = problem(client.post_form(unknown).await, 422).await;
    assert_eq!(pointers(&refused), ["/pixels"]);
    let refused = problem(client.post_form(Form::new().text("spec", "{}")).await, 422).await;
    assert_eq!(pointers(&refused), ["/image"]);

    let malformed = Form::new().part("image", good()).text("spec", "{iterations: 3}");
    problem(client.post_form(malformed).await, 400).await;
    problem(client.post_bytes("application/json", "{").await, 400).await;
    problem(client.post_bytes("multipart/form-data", "--X").await, 400).await;
    problem(client.post_bytes("image/png", picture(64, 64)).await, 415).await;
    problem(client.post("/v1/jobs").await, 415).await;
    let body = json!({ "image": "https://example.org/cat.png" }).to_string();
    let refused = problem(client.post_bytes("application/json", body).await, 422).await;
    assert_eq!(pointers(&refused), ["/image"]);

    assert!(server.blobs("inputs").is_empty());
    assert_eq!(server.state.queue.counts().await.unwrap(), Counts::default());
}

#[tokio::test]
async fn too_long_a_body_is_refused_in_a_way_that_arrives() {
    let mut setup = Setup::new().await;
    setup.config.limits.max_body_bytes = 100_000;
    let server = Setup { works: false, ..setup }.start().await;
    let long = vec![b'x'; 300_000];
    // A client that says how much it will send.
    let refused = problem(server.client.post_form(form(long.clone(), &quick())).await, 413).await;
    assert!(refused["detail"].as_str().unwrap().contains("100000"), "{refused}");
    // One that does not say.
    let pieces = long.chunks(1000).map(|piece| Ok::<_, std::io::Error>(piece.to_vec())).collect::<Vec<_>>();
    let stream = reqwest::Body::wrap_stream(futures::stream::iter(pieces));
    problem(server.client.post_bytes("multipart/form-data; boundary=X", stream).await, 413).await;
    // One that reads nothing before it has sent everything, on a connection that it goes on using.
    let address = server.client.url.strip_prefix("http://").unwrap();
    let mut connection = TcpStream::connect(address).await.unwrap();
    let head = format!(
        "POST /v1/jobs HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        long.len()
    );
    connection.write_all(head.as_bytes()).await.unwrap();
    connection.write_all(&long).await.unwrap();
    let next = format!("GET /healthz HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    connection.write_all(next.as_bytes()).await.unwrap();
    let mut answers = String::new();
    connection.read_to_string(&mut answers).await.unwrap();
    assert!(answers.starts_with("HTTP/1.1 413"), "{answers}");
    assert!(answers.contains("HTTP/1.1 200"), "{answers}");
    assert!(server.blobs("inputs").is_empty());
}

#[tokio::test]
async fn a_full_queue_says_when_to_come_back() {
    let mut setup = Setup::new().await;
    setup.config.queue.capacity = 2;
    let server = Setup { works: false, ..setup }.start().await;
    // More clients than places, at once: those that pass the first look are stopped by the queue itself.
    let clients = (0..8).map(|_| server.client.post_form(form(picture(64, 64), &quick())));
    let mut accepted = 0;
    for response in futures::future::join_all(clients).await {
        if response.status() == 202 {
            accepted += 1;
        } else {
            let wait = response.headers()["retry-after"].to_str().unwrap().parse::<u64>().unwrap();
            // Two jobs of a fraction of a second.
            assert!((1..=5).contains(&wait), "{wait}");
            problem(response, 429).await;
        }
    }
    assert_eq!(accepted, 2);
    assert_eq!(server.blobs("inputs").len(), 2);
}

#[tokio::test]
async fn what_a_form_leaves_empty_was_not_sent() {
    let server = TestServer::idle().await;
    // As a browser sends a file field without a file, and text fields without text.
    let nothing = || Part::bytes(Vec::new()).file_name("");
    let empty = || Form::new().part("mask", nothing()).text("priority", "").text("deadline_seconds", "");
    let noise = empty().part("image", nothing()).text("spec", "{\"noise\":{}}");
    assert_eq!(server.client.post_form(noise).await.status(), 202);
    for spec in ["", "null"] {
        let default = empty().part("image", Part::bytes(picture(64, 64))).text("spec", spec);
        assert_eq!(server.client.post_form(default).await.status(), 202, "{spec}");
    }
    // A file that is empty is a mistake.
    for name in ["image", "mask"] {
        let hollow = Part::bytes(Vec::new()).file_name("hollow.png");
        let mut request = Form::new().part(name, hollow);
        if name == "mask" {
            request = request.part("image", Part::bytes(picture(64, 64)));
        }
        let refused = problem(server.client.post_form(request).await, 422).await;
        assert_eq!(refused["detail"], format!("/{name}: the {name} is empty (0 bytes)"));
    }
    let refused = server.client.post_bytes("application/json", "{\"image\": \"data:,\"}").await;
    assert_eq!(problem(refused, 422).await["detail"], "/image: the image is empty (0 bytes)");
}

#[tokio::test]
async fn a_compressed_body_is_refused_as_such() {
    let server = TestServer::idle().await;
    let post = |coding| {
        let request = server.client.http.post(format!("{}/v1/jobs", server.client.url));
        let request = request.header("content-type", "application/json").header("content-encoding", coding);
        request.body("{\"spec\":{\"noise\":{}}}").send()
    };
    let refused = post("gzip").await.unwrap();
    assert_eq!(refused.headers()["accept-encoding"], "identity");
    let refused = problem(refused, 415).await;
    assert!(refused["detail"].as_str().unwrap().contains("\"gzip\""), "{refused}");
    assert_eq!(post("identity").await.unwrap().status(), 202);
}

#[tokio::test]
async fn what_is_not_there_is_a_problem_too() {
    let server = TestServer::idle().await;
    for path in
        ["/v1/nothing", "/v1/jobs/0198c0de-0000-7000-8000-000000000000", "/v1/jobs/17", "/v1/jobs/17/result"]
    {
        let refused = problem(server.client.get(path).await, 404).await;
        assert_eq!(refused["instance"], path);
    }
    problem(server.client.post("/v1/jobs/17/cancel").await, 404).await;
    let refused = problem(server.client.get("/v1/models/").await, 404).await;
    assert!(refused["detail"].as_str().unwrap().contains("slash"), "{refused}");
    // A wish in the wrong place would be a wish ignored.
    let refused = problem(server.client.post("/v1/jobs?priority=5&seed=1").await, 422).await;
    assert_eq!(pointers(&refused), ["/priority", "/seed"]);
    // Bytes that are no text.
    for path in ["/v1/jobs/%ff", "/v1/jobs/%ff/result", "/v1/models/%ff", "/v1/models/%ff/layers"] {
        let refused = problem(server.client.get(path).await, 404).await;
        assert!(refused["detail"].as_str().unwrap().contains("%ff"), "{refused}");
    }
    for path in ["/docs/%ff", "/studio/%ff"] {
        assert_eq!(problem(server.client.get(path).await, 404).await["instance"], path);
    }
    let refused = server.client.request(Method::DELETE, "/v1/models").await;
    assert!(refused.headers()["allow"].to_str().unwrap().contains("GET"));
    problem(refused, 405).await;
}
