//! Changing a dream on its way: `PATCH` of a job, the schedule that comes of it, and its replay.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may fail loudly")]

mod common;

use common::{
    client::{Client, form, pointers, problem, quick},
    picture,
    process::ServerProcess,
    server::{Setup, TestServer},
};
use reqwest::Response;
use reverie::jobs::Begun;
use reverie_picture::recipe;
use serde_json::{Value, json};

async fn patch(client: &Client, id: &str, change: &Value) -> Response {
    client.http.patch(format!("{}/v1/jobs/{id}", client.url)).json(change).send().await.unwrap()
}

/// A change that must be taken; the job.
async fn steer(client: &Client, id: &str, change: &Value) -> Value {
    let answer = patch(client, id, change).await;
    let (status, job) = (answer.status(), answer.json::<Value>().await.unwrap());
    assert_eq!(status, 200, "{job}");
    job
}

/// Starts a server with workers in the folder of one without, which stops.
async fn with_workers(idle: TestServer) -> TestServer {
    let mut setup = Setup::new().await;
    setup.folder = idle.stop().await;
    setup.config.storage.dir = setup.folder.path().join("data");
    setup.start().await
}

/// Submits a form; the job's id.
async fn job_of(client: &Client, form: reqwest::multipart::Form) -> String {
    let sent = client.post_form(form).await.json::<Value>().await.unwrap();
    sent["id"].as_str().unwrap_or_else(|| panic!("{sent}")).to_owned()
}

/// A dream of three octaves whose first takes a while.
async fn long(client: &Client) -> Value {
    let spec = json!({
        "objectives": [{ "kind": "l2", "layer": "block3" }],
        "octaves": 3, "octave_scale": 1.2, "iterations": 10, "seed": 3, "precision": "fp32",
    });
    client.lasting(picture(192, 192), spec, 6.0).await
}

/// The change of these tests: another layer, deeper, and a shorter step.
fn deeper() -> Value {
    json!({ "objectives": [{ "layer": "block5", "channels": [3, 7] }], "step": 0.75 })
}

/// The spec that a result's recipe holds, as a request.
fn recipe_of(dream: &[u8]) -> Value {
    let recipe: Value = serde_json::from_str(&recipe::extract(dream).unwrap()).unwrap();
    recipe["spec"].clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dream_is_steered_and_its_recipe_makes_it_again() {
    let server = TestServer::start().await;
    let client = &server.client;
    let long = long(client).await;
    let id = client.submit(picture(192, 192), &long).await;
    client.job_until(&id, |job| job["progress"]["iteration"].as_u64() >= Some(1)).await;
    let before = client.job(&id).await;
    assert_eq!((&before["progress"]["octave"], &before["steering"]), (&json!(1), &Value::Null));
    let asked = steer(client, &id, &deeper()).await;
    assert_eq!((&asked["steering"]["step"], &asked["steering"]["octave"]), (&json!(0.75), &json!(2)));
    assert_eq!(asked["steering"]["objectives"][0]["kind"], "mean");
    assert!(
        asked["metrics"]["predicted_seconds"].as_f64() > before["metrics"]["predicted_seconds"].as_f64(),
        "a deeper layer takes longer: {asked}"
    );
    // What neither names stays, and what both name is as the last one has it.
    steer(client, &id, &json!({ "step": 1.25, "total_variation": 0.1 })).await;
    let taken_up = client.job_until(&id, |job| job["steering"].is_null()).await;
    let schedule = &taken_up["spec"]["schedule"];
    assert_eq!(schedule.as_array().unwrap().len(), 1, "{schedule}");
    assert_eq!(
        (&schedule[0]["octave"], &schedule[0]["step"], &schedule[0]["total_variation"]),
        (&json!(2), &json!(1.25), &json!(0.1))
    );
    assert_eq!(schedule[0]["objectives"][0]["channels"], json!([3, 7]));
    assert_eq!(taken_up["spec"]["objectives"][0]["layer"], "block3", "what it began with stays");
    let dream = client.dream(&id).await;
    let ended = problem(patch(client, &id, &deeper()).await, 409).await;
    assert_eq!(ended["type"], "urn:reverie:problem:already-finished");

    // The recipe says all of it, and so does the spec of the job.
    let recipe = recipe_of(&dream);
    assert_eq!(&recipe["schedule"], schedule);
    let again = client.submit(picture(192, 192), &recipe).await;
    assert!(client.dream(&again).await == dream, "the replay differs");
    let undisturbed = client.submit(picture(192, 192), &long).await;
    assert!(client.dream(&undisturbed).await != dream, "nothing has changed");

    // From the command line, too.
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    std::fs::write(path("photo.png"), picture(192, 192)).unwrap();
    std::fs::write(path("dream.png"), &dream).unwrap();
    let mut command = common::process::reverie(folder.path(), &[]);
    let recipe: Value = serde_json::from_str(&recipe::extract(&dream).unwrap()).unwrap();
    command.args(["render", &path("photo.png"), "-o", &path("again.png"), "--replay", &path("dream.png")]);
    command.args(["--threads", &recipe["threads"].to_string()]);
    let replay = command.stderr(std::process::Stdio::piped()).output().await.unwrap();
    assert!(replay.status.success(), "{}", String::from_utf8_lossy(&replay.stderr));
    let replayed = std::fs::read(path("again.png")).unwrap();
    assert!(replayed == dream, "the command line's replay differs");
}

#[tokio::test]
async fn a_steered_job_goes_on_with_its_schedule_after_its_server_was_killed() {
    let folder = tempfile::tempdir().unwrap();
    let server = ServerProcess::start(folder.path(), &[]).await;
    let long = long(&server.client).await;
    let id = server.client.submit(picture(192, 192), &long).await;
    server.client.job_until(&id, |job| job["progress"]["iteration"].as_u64() >= Some(1)).await;
    steer(&server.client, &id, &deeper()).await;
    let begun = server.client.job_until(&id, |job| job["progress"]["octave"] == 2).await;
    assert_eq!(begun["spec"]["schedule"][0]["octave"], 2, "{begun}");
    // This one waits while the server is down.
    steer(&server.client, &id, &json!({ "step": 2.0 })).await;
    server.kill().await;

    let server = ServerProcess::start(folder.path(), &[]).await;
    let client = &server.client;
    let dream = client.dream(&id).await;
    let job = client.job(&id).await;
    let schedule = job["spec"]["schedule"].as_array().unwrap();
    assert_eq!((&schedule[0]["octave"], &job["steering"]), (&json!(2), &Value::Null), "{job}");
    assert!(schedule.last().unwrap()["step"] == json!(2.0), "{job}");
    let again = client.submit(picture(192, 192), &recipe_of(&dream)).await;
    assert!(client.dream(&again).await == dream, "the interruption shows in the picture");
    server.terminate();
    assert!(server.ended().await);
}

#[tokio::test]
async fn the_last_change_wins_where_a_lost_attempt_had_taken_up_an_older_one_for_later() {
    let server = TestServer::idle().await;
    let queue = &server.state.queue;
    let id = server.client.submit(picture(96, 80), &quick()).await;
    // An attempt takes a change up in its second octave, and is lost with all that it had made.
    let lease = queue.claim("elsewhere").await.unwrap().unwrap().lease;
    queue.begin(lease, Begun { place: 1, places: 2 }).await.unwrap();
    steer(&server.client, &id, &json!({ "step": 3.0, "total_variation": 0.5 })).await;
    queue.begin(lease, Begun { place: 2, places: 2 }).await.unwrap();
    queue.release(lease).await.unwrap();
    steer(&server.client, &id, &json!({ "step": 0.75 })).await;

    let server = with_workers(server).await;
    let client = &server.client;
    let dream = client.dream(&id).await;
    let schedule = json!([{ "octave": 2, "step": 0.75, "total_variation": 0.5 }]);
    assert_eq!(client.job(&id).await["spec"]["schedule"], schedule);
    assert_eq!(recipe_of(&dream)["schedule"], schedule);
    let mut asked = quick();
    asked["schedule"] = schedule;
    asked["precision"] = recipe_of(&dream)["precision"].clone();
    let again = client.submit(picture(96, 80), &asked).await;
    assert!(client.dream(&again).await == dream, "it was dreamed otherwise");
}

#[tokio::test]
async fn a_guide_that_was_sent_may_be_followed_again() {
    let server = TestServer::idle().await;
    let queue = &server.state.queue;
    let mut spec = quick();
    spec["objectives"] = json!([{ "kind": "l2", "layer": "block2" }]);
    let following = json!([{ "kind": "guide", "layer": "block2" }]);
    spec["schedule"] = json!([{ "octave": 2, "objectives": following }]);
    let guide = reqwest::multipart::Part::bytes(picture(64, 64)).file_name("guide.png");
    let id = job_of(&server.client, form(picture(96, 80), &spec).part("guide", guide)).await;
    // A change takes the place of the only objective that followed it, in an attempt that is lost.
    let lease = queue.claim("elsewhere").await.unwrap().unwrap().lease;
    queue.begin(lease, Begun { place: 1, places: 2 }).await.unwrap();
    steer(&server.client, &id, &json!({ "objectives": [{ "kind": "l2", "layer": "block3" }] })).await;
    queue.begin(lease, Begun { place: 2, places: 2 }).await.unwrap();
    assert!(!server.client.job(&id).await["spec"].to_string().contains("guide"));
    queue.release(lease).await.unwrap();
    steer(&server.client, &id, &json!({ "objectives": following })).await;

    let server = with_workers(server).await;
    let client = &server.client;
    let dream = client.dream(&id).await;
    let schedule = client.job(&id).await["spec"]["schedule"].clone();
    assert_eq!(schedule[0]["objectives"][0]["kind"], "guide", "{schedule}");
    let again = form(picture(96, 80), &recipe_of(&dream));
    let guide = reqwest::multipart::Part::bytes(picture(64, 64)).file_name("guide.png");
    let again = job_of(client, again.part("guide", guide)).await;
    assert!(client.dream(&again).await == dream, "the replay differs");
    // With the job goes its guide.
    for id in [id, again] {
        assert_eq!(
            client.http.delete(format!("{}/v1/jobs/{id}", client.url)).send().await.unwrap().status(),
            204
        );
    }
    assert!(server.blobs("guides").is_empty());
}

#[tokio::test]
async fn a_job_that_waits_is_changed_from_its_first_octave_on() {
    let server = TestServer::idle().await;
    let client = &server.client;
    let id = client.submit(picture(96, 80), &quick()).await;
    let asked = steer(client, &id, &json!({ "step": 3.0 })).await;
    assert_eq!(
        (&asked["status"], &asked["steering"]),
        (&json!("queued"), &json!({ "octave": 1, "step": 3.0 }))
    );
    assert_eq!(client.post(&format!("/v1/jobs/{id}/pause")).await.status(), 200);
    let asked = steer(client, &id, &json!({ "l2_decay": 0.5 })).await;
    assert_eq!(asked["steering"], json!({ "octave": 1, "step": 3.0, "l2_decay": 0.5 }));
    // The last octave begins elsewhere: nothing is left.
    client.post(&format!("/v1/jobs/{id}/resume")).await;
    let queue = &server.state.queue;
    let lease = queue.claim("elsewhere").await.unwrap().unwrap().lease;
    queue.begin(lease, Begun { place: 2, places: 2 }).await.unwrap();
    let refused = problem(patch(client, &id, &json!({ "step": 1.0 })).await, 409).await;
    assert_eq!(refused["type"], "urn:reverie:problem:nothing-left");
    assert!(refused["detail"].as_str().unwrap().contains("the last octave"), "{refused}");
    assert_eq!(
        client.job(&id).await["spec"]["schedule"],
        json!([{ "octave": 2, "step": 3.0, "l2_decay": 0.5 }])
    );
    // A job that must stop takes no change, whatever is left of it.
    let doomed = client.submit(picture(96, 80), &quick()).await;
    queue.claim("elsewhere").await.unwrap().unwrap();
    let asked = client.post(&format!("/v1/jobs/{doomed}/cancel")).await.json::<Value>().await.unwrap();
    assert_eq!((&asked["status"], &asked["cancel_requested"]), (&json!("running"), &json!(true)));
    let refused = problem(patch(client, &doomed, &json!({ "step": 1.0 })).await, 409).await;
    assert_eq!(refused["type"], "urn:reverie:problem:nothing-left");
    assert!(refused["detail"].as_str().unwrap().contains("being canceled"), "{refused}");
}

#[tokio::test]
async fn a_picture_beyond_limits_that_were_lowered_is_refused_to_changes_and_forks_alike() {
    let server = TestServer::idle().await;
    let guided =
        json!({ "objectives": [{ "kind": "guide", "layer": "block2" }], "octaves": 2, "iterations": 1 });
    let guide = reqwest::multipart::Part::bytes(picture(192, 192)).file_name("guide.png");
    let by_guide = job_of(&server.client, form(picture(64, 64), &guided).part("guide", guide)).await;
    let by_image = server.client.submit(picture(192, 192), &quick()).await;

    let mut setup = Setup::new().await;
    setup.works = false;
    setup.folder = server.stop().await;
    setup.config.storage.dir = setup.folder.path().join("data");
    setup.config.limits.max_pixels = 10_000;
    let server = setup.start().await;
    let client = &server.client;
    // Each has finished its first octave.
    for _ in 0..2 {
        let lease = server.state.queue.claim("elsewhere").await.unwrap().unwrap().lease;
        server.state.queue.begin(lease, Begun { place: 2, places: 3 }).await.unwrap();
    }
    for id in [by_guide, by_image] {
        let steered = problem(patch(client, &id, &json!({ "step": 2.0 })).await, 422).await;
        let body = json!({ "from": { "job": id, "octave": 1 }, "spec": { "step": 2.0 } });
        let forked = client.http.post(format!("{}/v1/jobs", client.url)).json(&body).send().await.unwrap();
        let forked = problem(forked, 422).await;
        assert_eq!((pointers(&steered), pointers(&forked)), (vec![""], vec!["/from/job"]));
        assert_eq!(steered["errors"][0]["detail"], forked["errors"][0]["detail"], "{steered}");
        assert!(steered.to_string().contains("192"), "{steered}");
    }
}

#[tokio::test]
async fn wrong_changes_are_refused_at_their_members_and_change_nothing() {
    let server = TestServer::idle().await;
    let client = &server.client;
    let id = client.submit(picture(96, 80), &quick()).await;
    let before = client.job(&id).await;
    for (change, expected) in [
        (json!({}), &["/objectives"][..]),
        (json!({ "step": 0, "l2_decay": 9, "iterations": 3 }), &["/iterations", "/l2_decay", "/step"]),
        (json!({ "objectives": [] }), &["/objectives"]),
        (
            json!({ "objectives": [{ "layer": "blok2" }, { "layer": "block2", "channels": [9999] }] }),
            &["/objectives/0/layer", "/objectives/1/channels"],
        ),
        (json!({ "objectives": [{ "kind": "guide", "layer": "block2" }] }), &["/objectives"]),
        (json!({ "step": 100.0, "l2_decay": 4.0 }), &["/l2_decay"]),
        (json!({ "step": 2.0, "fade": 3 }), &["/fade"]),
        (json!({ "step": 2.0, "octave": 2 }), &["/octave"]),
        (json!([1]), &[""]),
    ] {
        let refused = problem(patch(client, &id, &change).await, 422).await;
        let mut found = pointers(&refused);
        found.sort_unstable();
        assert_eq!(found, expected, "{change}: {refused}");
    }
    let text = client.http.patch(format!("{}/v1/jobs/{id}", client.url)).header("content-type", "text/plain");
    problem(text.body("faster").send().await.unwrap(), 415).await;
    problem(patch(client, "17", &json!({ "step": 1.0 })).await, 404).await;
    assert_eq!(client.job(&id).await, before);
}

#[tokio::test]
async fn a_schedule_is_checked_and_priced_when_it_is_sent() {
    let server = TestServer::idle().await;
    let client = &server.client;
    let predicted = async |schedule: Value| {
        let mut spec = quick();
        spec["schedule"] = schedule;
        let id = client.submit(picture(96, 80), &spec).await;
        client.job(&id).await["metrics"]["predicted_seconds"].as_f64().unwrap()
    };
    let plain = predicted(json!([])).await;
    let [late, early] =
        [2, 1].map(|octave| json!([{ "octave": octave, "objectives": [{ "layer": "block10" }] }]));
    let (late, early) = (predicted(late).await, predicted(early).await);
    assert!(plain < late && late < early, "{plain}, {late}, {early}");
    assert_eq!(predicted(json!([{ "octave": 2, "step": 9.0 }])).await, plain);
    let motion = json!({ "frames": 4 });
    for (spec, expected) in [
        (json!({ "schedule": [{ "octave": 1 }] }), "/spec/schedule/0/objectives"),
        (json!({ "schedule": [{ "step": 1.0 }] }), "/spec/schedule/0/octave"),
        (json!({ "schedule": [{ "frame": 1, "step": 1.0 }] }), "/spec/schedule/0/frame"),
        (
            json!({ "schedule": [{ "octave": 2, "step": 1.0 }, { "octave": 2, "step": 2.0 }] }),
            "/spec/schedule/1/octave",
        ),
        (json!({ "schedule": [{ "octave": 17, "step": 1.0 }] }), "/spec/schedule/0/octave"),
        (
            json!({ "schedule": [{ "octave": 2, "objectives": [{ "layer": "blok" }] }] }),
            "/spec/schedule/0/objectives/0/layer",
        ),
        (
            json!({ "schedule": [{ "octave": 2, "objectives": [{ "kind": "guide", "layer": "block2" }] }] }),
            "/guide",
        ),
        (json!({ "schedule": [{ "octave": 2, "step": 99.0, "l2_decay": 3.0 }] }), "/spec/schedule"),
        (json!({ "schedule": { "octave": 2 } }), "/spec/schedule"),
        (json!({ "motion": motion, "schedule": [{ "octave": 2, "step": 1.0 }] }), "/spec/schedule/0/octave"),
        (json!({ "motion": motion, "schedule": [{ "frame": 5, "step": 1.0 }] }), "/spec/schedule/0/frame"),
        (
            json!({ "motion": motion, "schedule": [{ "frame": 2, "step": 1.0, "fade": 0 }] }),
            "/spec/schedule/0/fade",
        ),
    ] {
        let refused = problem(client.post_form(form(picture(96, 80), &spec)).await, 422).await;
        assert_eq!(pointers(&refused), [expected], "{spec}: {refused}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_animation_is_steered_from_its_next_frame_on() {
    let server = TestServer::start().await;
    let client = &server.client;
    let mut spec = quick();
    spec["motion"] = json!({ "frames": 30, "iterations": 2, "zoom": 1.05 });
    spec["precision"] = json!("fp32");
    let id = client.submit(picture(160, 128), &spec).await;
    client.job_until(&id, |job| job["progress"]["frame"].as_u64() >= Some(2)).await;
    let change = json!({ "objectives": [{ "layer": "block4" }], "fade": 6 });
    steer(client, &id, &change).await;
    let dream = client.dream(&id).await;
    let schedule = client.job(&id).await["spec"]["schedule"].clone();
    assert!(schedule[0]["frame"].as_u64() >= Some(3) && schedule[0]["fade"] == 6, "{schedule}");
    let again = client.submit(picture(160, 128), &recipe_of(&dream)).await;
    assert!(client.dream(&again).await == dream, "the replay differs");
}
