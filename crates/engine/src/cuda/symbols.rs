//! The functions of libtorch's CUDA half, by their names in the library.
//!
//! Streams have C functions (`torch/csrc/stable/c/shim.h`, `torch/csrc/inductor/aoti_torch/c/shim.h`), and so have devices,
//! in CUDA's runtime. Graphs have the C++ class `at::cuda::CUDAGraph` (`ATen/cuda/CUDAGraph.h`) alone; its functions are
//! called through `guarded.cpp`. The names are those of torch 2.11; another version is not asked (`abi`).

use std::{
    ffi::{c_char, c_int, c_ulonglong, c_void},
    sync::OnceLock,
};

/// `CUDAGraph::CUDAGraph(bool)`.
pub(super) type New = unsafe extern "C" fn(*mut c_void, bool);
/// `CUDAGraph::capture_begin(MempoolId_t, cudaStreamCaptureMode)`; only `guarded.cpp` knows how its arguments are passed.
pub(super) type Begin = unsafe extern "C" fn();
/// A member function without arguments.
pub(super) type Call = unsafe extern "C" fn(*mut c_void);
/// `CUDAGraph::pool()`; as [`Begin`].
pub(super) type PoolOf = unsafe extern "C" fn();

/// The functions; they stay loaded for the rest of the process.
#[derive(Clone, Copy)]
pub(super) struct Symbols {
    pub(super) new: New,
    pub(super) begin: Begin,
    pub(super) end: Call,
    pub(super) replay: Call,
    pub(super) pool: PoolOf,
    pub(super) destroy: Call,
    pub(super) stream_from_pool: unsafe extern "C" fn(bool, i32, *mut *mut c_void) -> i32,
    pub(super) set_stream: unsafe extern "C" fn(*mut c_void, i32) -> i32,
    pub(super) current_stream: unsafe extern "C" fn(i32, *mut *mut c_void) -> i32,
    pub(super) synchronize: unsafe extern "C" fn(*mut c_void, i32) -> i32,
    pub(super) device_guard: unsafe extern "C" fn(i32, *mut *mut c_void) -> i32,
    pub(super) delete_guard: unsafe extern "C" fn(*mut c_void) -> i32,
    pub(super) memory: unsafe extern "C" fn(*mut usize, *mut usize) -> c_int,
    pub(super) address: unsafe extern "C" fn(*mut c_char, c_int, c_int) -> c_int,
    pub(super) count: unsafe extern "C" fn(*mut c_int) -> c_int,
    pub(super) error_text: unsafe extern "C" fn(c_int) -> *const c_char,
    pub(super) capture: unsafe extern "C" fn(
        *mut c_void,
        *mut c_int,
        *mut c_ulonglong,
        *mut *mut c_void,
        *mut *const c_void,
        *mut *const c_void,
        *mut usize,
    ) -> c_int,
    pub(super) nodes: unsafe extern "C" fn(*mut c_void, *mut c_void, *mut usize) -> c_int,
}

#[allow(unsafe_code, reason = "declares a function of C")]
unsafe extern "C" {
    /// Has a function called when the process ends.
    pub(super) fn atexit(function: extern "C" fn()) -> c_int;
}

// In `guarded.cpp`. All return 0, or 1 and a C string in `text`.
#[allow(unsafe_code, reason = "declares functions of C++")]
unsafe extern "C" {
    pub(super) fn reverie_graph_new(
        function: New,
        graph: *mut c_void,
        text: *mut c_char,
        size: usize,
    ) -> c_int;
    pub(super) fn reverie_graph_begin(
        function: Begin,
        graph: *mut c_void,
        pool: *const c_ulonglong,
        mode: c_int,
        text: *mut c_char,
        size: usize,
    ) -> c_int;
    pub(super) fn reverie_graph_call(
        function: Call,
        graph: *mut c_void,
        text: *mut c_char,
        size: usize,
    ) -> c_int;
    pub(super) fn reverie_graph_pool(
        function: PoolOf,
        graph: *mut c_void,
        pool: *mut c_ulonglong,
        text: *mut c_char,
        size: usize,
    ) -> c_int;
}

impl Symbols {
    /// The functions; none where one of them is missing. To be asked for after CUDA's half has been loaded: the answer is
    /// remembered.
    pub(super) fn get() -> Option<&'static Self> {
        static SYMBOLS: OnceLock<Option<Symbols>> = OnceLock::new();
        SYMBOLS.get_or_init(Self::look_up).as_ref()
    }

    #[cfg(unix)]
    #[allow(unsafe_code)]
    fn look_up() -> Option<Self> {
        // Names of functions do not tell what they return, nor how large an object is.
        if let Err(reason) = crate::abi::check(crate::abi::running()) {
            tracing::warn!(reason, "passes are not recorded, and workers have no streams of their own");
            return None;
        }
        // The library was loaded for everyone, so it is found in the program itself.
        let program = libloading::os::unix::Library::this();
        macro_rules! function {
            ($name:literal) => {
                // SAFETY: the type of the field is that of the function in torch 2.11; the library is never unloaded.
                match unsafe { program.get($name) } {
                    Ok(symbol) => *symbol,
                    Err(error) => {
                        tracing::warn!(%error, "a function of libtorch's CUDA half is missing");
                        return None;
                    }
                }
            };
        }
        Some(Self {
            new: function!(b"_ZN2at4cuda9CUDAGraphC1Eb\0"),
            begin: function!(b"_ZN2at4cuda9CUDAGraph13capture_beginESt4pairIyyE21cudaStreamCaptureMode\0"),
            end: function!(b"_ZN2at4cuda9CUDAGraph11capture_endEv\0"),
            replay: function!(b"_ZN2at4cuda9CUDAGraph6replayEv\0"),
            pool: function!(b"_ZN2at4cuda9CUDAGraph4poolEv\0"),
            destroy: function!(b"_ZN2at4cuda9CUDAGraphD1Ev\0"),
            stream_from_pool: function!(b"torch_get_cuda_stream_from_pool\0"),
            set_stream: function!(b"torch_set_current_cuda_stream\0"),
            current_stream: function!(b"aoti_torch_get_current_cuda_stream\0"),
            synchronize: function!(b"torch_cuda_stream_synchronize\0"),
            device_guard: function!(b"aoti_torch_create_cuda_guard\0"),
            delete_guard: function!(b"aoti_torch_delete_cuda_guard\0"),
            memory: function!(b"cudaMemGetInfo\0"),
            address: function!(b"cudaDeviceGetPCIBusId\0"),
            count: function!(b"cudaGetDeviceCount\0"),
            error_text: function!(b"cudaGetErrorString\0"),
            capture: function!(b"cudaStreamGetCaptureInfo\0"),
            nodes: function!(b"cudaGraphGetNodes\0"),
        })
    }

    #[cfg(not(unix))]
    fn look_up() -> Option<Self> {
        None
    }
}
