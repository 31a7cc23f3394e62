//! Dreams that take up a guide image, over HTTP.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may fail loudly")]

mod common;

use std::io::Cursor;

use base64::{Engine, engine::general_purpose::STANDARD};
use common::{
    client::{form, pointers, problem, quick},
    picture,
    server::TestServer,
};
use reqwest::{
    Method,
    multipart::{Form, Part},
};
use serde_json::{Value, json};

/// Stripes of that width.
fn stripes(width: u32) -> Vec<u8> {
    let stripe = |x: u32, _: u32| {
        image::Rgb(if (x / width).is_multiple_of(2) { [250u8, 230, 20] } else { [20, 20, 120] })
    };
    let mut file = Cursor::new(Vec::new());
    image::RgbImage::from_fn(120, 80, stripe).write_to(&mut file, image::ImageFormat::Png).unwrap();
    file.into_inner()
}

fn guided() -> Value {
    let mut spec = quick();
    spec["objectives"] = json!([{ "kind": "guide", "layer": "block2" }]);
    spec
}

fn with_guide(spec: &Value, guide: Vec<u8>) -> Form {
    form(picture(96, 80), spec).part("guide", Part::bytes(guide).file_name("guide.png"))
}

/// Submits and returns the job.
async fn job(server: &TestServer, request: Form) -> Value {
    let response = server.client.post_form(request).await;
    let status = response.status();
    let job: Value = response.json().await.unwrap();
    assert_eq!(status, 202, "{job}");
    job
}

#[tokio::test]
async fn a_dream_takes_up_the_guide_that_came_with_it_and_loses_it_with_the_job() {
    let server = TestServer::start().await;
    let submitted = job(&server, with_guide(&guided(), stripes(6))).await;
    let stored = json!([{ "kind": "guide", "layer": "block2", "weight": 1.0 }]);
    assert_eq!(submitted["spec"]["objectives"], stored, "{submitted}");
    let id = submitted["id"].as_str().unwrap();
    assert_eq!(server.blobs("guides"), [id]);
    let dream = server.client.dream(id).await.to_vec();
    let recipe: Value = serde_json::from_str(&reverie_picture::recipe::extract(&dream).unwrap()).unwrap();
    assert_eq!(recipe["guide_sha256"], reverie_dream::digest::sha256(&stripes(6)));
    // As JSON the same, after another guide another.
    let data = |file: Vec<u8>| format!("data:image/png;base64,{}", STANDARD.encode(&file));
    let asked = json!({ "image": data(picture(96, 80)), "guide": data(stripes(6)), "spec": guided() });
    let response = server.client.post_bytes("application/json", asked.to_string()).await;
    let same: Value = response.json().await.unwrap();
    assert!(server.client.dream(same["id"].as_str().unwrap()).await == dream);
    let other = job(&server, with_guide(&guided(), stripes(20))).await;
    assert!(server.client.dream(other["id"].as_str().unwrap()).await != dream);
    assert_eq!(server.blobs("guides").len(), 3);
    for id in [&submitted, &same, &other].map(|job| job["id"].as_str().unwrap()) {
        let erased = server.client.request(Method::DELETE, &format!("/v1/jobs/{id}")).await;
        assert_eq!(erased.status(), 204);
    }
    assert!(server.blobs("guides").is_empty());
}

#[tokio::test]
async fn a_dream_from_noise_may_follow_a_guide() {
    let server = TestServer::start().await;
    let mut spec = guided();
    spec["noise"] = json!({ "width": 64, "height": 48 });
    spec["objectives"][0]["kind"] = "guide-cosine".into();
    let request = Form::new().text("spec", spec.to_string());
    let submitted = job(&server, request.part("guide", Part::bytes(stripes(6)))).await;
    server.client.dream(submitted["id"].as_str().unwrap()).await;
}

#[tokio::test]
async fn a_guide_and_an_objective_that_follows_it_need_each_other() {
    let server = TestServer::idle().await;
    for (request, status, detail) in [
        (form(picture(96, 80), &guided()), 422, "follows a guide image, and none was sent"),
        (with_guide(&quick(), stripes(6)), 422, "no objective follows it"),
        (with_guide(&guided(), stripes(6)[..60].to_vec()), 422, "png"),
        (with_guide(&guided(), Vec::new()), 422, "the guide is empty"),
        (with_guide(&guided(), b"no picture at all".to_vec()), 415, "not an image"),
    ] {
        let told = problem(server.client.post_form(request).await, status).await;
        assert_eq!(pointers(&told), ["/guide"], "{told}");
        let said = told["errors"][0]["detail"].as_str().unwrap().to_lowercase();
        assert!(said.contains(detail), "{said}");
    }
    assert!(server.blobs("guides").is_empty() && server.blobs("inputs").is_empty());
}

#[tokio::test]
async fn another_guide_is_another_request() {
    let server = TestServer::idle().await;
    let post = |guide| {
        let request = server.client.http.post(format!("{}/v1/jobs", server.client.url));
        request.header("idempotency-key", "one").multipart(with_guide(&guided(), guide)).send()
    };
    assert_eq!(post(stripes(6)).await.unwrap().status(), 202);
    let again = post(stripes(6)).await.unwrap();
    assert_eq!(again.headers()["idempotent-replayed"], "true");
    let other = post(stripes(7)).await.unwrap();
    assert_eq!(other.status(), 422, "{}", other.text().await.unwrap());
    assert_eq!(server.blobs("guides").len(), 1);
}
