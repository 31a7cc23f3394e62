//! The built program with its pictures in a bucket.

use std::{process::Stdio, time::Duration};

use hyper::http::request::Parts;
use reqwest::{Method, redirect::Policy};
use serde_json::{Value, json};

use crate::{
    common::{
        client::{Client, DEADLINE, form, problem, quick},
        picture,
        ports::ReservedPort,
        process::ServerProcess,
    },
    server::{Fault, S3Server, SECRET, any},
};

fn command(s3: &S3Server, folder: &std::path::Path, more: &[(&str, &str)]) -> tokio::process::Command {
    let mut command = ServerProcess::command(folder, &[("REVERIE__LOG__FILTER", "off")]);
    command.envs(s3.environment()).envs(more.iter().copied());
    command
}

async fn start(s3: &S3Server, folder: &std::path::Path, more: &[(&str, &str)]) -> ServerProcess {
    ServerProcess::of(command(s3, folder, more)).await
}

async fn store_answers(client: &Client) -> bool {
    let ready: Value = client.get("/readyz").await.json().await.unwrap();
    ready["checks"]["store"] == true
}

#[tokio::test]
async fn a_job_goes_its_way_through_a_bucket() {
    let (s3, folder) = (S3Server::start().await, tempfile::tempdir().unwrap());
    let server = start(&s3, folder.path(), &[]).await;
    let client = &server.client;
    let id = client.submit(picture(64, 64), &quick()).await;
    let dream = client.dream(&id).await;
    image::load_from_memory(&dream).unwrap();
    // What helped on the way is gone, and nothing lies in the folder.
    let stored = s3.visible();
    let names = [format!("team/a/inputs/{id}"), format!("team/a/results/{id}-")];
    assert_eq!(stored.len(), 2, "{stored:?}");
    assert!(stored.iter().zip(&names).all(|(stored, name)| stored.starts_with(name)), "{stored:?}");
    assert!(!folder.path().join("results").exists());

    let path = format!("/v1/jobs/{id}/result");
    let get = client.http.get(format!("{}{path}", client.url)).header("range", "bytes=10-29");
    let part = get.send().await.unwrap();
    assert_eq!((part.status().as_u16(), part.content_length()), (206, Some(20)));
    assert_eq!(part.bytes().await.unwrap(), dream[10..30]);
    let asked = s3.requests().into_iter().rfind(|request| request.contains("/results/")).unwrap();
    assert!(asked.ends_with("bytes=10-29"), "{asked}");
    let head = client.request(Method::HEAD, &path).await;
    assert_eq!(head.headers()["content-length"], dream.len().to_string().as_str());

    assert_eq!(client.request(Method::DELETE, &format!("/v1/jobs/{id}")).await.status(), 204);
    assert!(s3.visible().is_empty(), "{:?}", s3.visible());
    server.terminate();
    assert!(server.ended().await);
}

#[tokio::test]
async fn a_picture_is_sent_ahead_to_the_bucket() {
    let (s3, folder) = (S3Server::start().await, tempfile::tempdir().unwrap());
    let server = start(&s3, folder.path(), &[]).await;
    let (client, photo) = (&server.client, picture(64, 64));
    let body = json!({ "bytes": photo.len() }).to_string();
    let made =
        client.http.post(format!("{}/v1/uploads", client.url)).header("content-type", "application/json");
    let upload: Value = made.body(body).send().await.unwrap().json().await.unwrap();
    let url = upload["url"].as_str().unwrap();
    assert!(url.starts_with(&s3.url) && !url.contains(SECRET) && url.contains("X-Amz-Expires=3600"), "{url}");
    let bucket = reqwest::Client::new();
    let submit = async || {
        let body = json!({ "image": { "upload": upload["id"] }, "spec": quick() });
        client.post_bytes("application/json", body.to_string()).await
    };
    problem(submit().await, 422).await;
    // The bucket takes more than was announced; the submission does not.
    let mut longer = photo.clone();
    longer.push(0);
    assert_eq!(bucket.put(url).body(longer).send().await.unwrap().status(), 200);
    let refusal = problem(submit().await, 422).await;
    assert!(refusal["detail"].as_str().unwrap().contains("were announced"), "{refusal}");
    assert_eq!(bucket.put(url).body(photo).send().await.unwrap().status(), 200);
    let job: Value = submit().await.json().await.unwrap();
    client.dream(job["id"].as_str().unwrap_or_else(|| panic!("{job}"))).await;
    // Only there, and only so.
    let (elsewhere, query) = url.split_once('?').unwrap();
    let elsewhere = format!("{}0?{query}", &elsewhere[..elsewhere.len() - 1]);
    for (method, url) in [(Method::GET, url), (Method::PUT, &elsewhere)] {
        assert_eq!(bucket.request(method, url).body("x").send().await.unwrap().status(), 403);
    }
}

#[tokio::test]
async fn clients_are_sent_to_the_bucket() {
    let (s3, folder) = (S3Server::start().await, tempfile::tempdir().unwrap());
    let server = start(&s3, folder.path(), &[("REVERIE__STORAGE__REDIRECT_RESULTS", "true")]).await;
    let id = server.client.submit(picture(64, 64), &quick()).await;
    let path = format!("/v1/jobs/{id}/result");
    let early = server.client.get(&path).await;
    if early.status() != 200 {
        problem(early, 409).await;
    }
    // This one follows.
    let dream = server.client.dream(&id).await;
    let stays = reqwest::Client::builder().redirect(Policy::none()).build().unwrap();
    let client = Client { http: stays, url: server.client.url.clone() };
    let sent = client.get(&path).await;
    assert_eq!(sent.status(), 303);
    assert_eq!(sent.headers()["cache-control"], "no-store");
    let address = sent.headers()["location"].to_str().unwrap().to_owned();
    assert!(address.starts_with(&s3.url) && !address.contains(SECRET), "{address}");
    for part in ["response-content-type=image%2Fpng", "response-content-disposition=", "X-Amz-Expires=300"] {
        assert!(address.contains(part), "{part} is missing in {address}");
    }
    let fetched = reqwest::get(&address).await.unwrap();
    assert_eq!(fetched.status(), 200);
    assert_eq!(fetched.bytes().await.unwrap(), dream);
    // Only this one, and only as it is.
    let other = address.replace(&id, "0198c0de-0000-7000-8000-000000000000");
    assert_eq!(reqwest::get(&other).await.unwrap().status(), 403);
    // Everything else is answered here.
    let head = client.request(Method::HEAD, &path).await;
    assert_eq!(
        (head.status().as_u16(), head.headers()["content-type"].to_str().unwrap()),
        (200, "image/png")
    );
    let etag = head.headers()["etag"].to_str().unwrap();
    assert_eq!(client.get_unless(&path, etag).await.status(), 304);
    let ranged = client.http.get(format!("{}{path}", client.url)).header("range", "bytes=0-9");
    assert_eq!(ranged.send().await.unwrap().bytes().await.unwrap(), dream[..10]);
    client.request(Method::DELETE, &format!("/v1/jobs/{id}")).await;
    problem(client.get(&path).await, 404).await;
    assert_eq!(reqwest::get(&address).await.unwrap().status(), 404);
}

#[tokio::test]
async fn results_are_gone_after_their_time() {
    let (s3, folder) = (S3Server::start().await, tempfile::tempdir().unwrap());
    let server = start(&s3, folder.path(), &[]).await;
    let id = server.client.submit(picture(64, 64), &quick()).await;
    server.client.dream(&id).await;
    server.terminate();
    assert!(server.ended().await);
    // A server that starts sweeps at once, and keeps results for about a second.
    let sent =
        [("REVERIE__RETENTION__RESULTS_DAYS", "0.00001"), ("REVERIE__STORAGE__REDIRECT_RESULTS", "true")];
    let server = start(&s3, folder.path(), &sent).await;
    let path = format!("/v1/jobs/{id}/result");
    let blobs_deleted = server.client.job_until(&id, |job| job["links"]["result"].is_null()).await;
    assert_eq!(blobs_deleted["status"], "succeeded", "{blobs_deleted}");
    problem(server.client.get(&path).await, 410).await;
    let waiting = async {
        while !s3.visible().is_empty() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(DEADLINE, waiting).await.expect("pictures stay in the bucket");
}

#[tokio::test]
async fn a_storm_costs_no_job_an_attempt() {
    let (s3, folder) = (S3Server::start().await, tempfile::tempdir().unwrap());
    let more = [("REVERIE__QUEUE__LEASE_SECONDS", "3"), ("REVERIE__QUEUE__MAX_ATTEMPTS", "1")];
    let server = start(&s3, folder.path(), &more).await;
    // The dream cannot be stored, for longer than a worker insists: the job goes back as if it had not begun.
    let meets =
        |parts: &Parts| parts.uri.path().contains("/results/") || parts.uri.path().ends_with("/probe");
    s3.spoil(Fault::Busy, usize::MAX, meets);
    let id = server.client.submit(picture(64, 64), &quick()).await;
    server.client.job_until(&id, |job| job["status"] == "running").await;
    let job = server.client.job_until(&id, |job| job["status"] != "running").await;
    assert_eq!((&job["status"], &job["attempt"]), (&json!("queued"), &json!(0)), "{job}");
    // Everyone is told: the one who posts, and the load balancer.
    s3.spoil(Fault::Busy, usize::MAX, any);
    let refused = server.client.post_form(form(picture(32, 32), &quick())).await;
    assert!(refused.headers().contains_key("retry-after"));
    let refused = problem(refused, 503).await;
    assert!(!refused.to_string().contains("SlowDown"), "{refused}");
    server.client.until_not_ready().await;
    server.admin.until_not_ready().await;
    assert!(!store_answers(&server.client).await);
    assert_eq!(server.client.job(&id).await["status"], "queued");
    // Silence is no better.
    s3.spoil(Fault::Stall, usize::MAX, any);
    problem(server.client.post_form(form(picture(32, 32), &quick())).await, 503).await;
    s3.heal();
    server.client.until_found("/readyz").await;
    image::load_from_memory(&server.client.dream(&id).await).unwrap();
    assert_eq!(server.client.job(&id).await["attempt"], 1);
    let next = server.client.submit(picture(32, 32), &quick()).await;
    server.client.dream(&next).await;
}

#[tokio::test]
async fn a_short_storm_is_not_even_noticed() {
    let (s3, folder) = (S3Server::start().await, tempfile::tempdir().unwrap());
    let server = start(&s3, folder.path(), &[("REVERIE__QUEUE__MAX_ATTEMPTS", "1")]).await;
    // More than one request is tried, on the way in and on the way out.
    s3.spoil(Fault::Busy, 10, |parts| parts.method == "GET" && parts.uri.path().contains("/inputs/"));
    let id = server.client.submit(picture(64, 64), &quick()).await;
    server.client.job_until(&id, |job| job["progress"].is_object()).await;
    s3.spoil(Fault::Busy, 10, |parts| parts.uri.path().contains("/results/"));
    let job = server.client.job_until(&id, |job| job["finished_at"].is_string()).await;
    assert_eq!((&job["status"], &job["attempt"]), (&json!("succeeded"), &json!(1)), "{job}");
    s3.heal();
    server.client.dream(&id).await;
}

#[tokio::test]
async fn a_bucket_that_cannot_be_used_ends_the_start() {
    let (s3, folder) = (S3Server::start().await, tempfile::tempdir().unwrap());
    for (more, said) in [
        (
            [("REVERIE__STORAGE__OBJECTS", "s3://nightmares"), ("REVERIE__S3__START_SECONDS", "60")],
            "NoSuchBucket",
        ),
        ([("AWS_SECRET_ACCESS_KEY", "wrong"), ("REVERIE__S3__START_SECONDS", "60")], "SignatureDoesNotMatch"),
        ([("REVERIE__S3__ENDPOINT", "http://127.0.0.1:9"), ("REVERIE__S3__START_SECONDS", "1")], "refused"),
    ] {
        let mut command = command(&s3, folder.path(), &more);
        command.env("REVERIE__LOG__FILTER", "trace").stderr(Stdio::piped());
        let ended = tokio::time::timeout(DEADLINE, command.output()).await.unwrap().unwrap();
        let text = String::from_utf8_lossy(&ended.stderr);
        assert_eq!(ended.status.code(), Some(1), "{text}");
        // Not the last line: threads that are still there may log what they do until the process is gone.
        let error =
            text.lines().rfind(|line| line.starts_with("error: ")).unwrap_or_else(|| panic!("{text}"));
        assert!(error.contains(said) && error.contains("the bucket"), "{error}");
        assert!(!text.contains(SECRET), "the secret is in the log");
    }
}

#[tokio::test]
async fn a_server_that_waits_for_its_bucket_says_so_and_can_be_stopped() {
    let (s3, folder) = (S3Server::start().await, tempfile::tempdir().unwrap());
    s3.spoil(Fault::Busy, usize::MAX, any);
    // The server says where it listens when it is ready, which it never is here.
    let admin_port = ReservedPort::new();
    let listen = admin_port.to_string();
    let more = [("REVERIE__SERVER__ADMIN_LISTEN", listen.as_str()), ("REVERIE__S3__START_SECONDS", "3600")];
    let mut child = command(&s3, folder.path(), &more).spawn().unwrap();
    let until = async {
        while s3.requests().len() < 2 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(DEADLINE, until).await.expect("the store is not asked");
    let admin = Client::new(admin_port.url());
    assert_eq!(admin.get("/healthz").await.status(), 200);
    let ready = admin.get("/readyz").await;
    assert_eq!(ready.status(), 503);
    let ready: Value = ready.json().await.unwrap();
    assert_eq!(ready["checks"]["started"], false, "{ready}");
    let id = child.id().unwrap().to_string();
    assert!(std::process::Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
    let ended = tokio::time::timeout(DEADLINE, child.wait()).await.expect("it does not end").unwrap();
    assert!(ended.success());
}
