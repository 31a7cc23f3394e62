//! Two tenants on one server: to each, the jobs of the other do not exist. The whole contract is walked, on both databases:
//! an operation that is added to it is tried here too.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may fail loudly")]

mod common;

use common::{
    client::{Client, form, problem, quick},
    events::Events,
    picture,
    postgres::cluster,
    server::{Setup, TestServer},
};
use reqwest::Response;
use reverie::{config::Database, http::contract};
use serde_json::{Value, json};

/// The scopes of a tenant's key.
const JOBS: &str = "jobs:read,jobs:write";

/// A server with keys, on SQLite or on PostgreSQL; none where there is no PostgreSQL to be had.
async fn server(test: &str, postgres: bool) -> Option<TestServer> {
    let mut setup = Setup::new().await;
    setup.require_keys();
    if postgres {
        setup.config.storage.database = Database::Postgres(cluster(test)?.database().await);
    }
    Some(setup.start().await)
}

/// Operations of the contract: method, path and what is said of it.
fn operations() -> Vec<(String, String, Value)> {
    let document = serde_json::to_value(contract::document()).unwrap();
    let mut all = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            all.push((method.to_uppercase(), path.clone(), operation.clone()));
        }
    }
    all
}

/// Asks for an operation, with the example of its body.
async fn ask(client: &Client, (method, path, operation): &(String, String, Value), id: &str) -> Response {
    let url = format!("{}{}", client.url, path.replace("{id}", id));
    let mut request = client.http.request(method.parse().unwrap(), url);
    if operation["requestBody"].is_object() {
        request = request.json(&operation["requestBody"]["content"]["application/json"]["example"]);
    }
    request.send().await.unwrap()
}

/// What a stranger's look at a job must be: exactly what a job that never was gives.
async fn unknown(client: &Client, operation: &(String, String, Value), id: &str) {
    let (method, path, _) = operation;
    let refusal = problem(ask(client, operation, id).await, 404).await;
    let never = "0198c0de-5a7e-7000-8000-00000000ffff";
    let expected = problem(ask(client, operation, never).await, 404).await;
    let text = refusal.to_string().replace(id, never);
    assert_eq!(text, expected.to_string(), "{method} {path} tells of a job of another tenant");
}

async fn another_tenants_jobs_do_not_exist(server: &TestServer) {
    let (ours, theirs) = (server.client_of("ours", JOBS).await, server.client_of("theirs", JOBS).await);
    // One that has ended, one at work with a preview, and one that waits.
    let done = ours.submit(picture(64, 64), &quick()).await;
    ours.dream(&done).await;
    let long = json!({ "objectives": [{ "layer": "block2" }], "octaves": 3, "iterations": 1000, "seed": 1 });
    let running = ours.submit(picture(256, 256), &long).await;
    ours.until_found(&format!("/v1/jobs/{running}/preview")).await;
    let waiting = ours.submit(picture(64, 64), &quick()).await;
    let jobs = [&done, &running, &waiting];
    let before = [ours.job(&done).await, ours.job(&waiting).await];

    let mut walked = 0;
    for operation in operations() {
        let (method, path, about) = &operation;
        // Every operation that needs a key refuses a request without one.
        let needs_key = about["security"].is_array();
        let status = ask(&server.client, &operation, &done).await.status();
        assert_eq!(status == 401, needs_key, "{method} {path}: {status}");
        assert_eq!(about["responses"]["401"].is_object(), needs_key, "{method} {path}");
        // Every operation asks for the scope that the contract names.
        let scopes = about["security"][0]["key"].as_array().cloned().unwrap_or_default();
        for scope in ["jobs:read", "jobs:write", "admin"] {
            let client = server.client_of("nobody", scope).await;
            let refused = ask(&client, &operation, "0000000000000000").await.status() == 403;
            assert_eq!(
                refused,
                !scopes.is_empty() && !scopes.contains(&scope.into()),
                "{method} {path}: {scope}"
            );
        }
        if path.starts_with("/v1/jobs/") {
            for id in jobs {
                unknown(&theirs, &operation, id).await;
            }
            walked += 1;
        }
    }
    // Get, delete, events, preview, result, cancel.
    assert!(walked >= 6, "{walked} operations on a job");

    // Headers change nothing of it.
    for (header, value) in
        [("prefer", "wait=5"), ("if-none-match", "*"), ("last-event-id", "1"), ("range", "bytes=0-9")]
    {
        for part in ["", "/result", "/events", "/preview"] {
            let request =
                theirs.http.get(format!("{}/v1/jobs/{done}{part}", theirs.url)).header(header, value);
            problem(request.send().await.unwrap(), 404).await;
        }
    }
    // Nor does a fork find it: it says what it says of a job that never was.
    for path in ["/v1/jobs", "/v1/dry-run"] {
        let told = async |id: &str| {
            let body = json!({ "from": { "job": id, "octave": 1 } });
            let answer = theirs.http.post(format!("{}{path}", theirs.url)).json(&body).send().await.unwrap();
            problem(answer, 422).await.to_string().replace(id, "")
        };
        assert_eq!(told(&done).await, told("0198c0de-5a7e-7000-8000-00000000ffff").await);
    }
    let head = theirs.request(reqwest::Method::HEAD, &format!("/v1/jobs/{done}/result")).await;
    assert_eq!(head.status(), 404);

    // Lists: all, by state, and from a place in the other tenant's list.
    let page: Value = ours.get("/v1/jobs?limit=1").await.json().await.unwrap();
    let next = page["links"]["next"].as_str().unwrap();
    for path in ["/v1/jobs", "/v1/jobs?status=succeeded", "/v1/jobs?status=queued", next] {
        let list: Value = theirs.get(path).await.json().await.unwrap();
        assert_eq!(list["jobs"], json!([]), "{path}");
        assert_eq!(list["links"]["next"], Value::Null, "{path}");
    }
    // What was ours is as it was, and the running job runs.
    assert_eq!(ours.job(&done).await, before[0]);
    assert_eq!(ours.job(&waiting).await["status"], before[1]["status"]);
    let job = ours.job(&running).await;
    assert_eq!((&job["status"], &job["cancel_requested"]), (&json!("running"), &json!(false)));
    assert!(!ours.get(&format!("/v1/jobs/{done}/result")).await.bytes().await.unwrap().is_empty());
    // Our own keys still do everything.
    let mut events = Events::open(&ours, &waiting, None).await;
    assert!(events.next().await.is_some());
    for id in jobs {
        assert_eq!(ours.request(reqwest::Method::DELETE, &format!("/v1/jobs/{id}")).await.status(), 204);
    }
}

async fn a_repeated_request_of_another_tenant_is_its_own(server: &TestServer) {
    let (ours, theirs) = (server.client_of("ours", JOBS).await, server.client_of("theirs", JOBS).await);
    let other_key = server.client_of("ours", JOBS).await;
    let post = async |client: &Client, spec: &Value| {
        let request =
            client.http.post(format!("{}/v1/jobs", client.url)).header("idempotency-key", "the-same");
        request.multipart(form(picture(64, 64), spec)).send().await.unwrap()
    };
    let id = async |response: Response| {
        assert!(response.status().is_success(), "{}", response.status());
        let replayed = response.headers().contains_key("idempotent-replayed");
        let job: Value = response.json().await.unwrap();
        (job["id"].as_str().unwrap().to_owned(), replayed)
    };
    let (first, _) = id(post(&ours, &quick()).await).await;
    let (second, replayed) = id(post(&theirs, &quick()).await).await;
    assert!(second != first && !replayed, "the other tenant was given our job");
    // Each repeats its own, with any of its keys, and meets only its own other requests.
    assert_eq!(id(post(&other_key, &quick()).await).await, (first.clone(), true));
    assert_eq!(id(post(&theirs, &quick()).await).await, (second.clone(), true));
    let other = json!({ "objectives": [{ "layer": "block2" }], "octaves": 1, "iterations": 1, "seed": 2 });
    let refused = problem(post(&theirs, &other).await, 422).await;
    assert_eq!(refused["type"], "urn:reverie:problem:key-reused");
    for (client, job) in [(&ours, first), (&theirs, second)] {
        client.dream(&job).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tenants_are_apart_on_sqlite() {
    let server = server("isolation::sqlite", false).await.unwrap();
    another_tenants_jobs_do_not_exist(&server).await;
    a_repeated_request_of_another_tenant_is_its_own(&server).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tenants_are_apart_on_postgresql() {
    let Some(server) = server("isolation::tenants_are_apart_on_postgresql", true).await else { return };
    another_tenants_jobs_do_not_exist(&server).await;
    a_repeated_request_of_another_tenant_is_its_own(&server).await;
}
