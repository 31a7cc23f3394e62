//! The threads that libtorch computes with, for the loops here.
//!
//! A pool of our own would take turns with libtorch's: while one works the other's threads spin or have to be woken,
//! many times in every step. libtorch runs its loops with OpenMP, and that has a stable entry for the code that
//! compilers make of parallel loops (`GOMP_parallel`, which GNU's and LLVM's libraries both have). It is looked up by
//! name in the program that runs; without it the loops run on one thread.

use std::{
    any::Any,
    ffi::{c_int, c_uint, c_void},
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::{Mutex, OnceLock, PoisonError},
};

/// Bytes below which a loop is over before another thread has heard of it.
const FEW: usize = 8192;

/// Threads for the loops, as many as libtorch uses.
pub(in super::super) struct Team {
    size: usize,
    openmp: Option<&'static OpenMp>,
}

impl Team {
    pub(in super::super) fn new() -> Self {
        let size = usize::try_from(tch::get_num_threads()).unwrap_or(1).max(1);
        Self { size, openmp: OpenMp::get() }
    }

    /// Cuts a map into rows of `values` values each and these into one stretch per thread, and runs each with the number
    /// of its first row.
    pub(super) fn over<T: Send>(&self, map: &mut [T], values: usize, run: impl Fn(usize, &mut [T]) + Sync) {
        self.share(size_of_val(map), map, values, run);
    }

    /// As [`Self::over`], for rows that are themselves only where to write: `bytes` in all.
    pub(super) fn share<T: Send>(
        &self,
        bytes: usize,
        map: &mut [T],
        values: usize,
        run: impl Fn(usize, &mut [T]) + Sync,
    ) {
        let rows = map.len() / values.max(1);
        match self.openmp {
            Some(openmp) if self.size > 1 && rows > 1 && bytes >= FEW => {
                let map = map.as_mut_ptr();
                openmp.run(self.size, &Work { map, rows, values, run, panic: Mutex::default() });
            }
            _ => run(0, map),
        }
    }
}

/// A loop over rows.
struct Work<T, F> {
    map: *mut T,
    rows: usize,
    values: usize,
    run: F,
    /// What a thread panicked with: that must not pass through OpenMP.
    panic: Mutex<Option<Box<dyn Any + Send>>>,
}

/// OpenMP's functions.
struct OpenMp {
    parallel: unsafe extern "C" fn(
        run: extern "C" fn(*mut c_void),
        data: *mut c_void,
        threads: c_uint,
        flags: c_uint,
    ),
    thread: extern "C" fn() -> c_int,
    threads: extern "C" fn() -> c_int,
}

impl OpenMp {
    /// Those of the program that runs; none where it has none.
    fn get() -> Option<&'static Self> {
        static LOADED: OnceLock<Option<OpenMp>> = OnceLock::new();
        LOADED.get_or_init(Self::load).as_ref()
    }

    #[cfg(unix)]
    #[allow(unsafe_code, reason = "functions are called by the signatures in OpenMP's headers")]
    fn load() -> Option<Self> {
        let program = libloading::os::unix::Library::this();
        // SAFETY: the types are those of these functions in C; the library is linked to libtorch and never unloaded.
        unsafe {
            Some(Self {
                parallel: *program.get(b"GOMP_parallel\0").ok()?,
                thread: *program.get(b"omp_get_thread_num\0").ok()?,
                threads: *program.get(b"omp_get_num_threads\0").ok()?,
            })
        }
    }

    #[cfg(not(unix))]
    fn load() -> Option<Self> {
        None
    }

    /// Runs every row of `work` once, on so many threads.
    #[allow(unsafe_code, reason = "a C interface")]
    fn run<T: Send, F: Fn(usize, &mut [T]) + Sync>(&self, threads: usize, work: &Work<T, F>) {
        extern "C" fn share<T: Send, F: Fn(usize, &mut [T]) + Sync>(data: *mut c_void) {
            // SAFETY: `data` is the work that `run` was called with, which waits until every thread is through.
            let work = unsafe { &*data.cast::<Work<T, F>>() };
            let done = catch_unwind(AssertUnwindSafe(|| {
                let Some(openmp) = OpenMp::get() else { return };
                let (index, count) = ((openmp.thread)() as usize, (openmp.threads)().max(1) as usize);
                let share = work.rows.div_ceil(count);
                let first = (index * share).min(work.rows);
                let length = share.min(work.rows - first);
                if length > 0 {
                    // SAFETY: the rows lie within the map, and no two threads have the same.
                    let stretch = unsafe {
                        let start = work.map.add(first * work.values);
                        std::slice::from_raw_parts_mut(start, length * work.values)
                    };
                    (work.run)(first, stretch);
                }
            }));
            if let Err(panic) = done {
                *work.panic.lock().unwrap_or_else(PoisonError::into_inner) = Some(panic);
            }
        }
        let data = std::ptr::from_ref(work).cast_mut().cast();
        // SAFETY: `share` gets what it expects, and the call returns only after the last thread has.
        unsafe { (self.parallel)(share::<T, F>, data, c_uint::try_from(threads).unwrap_or(1), 0) };
        if let Some(panic) = work.panic.lock().unwrap_or_else(PoisonError::into_inner).take() {
            resume_unwind(panic);
        }
    }
}
