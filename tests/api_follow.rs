//! Following a job without polling: bounded waits and server-sent events.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may fail loudly")]

mod common;

use common::{
    client::{DEADLINE, form, problem, quick},
    events::Events,
    picture,
    server::TestServer,
};
use reqwest::{Method, Response};
use reverie::{
    jobs::{FailureKind, JobError, JobQueue},
    keys::Tenant,
};
use serde_json::{Value, json};
use tokio::time::{Instant, interval, timeout};

/// A request with one more header.
async fn with(server: &TestServer, method: Method, path: &str, header: (&str, &str)) -> Response {
    let request = server.client.http.request(method, format!("{}{path}", server.client.url));
    request.header(header.0, header.1).send().await.unwrap()
}

/// Looks until nobody follows any job.
async fn nobody_follows(server: &TestServer) {
    let waiting = async {
        let mut looks = interval(std::time::Duration::from_millis(10));
        while server.state.queue.signals().followed_jobs() > 0 {
            looks.tick().await;
        }
    };
    timeout(DEADLINE, waiting).await.expect("somebody still follows a job");
}

/// Looks until somebody follows a job.
async fn somebody_follows(server: &TestServer) {
    let waiting = async {
        let mut looks = interval(std::time::Duration::from_millis(10));
        while server.state.queue.signals().followed_jobs() == 0 {
            looks.tick().await;
        }
    };
    timeout(DEADLINE, waiting).await.expect("nobody follows a job");
}

#[tokio::test]
async fn an_answer_waits_for_the_dream() {
    let server = TestServer::start().await;
    let url = format!("{}/v1/jobs", server.client.url);
    let request = server.client.http.post(url).multipart(form(picture(96, 80), &quick()));
    let response = request.header("prefer", "respond-async, wait=60").send().await.unwrap();
    assert_eq!(response.status(), 200);
    let headers = response.headers().clone();
    let job: Value = response.json().await.unwrap();
    assert_eq!(job["status"], "succeeded", "{job}");
    assert_eq!(headers["preference-applied"], "wait=60");
    assert_eq!(headers["location"], format!("/v1/jobs/{}", job["id"].as_str().unwrap()).as_str());
    nobody_follows(&server).await;
}

#[tokio::test]
async fn a_wait_that_is_over_returns_the_job_as_it_is() {
    let server = TestServer::idle().await;
    let url = format!("{}/v1/jobs", server.client.url);
    let request = server.client.http.post(url).multipart(form(picture(64, 64), &quick()));
    let response = request.header("prefer", "wait=0").send().await.unwrap();
    assert_eq!(
        (response.status().as_u16(), &response.headers()["preference-applied"] == "wait=0"),
        (202, true)
    );
    let job: Value = response.json().await.unwrap();
    let path = format!("/v1/jobs/{}", job["id"].as_str().unwrap());
    let response = with(&server, Method::GET, &path, ("prefer", "wait=1")).await;
    assert_eq!(
        (response.status().as_u16(), &response.headers()["preference-applied"] == "wait=1"),
        (200, true)
    );
    assert_eq!(response.json::<Value>().await.unwrap()["status"], "queued");
    // What is no preference is ignored.
    let response = with(&server, Method::GET, &path, ("prefer", "wait=soon")).await;
    assert!(!response.headers().contains_key("preference-applied"));
    problem(with(&server, Method::GET, "/v1/jobs/17", ("prefer", "wait=9")).await, 404).await;
}

#[tokio::test]
async fn a_wait_ends_with_a_job_that_ends_elsewhere() {
    let server = TestServer::idle().await;
    let id = server.client.submit(picture(64, 64), &quick()).await;
    let path = format!("/v1/jobs/{id}");
    let waiting = with(&server, Method::GET, &path, ("prefer", "wait=60"));
    let elsewhere = async {
        somebody_follows(&server).await;
        // A store of its own has signals of its own, as in another process: only the database is shared.
        let other = server.second_queue().await;
        let lease = other.claim("elsewhere").await.unwrap().unwrap().lease;
        let error = JobError { kind: FailureKind::RenderFailed, detail: "no".into() };
        other.fail(lease, error, false).await.unwrap();
    };
    let began = Instant::now();
    let (response, ()) = tokio::join!(waiting, elsewhere);
    assert_eq!(response.json::<Value>().await.unwrap()["status"], "failed");
    assert!(began.elapsed().as_secs() < 30);
}

#[tokio::test]
async fn a_client_that_hangs_up_leaves_nothing() {
    let server = TestServer::idle().await;
    let id = server.client.submit(picture(64, 64), &quick()).await;
    let path = format!("/v1/jobs/{id}");
    for header in [("prefer", "wait=60"), ("accept", "text/event-stream")] {
        let path = if header.0 == "prefer" { path.clone() } else { format!("{path}/events") };
        let mut request = Box::pin(async {
            let response = with(&server, Method::GET, &path, header).await;
            // The stream goes on for ever.
            response.bytes().await
        });
        tokio::select! {
            done = &mut request => panic!("answered: {done:?}"),
            () = somebody_follows(&server) => {}
        }
        drop(request);
        nobody_follows(&server).await;
    }
}

#[tokio::test]
async fn waits_and_streams_end_when_the_server_stops() {
    let mut server = TestServer::idle().await;
    let id = server.client.submit(picture(64, 64), &quick()).await;
    let (client, path) = (server.client.clone(), format!("/v1/jobs/{id}"));
    let mut events = Events::open(&client, &id, None).await;
    assert_eq!(events.next().await.unwrap().name, "progress");
    let url = format!("{}{path}", client.url);
    let waiting = tokio::spawn(client.http.get(url).header("prefer", "wait=60").send());
    let began = Instant::now();
    server.app.stop(std::future::ready(())).await;
    let response = waiting.await.unwrap().unwrap();
    assert_eq!(response.json::<Value>().await.unwrap()["status"], "queued");
    assert!(events.next().await.is_none());
    assert!(began.elapsed().as_secs() < 30, "somebody waited on");
}

#[tokio::test]
async fn events_tell_of_a_job_until_its_end() {
    let server = TestServer::start().await;
    let mut spec = quick();
    spec["iterations"] = 200.into();
    let id = server.client.submit(picture(96, 80), &spec).await;
    let mut events = Events::open(&server.client, &id, None).await;
    let (mut versions, mut last) = (Vec::new(), None);
    while let Some(event) = events.next().await {
        assert_eq!(event.data["id"], id.as_str());
        versions.push(event.id);
        let ended = event.data["finished_at"].is_string();
        assert_eq!(matches!(event.name.as_str(), "progress" | "preview"), !ended, "{}", event.name);
        last = Some(event);
    }
    assert!(versions.is_sorted() && versions.len() >= 2, "{versions:?}");
    let last = last.unwrap();
    assert_eq!((last.name.as_str(), &last.data["progress"]["fraction"]), ("succeeded", &json!(1.0)));
    assert_eq!(last.data["links"]["result"], format!("/v1/jobs/{id}/result"));
    nobody_follows(&server).await;

    // Whoever has seen less is told the end, whoever has seen it is told not to come back.
    let mut again = Events::open(&server.client, &id, Some(last.id - 1)).await;
    assert_eq!(again.next().await.unwrap().id, last.id);
    assert!(again.next().await.is_none());
    let path = format!("/v1/jobs/{id}/events");
    let seen = with(&server, Method::GET, &path, ("last-event-id", &last.id.to_string())).await;
    assert_eq!(seen.status(), 204);
    problem(server.client.get("/v1/jobs/17/events").await, 404).await;
}

#[tokio::test]
async fn events_tell_of_the_place_in_the_queue_and_of_what_happens_elsewhere() {
    let server = TestServer::idle().await;
    let first = server.client.submit(picture(64, 64), &quick()).await;
    let second = server.client.submit(picture(64, 64), &quick()).await;
    let mut events = Events::open(&server.client, &second, None).await;
    let event = events.next().await.unwrap();
    assert_eq!(event.data["queue_position"], 2);
    let version = event.id;
    server.client.post(&format!("/v1/jobs/{first}/cancel")).await;
    let event = events.next().await.unwrap();
    assert_eq!((event.id, &event.data["queue_position"]), (version, &json!(1)));

    // Nothing new for a client that has seen the row, until something happens.
    let mut resumed = Events::open(&server.client, &second, Some(version)).await;
    server.second_queue().await.cancel(&Tenant::DEFAULT, second.parse().unwrap()).await.unwrap();
    for stream in [&mut events, &mut resumed] {
        assert_eq!(stream.next().await.unwrap().name, "canceled");
        assert!(stream.next().await.is_none());
    }
}

#[tokio::test]
async fn events_end_when_the_job_is_erased() {
    let server = TestServer::idle().await;
    let id = server.client.submit(picture(64, 64), &quick()).await;
    let mut events = Events::open(&server.client, &id, None).await;
    assert_eq!(events.next().await.unwrap().name, "progress");
    server.client.request(Method::DELETE, &format!("/v1/jobs/{id}")).await;
    let mut names = Vec::new();
    while let Some(event) = events.next().await {
        names.push(event.name);
    }
    // It is canceled before it is erased; whether that is seen is a matter of luck.
    assert!(names.is_empty() || names == ["canceled"], "{names:?}");
}

#[tokio::test]
async fn many_streams_and_waits_hear_of_what_happens_elsewhere() {
    let server = TestServer::idle().await;
    let client = &server.client;
    let [ends, stays] =
        [client.submit(picture(64, 64), &quick()).await, client.submit(picture(64, 64), &quick()).await];
    let (mut ending, mut staying) = (Vec::new(), Vec::new());
    for _ in 0..12 {
        for (streams, id) in [(&mut ending, &ends), (&mut staying, &stays)] {
            let mut events = Events::open(client, id, None).await;
            assert_eq!(events.next().await.unwrap().data["status"], "queued");
            streams.push(events);
        }
    }
    assert_eq!(server.state.queue.signals().followed_jobs(), 2, "a job is followed once for all");
    let path = format!("/v1/jobs/{ends}");
    let waits = [(); 4].map(|()| with(&server, Method::GET, &path, ("prefer", "wait=60")));
    let elsewhere = async {
        server.second_queue().await.cancel(&Tenant::DEFAULT, ends.parse().unwrap()).await.unwrap();
    };
    let (waited, ()) = tokio::join!(futures::future::join_all(waits), elsewhere);
    for answer in waited {
        assert_eq!(answer.json::<Value>().await.unwrap()["status"], "canceled");
    }
    for stream in &mut ending {
        assert_eq!(stream.next().await.unwrap().name, "canceled");
        assert!(stream.next().await.is_none());
    }
    for stream in &mut staying {
        let event = stream.next().await.unwrap();
        assert_eq!((event.name.as_str(), &event.data["queue_position"]), ("progress", &json!(1)));
    }
    drop((ending, staying));
    nobody_follows(&server).await;
}
