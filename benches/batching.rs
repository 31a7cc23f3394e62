//! What it saves to render several jobs together: one after another, each on a thread with a network of its own, and all
//! through one network. Sixteen jobs of one kind, as clients send them that vary a picture.
//!
//! ```sh
//! cargo bench --bench batching                            # on the first GPU, or the CPU
//! REVERIE_BENCH_EDGE=1024 cargo bench --bench batching    # edge of the pictures, and of the tiles, in pixels
//! ```
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a benchmark may fail loudly")]

use std::{path::Path, sync::Arc, time::Instant};

use reverie_dream::{
    model::{Catalogue, DEFAULT_MODEL},
    spec::{self, InputKind},
};
use reverie_engine::{CancelFlag, RenderOptions, RenderRequest, Renderer};
use reverie_models as models;
use serde_json::json;

/// Jobs, and how many of them are at work at once where they are.
const JOBS: u32 = 16;

/// Each way is measured so often, in turn; the fastest counts.
const ROUNDS: usize = 3;

fn main() {
    let edge: u32 = std::env::var("REVERIE_BENCH_EDGE").map_or(128, |edge| edge.parse().unwrap());
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut catalogue = Catalogue::default();
    catalogue.insert(models::load_id(&root.join("models"), DEFAULT_MODEL).unwrap());
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
        ("at once, each with a network of its own", apart()),
        ("at once, together", together()),
    ];
    println!("{JOBS} pictures of {edge}×{edge} on {}\n", ways[0].1[0].device());
    let mut fastest = [f64::INFINITY; 3];
    // The first round loads networks.
    for round in 0..=ROUNDS {
        for ((_, renderers), fastest) in ways.iter().zip(&mut fastest) {
            let seconds = seconds(renderers, &catalogue, edge);
            if round > 0 {
                *fastest = fastest.min(seconds);
            }
        }
    }
    println!("| | all jobs | times as fast |");
    println!("|---|---:|---:|");
    for ((name, _), seconds) in ways.iter().zip(fastest) {
        println!("| {name} | {seconds:.2} s | {:.2} |", fastest[0] / seconds);
    }
}

/// How long all jobs take on these renderers.
fn seconds(renderers: &[Renderer], catalogue: &Catalogue, edge: u32) -> f64 {
    let began = Instant::now();
    let outcomes = (0..JOBS).zip(renderers.iter().cycle()).map(|(seed, renderer)| {
        let fields = json!({
            "noise": { "width": edge, "height": edge }, "tile_size": edge, "seed": seed, "octaves": 1,
            "iterations": 20, "format": "jpeg",
        });
        let request = RenderRequest {
            model: Arc::clone(catalogue.get(DEFAULT_MODEL).unwrap()),
            spec: spec::resolve("", fields, catalogue, InputKind::Nothing { image: "/image" }).unwrap(),
            input: None,
            mask: None,
            resume: None,
            on_progress: Box::new(|_| ()),
            on_octave: None,
            cancel: CancelFlag::default(),
        };
        renderer.submit(request).unwrap()
    });
    let outcomes: Vec<_> = outcomes.collect();
    outcomes.into_iter().for_each(|outcome| drop(outcome.blocking_recv().unwrap().unwrap()));
    began.elapsed().as_secs_f64()
}
