//! What a GPU is: its memory, its place in the machine, and why there is none.

use std::{
    ffi::{CStr, c_int},
    ptr::null_mut,
};

use super::{super::RenderError, symbols::Symbols};

/// Makes this thread work on GPU number `device` from now on.
///
/// # Errors
/// [`RenderError::Engine`] when the GPU refuses.
pub(in super::super) fn choose(device: usize) -> Result<(), RenderError> {
    let Some(symbols) = Symbols::get() else { return Ok(()) };
    let mut guard = null_mut();
    #[allow(unsafe_code, reason = "a function of libtorch that tch has not")]
    // SAFETY: it writes a pointer to where it is told. What that points to would return to the GPU before when it is
    // deleted; it never is.
    let code = unsafe { (symbols.device_guard)(number(device), &raw mut guard) };
    if code == 0 { Ok(()) } else { Err(RenderError::Engine(format!("GPU {device} cannot be chosen"))) }
}

/// Bytes of memory of a GPU.
pub(in super::super) struct Memory {
    /// Not in use by anybody.
    pub(in super::super) free: u64,
    /// All there is.
    pub(in super::super) total: u64,
}

/// The memory of GPU number `device`; none where it is not known.
pub(in super::super) fn memory(device: usize) -> Option<Memory> {
    let symbols = Symbols::get()?;
    let (mut guard, mut free, mut total) = (null_mut(), 0, 0);
    #[allow(unsafe_code, reason = "functions of libtorch and CUDA that tch has not")]
    // SAFETY: all write to where they are told; the guard is deleted once, on the thread that made it.
    let known = unsafe {
        if (symbols.device_guard)(number(device), &raw mut guard) != 0 {
            return None;
        }
        let known = (symbols.memory)(&raw mut free, &raw mut total) == 0;
        (symbols.delete_guard)(guard);
        known
    };
    known.then_some(Memory { free: free as u64, total: total as u64 })
}

/// A remark on how little memory of GPU number `device` is free, since nothing can be done where that is none.
pub(super) fn free_memory(device: i32) -> String {
    let memory = usize::try_from(device).ok().and_then(memory);
    let free = memory.map(|memory| memory.free / 1_000_000);
    free.map_or_else(
        || "; perhaps other programs have taken all of its memory".to_owned(),
        |free| format!("; {free} MB of its memory are free, the rest is in use"),
    )
}

/// Where GPU number `device` is on the machine's bus, such as `0000:3B:00.0`: what other programs know it by.
pub(in super::super) fn address(device: usize) -> Option<String> {
    let symbols = Symbols::get()?;
    let mut text = [0u8; 32];
    #[allow(unsafe_code, reason = "a function of CUDA that tch has not")]
    // SAFETY: it writes a C string of at most so many bytes.
    let code = unsafe { (symbols.address)(text.as_mut_ptr().cast(), text.len() as c_int, number(device)) };
    let text = CStr::from_bytes_until_nul(&text).ok()?.to_str().ok()?;
    (code == 0).then(|| text.to_owned())
}

/// Why CUDA has no GPU to offer, in its own words; none where it does not say.
pub(in super::super) fn refusal() -> Option<String> {
    let symbols = Symbols::get()?;
    let mut count = 0;
    #[allow(unsafe_code, reason = "functions of CUDA that tch has not")]
    // SAFETY: the first writes a number to where it is told, the second returns a string that is never freed.
    let text = unsafe {
        let code = (symbols.count)(&raw mut count);
        if code == 0 {
            return None;
        }
        CStr::from_ptr((symbols.error_text)(code))
    };
    Some(text.to_string_lossy().into_owned())
}

/// Numbers beyond this are no GPU's.
pub(super) fn number(device: usize) -> i32 {
    i32::try_from(device).unwrap_or(i32::MAX)
}
