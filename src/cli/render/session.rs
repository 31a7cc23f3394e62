//! A renderer that is started once, and dreams on one input after another.

use bytes::Bytes;

use super::{
    super::{Failure, progress, stop::Stop},
    Args,
    plan::Plan,
};
use reverie_engine::{RenderOptions, RenderRequest, Rendered, Renderer};

/// Maximum pixels of an input on the command line: 10,000 × 10,000.
const MAX_PIXELS: u64 = 100_000_000;

/// The renderer and what it dreams.
pub(super) struct Session<'a> {
    renderer: Renderer,
    plan: &'a Plan,
    stop: &'a Stop,
}

impl<'a> Session<'a> {
    /// Starts the renderer.
    ///
    /// # Errors
    /// If there is no such device.
    pub(super) fn start(args: &Args, plan: &'a Plan, stop: &'a Stop) -> Result<Self, Failure> {
        let renderer = Renderer::start(&RenderOptions {
            device: args.device.clone(),
            kernels: args.kernels,
            threads: args.threads,
            queue: 1,
            max_pixels: MAX_PIXELS,
            profile: args.profile,
            sharing: 1,
        })?;
        Ok(Self { renderer, plan, stop })
    }

    /// Renders on the renderer's thread while this one waits; `place` is what the progress bar says first, such as `2 of 7`.
    ///
    /// # Errors
    /// As the renderer; a stop is one, too.
    pub(super) fn render(&self, input: Option<Bytes>, place: &str) -> Result<Rendered, Failure> {
        let bar = progress::bar(place);
        let shown = bar.clone();
        let Plan { spec, model, attached } = self.plan;
        let outcome = self.renderer.submit(RenderRequest {
            input,
            mask: attached.mask.clone(),
            guide: attached.guide.clone(),
            on_progress: Box::new(move |progress| progress::show(&shown, &progress)),
            cancel: self.stop.cancel.clone(),
            ..RenderRequest::alone(model.clone(), spec.clone())
        })?;
        let rendered = outcome.blocking_recv().map_err(|_| "the renderer has stopped");
        bar.finish_and_clear();
        Ok(rendered??.encode()?)
    }
}
