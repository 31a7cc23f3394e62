//! A queue of work on a GPU.
//!
//! Without more ado all threads of a process share one: a thread that waits for its own result then waits for what others have
//! started too. So every render thread that has its networks to itself has a stream to itself.

use std::{
    collections::BTreeMap,
    ffi::c_void,
    ptr::null_mut,
    sync::{Mutex, PoisonError},
};

use super::{super::RenderError, gpu, symbols::Symbols};

/// A stream of libtorch's pools, which lives as long as the process. Two workers' streams of a device may be the same one if
/// there are more workers than the pool has streams (32); then they wait for each other.
#[derive(Clone, Copy)]
pub(in super::super) struct Stream {
    symbols: &'static Symbols,
    stream: *mut c_void,
    device: i32,
}

#[allow(unsafe_code, reason = "a stream may be used by any thread")]
// SAFETY: CUDA's functions on streams may be called from every thread; the pointer is only handed back to them.
unsafe impl Send for Stream {}

impl Stream {
    /// A stream of GPU number `device` for a worker; none where this libtorch has no such functions.
    ///
    /// # Errors
    /// [`RenderError::Engine`] when the GPU refuses.
    pub(in super::super) fn new(device: usize) -> Result<Option<Self>, RenderError> {
        Self::of_pool(device, false)
    }

    /// The stream of GPU number `device` on which passes are recorded: one for all, since one thread records at a time. It is of
    /// the pool of high priority, so that it is no worker's: what a worker starts must not be recorded by another.
    ///
    /// # Errors
    /// [`RenderError::Engine`] when the GPU refuses.
    pub(in super::super) fn for_recording(device: usize) -> Result<Option<Self>, RenderError> {
        static STREAMS: Mutex<BTreeMap<usize, Stream>> = Mutex::new(BTreeMap::new());
        let mut streams = STREAMS.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(stream) = streams.get(&device) {
            return Ok(Some(*stream));
        }
        let stream = Self::of_pool(device, true)?;
        streams.extend(stream.map(|stream| (device, stream)));
        Ok(stream)
    }

    fn of_pool(device: usize, high_priority: bool) -> Result<Option<Self>, RenderError> {
        let Some(symbols) = Symbols::get() else { return Ok(None) };
        let device = gpu::number(device);
        let mut stream = null_mut();
        #[allow(unsafe_code, reason = "a function of libtorch that tch has not")]
        // SAFETY: it writes a pointer to where it is told.
        let code = unsafe { (symbols.stream_from_pool)(high_priority, device, &raw mut stream) };
        if code != 0 {
            // libtorch keeps the reason to itself.
            let free = gpu::free_memory(device);
            return Err(RenderError::Engine(format!("GPU {device} takes no work{free}")));
        }
        Ok(Some(Self { symbols, stream, device }))
    }

    /// The one of GPU number `device` that this thread works on; none where this libtorch has no such functions.
    ///
    /// # Errors
    /// [`RenderError::Engine`] when it is not known.
    pub(in super::super) fn current(device: usize) -> Result<Option<Self>, RenderError> {
        Symbols::get().map(|symbols| Self::current_of(symbols, gpu::number(device))).transpose()
    }

    fn current_of(symbols: &'static Symbols, device: i32) -> Result<Self, RenderError> {
        let mut stream = null_mut();
        #[allow(unsafe_code, reason = "a function of libtorch that tch has not")]
        // SAFETY: it writes a pointer to where it is told.
        let code = unsafe { (symbols.current_stream)(device, &raw mut stream) };
        checked(code, "the current stream is not known")?;
        Ok(Self { symbols, stream, device })
    }

    /// Makes this thread work on the stream from now on.
    ///
    /// # Errors
    /// [`RenderError::Engine`] when the GPU refuses.
    pub(in super::super) fn enter(&self) -> Result<(), RenderError> {
        #[allow(unsafe_code, reason = "a function of libtorch that tch has not")]
        // SAFETY: the stream is one of libtorch's.
        let code = unsafe { (self.symbols.set_stream)(self.stream, self.device) };
        checked(code, "a stream cannot be used")
    }

    /// Runs `run` with this thread working on the stream, and returns to what it worked on before. The work that `run` starts
    /// here is not ordered with what was started there.
    ///
    /// # Errors
    /// What `run` says, or [`RenderError::Engine`] when the GPU refuses.
    pub(super) fn within<T>(&self, run: impl FnOnce() -> Result<T, RenderError>) -> Result<T, RenderError> {
        let before = Self::current_of(self.symbols, self.device)?;
        self.enter()?;
        // Also after a panic: the thread goes on.
        let back = Back(before);
        let outcome = run();
        drop(back);
        outcome
    }

    /// Waits until everything that was started on the stream is done.
    ///
    /// # Errors
    /// [`RenderError::Engine`] when something of it failed.
    pub(in super::super) fn wait(&self) -> Result<(), RenderError> {
        #[allow(unsafe_code, reason = "a function of libtorch that tch has not")]
        // SAFETY: the stream is one of libtorch's.
        let code = unsafe { (self.symbols.synchronize)(self.stream, self.device) };
        checked(code, "what was started on a stream failed")
    }

    /// Operations that have been recorded on the stream since recording began; 0 where CUDA does not tell.
    pub(super) fn recorded(&self) -> u64 {
        let (mut status, mut id, mut graph, mut count) = (0, 0, null_mut(), 0);
        #[allow(unsafe_code, reason = "functions of CUDA that tch has not")]
        // SAFETY: all write to where they are told, or not at all where there is nothing to write to; the graph is the one
        // that the stream records.
        let known = unsafe {
            let (stream, none) = (self.stream, null_mut());
            (self.symbols.capture)(
                stream,
                &raw mut status,
                &raw mut id,
                &raw mut graph,
                none,
                none.cast(),
                null_mut(),
            ) == 0
                && !graph.is_null()
                && (self.symbols.nodes)(graph, null_mut(), &raw mut count) == 0
        };
        if known { count as u64 } else { 0 }
    }

    pub(super) fn symbols(&self) -> &'static Symbols {
        self.symbols
    }
}

/// Returns a thread to the stream that it worked on before.
struct Back(Stream);

impl Drop for Back {
    fn drop(&mut self) {
        if let Err(error) = self.0.enter() {
            tracing::error!(%error, "a thread does not return to its stream");
        }
    }
}

/// These functions keep what went wrong to themselves.
fn checked(code: i32, what: &str) -> Result<(), RenderError> {
    if code == 0 { Ok(()) } else { Err(RenderError::Engine(what.into())) }
}
