//! What is rendered when the last handle goes is ended before the handle is gone: a process may exit after that.

use std::sync::mpsc;

use super::{objective, random_network, spec};
use crate::{RenderError, RenderOptions, RenderRequest, Renderer};
use reverie_dream::spec::{Count, DreamSpec, Noise, ObjectiveKind};

/// A dream of a million steps; `begun` hears of each.
fn endless(begun: mpsc::Sender<()>) -> RenderRequest {
    let noise = Some(Noise { width: 64, height: 64 });
    let spec = spec(objective(ObjectiveKind::L2, "sum", &[]));
    RenderRequest {
        on_progress: Box::new(move |_| {
            // The test has heard enough after the first.
            let _ = begun.send(());
        }),
        ..RenderRequest::alone(
            random_network(),
            DreamSpec { noise, iterations: Count::Of(1_000_000), ..spec },
        )
    }
}

#[test]
fn the_last_handle_ends_the_render_and_those_that_wait() {
    let options =
        RenderOptions { device: "cpu".into(), queue: 1, max_pixels: 1_000_000, ..RenderOptions::default() };
    let alone = || vec![Renderer::start(&options).unwrap()];
    let together = || Renderer::start_batched(&options, 2).unwrap();
    for renderers in [alone(), together()] {
        let mut at_work = Vec::new();
        for renderer in &renderers {
            let (begun, hears) = mpsc::channel();
            at_work.push(renderer.submit(endless(begun.clone())).unwrap());
            hears.recv().unwrap();
            at_work.push(renderer.submit(endless(begun)).unwrap());
        }
        // Another handle keeps the threads.
        drop(renderers.clone());
        assert!(at_work.iter_mut().all(|outcome| outcome.try_recv().is_err()));
        drop(renderers);
        for mut outcome in at_work {
            let outcome = outcome.try_recv().unwrap();
            assert!(matches!(outcome, Err(RenderError::Canceled)), "{outcome:?}");
        }
    }
}
