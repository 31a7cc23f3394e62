//! Starting renderers on libtorch: one thread each, or several whose networks run together.

use reverie_dream::spec::Precision;

use crate::{
    Kernels, RenderError, Renderer,
    batch::SharedExecutor,
    cuda::{self, Stream},
    device::{self, Processor},
    engine::Engine,
    precision,
};

/// How a renderer is set up.
#[derive(Clone, Debug, Default)]
pub struct RenderOptions {
    /// `auto`, `cpu` or `cuda:N`; see [`devices`](crate::devices) for several.
    pub device: String,
    /// CPU threads for libtorch; 0 means one per core that this process may use.
    pub threads: usize,
    /// Which code computes.
    pub kernels: Kernels,
    /// Renderers that share the device: each takes its part of a GPU's memory. 0 is as 1.
    pub sharing: usize,
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
        start_on(prepare(options)?, options, None)
    }

    /// Starts `count` render threads on one device that run their networks together: the tiles of several renders go
    /// through in one pass where they are of the same size, want the same layers of the same model, and where that pays.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_batched(options: &RenderOptions, count: usize) -> Result<Vec<Self>, RenderError> {
        let processor = prepare(options)?;
        let shared = SharedExecutor::start(of_all(processor, count))?;
        let start = |_| Ok(start_on(processor, options, Some(shared.clone()))?.sharing_networks());
        (0..count).map(start).collect()
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
    processor: Processor,
    options: &RenderOptions,
    shared: Option<SharedExecutor>,
) -> Result<Renderer, RenderError> {
    let RenderOptions { max_pixels, profile, .. } = *options;
    let device = processor.device;
    // Renders whose networks run together hand tensors to each other, so they work on one stream.
    let stream = match (&shared, device) {
        (None, tch::Device::Cuda(index)) => Stream::new(index)?,
        _ => None,
    };
    let start = move || {
        if let tch::Device::Cuda(index) = device
            && let Err(error) =
                cuda::choose(index).and_then(|()| stream.map_or(Ok(()), |stream| stream.enter()))
        {
            // It works without, only not beside others.
            tracing::warn!(%error, "a render thread has no stream of its own");
        }
        Engine::new(processor, profile, max_pixels, shared.clone())
    };
    Ok(Renderer::start_with(device::name(device), options.queue, start)?.with_memory(processor.memory))
}

/// The parts of `count` renderers together: networks that they share have the memory of all, and run one pass at a time.
fn of_all(part: Processor, count: usize) -> Processor {
    let all = |memory: u64| memory.saturating_mul(count.max(1) as u64);
    Processor { memory: part.memory.map(all), ..part }
}

/// The device that `options` name, or a renderer's part of it, with libtorch's threads set.
fn prepare(options: &RenderOptions) -> Result<Processor, RenderError> {
    let device = device::select(&options.device)?;
    device::set_threads(options.threads);
    let whole = Processor::new(device, options.kernels);
    let part = |memory| memory / options.sharing.max(1) as u64;
    Ok(Processor { memory: whole.memory.map(part), ..whole })
}

#[cfg(test)]
mod tests {
    use reverie_dream::plan::{batch_within, held};

    use super::*;

    #[test]
    fn renderers_that_share_a_network_have_the_batches_of_the_whole_device() {
        const GIB: u64 = 1 << 30;
        let whole = Processor { memory: Some(24 * GIB), ..Processor::new(tch::Device::Cpu, Kernels::Auto) };
        for count in [1, 8, 16] {
            let part = Processor { memory: Some(24 * GIB / count), ..whole };
            let memory = of_all(part, count as usize).memory.unwrap();
            assert_eq!(held(batch_within(memory), [512, 512]), 16, "{count}");
        }
        let cpu = Processor::new(tch::Device::Cpu, Kernels::Auto);
        assert_eq!(of_all(cpu, 4).memory, None);
    }
}
