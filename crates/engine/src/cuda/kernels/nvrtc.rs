//! NVRTC, NVIDIA's compiler as a library: from the text of kernels to machine code.

use std::{
    ffi::{CString, c_char, c_int, c_void},
    path::{Path, PathBuf},
    ptr::{null, null_mut},
};

/// NVRTC's functions.
pub(super) struct Nvrtc {
    create: unsafe extern "C" fn(
        *mut *mut c_void,
        *const c_char,
        *const c_char,
        c_int,
        *const *const c_char,
        *const *const c_char,
    ) -> c_int,
    compile: unsafe extern "C" fn(*mut c_void, c_int, *const *const c_char) -> c_int,
    log_size: unsafe extern "C" fn(*mut c_void, *mut usize) -> c_int,
    log: unsafe extern "C" fn(*mut c_void, *mut c_char) -> c_int,
    code_size: unsafe extern "C" fn(*mut c_void, *mut usize) -> c_int,
    code: unsafe extern "C" fn(*mut c_void, *mut c_char) -> c_int,
    destroy: unsafe extern "C" fn(*mut *mut c_void) -> c_int,
}

impl Nvrtc {
    /// The functions of the library at `path`, or of one that it was linked against.
    ///
    /// # Errors
    /// What is missing, in words.
    #[cfg(unix)]
    #[allow(unsafe_code)]
    pub(super) fn open(path: &Path) -> Result<Self, String> {
        use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};

        let open = |path: &Path| {
            // SAFETY: it is NVRTC, a part of it, or libtorch's list of its functions; all only wait to be called.
            let library = unsafe { Library::open(Some(path), RTLD_NOW | RTLD_LOCAL) };
            library.map_err(|error| error.to_string())
        };
        let library = open(path)?;
        // NVRTC looks for this one by its name, which it only finds where it has been loaded or the system knows the folder.
        if let Some(builtins) = builtins() {
            std::mem::forget(open(&builtins)?);
        }
        macro_rules! function {
            ($name:literal) => {
                // SAFETY: the type of the field is that of the function in NVRTC 13; the library is never unloaded.
                *unsafe { library.get($name) }.map_err(|error| error.to_string())?
            };
        }
        let nvrtc = Self {
            create: function!(b"nvrtcCreateProgram\0"),
            compile: function!(b"nvrtcCompileProgram\0"),
            log_size: function!(b"nvrtcGetProgramLogSize\0"),
            log: function!(b"nvrtcGetProgramLog\0"),
            code_size: function!(b"nvrtcGetCUBINSize\0"),
            code: function!(b"nvrtcGetCUBIN\0"),
            destroy: function!(b"nvrtcDestroyProgram\0"),
        };
        std::mem::forget(library);
        Ok(nvrtc)
    }

    #[cfg(not(unix))]
    pub(super) fn open(_path: &Path) -> Result<Self, String> {
        Err("not on this system".into())
    }

    /// The machine code of a program.
    ///
    /// # Errors
    /// NVRTC's words.
    pub(super) fn compile(&self, text: &str, options: &[String]) -> Result<Vec<u8>, String> {
        let string = |text: &str| CString::new(text).map_err(|_| "there is a zero byte");
        let text = string(text)?;
        let options = options.iter().map(|option| string(option)).collect::<Result<Vec<_>, _>>()?;
        let pointers: Vec<*const c_char> = options.iter().map(|option| option.as_ptr()).collect();
        let mut handle = null_mut();
        #[allow(unsafe_code, reason = "functions of NVRTC")]
        // SAFETY: all strings end with a zero and live until the program has been destroyed; what is written to is as large as NVRTC
        // said before.
        unsafe {
            if (self.create)(&raw mut handle, text.as_ptr(), c"reverie.cu".as_ptr(), 0, null(), null()) != 0 {
                return Err("NVRTC takes no program".into());
            }
            let failed = (self.compile)(handle, options.len() as c_int, pointers.as_ptr()) != 0;
            let (size, write) = if failed { (self.log_size, self.log) } else { (self.code_size, self.code) };
            let mut length = 0;
            let mut bytes = Vec::new();
            let mut known = size(handle, &raw mut length) == 0;
            if known {
                bytes = vec![0u8; length];
                known = write(handle, bytes.as_mut_ptr().cast()) == 0;
            }
            (self.destroy)(&raw mut handle);
            match (failed, known) {
                (false, true) => Ok(bytes),
                (true, true) => Err(String::from_utf8_lossy(&bytes).trim_end_matches('\0').trim().to_owned()),
                _ => Err("NVRTC does not say".into()),
            }
        }
    }
}

/// The file that NVRTC has its built-in functions in: beside the NVRTC that this process has loaded.
fn builtins() -> Option<PathBuf> {
    let maps = std::fs::read_to_string("/proc/self/maps").ok()?;
    let line = maps.lines().find(|line| line.contains("/libnvrtc.so"))?;
    let folder = Path::new(&line[line.find('/')?..]).parent()?;
    let files = std::fs::read_dir(folder).ok()?.filter_map(Result::ok).map(|file| file.path());
    files.into_iter().find(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with("libnvrtc-builtins.so")
    })
}
