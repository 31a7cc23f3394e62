//! What it brings that a GPU's renderer has two workers, which take turns: sixteen photos, decoded, dreamed a little, encoded as
//! WebP and stored, by a renderer with one worker and by the same one with two. It is a CPU's, on one thread, which says that it is a
//! GPU; the machine needs a core beside it.
//!
//! ```sh
//! cargo bench --bench turns
//! ```
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a benchmark may fail loudly")]

#[path = "server/mod.rs"]
mod server;

use std::{path::Path, sync::Arc, time::Instant};

use bytes::Bytes;
use reqwest::{
    Client,
    multipart::{Form, Part},
};
use reverie::config::Config;
use reverie_dream::model::{Catalogue, REFERENCE_MODEL};
use reverie_engine::{RenderOptions, Renderer};
use reverie_models as models;
use serde_json::{Value, json};
use server::Server;

const JOBS: u32 = 16;
const ROUNDS: u32 = 3;

#[tokio::main]
async fn main() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut catalogue = Catalogue::default();
    catalogue.insert(models::load_id(&[root.join("models")], REFERENCE_MODEL).unwrap());
    let catalogue = Arc::new(catalogue);
    let photo = Bytes::from(std::fs::read(root.join("assets/sample.jpg")).unwrap());
    println!("| {JOBS} photos | seconds for all | of these dreaming |\n|---|---:|---:|");
    for _ in 0..ROUNDS {
        for (workers, memory) in [("one worker", None), ("two that take turns", Some(16 << 30))] {
            let (all, dreaming) = seconds(&catalogue, &photo, memory).await;
            println!("| {workers} | {all:.2} | {dreaming:.2} |");
        }
    }
}

/// Seconds for all jobs, and what their renders took of that, by a renderer that says it has so much memory of its own.
async fn seconds(catalogue: &Arc<Catalogue>, photo: &Bytes, memory: Option<u64>) -> (f64, f64) {
    let mut config = Config::default();
    config.worker.practice = false;
    let options = RenderOptions {
        device: "cpu".into(),
        threads: 1,
        queue: 1,
        max_pixels: config.limits.max_pixels,
        ..RenderOptions::default()
    };
    let renderer = Renderer::start(&options).unwrap().with_memory(memory);
    let server = Server::start(&std::env::temp_dir(), catalogue, config, vec![renderer]).await;
    let jobs = format!("http://{}/v1/jobs", server.address);
    let client = Client::new();
    let spec = |seed| {
        json!({
            "objectives": [{ "layer": "stem" }], "octaves": 1, "iterations": 4, "max_edge": 0, "seed": seed, "format": "webp",
            "recipe": false,
        })
    };
    // The first one loads the network.
    follow(&client, &jobs, submit(&client, &jobs, photo, &spec(0)).await).await;
    let began = Instant::now();
    let mut ids = Vec::new();
    for seed in 1..=JOBS {
        ids.push(submit(&client, &jobs, photo, &spec(seed)).await);
    }
    let mut dreaming = 0.0;
    for id in ids {
        dreaming += follow(&client, &jobs, id).await;
    }
    let all = began.elapsed().as_secs_f64();
    server.stop().await;
    (all, dreaming)
}

async fn submit(client: &Client, jobs: &str, photo: &Bytes, spec: &Value) -> String {
    let image = Part::stream(photo.clone()).file_name("photo.jpg");
    let form = Form::new().part("image", image).text("spec", spec.to_string());
    let answer = client.post(jobs).multipart(form).send().await.unwrap().error_for_status().unwrap();
    let job: Value = answer.json().await.unwrap();
    job["id"].as_str().unwrap().to_owned()
}

/// Waits for a job; seconds that its render took.
async fn follow(client: &Client, jobs: &str, id: String) -> f64 {
    loop {
        let answer = client.get(format!("{jobs}/{id}?wait=30")).send().await.unwrap();
        let job: Value = answer.error_for_status().unwrap().json().await.unwrap();
        match job["status"].as_str() {
            Some("succeeded") => return job["metrics"]["render_seconds"].as_f64().unwrap(),
            Some("queued" | "running") => {}
            _ => panic!("{job}"),
        }
    }
}
