//! Engine.
use super::{RenderError, RenderRequest, Rendered};

pub(super) struct Engine;

impl Engine {
    pub(super) fn new(_device: tch::Device) -> Self { Self }
    pub(super) fn render(&mut self, _request: RenderRequest, _max_pixels: u64) -> Result<Rendered, RenderError> {
        Err(RenderError::Engine("not here yet".into()))
    }
}
