//! Details of HTTP and JSON that clients stumble over: answers without a body, boundaries without quotes, members that
//! are named twice, and dreams that look like their photo.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may fail loudly")]

mod common;

use std::{io::Cursor, time::Duration};

use base64::{Engine, engine::general_purpose::STANDARD};
use common::{
    client::{form, pointers, problem, quick},
    picture,
    server::{Setup, TestServer},
};
use reqwest::multipart::Part;
use reverie::http::contract;
use reverie_engine::Kernels;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

/// What the server sends to these requests, one after the other on one connection.
async fn exchange(server: &TestServer, requests: &[String]) -> String {
    let address = server.client.url.strip_prefix("http://").unwrap();
    let mut connection = TcpStream::connect(address).await.unwrap();
    for (index, request) in requests.iter().enumerate() {
        let last = if index + 1 == requests.len() { "Connection: close\r\n" } else { "" };
        let request = format!("{request}\r\nHost: {address}\r\n{last}\r\n");
        connection.write_all(request.as_bytes()).await.unwrap();
    }
    let mut answers = Vec::new();
    let reading = connection.read_to_end(&mut answers);
    timeout(Duration::from_secs(60), reading).await.expect("the connection stays open").unwrap();
    String::from_utf8_lossy(&answers).to_ascii_lowercase()
}

#[tokio::test]
async fn answers_without_a_body_claim_no_length() {
    let server = TestServer::start().await;
    let id = server.client.submit(picture(64, 64), &quick()).await;
    let dream = server.client.dream(&id).await;
    let path = format!("/v1/jobs/{id}");
    for path in [path.clone(), format!("{path}/result")] {
        let response = server.client.get(&path).await;
        let etag = response.headers()["etag"].to_str().unwrap().to_owned();
        for method in ["HEAD", "GET"] {
            let unless = format!("{method} {path} HTTP/1.1\r\nIf-None-Match: {etag}");
            // The connection goes on after such an answer.
            let answers = exchange(&server, &[unless.clone(), unless]).await;
            assert_eq!(answers.matches("http/1.1 304").count(), 2, "{method} {path}: {answers}");
            assert!(
                !answers.contains("content-length") && !answers.contains("transfer-encoding"),
                "{answers}"
            );
            assert_eq!(answers.matches("etag: ").count(), 2, "{answers}");
        }
    }
    // Where there is a length it is that of what GET would bring.
    let heads = [format!("{path}/result"), path.clone(), "/v1/jobs/17".into()]
        .map(|path| format!("HEAD {path} HTTP/1.1"));
    let answers = exchange(&server, &heads[..1]).await;
    assert!(answers.contains(&format!("content-length: {}\r\n", dream.len())), "{answers}");
    let answers = exchange(&server, &heads).await;
    assert_eq!(answers.matches("content-length: ").count(), 3, "{answers}");
    assert!(!answers.contains("content-length: 0\r\n"), "{answers}");
    let erase = format!("DELETE {path} HTTP/1.1");
    let answers = exchange(&server, &[erase.clone(), erase]).await;
    let (gone, missing) = answers.split_once("http/1.1 404").unwrap();
    assert!(gone.contains("http/1.1 204") && !gone.contains("content-length"), "{answers}");
    assert!(missing.contains("content-length: "), "{answers}");
}

#[tokio::test]
async fn a_boundary_needs_no_quotes() {
    let server = TestServer::idle().await;
    for (boundary, sent) in [
        ("----=_Part_1_23.456", "----=_Part_1_23.456"),
        ("----=_Part_1", "\"----=_Part_1\""),
        ("a b=c", "a b=c"),
        ("plain", "plain; charset=utf-8"),
    ] {
        let mut body = format!(
            "--{boundary}\r\nContent-Disposition: form-data; name=\"image\"; filename=\"p.png\"\r\n\r\n"
        )
        .into_bytes();
        body.extend(picture(64, 64));
        body.extend(format!("\r\n--{boundary}--\r\n").bytes());
        let response = server.client.post_bytes(&format!("multipart/form-data; boundary={sent}"), body).await;
        assert_eq!(response.status(), 202, "{sent}: {}", response.text().await.unwrap());
    }
}

#[tokio::test]
async fn a_member_that_is_given_twice_is_refused_by_name() {
    let server = TestServer::idle().await;
    let told = |response| async { problem(response, 400).await["detail"].as_str().unwrap().to_owned() };
    for (body, name) in [
        ("{\"spec\": {\"noise\": {}}, \"spec\": {\"noise\": {}}}", "\"spec\""),
        ("{\"spec\": {\"noise\": {\"width\": 9, \"width\": 8}}}", "\"width\""),
        ("{\"spec\": {\"noise\": {}, \"objectives\": [{\"layer\": \"a\", \"layer\": \"b\"}]}}", "\"layer\""),
    ] {
        let detail = told(server.client.post_bytes("application/json", body).await).await;
        assert!(
            detail.contains(&format!("the body cannot be read as JSON: the member {name} is given twice")),
            "{detail}"
        );
    }
    let spec = reqwest::multipart::Form::new().text("spec", "{\"noise\": {}, \"seed\": 1, \"seed\": 1}");
    let detail = told(server.client.post_form(spec).await).await;
    assert!(
        detail.contains("the field \"spec\" cannot be read as JSON: the member \"seed\" is given twice"),
        "{detail}"
    );
}

#[tokio::test]
async fn wrong_cursors_and_parameters_say_what_to_do() {
    let server = TestServer::idle().await;
    let refused =
        problem(server.client.get("/v1/jobs?cursor=c-1.0198c0de-0000-7000-8000-000000000000").await, 422)
            .await;
    assert_eq!(refused["detail"], "/cursor: unknown cursor; use the value of links.next");
    let refused = problem(server.client.post("/v1/jobs?priority=5").await, 422).await;
    assert_eq!(pointers(&refused), ["/priority"]);
    assert!(
        refused["detail"].as_str().unwrap().contains("in the body (priority, deadline_seconds, webhook)"),
        "{refused}"
    );
}

/// The notes of a job that is rendered now.
async fn notes(server: &TestServer, request: reqwest::multipart::Form) -> Vec<String> {
    let response = server.client.post_form(request).await;
    assert_eq!(response.status(), 202);
    let job: Value = response.json().await.unwrap();
    assert_eq!(job["notes"], json!([]));
    let job =
        server.client.job_until(job["id"].as_str().unwrap(), |job| job["finished_at"].is_string()).await;
    assert_eq!(job["status"], "succeeded", "{job}");
    serde_json::from_value(job["notes"].clone()).unwrap()
}

#[tokio::test]
async fn a_dream_that_cannot_change_anything_says_why() {
    for kernels in [Kernels::Auto, Kernels::Library] {
        let mut setup = Setup::new().await;
        setup.config.worker.kernels = kernels;
        dreams_say_why(&setup.start().await).await;
    }
}

async fn dreams_say_why(server: &TestServer) {
    let spec = |more: Value| {
        let mut spec = quick();
        spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        spec
    };
    let with = |more| form(picture(64, 64), &spec(more));
    assert_eq!(notes(server, with(json!({}))).await, [""; 0]);
    assert_eq!(notes(server, with(json!({ "blend": 0.99 }))).await, [""; 0]);
    let told = notes(server, with(json!({ "blend": 1 }))).await;
    assert_eq!(told, ["the result is the original: blend is 1; a smaller value lets the dream show"]);
    let mask = |shade: u8, from: u32| {
        let mask = image::GrayImage::from_fn(64, 64, |x, _| image::Luma([if x >= from { shade } else { 0 }]));
        let mut file = Cursor::new(Vec::new());
        mask.write_to(&mut file, image::ImageFormat::Png).unwrap();
        Part::bytes(file.into_inner()).file_name("mask.png")
    };
    let told = notes(server, with(json!({})).part("mask", mask(0, 0))).await;
    assert_eq!(
        told,
        ["the dream changed nothing: the mask is black everywhere; the dream grows where it is white"]
    );
    assert_eq!(notes(server, with(json!({})).part("mask", mask(255, 63))).await, [""; 0]);
    // A channel that nothing in this picture excites.
    let objective = json!({ "layer": "block10/depthwise", "channels": [4, 6] });
    let dead = json!({ "objectives": [objective], "octaves": 1, "jitter": false });
    let told = notes(server, with(dead.clone())).await;
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(
        told[0].contains("changed nothing: the objective is 0, and its gradient is zero everywhere"),
        "{told:?}"
    );
    let told = notes(server, with(dead).part("mask", mask(255, 32))).await;
    assert!(told[0].contains("zero wherever the mask is not black"), "{told:?}");
}

/// Transparency is carried to the result, where that has the same size and a format that can hold it.
#[tokio::test]
async fn a_transparent_picture_becomes_a_transparent_dream() {
    let server = TestServer::start().await;
    let cut_out = image::RgbaImage::from_fn(64, 64, |x, y| {
        image::Rgba([200, (y * 4) as u8, 40, if x < 32 { (y * 4) as u8 } else { 255 }])
    });
    let mut file = Cursor::new(Vec::new());
    cut_out.write_to(&mut file, image::ImageFormat::Png).unwrap();
    let opacity = |picture: &image::DynamicImage| -> Vec<u8> {
        picture.to_rgba8().pixels().map(|pixel| pixel.0[3]).collect()
    };
    for (changes, is_kept) in [
        (json!({}), true),
        (json!({ "format": "webp", "lossless": true }), true),
        (json!({ "format": "jpeg" }), false),
        (json!({ "octave_mode": "enlarge" }), false),
    ] {
        let mut spec = quick();
        spec.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        let id = server.client.submit(file.get_ref().clone(), &spec).await;
        let dream = image::load_from_memory(&server.client.dream(&id).await).unwrap();
        assert_eq!(dream.color().has_alpha(), is_kept, "{changes}");
        if is_kept {
            assert_eq!(opacity(&dream), opacity(&cut_out.clone().into()), "{changes}");
        }
    }
}

#[tokio::test]
async fn digests_of_bodies_are_checked_and_of_results_told() {
    let server = TestServer::start().await;
    let digest = |bytes: &[u8]| format!("sha-256=:{}:", STANDARD.encode(Sha256::digest(bytes)));
    let json = json!({ "image": contract::EXAMPLE_IMAGE, "spec": quick() }).to_string();
    // Behind the last boundary a form may go on, and that belongs to its body too.
    let form =
        "--X\r\nContent-Disposition: form-data; name=\"spec\"\r\n\r\n{\"noise\": {}}\r\n--X--\r\nthe end";
    let post = async |content_type: &str, name: &str, value: &str, body: &str| {
        let request = server.client.http.post(format!("{}/v1/jobs", server.client.url));
        let request = request.header("content-type", content_type).header(name, value);
        request.body(body.to_owned()).send().await.unwrap()
    };
    for (content_type, body) in [("application/json", &*json), ("multipart/form-data; boundary=X", form)] {
        for name in ["content-digest", "repr-digest"] {
            let right = post(content_type, name, &digest(body.as_bytes()), body).await;
            assert_eq!(right.status(), 202, "{content_type}: {}", right.text().await.unwrap());
            let cut = digest(&body.as_bytes()[..body.len() - 1]);
            let refusal = problem(post(content_type, name, &cut, body).await, 400).await;
            assert!(refusal["detail"].as_str().unwrap().contains("sha-256"), "{refusal}");
            problem(post(content_type, name, "sha-256=abc", body).await, 400).await;
        }
    }
    let id = server.client.submit(picture(64, 64), &quick()).await;
    let dream = server.client.dream(&id).await;
    let url = format!("{}/v1/jobs/{id}/result", server.client.url);
    for range in ["bytes=0-9", "bytes=none"] {
        let response = server.client.http.get(&url).header("range", range).send().await.unwrap();
        assert_eq!(response.headers()["repr-digest"], digest(&dream), "{range}");
    }
}
