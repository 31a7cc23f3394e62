//! How long a render waits to tell how it goes: progress after every step, a preview every second, a checkpoint and a preview
//! after every octave, as in the service. Prints the share of the render's time for two sizes. What is done beside the
//! render on a GPU is not in it.
//!
//! ```sh
//! cargo bench --bench callbacks
//! ```
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a benchmark may fail loudly")]

use std::{io::Cursor, path::Path, sync::Arc, time::Duration};

use reverie_dream::{
    model::{Catalogue, REFERENCE_MODEL},
    spec::{self, InputKind},
};
use reverie_engine::{PreviewSink, RenderOptions, RenderRequest, Renderer};
use reverie_models as models;

fn main() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut catalogue = Catalogue::default();
    catalogue.insert(models::load_id(&[root.join("models")], REFERENCE_MODEL).unwrap());
    let model = Arc::clone(catalogue.get(REFERENCE_MODEL).unwrap());
    let spec = spec::resolve("", serde_json::json!({}), &catalogue, InputKind::Image).unwrap();
    let options = RenderOptions {
        device: "auto".into(),
        threads: 0,
        queue: 1,
        max_pixels: 100_000_000,
        ..Default::default()
    };
    let renderer = Renderer::start(&options).unwrap();
    println!("| picture | render | telling | share |");
    println!("|---|---:|---:|---:|");
    let photo = image::open(root.join("assets/sample.jpg")).unwrap();
    for scale in [1, 2] {
        let (width, height) = (photo.width() * scale, photo.height() * scale);
        let larger = photo.resize_exact(width, height, image::imageops::FilterType::CatmullRom);
        let mut file = Cursor::new(Vec::new());
        larger.write_to(&mut file, image::ImageFormat::Png).unwrap();
        let request = RenderRequest {
            input: Some(file.into_inner().into()),
            on_progress: Box::new(|progress| drop(std::hint::black_box(serde_json::to_vec(&progress)))),
            on_octave: Some(Box::new(|octave| drop(std::hint::black_box(octave)))),
            on_preview: Some(PreviewSink {
                every: Duration::from_secs(1),
                on_preview: Box::new(|_, preview| drop(std::hint::black_box(preview))),
            }),
            ..RenderRequest::alone(Arc::clone(&model), spec.clone())
        };
        let rendered = renderer.submit(request).unwrap().blocking_recv().unwrap().unwrap().encode().unwrap();
        let (render, telling) = (rendered.render_seconds, rendered.callback_seconds);
        println!(
            "| {width}×{height} | {render:.2} s | {:.1} ms | {:.2} % |",
            telling * 1e3,
            100.0 * telling / render
        );
    }
}
