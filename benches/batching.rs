//! What it saves to render several jobs together: one after another, each on a thread with a network of its own, and all
//! through one network. Sixteen jobs of one kind, as clients send them that vary a picture.
//!
//! ```sh
//! cargo bench --bench batching                                # on the first GPU, or the CPU
//! REVERIE_BENCH_EDGES=512,1024 cargo bench --bench batching   # edges of the pictures, and of the tiles, in pixels
//! ```
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a benchmark may fail loudly")]

mod plot;

use std::{path::Path, sync::Arc, time::Instant};

use plot::Plot;
use reverie_dream::{
    model::{Catalogue, REFERENCE_MODEL},
    spec::{self, InputKind},
};
use reverie_engine::{RenderOptions, RenderRequest, Renderer};
use reverie_models as models;
use serde_json::json;

/// Jobs, and how many of them are at work at once where they are.
const JOBS: u32 = 16;

/// Each way is measured so often, in turn; the fastest counts.
const ROUNDS: usize = 3;

fn main() {
    let edges = std::env::var("REVERIE_BENCH_EDGES").unwrap_or_else(|_| "64,128,256".into());
    let edges: Vec<u32> = edges.split(',').map(|edge| edge.parse().unwrap()).collect();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut catalogue = Catalogue::default();
    catalogue.insert(models::load_id(&[root.join("models")], REFERENCE_MODEL).unwrap());
    let options = RenderOptions {
        device: "auto".into(),
        queue: JOBS as usize,
        max_pixels: 100_000_000,
        ..Default::default()
    };
    let one = || vec![Renderer::start(&options).unwrap()];
    let apart = || (0..JOBS).map(|_| Renderer::start(&options).unwrap()).collect();
    let together = || Renderer::start_batched(&options, JOBS as usize).unwrap();
    let ways: [(&str, Vec<Renderer>); 3] = [
        ("one after another", one()),
        ("at once, each runs its own network", apart()),
        ("at once, worker.dynamic_batching", together()),
    ];
    println!("{JOBS} jobs on {}, in seconds for all of them\n", ways[0].1[0].device());
    println!("| pictures | {} |", ways.each_ref().map(|(name, _)| *name).join(" | "));
    println!("|---|---:|---:|---:|");
    let mut rates = ways.each_ref().map(|(name, _)| (*name, Vec::new()));
    for &edge in &edges {
        let fastest = fastest(&ways, &catalogue, edge);
        let cells =
            fastest.map(|seconds| format!("{seconds:.2} ({:.2} times as fast)", fastest[0] / seconds));
        println!("| {edge}×{edge} | {} |", cells.join(" | "));
        for ((_, rates), seconds) in rates.iter_mut().zip(fastest) {
            rates.push(f64::from(JOBS) / seconds);
        }
    }
    Plot {
        name: "batches",
        title: "Sixteen jobs of one tile each, rendered in three ways",
        across: ("picture", edges.iter().map(|edge| format!("{edge}×{edge}")).collect()),
        up: "jobs per second",
        series: rates.to_vec(),
    }
    .draw();
}

/// How long all jobs take in each way, in seconds.
fn fastest(ways: &[(&str, Vec<Renderer>); 3], catalogue: &Catalogue, edge: u32) -> [f64; 3] {
    let mut fastest = [f64::INFINITY; 3];
    // The first round loads networks.
    for round in 0..=ROUNDS {
        for ((_, renderers), fastest) in ways.iter().zip(&mut fastest) {
            let seconds = seconds(renderers, catalogue, edge);
            if round > 0 {
                *fastest = fastest.min(seconds);
            }
        }
    }
    fastest
}

/// How long all jobs take on these renderers.
fn seconds(renderers: &[Renderer], catalogue: &Catalogue, edge: u32) -> f64 {
    let began = Instant::now();
    let outcomes = (0..JOBS).zip(renderers.iter().cycle()).map(|(seed, renderer)| {
        let fields = json!({
            "noise": { "width": edge, "height": edge }, "tile_size": edge, "seed": seed, "octaves": 1,
            "iterations": 20, "format": "jpeg",
        });
        let request = RenderRequest::alone(
            Arc::clone(catalogue.get(REFERENCE_MODEL).unwrap()),
            spec::resolve("", fields, catalogue, InputKind::Nothing { image: "/image" }).unwrap(),
        );
        renderer.submit(request).unwrap()
    });
    let outcomes: Vec<_> = outcomes.collect();
    outcomes
        .into_iter()
        .for_each(|outcome| drop(outcome.blocking_recv().unwrap().unwrap().encode().unwrap()));
    began.elapsed().as_secs_f64()
}
