//! Which processor renders: finding CUDA at run time, choosing a device, sizing the thread pool.
//!
//! The binary links only libtorch's CPU half. Where the folder that libtorch was loaded from also holds
//! its CUDA half, loading that library is enough to make GPUs appear, so one binary serves both.

use std::{num::NonZero, path::PathBuf, sync::Once, thread::available_parallelism};

use tch::{Cuda, Device};

use super::RenderError;

/// Parses `auto`, `cpu` or `cuda:N`; `auto` is the first GPU where there is one.
pub(super) fn select(wanted: &str) -> Result<Device, RenderError> {
    if wanted == "cpu" {
        // CUDA's half of libtorch takes time and memory even if it is not used.
        return Ok(Device::Cpu);
    }
    load_cuda();
    let count = if Cuda::is_available() { usize::try_from(Cuda::device_count()).unwrap_or(0) } else { 0 };
    let device = match wanted {
        "auto" => Some(if count > 0 { Device::Cuda(0) } else { Device::Cpu }),
        other => other.strip_prefix("cuda:").and_then(|index| index.parse().ok()).map(Device::Cuda),
    };
    match device {
        Some(Device::Cuda(index)) if index >= count => None,
        other => other,
    }
    .ok_or_else(|| {
        let gpus = (0..count).map(|index| format!(", cuda:{index}")).collect::<String>();
        RenderError::Device { wanted: wanted.to_owned(), available: format!("auto, cpu{gpus}") }
    })
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

/// Loads `libtorch_cuda.so` from beside the `libtorch_cpu.so` in use, once per process. Must come before
/// the first question about CUDA: libtorch remembers the answer.
fn load_cuda() {
    static LOADED: Once = Once::new();
    LOADED.call_once(|| {
        let Some(library) = torch_folder().map(|folder| folder.join("libtorch_cuda.so")).filter(|path| path.exists())
        else {
            return;
        };
        match open_forever(&library) {
            Ok(()) => tracing::info!(library = %library.display(), "CUDA support loaded"),
            Err(error) => {
                tracing::warn!(library = %library.display(), %error, "CUDA support cannot be loaded; using the CPU");
            }
        }
    });
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
fn torch_folder() -> Option<PathBuf> {
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

    #[cfg(target_os = "linux")]
    #[test]
    fn the_running_libtorch_is_found() {
        assert!(torch_folder().unwrap().join("libtorch_cpu.so").exists());
    }
}
