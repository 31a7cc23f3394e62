//! Which processor renders: finding CUDA at run time, choosing a device, sizing the thread pool.
//!
//! The binary links only libtorch's CPU half. Where the folder that libtorch was loaded from also holds
//! its CUDA half, loading that library is enough to make GPUs appear, so one binary serves both.

use std::{error::Error, num::NonZero, path::PathBuf, sync::OnceLock, thread::available_parallelism};

use tch::{Cuda, Device};

use super::{
    Kernels, RenderError, abi,
    cuda::{self, GpuKernels},
    transfer,
};

/// The devices that `wanted` names, each as [`RenderOptions::device`](crate::RenderOptions::device) takes it: `auto`, `cpu`,
/// `all` (every GPU), or GPUs such as `cuda:0,cuda:1`.
///
/// # Errors
/// [`RenderError::Device`] for one that is not there, [`RenderError::DeviceTwice`] for one that is named twice.
pub fn devices(wanted: &str) -> Result<Vec<String>, RenderError> {
    let named: Vec<String> = match wanted {
        // At least one, so that `all` without a GPU is refused.
        "all" => (0..gpus().max(1)).map(|index| name(Device::Cuda(index))).collect(),
        _ if wanted.contains(',') => wanted.split(',').map(|one| one.trim().to_owned()).collect(),
        _ => return Ok(vec![name(select(wanted)?)]),
    };
    let mut devices = Vec::with_capacity(named.len());
    for one in named {
        // Workers of one process have to compute alike, so a CPU is not among GPUs.
        let gpu = one.starts_with("cuda:").then(|| select(&one)).transpose()?;
        let device = name(gpu.ok_or_else(|| missing(&one))?);
        if devices.contains(&device) {
            return Err(RenderError::DeviceTwice(device));
        }
        devices.push(device);
    }
    Ok(devices)
}

/// Where networks run, and on which code.
#[derive(Clone, Copy, Debug)]
pub(super) struct Processor {
    pub(super) device: Device,
    pub(super) kernels: Kernels,
    /// Bytes of a GPU's memory that a renderer may take; none on a CPU.
    pub(super) memory: Option<u64>,
}

impl Processor {
    /// A device as a whole.
    pub(super) fn new(device: Device, kernels: Kernels) -> Self {
        Self { device, kernels, memory: own_memory(device) }
    }

    /// Our own kernels for a GPU, where they may be used.
    pub(super) fn gpu_kernels(self) -> Option<GpuKernels> {
        self.kernels.of_gpu(self.device)
    }

    /// Whether on libtorch's operations alone.
    pub(super) fn is_library(self) -> bool {
        self.kernels.are_library(self.device)
    }
}

/// Bytes of memory that a device has of its own.
fn own_memory(device: Device) -> Option<u64> {
    match device {
        Device::Cuda(index) => cuda::memory(index).map(|memory| memory.total),
        _ => None,
    }
}

/// How many GPUs there are.
fn gpus() -> usize {
    if load_cuda() && Cuda::is_available() { usize::try_from(Cuda::device_count()).unwrap_or(0) } else { 0 }
}

/// Parses `auto`, `cpu` or `cuda:N`; `auto` is the first GPU where there is one.
pub(super) fn select(wanted: &str) -> Result<Device, RenderError> {
    if wanted == "cpu" {
        // CUDA's half of libtorch takes time and memory even if it is not used.
        return Ok(Device::Cpu);
    }
    let count = gpus();
    let device = match wanted {
        "auto" => Some(if count > 0 { Device::Cuda(0) } else { Device::Cpu }),
        other => other.strip_prefix("cuda:").and_then(|index| index.parse().ok()).map(Device::Cuda),
    };
    match device {
        Some(Device::Cuda(index)) if index >= count => None,
        other => other,
    }
    .ok_or_else(|| missing(wanted))
}

/// The error for a device that is not there.
fn missing(wanted: &str) -> RenderError {
    let mut available = "auto, cpu".to_owned();
    for index in 0..gpus() {
        available += &format!(", cuda:{index}");
    }
    match loaded_cuda() {
        Ok(()) => {
            if let Some(reason) = cuda::refusal() {
                available += &format!(" (CUDA says: {reason})");
            }
        }
        Err(Some(reason)) => available += &format!(" ({reason})"),
        Err(None) => {}
    }
    RenderError::Device { wanted: wanted.to_owned(), available }
}

/// Where a GPU is on the machine's bus, such as `0000:3B:00.0`, by the name of its device: other programs know it by that. None
/// for a CPU.
pub fn bus_address(device: &str) -> Option<String> {
    match select(device) {
        Ok(Device::Cuda(index)) => cuda::address(index),
        _ => None,
    }
}

/// Bytes of a device's own memory that are in use, by anybody; none for a CPU.
pub fn memory_in_use(device: &str) -> Option<u64> {
    match select(device) {
        Ok(Device::Cuda(index)) => cuda::memory(index).map(|memory| memory.total - memory.free),
        _ => None,
    }
}

/// Whether a GPU has kernels of our own beside libtorch's operations, by the name of its device; none for a CPU.
pub fn has_gpu_kernels(device: &str) -> Option<bool> {
    match select(device) {
        Ok(device @ Device::Cuda(_)) => Some(GpuKernels::of(device).is_some()),
        _ => None,
    }
}

/// Whether this process's images have gone to and from a GPU through pinned memory so far; none for a CPU.
pub fn has_pinned_memory(device: &str) -> Option<bool> {
    (kind(device) != Device::Cpu).then(transfer::has_pinned_memory)
}

/// Passes of networks that this process has started on its GPUs as a whole, and the operations that they consist of.
pub fn replayed_passes() -> [u64; 2] {
    cuda::replayed()
}

/// The name that [`select`] takes.
pub(super) fn name(device: Device) -> String {
    match device {
        Device::Cuda(index) => format!("cuda:{index}"),
        _ => "cpu".into(),
    }
}

/// The kind of a device by its name; which of several GPUs it is does not matter.
pub(super) fn kind(name: &str) -> Device {
    if name.starts_with("cuda") { Device::Cuda(0) } else { Device::Cpu }
}

/// Sets libtorch's threads within one operation; 0 means one per core that this process may use
/// (`available_parallelism` knows about CPU affinity and cgroup quotas, libtorch's own default does not).
pub(super) fn set_threads(threads: usize) {
    let threads = if threads == 0 { available_parallelism().map_or(1, NonZero::get) } else { threads };
    tch::set_num_threads(i32::try_from(threads).unwrap_or(i32::MAX));
}

/// Whether CUDA's half of libtorch is there; see [`loaded_cuda`].
fn load_cuda() -> bool {
    loaded_cuda().is_ok()
}

/// Loads `libtorch_cuda.so` from beside the `libtorch_cpu.so` in use, once per process. Must come before the first question about
/// CUDA: libtorch remembers the answer.
///
/// # Errors
/// Why one that is there is not used; nothing where there is none.
fn loaded_cuda() -> Result<(), Option<&'static str>> {
    static LOADED: OnceLock<Result<(), Option<String>>> = OnceLock::new();
    let loaded = LOADED.get_or_init(|| {
        let library =
            torch_folder().map(|folder| folder.join("libtorch_cuda.so")).filter(|path| path.exists());
        let Some(library) = library else { return Err(None) };
        // A GPU's memory and streams are asked for by names of functions, which do not tell types.
        let opened = abi::check(abi::running())
            .and_then(|()| open_forever(&library).map_err(|error| with_cause(&error)))
            .map_err(|reason| format!("CUDA support cannot be loaded: {reason}"));
        match &opened {
            Ok(()) => tracing::info!(library = %library.display(), "CUDA support loaded"),
            Err(reason) => tracing::warn!(library = %library.display(), "{reason}; using the CPU"),
        }
        opened.map_err(Some)
    });
    loaded.as_ref().copied().map_err(Option::as_deref)
}

/// An error, and what the system says of it.
fn with_cause(error: &dyn Error) -> String {
    error.source().map_or_else(|| error.to_string(), |cause| format!("{error}: {cause}"))
}

/// Loads a library for the rest of the process.
#[cfg(unix)]
#[allow(unsafe_code)]
fn open_forever(path: &std::path::Path) -> Result<(), libloading::Error> {
    use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_NOW};
    // SAFETY: running its initialisers is what this library is loaded for (it registers the CUDA kernels);
    // it lies in the folder of the libtorch that is already running in this process.
    let library = unsafe { Library::open(Some(path), RTLD_NOW | RTLD_GLOBAL)? };
    // Unloading would leave dangling kernels in libtorch's dispatch table.
    std::mem::forget(library);
    Ok(())
}

#[cfg(not(unix))]
fn open_forever(_path: &std::path::Path) -> Result<(), std::io::Error> {
    Err(std::io::ErrorKind::Unsupported.into())
}

/// The folder that this process's `libtorch_cpu.so` came from; `None` where the system does not tell.
pub(super) fn torch_folder() -> Option<PathBuf> {
    let maps = std::fs::read_to_string("/proc/self/maps").ok()?;
    let line = maps.lines().find(|line| line.ends_with("/libtorch_cpu.so"))?;
    let path = PathBuf::from(&line[line.find('/')?..]);
    path.parent().map(PathBuf::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_parsed_and_checked() {
        assert_eq!(select("cpu").unwrap(), Device::Cpu);
        assert!(["cpu", "cuda:0"].contains(&name(select("auto").unwrap()).as_str()));
        for wanted in ["", "gpu", "cuda", "cuda:x", "cuda:4096"] {
            let error = select(wanted).unwrap_err().to_string();
            assert!(error.contains(&format!("\"{wanted}\"")) && error.contains("auto, cpu"), "{error}");
        }
    }

    #[test]
    fn several_gpus_are_named_one_by_one_or_as_all() {
        assert_eq!(devices("cpu").unwrap(), ["cpu"]);
        assert_eq!(devices("auto").unwrap(), [name(select("auto").unwrap())]);
        for (wanted, faulty) in
            [("cuda:4096,cuda:4097", "cuda:4096"), ("cpu,cpu", "cpu"), ("cuda:4096,", "cuda:4096")]
        {
            let error = devices(wanted).unwrap_err().to_string();
            assert!(error.contains(&format!("\"{faulty}\"")) && error.contains("auto, cpu"), "{error}");
        }
        match (devices("all"), gpus()) {
            (Ok(all), count) => assert_eq!(all.len(), count),
            (Err(error), count) => assert!(count == 0 && error.to_string().contains("\"cuda:0\""), "{error}"),
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_running_libtorch_is_found() {
        assert!(torch_folder().unwrap().join("libtorch_cpu.so").exists());
    }
}
