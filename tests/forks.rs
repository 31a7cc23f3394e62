//! Forks: another dream that goes on after an octave of a job, over HTTP and on the command line.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may fail loudly")]

mod common;

use common::{
    client::{Client, form, pointers, problem, quick},
    picture,
    server::TestServer,
};
use reqwest::Response;
use reverie::jobs::{Finished, JobResult};
use reverie_picture::recipe;
use serde_json::{Value, json};

/// Three octaves on 96 × 80 pixels.
fn three() -> Value {
    json!({
        "objectives": [{ "kind": "l2", "layer": "block3" }], "octaves": 3, "octave_scale": 1.3, "iterations": 2, "seed": 5,
        "precision": "fp32",
    })
}

/// The change of these tests.
fn deeper() -> Value {
    json!({ "objectives": [{ "layer": "block5", "channels": [3, 7] }], "step": 2.5 })
}

async fn post(client: &Client, body: &Value) -> Response {
    client.http.post(format!("{}/v1/jobs", client.url)).json(body).send().await.unwrap()
}

/// A fork that must be accepted; its id.
async fn fork(client: &Client, body: &Value) -> String {
    let answer = post(client, body).await;
    let (status, job) = (answer.status(), answer.json::<Value>().await.unwrap());
    assert_eq!(status, 202, "{job}");
    job["id"].as_str().unwrap().to_owned()
}

/// The same dream in one go.
fn as_schedule(octave: u32) -> Value {
    let mut spec = three();
    let mut change = deeper();
    change["octave"] = octave.into();
    spec["schedule"] = json!([change]);
    spec
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fork_keeps_octaves_of_a_dream_and_needs_it_no_longer() {
    let server = TestServer::start().await;
    let client = &server.client;
    let photo = picture(96, 80);
    let first = client.submit(photo.clone(), &three()).await;
    let dream = client.dream(&first).await;
    let whole = client.submit(photo.clone(), &as_schedule(3)).await;
    let expected = client.dream(&whole).await;
    assert!(expected != dream);

    let id = fork(client, &json!({ "from": { "job": first, "octave": 2 }, "spec": deeper() })).await;
    assert!(client.dream(&id).await == expected, "the fork is not the dream with that schedule");
    let job = client.job(&id).await;
    assert_eq!(job["spec"]["schedule"][0]["octave"], 3, "{job}");
    assert_eq!(job["spec"]["seed"], 5);

    // As a form, after the first octave, and as another file. The dry run says the same, and makes no job.
    let parts = || {
        let from = json!({ "job": first, "octave": 1 }).to_string();
        reqwest::multipart::Form::new()
            .text("from", from)
            .text("spec", json!({ "step": 2.5, "format": "jpeg", "preserve_colors": 0.5 }).to_string())
    };
    let priced =
        client.http.post(format!("{}/v1/dry-run", client.url)).multipart(parts()).send().await.unwrap();
    assert_eq!(priced.status(), 200);
    let priced: Value = priced.json().await.unwrap();
    assert!(
        priced["predicted_seconds"].as_f64() > Some(0.0) && priced["spec"]["format"] == "jpeg",
        "{priced}"
    );
    let sent = client.http.post(format!("{}/v1/jobs", client.url)).multipart(parts()).send().await.unwrap();
    assert_eq!(sent.status(), 202);
    let jpeg = sent.json::<Value>().await.unwrap()["id"].as_str().unwrap().to_owned();
    // The first job goes away at once: the fork has all that it needs.
    let gone = client.http.delete(format!("{}/v1/jobs/{first}", client.url)).send().await.unwrap();
    assert_eq!(gone.status(), 204);
    let made = client.dream(&jpeg).await;
    assert!(made.starts_with(b"\xff\xd8"), "no JPEG");
    let told: Value = serde_json::from_str(&recipe::extract(&made).unwrap()).unwrap();
    assert_eq!(
        (&told["spec"]["schedule"][0]["octave"], &told["spec"]["schedule"][0]["step"], &told["spec"]["step"]),
        (&json!(2), &json!(2.5), &json!(1.5))
    );

    // From the command line, out of the recipe: the same bytes.
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    std::fs::write(path("photo.png"), &photo).unwrap();
    std::fs::write(path("dream.png"), &dream).unwrap();
    std::fs::write(path("changes.json"), deeper().to_string()).unwrap();
    let threads =
        serde_json::from_str::<Value>(&recipe::extract(&dream).unwrap()).unwrap()["threads"].to_string();
    let render = async |more: &[&str]| {
        let mut command = common::process::reverie(folder.path(), &[]);
        command.args([
            "render",
            &path("photo.png"),
            "-o",
            &path("again.png"),
            "--replay",
            &path("dream.png"),
        ]);
        command.args(["--threads", &threads]).args(more);
        command.stderr(std::process::Stdio::piped()).output().await.unwrap()
    };
    let done = render(&[
        "--fork-after",
        "2",
        "--layer",
        "block5",
        "--channel",
        "3",
        "--channel",
        "7",
        "--step",
        "2.5",
    ])
    .await;
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    assert!(std::fs::read(path("again.png")).unwrap() == expected, "the command line's fork differs");
    for (options, words) in [
        (&["--fork-after", "2", "--seed", "9"][..], "--seed: cannot change in a fork"),
        (&["--fork-after", "3"], "nothing left"),
        (&["--fork-after", "0"], "nothing left"),
    ] {
        let refused = render(options).await;
        let told = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(refused.status.code() == Some(1) && told.contains(words), "{options:?}: {told}");
    }
}

#[tokio::test]
async fn a_paused_dream_forks_to_a_look() {
    let server = TestServer::start().await;
    let client = &server.client;
    let spec = json!({
        "objectives": [{ "kind": "l2", "layer": "block3" }],
        "octaves": 2, "octave_scale": 1.4, "iterations": 8, "seed": 3, "precision": "fp32",
    });
    let long = client.lasting(picture(192, 192), spec, 4.0).await;
    let first = client.submit(picture(192, 192), &long).await;
    client.job_until(&first, |job| job["progress"]["octave"] == 2).await;
    assert_eq!(client.post(&format!("/v1/jobs/{first}/pause")).await.status(), 200);
    client.job_until(&first, |job| job["status"] == "paused").await;
    let looks: Value = client.get("/v1/looks").await.json().await.unwrap();
    let look = &looks["looks"][0];
    let id =
        fork(client, &json!({ "from": { "job": first, "octave": 1 }, "spec": { "look": look["id"] } })).await;
    let change = client.job(&id).await["spec"]["schedule"][0].clone();
    assert_eq!(change["octave"], 2);
    assert_eq!(change["objectives"][0]["layer"], look["spec"]["objectives"][0]["layer"], "{look}");
    let dream = client.dream(&id).await;
    let whole = client.submit(picture(192, 192), &client.job(&id).await["spec"]).await;
    assert!(client.dream(&whole).await == dream, "the fork is not what its spec says");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fork_follows_the_guide_of_its_job_and_needs_none_for_what_comes_no_more() {
    let server = TestServer::start().await;
    let client = &server.client;
    let following = json!([{ "kind": "guide", "layer": "block3" }]);
    let guided = |octave: u32| {
        let mut spec = three();
        spec["schedule"] = json!([{ "octave": octave, "objectives": following }]);
        spec
    };
    let send = async |spec: &Value| {
        let guide = reqwest::multipart::Part::bytes(picture(48, 48)).file_name("guide.png");
        let sent = client.post_form(form(picture(96, 80), spec).part("guide", guide)).await;
        sent.json::<Value>().await.unwrap()["id"].as_str().unwrap().to_owned()
    };
    let first = send(&guided(3)).await;
    let dream = client.dream(&first).await;
    let expected = client.dream(&send(&guided(2)).await).await;
    // It comes an octave earlier than in the first dream, which does without it until then.
    let from = |octave: u32| json!({ "job": first, "octave": octave });
    let id = fork(client, &json!({ "from": from(1), "spec": { "objectives": following } })).await;
    assert!(client.dream(&id).await == expected, "the fork is not the dream with that schedule");
    // It does not come at all.
    let guides = server.blobs("guides").len();
    let plain = fork(client, &json!({ "from": from(2), "spec": { "step": 2.5 } })).await;
    let other = client.dream(&plain).await;
    assert_eq!(server.blobs("guides").len(), guides);

    // The same from the command line: a fork says by itself whether it needs a guide.
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let threads =
        serde_json::from_str::<Value>(&recipe::extract(&dream).unwrap()).unwrap()["threads"].to_string();
    for (name, bytes) in
        [("photo.png", picture(96, 80)), ("guide.png", picture(48, 48)), ("dream.png", dream)]
    {
        std::fs::write(path(name), bytes).unwrap();
    }
    let render = async |more: &[&str]| {
        let mut command = common::process::reverie(folder.path(), &[]);
        command.args([
            "render",
            &path("photo.png"),
            "-o",
            &path("again.png"),
            "--replay",
            &path("dream.png"),
        ]);
        command.args(["--threads", &threads, "--force"]).args(more);
        command.stderr(std::process::Stdio::piped()).output().await.unwrap()
    };
    let guide = path("guide.png");
    let earlier = &["--fork-after", "1", "--objective", "guide", "--layer", "block3"];
    for (options, expected) in [
        (&[&earlier[..], &["--guide", &guide]].concat()[..], &expected),
        (&["--fork-after", "2", "--step", "2.5"], &other),
    ] {
        let done = render(options).await;
        assert!(done.status.success(), "{options:?}: {}", String::from_utf8_lossy(&done.stderr));
        assert!(&std::fs::read(path("again.png")).unwrap() == expected, "{options:?} differs");
    }
    for (options, words) in [
        (&earlier[..], "--guide: is needed"),
        (&["--fork-after", "2", "--step", "2.5", "--guide", &guide], "--guide: no objective follows it"),
    ] {
        let refused = render(options).await;
        let told = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(refused.status.code() == Some(1) && told.contains(words), "{options:?}: {told}");
    }
}

#[tokio::test]
async fn a_job_of_a_version_that_counted_no_octaves_is_told_as_such() {
    let server = TestServer::idle().await;
    let client = &server.client;
    let first = client.submit(picture(96, 80), &three()).await;
    let queue = &server.state.queue;
    let lease = queue.claim("elsewhere").await.unwrap().unwrap().lease;
    let result = JobResult {
        lease: lease.token,
        media_type: "image/png".into(),
        width: 96,
        height: 80,
        score: 1.0,
        size: 1,
        sha256: "abc".into(),
        notes: Vec::new(),
    };
    queue.complete(lease, Finished { result, render_seconds: 1.0, progress: None }).await.unwrap();
    let body = json!({ "from": { "job": first, "octave": 1 }, "spec": { "step": 2.0 } });
    let refused = problem(post(client, &body).await, 422).await;
    assert_eq!(pointers(&refused), ["/from/octave"]);
    assert!(refused.to_string().contains("finished by an earlier version"), "{refused}");
}

#[tokio::test]
async fn what_cannot_be_forked_is_told_where_it_stands() {
    let server = TestServer::start().await;
    let client = &server.client;
    let first = client.submit(picture(96, 80), &three()).await;
    client.dream(&first).await;
    let nobody = "0198c0de-5a7e-7000-8000-00000000d0e5";
    let body = |from: Value, spec: Value| json!({ "from": from, "spec": spec });
    for (body, expected) in [
        (body(json!({ "job": nobody, "octave": 1 }), json!({})), "/from/job"),
        (body(json!({ "job": "me", "octave": 1 }), json!({})), "/from/job"),
        (body(json!({ "octave": 1 }), json!({})), "/from/job"),
        (body(json!({ "job": first }), json!({})), "/from/octave"),
        (body(json!({ "job": first, "octave": 0 }), json!({})), "/from/octave"),
        (body(json!({ "job": first, "octave": 3 }), json!({})), "/from/octave"),
        (body(json!({ "job": first, "octave": 17 }), json!({})), "/from/octave"),
        (body(json!({ "job": first, "octave": 1, "frame": 1 }), json!({})), "/from/octave"),
        (body(json!({ "job": first, "frame": 1 }), json!({})), "/from/frame"),
        (body(json!({ "job": first, "octave": 1, "image": "x" }), json!({})), "/from/image"),
        (body(json!(first), json!({})), "/from"),
        (body(json!({ "job": first, "octave": 1 }), json!({ "seed": 1 })), "/spec/seed"),
        (body(json!({ "job": first, "octave": 1 }), json!({ "step": -1 })), "/spec/step"),
        (body(json!({ "job": first, "octave": 1 }), json!([])), "/spec"),
        (
            body(
                json!({ "job": first, "octave": 1 }),
                json!({ "objectives": [{ "kind": "guide", "layer": "block3" }] }),
            ),
            "/spec/objectives",
        ),
        (body(json!({ "job": first, "octave": 1, "fade": 2 }), json!({ "step": 1.0 })), "/from/fade"),
        (body(json!({ "job": first, "octave": 1, "fade": 0 }), json!({ "step": 1.0 })), "/from/fade"),
        (body(json!({ "job": first, "octave": 1 }), json!({ "fade": 2, "step": 1.0 })), "/spec/fade"),
        (body(json!({ "job": first, "octave": 1 }), json!({ "look": "nothing" })), "/spec/look"),
        (body(json!({ "job": first, "octave": 1 }), json!({ "format": "mp4" })), "/spec/format"),
        (json!({ "from": { "job": first, "octave": 1 }, "image": "data:image/png;base64,UE5H" }), "/image"),
    ] {
        let refused = problem(post(client, &body).await, 422).await;
        assert_eq!(pointers(&refused), [expected], "{body}: {refused}");
    }
    // Both at once, and the range in words.
    let both = body(json!({ "job": first, "octave": 9 }), json!({ "step": 0 }));
    let refused = problem(post(client, &both).await, 422).await;
    assert_eq!(pointers(&refused), ["/from/octave", "/spec/step"]);
    assert!(refused.to_string().contains("from 1 to 2"), "{refused}");
    // A form says so, too, and one that is no JSON is told as such.
    let parts =
        form(picture(8, 8), &json!({})).text("from", json!({ "job": first, "octave": 1 }).to_string());
    let sent = client.http.post(format!("{}/v1/jobs", client.url)).multipart(parts).send().await.unwrap();
    assert_eq!(pointers(&problem(sent, 422).await), ["/image"]);
    let parts = reqwest::multipart::Form::new().text("from", "{");
    let sent = client.http.post(format!("{}/v1/jobs", client.url)).multipart(parts).send().await.unwrap();
    problem(sent, 400).await;
}

#[tokio::test]
async fn a_fork_waits_for_its_octave_and_is_made_once() {
    let server = TestServer::idle().await;
    let client = &server.client;
    let first = client.submit(picture(96, 80), &quick()).await;
    let body = json!({ "from": { "job": first, "octave": 1 }, "spec": { "step": 2.0 } });
    let early = problem(post(client, &body).await, 422).await;
    assert_eq!(pointers(&early), ["/from/octave"]);
    assert!(early.to_string().contains("queued and has not finished its first octave"), "{early}");
    // The second octave has begun elsewhere: the first one is finished.
    let queue = &server.state.queue;
    let lease = queue.claim("elsewhere").await.unwrap().unwrap().lease;
    queue.begin(lease, reverie::jobs::Begun { place: 2, places: 2 }).await.unwrap();
    let keyed = async |body: &Value| {
        let request = client.http.post(format!("{}/v1/jobs", client.url)).header("Idempotency-Key", "once");
        request.json(body).send().await.unwrap()
    };
    let made: Value = keyed(&body).await.json().await.unwrap();
    // Even when the first job is gone.
    assert_eq!(
        client.http.delete(format!("{}/v1/jobs/{first}", client.url)).send().await.unwrap().status(),
        204
    );
    let again = keyed(&body).await;
    assert_eq!(again.headers()["idempotent-replayed"], "true");
    assert_eq!(again.json::<Value>().await.unwrap()["id"], made["id"]);
    let mut other = body.clone();
    other["from"]["octave"] = 2.into();
    problem(keyed(&other).await, 422).await;
}
