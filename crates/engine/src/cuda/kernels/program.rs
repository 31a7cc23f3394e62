//! Compiling kernels when they are first needed, and handing them to CUDA.
//!
//! The compiler ([`nvrtc`](super::nvrtc)) comes with torch; to build this program neither it nor CUDA is needed. A program is compiled for a
//! GPU's instruction set, a kind of values and a size of window: that takes a few tenths of a second, once in a process.

use std::{
    collections::HashMap,
    ffi::{CStr, CString, c_char, c_int, c_void},
    ptr::null_mut,
    sync::{Mutex, OnceLock, PoisonError},
};

use reverie_kernels::ValueKind;

use super::{
    super::{
        super::{RenderError, device::torch_folder},
        gpu,
        symbols::Symbols,
    },
    nvrtc::Nvrtc,
};

/// A file of kernels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Source {
    MaxPool,
    Lrn,
    Depthwise,
    Epilogue,
    Pyramid,
}

impl Source {
    /// Its lines, with what they need before them.
    pub(super) fn text(self) -> &'static str {
        macro_rules! file {
            ($name:literal) => {
                concat!(include_str!("values.cu"), include_str!("window.cu"), include_str!($name))
            };
        }
        match self {
            Self::MaxPool => file!("max_pool.cu"),
            Self::Lrn => file!("lrn.cu"),
            Self::Depthwise => file!("depthwise.cu"),
            Self::Epilogue => file!("epilogue.cu"),
            Self::Pyramid => file!("pyramid.cu"),
        }
    }
}

/// What a program is compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct ProgramKey {
    pub(super) source: Source,
    pub(super) kind: ValueKind,
    /// Rows and columns of a window, and from one window to the next.
    pub(super) sizes: Option<[c_int; 4]>,
    /// Channels of a thread.
    pub(super) width: usize,
}

impl ProgramKey {
    /// NVRTC's options for GPUs of this compute capability.
    pub(super) fn options(self, [major, minor]: [c_int; 2]) -> Vec<String> {
        let values = match self.kind {
            ValueKind::F32 => "float",
            ValueKind::Bf16 => "Bf16",
        };
        let mut options = vec![
            format!("--gpu-architecture=sm_{major}{minor}"),
            "--std=c++17".into(),
            format!("-DVALUE={values}"),
            format!("-DWIDTH={}", self.width),
        ];
        let names = ["KERNEL_ROWS", "KERNEL_COLUMNS", "STRIDE_ROWS", "STRIDE_COLUMNS"];
        options.extend(
            names.iter().zip(self.sizes.unwrap_or_default()).map(|(name, n)| format!("-D{name}={n}")),
        );
        options
    }
}

/// What follows where there are no kernels.
const INSTEAD: &str = "libtorch's operations take the place of our kernels";

/// A kernel that CUDA knows; it lives as long as the process.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kernel(*mut c_void);

#[allow(unsafe_code, reason = "kernels may be started by any thread")]
// SAFETY: the pointer is only handed back to CUDA, whose functions may be called from every thread.
unsafe impl Send for Kernel {}

/// `dim3` of CUDA.
#[repr(C)]
struct Extents {
    x: u32,
    y: u32,
    z: u32,
}

/// NVRTC's and CUDA's functions.
pub(super) struct Runtime {
    symbols: &'static Symbols,
    nvrtc: Nvrtc,
    attribute: unsafe extern "C" fn(*mut c_int, c_int, c_int) -> c_int,
    load: unsafe extern "C" fn(
        *mut *mut c_void,
        *const c_void,
        *mut c_int,
        *mut *mut c_void,
        u32,
        *mut c_int,
        *mut *mut c_void,
        u32,
    ) -> c_int,
    find: unsafe extern "C" fn(*mut *mut c_void, *mut c_void, *const c_char) -> c_int,
    start:
        unsafe extern "C" fn(*const c_void, Extents, Extents, *mut *mut c_void, usize, *mut c_void) -> c_int,
    kernels: Mutex<HashMap<KernelKey, Option<Kernel>>>,
    /// What has been compiled, or failed to be.
    libraries: Mutex<HashMap<LibraryKey, Option<Library>>>,
}

/// The GPU, the program and the name.
type KernelKey = (usize, ProgramKey, &'static str);

/// The GPU's compute capability, and the program.
type LibraryKey = ([c_int; 2], ProgramKey);

/// A compiled program in CUDA's hands.
#[derive(Clone, Copy)]
struct Library(*mut c_void);

#[allow(unsafe_code, reason = "libraries may be used by any thread")]
// SAFETY: as of kernels.
unsafe impl Send for Library {}

impl std::fmt::Debug for Runtime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Runtime")
    }
}

/// `cudaDevAttrComputeCapabilityMajor` and `…Minor`.
const CAPABILITY: [c_int; 2] = [75, 76];

impl Runtime {
    /// The functions; none where one is missing. To be asked for after CUDA's half of libtorch has been loaded: the answer is
    /// remembered.
    pub(super) fn get() -> Option<&'static Self> {
        static RUNTIME: OnceLock<Option<Runtime>> = OnceLock::new();
        RUNTIME.get_or_init(Self::look_up).as_ref()
    }

    #[cfg(not(unix))]
    fn look_up() -> Option<Self> {
        None
    }

    #[cfg(unix)]
    #[allow(unsafe_code)]
    fn look_up() -> Option<Self> {
        let symbols = Symbols::get()?;
        // libtorch's own way to NVRTC: it knows where that lies.
        let path = torch_folder()?.join("libcaffe2_nvrtc.so");
        let nvrtc = Nvrtc::open(&path)
            .inspect_err(|reason| tracing::warn!(reason, "NVRTC cannot be loaded; {INSTEAD}"));
        let nvrtc = nvrtc.ok()?;
        // CUDA's runtime was loaded for everyone, so it is found in the program itself.
        let cuda = libloading::os::unix::Library::this();
        macro_rules! function {
            ($name:literal) => {
                // SAFETY: the type of the field is that of the function in CUDA 13; the library is never unloaded.
                match unsafe { cuda.get($name) } {
                    Ok(symbol) => *symbol,
                    Err(error) => {
                        tracing::warn!(%error, "a function of CUDA is missing; {INSTEAD}");
                        return None;
                    }
                }
            };
        }
        Some(Self {
            symbols,
            nvrtc,
            attribute: function!(b"cudaDeviceGetAttribute\0"),
            load: function!(b"cudaLibraryLoadData\0"),
            find: function!(b"cudaLibraryGetKernel\0"),
            start: function!(b"cudaLaunchKernel\0"),
            kernels: Mutex::default(),
            libraries: Mutex::default(),
        })
    }

    /// A kernel for GPU number `device`; none where it could not be compiled, which is told once.
    pub(super) fn kernel(&self, device: usize, program: ProgramKey, name: &'static str) -> Option<Kernel> {
        let mut kernels = self.kernels.lock().unwrap_or_else(PoisonError::into_inner);
        *kernels.entry((device, program, name)).or_insert_with(|| {
            let found = self.library(device, program).and_then(|library| self.find_kernel(library, name));
            found
                .inspect_err(|reason| {
                    tracing::warn!(reason, kernel = name, "a kernel is not there; {INSTEAD}");
                })
                .ok()
        })
    }

    /// The compiled program for GPU number `device`.
    fn library(&self, device: usize, program: ProgramKey) -> Result<Library, String> {
        let capability = self.capability(device)?;
        let mut libraries = self.libraries.lock().unwrap_or_else(PoisonError::into_inner);
        let known = libraries.entry((capability, program)).or_insert_with(|| {
            let code = self.nvrtc.compile(program.source.text(), &program.options(capability));
            let library = code.and_then(|code| self.load(&code));
            library
                .inspect_err(|reason| {
                    tracing::warn!(reason, ?program, "kernels cannot be compiled; {INSTEAD}")
                })
                .ok()
        });
        (*known).ok_or_else(|| "its program could not be compiled".into())
    }

    fn capability(&self, device: usize) -> Result<[c_int; 2], String> {
        let mut capability = [0; 2];
        for (value, attribute) in capability.iter_mut().zip(CAPABILITY) {
            #[allow(unsafe_code, reason = "a function of CUDA that tch has not")]
            // SAFETY: it writes a number to where it is told.
            self.told(unsafe { (self.attribute)(value, attribute, gpu::number(device)) })?;
        }
        Ok(capability)
    }

    fn load(&self, code: &[u8]) -> Result<Library, String> {
        let mut library = null_mut();
        #[allow(unsafe_code, reason = "a function of CUDA")]
        // SAFETY: the code is an image as NVRTC made it, which CUDA copies; there are no options.
        let outcome = unsafe {
            (self.load)(
                &raw mut library,
                code.as_ptr().cast(),
                null_mut(),
                null_mut(),
                0,
                null_mut(),
                null_mut(),
                0,
            )
        };
        self.told(outcome).map(|()| Library(library))
    }

    fn find_kernel(&self, Library(library): Library, name: &str) -> Result<Kernel, String> {
        let name = CString::new(name).map_err(|_| "a name with a zero byte")?;
        let mut kernel = null_mut();
        #[allow(unsafe_code, reason = "a function of CUDA")]
        // SAFETY: the library is one that CUDA gave, the name ends with a zero.
        let outcome = unsafe { (self.find)(&raw mut kernel, library, name.as_ptr()) };
        self.told(outcome).map(|()| Kernel(kernel))
    }

    /// Starts a kernel on this thread's stream of GPU number `device`.
    ///
    /// # Errors
    /// [`RenderError::Engine`] when the GPU refuses.
    pub(super) fn start(
        &self,
        device: usize,
        Kernel(kernel): Kernel,
        [x, y, z]: [u32; 3],
        block: u32,
        arguments: &mut [*mut c_void],
    ) -> Result<(), RenderError> {
        let (device, mut guard, mut stream) = (gpu::number(device), null_mut(), null_mut());
        #[allow(unsafe_code, reason = "functions of libtorch and CUDA that tch has not")]
        // SAFETY: the guard and the stream are written to where it is told, and the guard is deleted once, on this thread;
        // `arguments` are the addresses of as many values as the kernel has, of their types (a test runs every kernel with
        // them).
        let code = unsafe {
            // A kernel runs on the device that its thread is at, whichever the stream's is.
            if (self.symbols.device_guard)(device, &raw mut guard) != 0 {
                return Err(RenderError::Engine(format!("GPU {device} cannot be chosen")));
            }
            let code = if (self.symbols.current_stream)(device, &raw mut stream) == 0 {
                let (grid, block) = (Extents { x, y, z }, Extents { x: block, y: 1, z: 1 });
                Some((self.start)(kernel, grid, block, arguments.as_mut_ptr(), 0, stream))
            } else {
                None
            };
            (self.symbols.delete_guard)(guard);
            code
        };
        let code = code.ok_or_else(|| RenderError::Engine("the current stream is not known".into()))?;
        self.told(code)
            .map_err(|reason| RenderError::of_text(&format!("a kernel cannot be started: {reason}")))
    }

    /// CUDA's words for a code that is no success.
    fn told(&self, code: c_int) -> Result<(), String> {
        if code == 0 {
            return Ok(());
        }
        #[allow(unsafe_code, reason = "a function of CUDA")]
        // SAFETY: it returns a string that is never freed.
        let text = unsafe { CStr::from_ptr((self.symbols.error_text)(code)) };
        Err(text.to_string_lossy().into_owned())
    }
}
