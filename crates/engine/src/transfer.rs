//! The way of values between the machine's memory and a device's.
//!
//! Memory that the system may move elsewhere cannot be read by a GPU: the driver copies it first, and libtorch waits for all that was
//! started before. So values go through pinned memory, where the system has any.

use std::sync::atomic::{AtomicBool, Ordering};

use tch::{Device, Tensor};

use super::{RenderError, cuda::Stream};

/// Bytes that go through pinned memory, at the most. libtorch keeps that memory for the next values, in blocks of a power of two, and
/// the system cannot use it for anything else. What is larger takes so long on its way that the copy is a small part of it.
const MOST_PINNED: usize = 64 << 20;

/// Whether there was no pinned memory to be had.
static NONE_PINNED: AtomicBool = AtomicBool::new(false);

/// Whether images have gone to and from GPUs through pinned memory so far.
pub(super) fn has_pinned_memory() -> bool {
    !NONE_PINNED.load(Ordering::Relaxed)
}

/// `values`, which are in the machine's memory, on `device`. A GPU is not waited for. On a CPU they are the same memory.
pub(super) fn upload(values: &Tensor, device: Device) -> Result<Tensor, RenderError> {
    if device == Device::Cpu {
        return Ok(values.shallow_clone());
    }
    match pinned(values, || Ok(values.f_internal_pin_memory(device)?)) {
        // libtorch does not use that memory for something else before the GPU has read it.
        Some(pinned) => Ok(pinned.f_to_device_(device, values.f_kind()?, true, false)?),
        None => Ok(values.f_to_device(device)?),
    }
}

/// `values` in the machine's memory, contiguous. All that makes them on a GPU is waited for. On a CPU they are the same memory where
/// they are contiguous already.
pub(super) fn download(values: &Tensor) -> Result<Tensor, RenderError> {
    let values = values.f_contiguous()?;
    let Device::Cuda(index) = values.device() else { return Ok(values) };
    let copied = pinned(&values, || {
        let stream = Stream::current(index)?;
        let stream =
            stream.ok_or_else(|| RenderError::Engine("this libtorch cannot wait for a stream".into()))?;
        // A copy that need not wait is one into pinned memory.
        let copied = values.f_to_device_(Device::Cpu, values.f_kind()?, true, false)?;
        stream.wait().map(|()| copied)
    });
    match copied {
        Some(copied) => Ok(copied),
        // Where the GPU reports an error, this way says which.
        None => Ok(values.f_to_device(Device::Cpu)?),
    }
}

/// What `copy` makes of `values` in pinned memory, unless they are too large, or there is none of that memory.
fn pinned(values: &Tensor, copy: impl FnOnce() -> Result<Tensor, RenderError>) -> Option<Tensor> {
    let bytes = values.numel() * values.f_kind().map_or(8, |kind| kind.elt_size_in_bytes());
    if bytes > MOST_PINNED || !has_pinned_memory() {
        return None;
    }
    let failed = |error: &RenderError| {
        if !NONE_PINNED.swap(true, Ordering::Relaxed) {
            tracing::warn!(%error, "pinned memory cannot be used; images take the slower way to and from GPUs from now on");
        }
    };
    copy().inspect_err(failed).ok()
}

#[cfg(test)]
mod tests {
    use tch::Kind;

    use super::*;

    #[test]
    fn values_are_the_same_on_the_other_side() {
        let values = Tensor::arange(24, (Kind::Float, Device::Cpu)).reshape([2, 3, 4]);
        assert_eq!(upload(&values, Device::Cpu).unwrap().data_ptr(), values.data_ptr());
        let turned = values.transpose(0, 2);
        let flat = Vec::<f32>::try_from(download(&turned).unwrap().view([-1])).unwrap();
        assert_eq!(flat[..4], [0.0, 12.0, 4.0, 16.0]);
        if tch::Cuda::is_available() {
            let there = upload(&values, Device::Cuda(0)).unwrap();
            assert_eq!(download(&there.transpose(0, 2)).unwrap(), turned.contiguous());
        }
    }
}
