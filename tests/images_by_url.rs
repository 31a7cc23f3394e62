//! Pictures by URL: fetched from real servers, with the limits of an upload, and never from inside.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may fail loudly")]

mod common;

use std::sync::atomic::{AtomicU32, Ordering};

use common::{
    client::{form, pointers, problem, quick},
    picture,
    receiver::{Answer, Receiver},
    server::{Setup, TestServer},
};
use reqwest::{
    Response,
    multipart::{Form, Part},
};
use serde_json::{Value, json};

/// A server that may fetch from this address of loopback, which stands for the internet, and from no other.
async fn server(change: impl FnOnce(&mut Setup)) -> TestServer {
    let mut setup = Setup::new().await;
    setup.config.egress.allow_http = true;
    setup.config.egress.allowed_networks = vec!["127.0.0.2/32".parse().unwrap()];
    change(&mut setup);
    setup.start().await
}

async fn pictures(answer: impl Fn(&str) -> Answer + Send + Sync + 'static) -> Receiver {
    let listener = tokio::net::TcpListener::bind("127.0.0.2:0").await.unwrap();
    Receiver::on(listener, move |request| answer(&request.target))
}

async fn post(server: &TestServer, body: Value) -> Response {
    server.client.post_bytes("application/json", body.to_string()).await
}

async fn accepted(response: Response) -> String {
    let status = response.status();
    let job: Value = response.json().await.unwrap();
    assert_eq!(status, 202, "{job}");
    job["id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_picture_by_url_gives_the_same_dream_as_an_upload() {
    let server = server(|_| {}).await;
    let source = pictures(|target| match target {
        "/moved" => Answer::Redirect("/picture".into()),
        _ => Answer::Body(picture(64, 64)),
    })
    .await;
    let expected = server.client.submit(picture(64, 64), &quick()).await;
    let expected = server.client.dream(&expected).await;
    let by_json = post(&server, json!({ "image": source.url("/moved"), "spec": quick() })).await;
    let by_form = Form::new().text("image", source.url("/picture")).text("spec", quick().to_string());
    let by_form = server.client.post_form(by_form).await;
    for response in [by_json, by_form] {
        let id = accepted(response).await;
        assert!(server.client.dream(&id).await == expected, "another dream");
    }
    let masked =
        post(&server, json!({ "image": source.url("/a"), "mask": source.url("/b"), "spec": quick() }));
    accepted(masked.await).await;
    let masked = form(picture(64, 64), &quick()).text("mask", source.url("/mask"));
    accepted(server.client.post_form(masked).await).await;
    let mut guided = quick();
    guided["objectives"][0]["kind"] = "guide".into();
    let upload = Part::bytes(picture(64, 64)).file_name("guide.png");
    let expected = server.client.post_form(form(picture(64, 64), &guided).part("guide", upload)).await;
    let expected = server.client.dream(&accepted(expected).await).await;
    let by_form = form(picture(64, 64), &guided).text("guide", source.url("/guide"));
    let by_form = server.client.post_form(by_form).await;
    let by_json = json!({ "image": source.url("/a"), "guide": source.url("/b"), "spec": guided });
    for response in [by_form, post(&server, by_json).await] {
        assert!(server.client.dream(&accepted(response).await).await == expected, "another dream");
    }
}

#[tokio::test]
async fn what_cannot_be_fetched_is_refused_at_its_place() {
    let server = server(|setup| {
        setup.works = false;
        setup.config.limits.max_body_bytes = 20_000;
    })
    .await;
    let mut inside = Receiver::start(|_| Answer::Body(picture(8, 8))).await;
    let to_inside = inside.url("/");
    let source = pictures(move |target| match target {
        "/text" => Answer::Body(b"not a picture at all".to_vec()),
        "/long" => Answer::Body(vec![0; 20_001]),
        "/inside" => Answer::Redirect(to_inside.clone()),
        "/round" => Answer::Redirect("/round".into()),
        "/cut" => Answer::Body(picture(64, 64)[..500].to_vec()),
        "/small" => Answer::Body(picture(32, 64)),
        "/good" => Answer::Body(picture(64, 64)),
        _ => Answer::Status(404),
    })
    .await;
    for (path, words) in [
        ("/nothing", "answered 404"),
        ("/long", "at most 20000 bytes"),
        ("/inside", "not public (loopback)"),
        ("/round", "more than 3 times"),
        ("/cut", ""),
    ] {
        let refusal = problem(post(&server, json!({ "image": source.url(path) })).await, 422).await;
        assert_eq!(pointers(&refusal), ["/image"], "{path}");
        assert!(refusal.to_string().contains(words), "{path}: {refusal}");
    }
    for url in
        [inside.url("/"), "https://localhost/".into(), "http://[::ffff:127.0.0.2]/".into(), "ftp://x/".into()]
    {
        let refusal = problem(post(&server, json!({ "image": url })).await, 422).await;
        assert_eq!(pointers(&refusal), ["/image"], "{url}");
    }
    problem(post(&server, json!({ "image": source.url("/text") })).await, 415).await;
    let both = json!({ "image": source.url("/nothing"), "mask": inside.url("/") });
    assert_eq!(pointers(&problem(post(&server, both).await, 422).await), ["/image", "/mask"]);
    let small = json!({ "image": source.url("/good"), "mask": source.url("/small") });
    assert_eq!(pointers(&problem(post(&server, small).await, 422).await), ["/mask"]);
    assert_eq!((inside.connections(), inside.rest().len()), (0, 0));
    assert!(server.blobs("inputs").is_empty());
    // Nothing is fetched for a request that is wrong anyway.
    let before = source.connections();
    let wrong =
        json!({ "image": source.url("/good"), "mask": source.url("/good"), "spec": { "octaves": 0 } });
    assert_eq!(pointers(&problem(post(&server, wrong).await, 422).await), ["/spec/octaves"]);
    assert_eq!(source.connections(), before);
}

#[tokio::test]
async fn a_server_that_fetches_nothing_says_so() {
    let server = server(|setup| setup.config.egress.fetch_images = false).await;
    let source = pictures(|_| Answer::Body(picture(64, 64))).await;
    let refusal = problem(post(&server, json!({ "image": source.url("/") })).await, 422).await;
    assert!(refusal.to_string().contains("egress.fetch_images"), "{refusal}");
    assert_eq!(source.connections(), 0);
}

/// Signed URLs expire: a repeated request must lead to its job without them.
#[tokio::test]
async fn a_repeated_request_fetches_nothing() {
    let server = server(|setup| setup.works = false).await;
    let count = AtomicU32::new(0);
    let source = pictures(move |_| match count.fetch_add(1, Ordering::SeqCst) {
        0 => Answer::Body(picture(64, 64)),
        _ => Answer::Status(403),
    })
    .await;
    let post = async |url: String| {
        let request = server.client.http.post(format!("{}/v1/jobs", server.client.url));
        let request = request.header("idempotency-key", "again").header("content-type", "application/json");
        request.body(json!({ "image": url, "spec": quick() }).to_string()).send().await.unwrap()
    };
    let first = accepted(post(source.url("/a")).await).await;
    let again = post(source.url("/a")).await;
    assert_eq!(again.headers()["idempotent-replayed"], "true");
    assert_eq!(accepted(again).await, first);
    let other = problem(post(source.url("/b")).await, 422).await;
    assert_eq!(other["type"], "urn:reverie:problem:key-reused");
    assert_eq!((source.connections(), server.blobs("inputs").len()), (1, 1));
}

#[tokio::test]
async fn what_is_fetched_counts_as_an_upload() {
    let server = server(|setup| {
        setup.works = false;
        setup.config.limits.max_uploads_mb = 1;
        setup.config.limits.max_body_bytes = 64 << 10;
    })
    .await;
    let source = pictures(|_| Answer::Body(vec![0; 60 << 10])).await;
    // Another client's upload fills the memory but for a little.
    let mut taken = server.state.uploads.share(None);
    taken.grow((1 << 20) - (40 << 10)).unwrap();
    let refused = post(&server, json!({ "image": source.url("/") })).await;
    assert!(refused.headers().contains_key("retry-after"));
    assert_eq!(problem(refused, 503).await["type"], "urn:reverie:problem:unavailable");
    drop(taken);
    problem(post(&server, json!({ "image": source.url("/") })).await, 415).await;
}
