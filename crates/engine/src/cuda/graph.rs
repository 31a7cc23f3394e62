//! Work of a GPU that was recorded once and is started as a whole.
//!
//! While something is recorded, operations are noted instead of started, with the memory that they read and write. So that
//! memory has to be there, and belong to nothing else, at every replay. libtorch sees to that: what is allocated meanwhile comes
//! from a pool of the graph's own, and returns to that pool alone. Graphs may share a pool if they never run at the same time
//! and what one gives is copied before the next runs.

use std::{
    cell::UnsafeCell,
    ffi::{CStr, c_char, c_int, c_ulonglong, c_void},
    mem::ManuallyDrop,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::{
        Mutex, MutexGuard, Once, PoisonError, TryLockError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use super::{
    super::RenderError,
    stream::Stream,
    symbols::{
        Call, Symbols, atexit, reverie_graph_begin, reverie_graph_call, reverie_graph_new, reverie_graph_pool,
    },
};

/// `cudaStreamCaptureModeThreadLocal`: what other threads do meanwhile, such as allocating memory, breaks nothing.
const THREAD_LOCAL: c_int = 1;

/// Of the longest message that is passed on, in bytes.
const MESSAGE: usize = 512;

/// Held while a graph is recorded or removed. libtorch registers every graph with the random generator of its device, without
/// a lock of its own; and a graph that is not found there when it is removed ends the process.
static REGISTERED: Mutex<()> = Mutex::new(());

/// Whether the process is ending: CUDA will be gone before the threads that render are.
static ENDING: AtomicBool = AtomicBool::new(false);

/// For so long the end of the process waits for a graph that is being recorded or removed. A card that hangs must not keep
/// the process alive.
const LAST_WAIT: Duration = Duration::from_secs(1);

/// Waits for other threads that record or remove a graph.
fn alone() -> MutexGuard<'static, ()> {
    static WATCHED: Once = Once::new();
    WATCHED.call_once(|| {
        // What is registered last is called first, and CUDA has been loaded before.
        #[allow(unsafe_code, reason = "a function of the C library")]
        // SAFETY: the function can be called at any time.
        let code = unsafe { atexit(end) };
        if code != 0 {
            tracing::debug!("the end of the process will not be noticed");
        }
    });
    REGISTERED.lock().unwrap_or_else(PoisonError::into_inner)
}

extern "C" fn end() {
    ENDING.store(true, Ordering::SeqCst);
    let until = Instant::now() + LAST_WAIT;
    while matches!(REGISTERED.try_lock(), Err(TryLockError::WouldBlock)) && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A `CUDAGraph`, which has 120 bytes in torch 2.11, with much room to spare.
#[repr(C, align(64))]
struct Memory(UnsafeCell<[u8; 2048]>);

/// Passes that were started as a whole since the process began, and the operations that they consist of.
static REPLAYED: [AtomicU64; 2] = [AtomicU64::new(0), AtomicU64::new(0)];

/// See [`REPLAYED`].
pub(in super::super) fn replayed() -> [u64; 2] {
    REPLAYED.each_ref().map(|count| count.load(Ordering::Relaxed))
}

/// Recorded work.
pub(in super::super) struct Graph {
    symbols: &'static Symbols,
    /// Of which it consists.
    operations: u64,
    /// Never moves: libtorch keeps its address.
    memory: ManuallyDrop<Box<Memory>>,
}

impl Graph {
    /// Records what `run` starts on this thread, without anything being done. `run` must not wait for the GPU, nor read
    /// or upload anything. `stream` is for recording only; `shared` is a graph to share memory with.
    ///
    /// # Errors
    /// What `run` says; [`RenderError::Engine`] when something in it cannot be recorded. This thread can go on, but nothing should
    /// be recorded again: see [`Recording`].
    pub(in super::super) fn record<T>(
        stream: &Stream,
        shared: Option<&Graph>,
        run: impl FnOnce() -> Result<T, RenderError>,
    ) -> Result<(Self, T), RenderError> {
        let pool = shared.map_or(Ok([0, 0]), Graph::pool)?;
        let _alone = alone();
        stream.within(|| {
            // Nothing may be at work on the stream when recording begins.
            stream.wait()?;
            let recording = Recording::begin(stream.symbols(), pool)?;
            // A panic must not leave the stream recording: other threads use it.
            let outcome = catch_unwind(AssertUnwindSafe(run));
            let operations = stream.recorded();
            let recording = recording.end();
            match (outcome, recording) {
                (Ok(Ok(value)), recording) => Ok((recording?.keep(operations), value)),
                (outcome, recording) => {
                    if let Ok(recording) = recording {
                        recording.discard();
                    }
                    outcome
                        .unwrap_or_else(|panic| resume_unwind(panic))
                        .and_then(|_| Err(RenderError::Engine("a recording failed without a reason".into())))
                }
            }
        })
    }

    /// Starts the recorded work on this thread's stream.
    ///
    /// # Errors
    /// [`RenderError::Engine`] when the GPU refuses.
    pub(in super::super) fn replay(&self) -> Result<(), RenderError> {
        self.call(self.symbols.replay)?;
        for (count, more) in REPLAYED.iter().zip([1, self.operations]) {
            count.fetch_add(more, Ordering::Relaxed);
        }
        Ok(())
    }

    fn pool(&self) -> Result<[c_ulonglong; 2], RenderError> {
        let mut pool = [0; 2];
        #[allow(unsafe_code, reason = "a function of libtorch that tch has not")]
        // SAFETY: the object is one, and two numbers are written to where there are two.
        told(|text| unsafe {
            reverie_graph_pool(self.symbols.pool, self.object(), pool.as_mut_ptr(), text, MESSAGE)
        })?;
        Ok(pool)
    }

    fn call(&self, function: Call) -> Result<(), RenderError> {
        #[allow(unsafe_code, reason = "a function of libtorch that tch has not")]
        // SAFETY: the object is one until it is dropped, and the functions are its own.
        told(|text| unsafe { reverie_graph_call(function, self.object(), text, MESSAGE) })
    }

    fn object(&self) -> *mut c_void {
        self.memory.0.get().cast()
    }
}

impl Drop for Graph {
    fn drop(&mut self) {
        let _alone = alone();
        // At the end there may be no CUDA any more to remove it from.
        if !ENDING.load(Ordering::SeqCst) {
            self.remove();
        }
    }
}

impl Graph {
    /// Removes the object; the last that is done with it, while [`REGISTERED`] is held.
    fn remove(&mut self) {
        if let Err(error) = self.call(self.symbols.destroy) {
            tracing::warn!(%error, "a recorded pass could not be removed");
        }
        #[allow(unsafe_code, reason = "the order matters: first the object, then its memory")]
        // SAFETY: nothing uses it afterwards.
        unsafe {
            ManuallyDrop::drop(&mut self.memory);
        }
    }
}

/// A graph that is being recorded. One whose recording cannot be ended is never removed: libtorch's allocator keeps its address,
/// and may ask it which stream it records. That is some bytes, and nothing is recorded after it.
struct Recording(ManuallyDrop<Graph>);

impl Recording {
    fn begin(symbols: &'static Symbols, pool: [c_ulonglong; 2]) -> Result<Self, RenderError> {
        let memory = ManuallyDrop::new(Box::new(Memory(UnsafeCell::new([0; 2048]))));
        let graph = ManuallyDrop::new(Graph { symbols, operations: 0, memory });
        #[allow(unsafe_code, reason = "functions of libtorch that tch has not")]
        // SAFETY: there is room for the object.
        told(|text| unsafe { reverie_graph_new(symbols.new, graph.object(), text, MESSAGE) })?;
        #[allow(unsafe_code, reason = "functions of libtorch that tch has not")]
        // SAFETY: the object is one by now, and there are two numbers to read.
        told(|text| unsafe {
            reverie_graph_begin(symbols.begin, graph.object(), pool.as_ptr(), THREAD_LOCAL, text, MESSAGE)
        })?;
        Ok(Self(graph))
    }

    /// Ends the recording.
    fn end(self) -> Result<Self, RenderError> {
        self.0.call(self.0.symbols.end)?;
        Ok(self)
    }

    /// Gives its memory back: what was to be recorded failed.
    fn discard(mut self) {
        self.0.remove();
    }

    /// The graph, once all has succeeded.
    fn keep(self, operations: u64) -> Graph {
        let mut graph = ManuallyDrop::into_inner(self.0);
        graph.operations = operations;
        graph
    }
}

/// Calls one of the functions of `guarded.cpp`, which may leave a message.
fn told(call: impl FnOnce(*mut c_char) -> c_int) -> Result<(), RenderError> {
    let mut text = [0u8; MESSAGE];
    if call(text.as_mut_ptr().cast()) == 0 {
        return Ok(());
    }
    let message = CStr::from_bytes_until_nul(&text).unwrap_or_default().to_string_lossy().into_owned();
    // Also the message of a GPU that is out of memory comes this way.
    Err(tch::TchError::Torch(message).into())
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn what_cpp_throws_becomes_an_error() {
        // It throws a `std::length_error` with the message that it gets.
        let name = b"_ZSt20__throw_length_errorPKc\0";
        let message = c"CUDA out of memory.";
        #[allow(unsafe_code, reason = "a function of the C++ library")]
        // SAFETY: it takes a C string, and is caught.
        let outcome = unsafe {
            let throw = libloading::os::unix::Library::this().get::<Call>(name).unwrap();
            told(|text| reverie_graph_call(*throw, message.as_ptr().cast_mut().cast(), text, MESSAGE))
        };
        let error = outcome.unwrap_err();
        assert!(
            matches!(&error, RenderError::OutOfMemory(reason) if reason.contains("CUDA out of memory.")),
            "{error}"
        );
    }
}
