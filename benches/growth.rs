//! What a gradient step costs per megapixel, for pictures from a quarter of a megapixel to sixteen: a renderer that is
//! right in its tiles costs the same for all of them. Each size does the same work in more or fewer steps, one size after
//! another, since rented machines are faster in short bursts than in long ones.
//!
//! ```sh
//! cargo bench --bench growth
//! ```
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a benchmark may fail loudly")]

mod plot;

use std::{path::Path, sync::Arc};

use plot::Plot;
use reverie_dream::{
    model::{Catalogue, REFERENCE_MODEL},
    spec::{self, InputKind},
};
use reverie_engine::{RenderOptions, RenderRequest, Renderer};
use reverie_models as models;
use serde_json::json;

/// Sides of square pictures, and gradient steps.
const RENDERS: [(u32, u32); 4] = [(512, 128), (1024, 32), (2048, 8), (4096, 2)];

/// Renders of each size, in turn; the fastest counts.
const ROUNDS: usize = 3;

fn main() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut catalogue = Catalogue::default();
    catalogue.insert(models::load_id(&[root.join("models")], REFERENCE_MODEL).unwrap());
    let model = Arc::clone(catalogue.get(REFERENCE_MODEL).unwrap());
    let options =
        RenderOptions { device: "auto".into(), queue: 1, max_pixels: 100_000_000, ..Default::default() };
    let renderer = Renderer::start(&options).unwrap();
    let render = |(side, steps): (u32, u32)| {
        let fields = json!({
            "noise": { "width": side, "height": side }, "octaves": 1, "iterations": steps, "format": "jpeg",
        });
        let start = InputKind::Nothing { image: "/image" };
        let request =
            RenderRequest::alone(Arc::clone(&model), spec::resolve("", fields, &catalogue, start).unwrap());
        renderer.submit(request).unwrap().blocking_recv().unwrap().unwrap().encode().unwrap().render_seconds
    };
    let mut fastest = [f64::INFINITY; RENDERS.len()];
    for _ in 0..ROUNDS {
        for (size, seconds) in RENDERS.into_iter().zip(&mut fastest) {
            *seconds = seconds.min(render(size));
        }
    }
    println!("| picture | gradient steps | render | per megapixel and step |");
    println!("|---|---:|---:|---:|");
    let mut costs = Vec::new();
    for ((side, steps), seconds) in RENDERS.into_iter().zip(fastest) {
        let cost = seconds / (f64::from(side) * f64::from(side) * f64::from(steps) / 1e6);
        println!("| {side}×{side} | {steps} | {seconds:.1} s | {cost:.3} s |");
        costs.push(cost);
    }
    Plot {
        name: "growth",
        title: "What a gradient step costs as pictures grow",
        across: ("picture", RENDERS.map(|(side, _)| format!("{side}×{side}")).to_vec()),
        up: "seconds per megapixel and step",
        series: vec![("default model, one octave", costs)],
    }
    .draw();
}
