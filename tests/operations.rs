//! What operators see and do, on both databases: the jobs of all tenants, and the workers. Keys of a tenant open none of it; that every
//! operation asks for its scope, `isolation` tests.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may fail loudly")]

mod common;

use common::{
    client::{form, pointers, problem, quick},
    picture,
    postgres::cluster,
    server::{Setup, TestServer},
};
use reqwest::Method;
use reverie::{
    config::Database,
    jobs::{Claim, FailureKind, JobError},
};
use serde_json::{Value, json};

const JOBS: &str = "jobs:read,jobs:write";

/// A server with keys and without a worker, on SQLite or on PostgreSQL; none where there is no PostgreSQL to be had.
async fn idle(test: &str, postgres: bool) -> Option<TestServer> {
    let mut setup = Setup { works: false, ..Setup::new().await };
    setup.require_keys();
    if postgres {
        setup.config.storage.database = Database::Postgres(cluster(test)?.database().await);
    }
    Some(setup.start().await)
}

/// The next job, as a worker of ours takes it.
async fn claim(server: &TestServer) -> Claim {
    server.state.queue.claim("a worker of the test").await.unwrap().expect("a job waits")
}

async fn operators_see_all_tenants(server: &TestServer) {
    let admin = server.client_of("operators", "admin").await;
    let (lab, shop) = (server.client_of("lab", JOBS).await, server.client_of("shop", JOBS).await);
    let overview = async || -> Value { admin.get("/v1/operations").await.json().await.unwrap() };
    let listed = async |status: &str| -> Vec<(String, String)> {
        let list: Value =
            admin.get(&format!("/v1/operations/jobs?status={status}")).await.json().await.unwrap();
        let pair = |listed: &Value| {
            let text = |value: &Value| value.as_str().unwrap().to_owned();
            (text(&listed["tenant"]), text(&listed["job"]["id"]))
        };
        list["jobs"].as_array().unwrap().iter().map(pair).collect()
    };
    let empty = overview().await;
    assert_eq!((&empty["tenants"], &empty["oldest_waiting_at"]), (&json!([]), &Value::Null));
    assert_eq!((&empty["workers"], &empty["backlog_seconds"]), (&json!([]), &json!(0.0)));

    let photo = picture(64, 64);
    let mask = picture(64, 64);
    let masked = form(photo.clone(), &quick())
        .part("mask", reqwest::multipart::Part::bytes(mask.clone()).file_name("mask.png"));
    let accepted: Value = lab.post_form(masked).await.json().await.unwrap();
    let first = accepted["id"].as_str().unwrap_or_else(|| panic!("{accepted}")).to_owned();
    let second = lab.submit(photo.clone(), &quick()).await;
    let third = shop.submit(photo.clone(), &quick()).await;
    let waiting = overview().await;
    assert_eq!((&waiting["jobs"]["queued"], &waiting["jobs"]["running"]), (&json!(3), &json!(0)));
    assert_eq!(waiting["oldest_waiting_at"], accepted["created_at"]);
    let tenants = waiting["tenants"].as_array().unwrap();
    let names: Vec<_> = tenants.iter().map(|load| (&load["tenant"], &load["queued"])).collect();
    assert_eq!(names, [(&json!("lab"), &json!(2)), (&json!("shop"), &json!(1))]);
    let stored = |tenant: usize| tenants[tenant]["stored_bytes"].as_u64().unwrap();
    assert_eq!((stored(0), stored(1)), ((2 * photo.len() + mask.len()) as u64, photo.len() as u64));
    let mut all = listed("queued").await;
    all.sort();
    let mut expected = vec![
        ("lab".to_owned(), first.clone()),
        ("lab".into(), second.clone()),
        ("shop".into(), third.clone()),
    ];
    expected.sort();
    assert_eq!(all, expected);

    // The first of the lab runs and fails.
    let taken = claim(server).await;
    let (tenant, id) = (taken.job.tenant.to_string(), taken.job.id.to_string());
    assert_eq!(listed("running").await, [(tenant.clone(), id.clone())]);
    assert_eq!(listed("failed").await, []);
    assert_eq!(id, first, "the one that has waited longest");
    let error = JobError { kind: FailureKind::RenderFailed, detail: "the device is gone".into() };
    server.state.queue.fail(taken.lease, error, false).await.unwrap();
    assert_eq!(listed("failed").await, [(tenant, id.clone())]);
    let failed: Value = admin.get("/v1/operations/jobs").await.json().await.unwrap();
    assert_eq!(failed["jobs"][0]["job"]["error"]["detail"], "the device is gone");
    // For the operators' own tenant the job does not exist, and for its tenant the operations do not.
    let of_admin = server.client_of("operators", "admin,jobs:read").await;
    problem(of_admin.get(&format!("/v1/jobs/{id}")).await, 404).await;
    for (method, path) in [
        (Method::GET, "/v1/operations".to_owned()),
        (Method::GET, "/v1/operations/jobs".to_owned()),
        (Method::POST, format!("/v1/operations/jobs/{id}/retry")),
        (Method::POST, format!("/v1/operations/jobs/{second}/cancel")),
    ] {
        problem(lab.request(method, &path).await, 403).await;
    }

    // The retry is a job like the one that failed, with its pictures; that one stays.
    let retried = admin.request(Method::POST, &format!("/v1/operations/jobs/{id}/retry")).await;
    assert_eq!(retried.status(), 202);
    let path = retried.headers()["location"].to_str().unwrap().to_owned();
    let retried: Value = retried.json().await.unwrap();
    assert_eq!((&retried["tenant"], &retried["job"]["status"]), (&json!("lab"), &json!("queued")));
    let again: Value = lab.get(&path).await.json().await.unwrap();
    assert_eq!((&again["id"], &again["spec"]), (&retried["job"]["id"], &accepted["spec"]));
    assert_eq!(lab.get(&format!("{path}/input")).await.bytes().await.unwrap(), photo);
    assert!(server.blobs("masks").iter().any(|name| name.contains(again["id"].as_str().unwrap())));
    assert_eq!(lab.job(&id).await["status"], "failed");
    // Pressed twice, it is one job.
    let twice = admin.request(Method::POST, &format!("/v1/operations/jobs/{id}/retry")).await;
    assert_eq!(twice.json::<Value>().await.unwrap()["job"]["id"], again["id"]);
    // A paused one is seen, too.
    let paused = again["id"].as_str().unwrap();
    assert_eq!(lab.post(&format!("/v1/jobs/{paused}/pause")).await.status(), 200);
    assert_eq!(listed("paused").await, [("lab".to_owned(), paused.to_owned())]);
    assert_eq!(overview().await["tenants"][0]["paused"], 1);
    let refusal =
        problem(admin.request(Method::POST, &format!("/v1/operations/jobs/{second}/retry")).await, 409).await;
    assert_eq!(refusal["detail"], "the job is queued; only a failed job can be retried");

    // Any job can be canceled.
    let canceled = admin.request(Method::POST, &format!("/v1/operations/jobs/{third}/cancel")).await;
    assert_eq!(canceled.status(), 200);
    let canceled: Value = canceled.json().await.unwrap();
    assert_eq!((&canceled["tenant"], &canceled["job"]["status"]), (&json!("shop"), &json!("canceled")));
    assert_eq!(shop.job(&third).await["status"], "canceled");
    problem(admin.request(Method::POST, &format!("/v1/operations/jobs/{id}/cancel")).await, 409).await;
    let never = "0198c0de-5a7e-7000-8000-00000000ffff";
    for what in ["cancel", "retry"] {
        for id in [never, "7", "%FF"] {
            let path = format!("/v1/operations/jobs/{id}/{what}");
            let refusal = problem(admin.request(Method::POST, &path).await, 404).await;
            assert!(refusal["detail"].as_str().unwrap().contains(id), "{refusal}");
        }
    }
    let refusal = problem(admin.get("/v1/operations/jobs?status=succeeded").await, 422).await;
    assert_eq!(pointers(&refusal), ["/status"]);

    // Pictures that are erased cannot be dreamed on again.
    let now = server.state.clock.now();
    let later = now + std::time::Duration::from_secs(1);
    server.state.queue.expire_blobs(later, 100).await.unwrap();
    problem(admin.request(Method::POST, &format!("/v1/operations/jobs/{id}/retry")).await, 410).await;
}

#[tokio::test]
async fn operators_see_and_steer_the_jobs_of_all_tenants() {
    operators_see_all_tenants(&idle("", false).await.unwrap()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn operators_see_and_steer_the_jobs_of_all_tenants_on_postgres() {
    let test = "operations::operators_see_and_steer_the_jobs_of_all_tenants_on_postgres";
    let Some(server) = idle(test, true).await else { return };
    operators_see_all_tenants(&server).await;
}

#[tokio::test]
async fn operators_see_the_workers_and_their_speeds() {
    let server = TestServer::start().await;
    // Long enough to learn from.
    let spec = json!({ "objectives": [{ "layer": "block2" }], "octaves": 1, "iterations": 20 });
    let id = server.client.submit(picture(256, 256), &spec).await;
    server.client.dream(&id).await;
    let mut workers = Value::Null;
    // The speed is known from the first dream on; reports come every few seconds.
    common::until("the workers are known", async || {
        let overview: Value = server.client.get("/v1/operations").await.json().await.unwrap();
        workers = overview["workers"].clone();
        assert!(workers.is_array(), "{overview}");
        workers[0]["speeds"][0].is_object()
    })
    .await;
    assert_eq!((&workers[0]["workers"], &workers[0]["devices"]), (&json!(1), &json!(["cpu"])));
    let speed = &workers[0]["speeds"][0];
    assert_eq!(speed["model"], "efficientnet-lite0");
    assert!(speed["relative_time"].as_f64().unwrap() > 0.0 && workers[0]["memory_mb"].as_u64().unwrap() > 0);
}
