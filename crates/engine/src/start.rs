//! Starting renderers on libtorch: one thread each, or several whose networks run together.

use reverie_dream::spec::Precision;

use crate::{Kernels, RenderError, Renderer, batch::SharedExecutor, device, engine::Engine, precision};

/// How a renderer is set up.
#[derive(Clone, Debug, Default)]
pub struct RenderOptions {
    /// `auto`, `cpu` or `cuda:N`.
    pub device: String,
    /// CPU threads for libtorch; 0 means one per core that this process may use.
    pub threads: usize,
    /// Which code computes.
    pub kernels: Kernels,
    /// Renders that may wait in addition to the one at work.
    pub queue: usize,
    /// Largest input in pixels.
    pub max_pixels: u64,
    /// Whether to find out where the time of each render goes, which costs a little.
    pub profile: bool,
}

impl Renderer {
    /// Starts the render thread on the device that `options` name.
    ///
    /// # Errors
    /// [`RenderError::Device`] for a device that is not there, [`RenderError::Engine`] when the thread
    /// cannot be started.
    pub fn start(options: &RenderOptions) -> Result<Self, RenderError> {
        let device = prepare(options)?;
        start_on(device, options, None)
    }

    /// Starts `count` render threads on one device that run their networks together: the tiles of several renders go
    /// through in one pass where they are of the same size, want the same layers of the same model, and where that pays.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_batched(options: &RenderOptions, count: usize) -> Result<Vec<Self>, RenderError> {
        let device = prepare(options)?;
        let shared = SharedExecutor::start(device, options.kernels)?;
        (0..count).map(|_| start_on(device, options, Some(shared.clone()))).collect()
    }

    /// What `wanted` means on this device: never [`Precision::Auto`]. The first answer takes some tenths of a second, for
    /// which it is measured.
    ///
    /// # Errors
    /// When it cannot be measured.
    pub fn precision(&self, wanted: Precision) -> Result<Precision, RenderError> {
        precision::resolve(wanted, device::kind(self.device()))
    }
}

fn start_on(
    device: tch::Device,
    options: &RenderOptions,
    shared: Option<SharedExecutor>,
) -> Result<Renderer, RenderError> {
    let RenderOptions { max_pixels, profile, kernels, .. } = *options;
    let start = move || Engine::new(device, kernels, profile, max_pixels, shared.clone());
    Renderer::start_with(device::name(device), options.queue, start)
}

/// The device that `options` name, with libtorch's threads set.
fn prepare(options: &RenderOptions) -> Result<tch::Device, RenderError> {
    let device = device::select(&options.device)?;
    device::set_threads(options.threads);
    Ok(device)
}
