//! Job options (priority, deadline, headers), job lists, and erasing a job.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may fail loudly")]

mod common;

use common::{
    client::{form, pointers, problem, quick},
    events::Events,
    picture,
    server::{Setup, TestServer},
};
use reqwest::{Method, Response, header::HeaderMap};
use reverie::{jobs::Counts, keys::Tenant, objects::ObjectKey};
use serde_json::{Value, json};

/// Posts a picture with further headers.
async fn post(
    server: &TestServer,
    image: Vec<u8>,
    spec: &Value,
    headers: &[(&'static str, &str)],
) -> Response {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.append(*name, value.parse().unwrap());
    }
    let request = server.client.http.post(format!("{}/v1/jobs", server.client.url)).headers(map);
    request.multipart(form(image, spec)).send().await.unwrap()
}

async fn id_of(response: Response) -> String {
    let status = response.status();
    let job: Value = response.json().await.unwrap();
    assert_eq!(status, 202, "{job}");
    job["id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn the_same_request_makes_one_job() {
    let mut setup = Setup::new().await;
    setup.config.queue.capacity = 1;
    let server = Setup { works: false, ..setup }.start().await;
    let key = [("idempotency-key", "\"3f0c\"")];
    // At once and one after another, with defaults left out and spelled out, to a queue that is full by then.
    let mut spelled_out = quick();
    spelled_out["octave_scale"] = 1.4.into();
    let requests = (0..8).map(|number| {
        let spec = if number % 2 == 0 { quick() } else { spelled_out.clone() };
        let server = &server;
        async move { id_of(post(server, picture(64, 64), &spec, &key).await).await }
    });
    let ids = futures::future::join_all(requests).await;
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    let again = post(&server, picture(64, 64), &quick(), &[("idempotency-key", "3f0c")]).await;
    assert_eq!(again.headers()["location"], format!("/v1/jobs/{}", ids[0]).as_str());
    assert_eq!(again.headers()["idempotent-replayed"], "true");
    assert!(again.headers().contains_key("retry-after"));
    assert_eq!(id_of(again).await, ids[0]);
    assert_eq!(server.blobs("inputs").len(), 1);

    // The same key with another picture, spec or wish.
    let mut other = quick();
    other["seed"] = 2.into();
    for response in [
        post(&server, picture(65, 64), &quick(), &key).await,
        post(&server, picture(64, 64), &other, &key).await,
        post(&server, picture(64, 64), &quick(), &[key[0], ("cancel-after", "90s")]).await,
    ] {
        let refused = problem(response, 422).await;
        assert_eq!(refused["type"], "urn:reverie:problem:key-reused");
    }
    assert_eq!(server.blobs("inputs").len(), 1);

    // The original answer with the job's current state.
    server.client.post(&format!("/v1/jobs/{}/cancel", ids[0])).await;
    let again = post(&server, picture(64, 64), &quick(), &key).await;
    assert_eq!((again.status().as_u16(), again.headers().contains_key("retry-after")), (200, false));
    let again: Value = again.json().await.unwrap();
    assert_eq!((&again["id"], &again["status"]), (&json!(ids[0]), &json!("canceled")));
    problem(post(&server, picture(64, 64), &quick(), &[("idempotency-key", "\"\"")]).await, 400).await;
}

#[tokio::test]
async fn urgent_jobs_come_first() {
    let server = TestServer::idle().await;
    let plain = server.client.submit(picture(64, 64), &quick()).await;
    let urgent = server.client.post_form(form(picture(64, 64), &quick()).text("priority", "5")).await;
    let urgent: Value = urgent.json().await.unwrap();
    assert_eq!((&urgent["priority"], &urgent["queue_position"]), (&json!(5), &json!(1)));
    assert_eq!(server.client.job(&plain).await["queue_position"], 2);
    let wrong = form(picture(64, 64), &json!({ "octaves": 0 })).text("priority", "11");
    let refused = problem(server.client.post_form(wrong.text("deadline_seconds", "0")).await, 422).await;
    let mut found = pointers(&refused);
    found.sort_unstable();
    assert_eq!(found, ["/deadline_seconds", "/priority", "/spec/octaves"]);
}

#[tokio::test]
async fn a_deadline_ends_a_job_that_waits() {
    let server = TestServer::idle().await;
    let id = id_of(post(&server, picture(64, 64), &quick(), &[("cancel-after", "1s")]).await).await;
    let job = server.client.job_until(&id, |job| job["finished_at"].is_string()).await;
    assert_eq!((&job["status"], &job["started_at"]), (&json!("expired"), &Value::Null));
    assert_eq!(job["error"]["type"], "urn:reverie:problem:deadline-passed");
    assert!(job["deadline_at"].as_str().unwrap() <= job["finished_at"].as_str().unwrap());
    problem(server.client.get(&format!("/v1/jobs/{id}/result")).await, 409).await;
    problem(server.client.post(&format!("/v1/jobs/{id}/cancel")).await, 409).await;
    problem(post(&server, picture(64, 64), &quick(), &[("cancel-after", "soon")]).await, 400).await;
}

/// Takes far longer than any test.
fn endless() -> Value {
    json!({ "objectives": [{ "layer": "block5" }], "octaves": 1, "iterations": 1000 })
}

#[tokio::test]
async fn a_deadline_stops_a_job_that_runs() {
    let server = TestServer::start().await;
    // The earlier of two deadlines counts.
    let wish = form(picture(320, 320), &endless()).text("deadline_seconds", "2");
    let url = format!("{}/v1/jobs", server.client.url);
    let response = server.client.http.post(url).header("cancel-after", "1h").multipart(wish).send().await;
    let id = id_of(response.unwrap()).await;
    let next = server.client.submit(picture(64, 64), &quick()).await;
    let job = server.client.job_until(&id, |job| job["finished_at"].is_string()).await;
    assert_eq!((&job["status"], &job["attempt"]), (&json!("expired"), &json!(1)));
    server.client.dream(&next).await;
}

#[tokio::test]
async fn jobs_are_listed_newest_first() {
    let server = TestServer::idle().await;
    let empty: Value = server.client.get("/v1/jobs").await.json().await.unwrap();
    assert_eq!(empty, json!({ "jobs": [], "links": { "next": null } }));
    let mut newest_first = Vec::new();
    for _ in 0..5 {
        newest_first.insert(0, server.client.submit(picture(64, 64), &quick()).await);
    }
    server.client.post(&format!("/v1/jobs/{}/cancel", newest_first[1])).await;
    let (mut seen, mut path) = (Vec::new(), Some("/v1/jobs?limit=2".to_owned()));
    while let Some(next) = path {
        let page: Value = server.client.get(&next).await.json().await.unwrap();
        let jobs = page["jobs"].as_array().unwrap();
        assert!(jobs.len() <= 2);
        seen.extend(jobs.iter().map(|job| job["id"].as_str().unwrap().to_owned()));
        path = page["links"]["next"].as_str().map(str::to_owned);
    }
    assert_eq!(seen, newest_first);
    let canceled: Value = server.client.get("/v1/jobs?status=canceled").await.json().await.unwrap();
    assert_eq!(canceled["jobs"], json!([server.client.job(&newest_first[1]).await]));
    let refused =
        problem(server.client.get("/v1/jobs?limit=101&status=lost&cursor=x&page=1").await, 422).await;
    let mut found = pointers(&refused);
    found.sort_unstable();
    assert_eq!(found, ["/cursor", "/limit", "/page", "/status"]);
}

#[tokio::test]
async fn an_erased_job_is_gone_with_its_pictures() {
    let server = TestServer::start().await;
    let finished = server.client.submit(picture(64, 64), &quick()).await;
    server.client.dream(&finished).await;
    let running = server.client.submit(picture(320, 320), &endless()).await;
    let waiting = server.client.submit(picture(64, 64), &quick()).await;
    server.client.job_until(&running, |job| job["progress"]["iteration"].as_u64() >= Some(1)).await;
    for id in [&finished, &waiting, &running] {
        let path = format!("/v1/jobs/{id}");
        let erased = server.client.request(Method::DELETE, &path).await;
        assert_eq!(erased.status(), 204);
        problem(server.client.get(&path).await, 404).await;
        problem(server.client.get(&format!("{path}/result")).await, 404).await;
        problem(server.client.request(Method::DELETE, &path).await, 404).await;
    }
    assert!(server.blobs("inputs").is_empty());
    assert_eq!(server.state.queue.counts().await.unwrap(), Counts::default());
    // The worker has let go of the erased job, and left nothing of it.
    let next = server.client.submit(picture(64, 64), &quick()).await;
    server.client.dream(&next).await;
    assert_eq!((server.blobs("inputs"), server.blobs("results").len()), (vec![next], 1));
}

#[tokio::test]
async fn a_running_job_has_a_preview() {
    let server = TestServer::start().await;
    // Octaves of very different length: the first is soon done, the last never.
    let spec = json!({
        "objectives": [{ "layer": "block5" }], "octaves": 2, "octave_scale": 4.0, "iterations": 100,
    });
    let before = server.client.submit(picture(480, 480), &spec).await;
    let id = server.client.submit(picture(480, 480), &spec).await;
    let path = format!("/v1/jobs/{id}/preview");
    let queued = server.client.job(&id).await;
    assert_eq!(queued["links"]["preview"], Value::Null, "{queued}");
    let early = problem(server.client.get(&path).await, 409).await;
    assert_eq!(early["type"], "urn:reverie:problem:no-preview");
    server.client.post(&format!("/v1/jobs/{before}/cancel")).await;
    let mut events = Events::open(&server.client, &id, None).await;
    let told = loop {
        let event = events.next().await.unwrap();
        if event.name == "preview" {
            break event;
        }
    };
    assert_eq!(told.data["links"]["preview"], path.as_str());
    // It is there when it is told of, and told of once: the job itself comes behind, with the same id.
    let preview = server.client.get(&path).await;
    assert_eq!(preview.status(), 200);
    assert_eq!(events.next().await.unwrap().name, "progress");
    assert_eq!(preview.headers()["content-type"], "image/jpeg");
    let etag = preview.headers()["etag"].to_str().unwrap().to_owned();
    let picture = preview.bytes().await.unwrap();
    assert_eq!(image::guess_format(&picture).unwrap(), image::ImageFormat::Jpeg);
    assert_eq!(server.client.get_unless(&path, &etag).await.status(), 304);
    server.client.post(&format!("/v1/jobs/{id}/cancel")).await;
    let job = server.client.job_until(&id, |job| job["finished_at"].is_string()).await;
    assert_eq!(job["links"]["preview"], Value::Null);
    problem(server.client.get(&path).await, 409).await;
}

#[tokio::test]
async fn a_dream_is_fetched_in_parts() {
    let server = TestServer::start().await;
    let id = server.client.submit(picture(64, 64), &quick()).await;
    let dream = server.client.dream(&id).await;
    let (size, path) = (dream.len(), format!("/v1/jobs/{id}/result"));
    let get = |method: Method, headers: &[(&'static str, &str)]| {
        let mut request = server.client.http.request(method, format!("{}{path}", server.client.url));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        async move { request.send().await.unwrap() }
    };
    let whole = get(Method::GET, &[]).await;
    assert_eq!(whole.headers()["accept-ranges"], "bytes");
    let etag = whole.headers()["etag"].to_str().unwrap().to_owned();
    for (range, expected) in [
        ("bytes=0-9", 0..10),
        ("bytes=-7", size - 7..size),
        (&*format!("bytes={}-", size - 3), size - 3..size),
    ] {
        let part = get(Method::GET, &[("range", range), ("if-range", &etag)]).await;
        assert_eq!(part.status(), 206);
        let span = format!("bytes {}-{}/{size}", expected.start, expected.end - 1);
        assert_eq!(part.headers()["content-range"], span.as_str());
        assert_eq!(part.headers()["content-length"], expected.len().to_string().as_str());
        assert_eq!(part.headers()["etag"], etag.as_str());
        assert_eq!(part.headers()["content-type"], "image/png");
        assert!(part.bytes().await.unwrap() == dream[expected], "{range}");
    }
    let beyond = get(Method::GET, &[("range", &format!("bytes={size}-"))]).await;
    assert_eq!(beyond.headers()["content-range"], format!("bytes */{size}").as_str());
    problem(beyond, 416).await;
    // Another version, several ranges, and HEAD: the whole.
    for headers in [&[("range", "bytes=0-9"), ("if-range", "\"old\"")][..], &[("range", "bytes=0-1,4-5")]] {
        let response = get(Method::GET, headers).await;
        assert_eq!((response.status().as_u16(), response.content_length()), (200, Some(size as u64)));
    }
    let head = get(Method::HEAD, &[("range", "bytes=0-9")]).await;
    assert_eq!(head.status(), 200);
    assert_eq!(head.headers()["content-length"], size.to_string().as_str());
    let unchanged = get(Method::GET, &[("range", "bytes=0-9"), ("if-none-match", &etag)]).await;
    assert_eq!(unchanged.status(), 304);
    // A picture that the row promises and that is lost is no mistake of the client.
    let job = server.state.queue.get(&Tenant::DEFAULT, id.parse().unwrap()).await.unwrap();
    server.state.objects.delete(ObjectKey::result_of(&job).unwrap()).await.unwrap();
    for headers in [&[][..], &[("range", "bytes=0-9")]] {
        let lost = problem(get(Method::GET, headers).await, 500).await;
        assert_eq!(lost["type"], "urn:reverie:problem:result-lost");
    }
    // One that went with its row is.
    server.client.request(Method::DELETE, &format!("/v1/jobs/{id}")).await;
    problem(get(Method::GET, &[]).await, 404).await;
}
