//! Previews inside an octave: they show the dream that grows, and change nothing of it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may fail loudly")]

mod common;

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use common::{
    client::quick,
    picture,
    server::{TestServer, catalogue, renderer},
};
use reverie_dream::spec::{self, InputKind};
use reverie_engine::{PreviewSink, RenderRequest};
use serde_json::json;

/// An octave, counted from 1, and its preview.
type Shown = (u32, Vec<u8>);

#[tokio::test]
async fn a_dream_that_is_shown_at_every_step_has_the_same_bytes() {
    let catalogue = catalogue().await;
    let model = Arc::clone(catalogue.iter().next().unwrap());
    let renderer = renderer();
    let mut asked = quick();
    asked["iterations"] = json!(6);
    let spec = spec::resolve("", asked, &catalogue, InputKind::Image).unwrap();
    let shown: Arc<Mutex<Vec<Shown>>> = Arc::default();
    let mut dreams = Vec::new();
    for watched in [false, true] {
        let seen = Arc::clone(&shown);
        let sink = PreviewSink {
            every: Duration::ZERO,
            on_preview: Box::new(move |octave, preview| seen.lock().unwrap().push((octave, preview))),
        };
        let request = RenderRequest {
            input: Some(picture(96, 64).into()),
            on_preview: watched.then_some(sink),
            ..RenderRequest::alone(Arc::clone(&model), spec.clone())
        };
        dreams.push(renderer.submit(request).unwrap().await.unwrap().unwrap().encode().unwrap().image);
    }
    assert!(dreams[0] == dreams[1], "looking changes the dream");
    let shown = shown.lock().unwrap();
    let (octave, preview) = &shown[0];
    assert_eq!(*octave, 1);
    let preview = image::load_from_memory(preview).unwrap();
    assert!(preview.width() <= 96 && preview.width() > preview.height(), "{preview:?}");
    assert!(shown.iter().all(|(octave, _)| (1..=2).contains(octave)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_only_octave_of_a_long_dream_is_shown_while_it_grows() {
    let server = TestServer::start().await;
    let client = &server.client;
    let mut spec = quick();
    spec["octaves"] = json!(1);
    spec["objectives"][0]["layer"] = json!("block10");
    let photo = picture(384, 384);
    let long = client.lasting(photo.clone(), spec, 20.0).await;
    let id = client.submit(photo, &long).await;
    let path = format!("/v1/jobs/{id}/preview");
    // The row names a preview once it is stored.
    client.job_until(&id, |job| job["links"]["preview"] == path.as_str()).await;
    let first = client.get(&path).await;
    assert_eq!(first.status(), 200);
    let (etag, first) = (first.headers()["etag"].clone(), first.bytes().await.unwrap());
    // A second later it has grown.
    common::until("the preview changes", async || {
        client.get_unless(&path, etag.to_str().unwrap()).await.status() == 200
    })
    .await;
    assert!(client.get(&path).await.bytes().await.unwrap() != first);
    assert!(client.post(&format!("/v1/jobs/{id}/cancel")).await.status().is_success());
}
