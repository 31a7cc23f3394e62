//! What a gradient step costs per megapixel, for pictures from a quarter of a megapixel to sixteen: a renderer that is
//! right in its tiles costs the same for all of them.
//!
//! ```sh
//! cargo bench --bench growth
//! ```
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a benchmark may fail loudly")]

use std::{path::Path, sync::Arc};

use reverie::{
    models::{self, Catalogue, DEFAULT_MODEL},
    render::{CancelFlag, RenderOptions, RenderRequest, Renderer},
    spec::{self, Start},
};
use serde_json::json;

/// Gradient steps of each render.
const STEPS: u32 = 5;

/// Sides of square pictures.
const SIDES: [u32; 4] = [512, 1024, 2048, 4096];

/// Renders of each size, in turn; the fastest counts.
const ROUNDS: usize = 2;

fn main() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut catalogue = Catalogue::default();
    catalogue.insert(models::load_id(&root.join("models"), DEFAULT_MODEL).unwrap());
    let model = Arc::clone(catalogue.get(DEFAULT_MODEL).unwrap());
    let options =
        RenderOptions { device: "auto".into(), queue: 1, max_pixels: 100_000_000, ..Default::default() };
    let renderer = Renderer::start(&options).unwrap();
    let render = |side: u32| {
        let fields = json!({
            "noise": { "width": side, "height": side }, "octaves": 1, "iterations": STEPS, "format": "jpeg",
        });
        let start = Start::Nothing { image: "/image" };
        let request = RenderRequest {
            model: Arc::clone(&model),
            spec: spec::resolve("", fields, &catalogue, start).unwrap(),
            input: None,
            mask: None,
            resume: None,
            on_progress: Box::new(|_| ()),
            on_octave: None,
            cancel: CancelFlag::default(),
        };
        renderer.submit(request).unwrap().blocking_recv().unwrap().unwrap().render_seconds
    };
    render(SIDES[0]);
    let mut fastest = [f64::INFINITY; SIDES.len()];
    for _ in 0..ROUNDS {
        for (side, seconds) in SIDES.into_iter().zip(&mut fastest) {
            *seconds = seconds.min(render(side));
        }
    }
    println!("| picture | {STEPS} gradient steps | per megapixel and step |");
    println!("|---|---:|---:|");
    for (side, seconds) in SIDES.into_iter().zip(fastest) {
        let work = f64::from(side) * f64::from(side) * f64::from(STEPS) / 1e6;
        println!("| {side}×{side} | {seconds:.2} s | {:.3} s |", seconds / work);
    }
}
