//! How kernels run: on how many threads, and with which instructions.
//!
//! A pool of our own would take turns with libtorch's: while one works the other's threads spin or have to be woken,
//! many times in every step. libtorch runs its loops with OpenMP, and that has a stable entry for the code that
//! compilers make of parallel loops (`GOMP_parallel`, which GNU's and LLVM's libraries both have). It is looked up by
//! name in the program that runs; without it kernels run on one thread.

use std::{
    any::Any,
    ffi::{c_int, c_uint, c_void},
    marker::PhantomData,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::{Mutex, OnceLock, PoisonError},
};

use super::{InstructionSet, KernelError, instruction_set::Isa};

/// Bytes below which a loop is over before another thread has heard of it.
const FEW: usize = 8192;

/// Threads for the kernels, and the instructions that they use.
pub struct ThreadPool {
    size: usize,
    backend: Backend,
    isa: Isa,
}

/// Where threads come from.
#[derive(Clone, Copy)]
enum Backend {
    /// There are none but the caller's.
    Caller,
    /// The threads that OpenMP keeps.
    OpenMp(&'static OpenMp),
    /// New threads for every loop: for tests, in programs without OpenMP.
    #[cfg(test)]
    Spawn,
}

impl ThreadPool {
    /// So many of OpenMP's threads, and the widest instructions that the processor has.
    pub fn new(threads: usize) -> Self {
        let backend = OpenMp::get().map_or(Backend::Caller, Backend::OpenMp);
        let isa = Isa::detect(InstructionSet::widest()).unwrap_or(Isa::Plain);
        Self { size: threads.max(1), backend, isa }
    }

    /// Threads that are started for every loop.
    #[cfg(test)]
    pub(crate) fn spawning(threads: usize) -> Self {
        Self { backend: Backend::Spawn, ..Self::new(threads) }
    }

    /// The same threads with these instructions and no wider ones.
    ///
    /// # Errors
    /// [`KernelError::InstructionSet`] where the processor lacks them.
    pub fn with_instruction_set(self, set: InstructionSet) -> Result<Self, KernelError> {
        let isa = Isa::detect(set).ok_or(KernelError::InstructionSet(set))?;
        Ok(Self { isa, ..self })
    }

    /// The instructions that kernels use.
    pub fn instruction_set(&self) -> InstructionSet {
        self.isa.set()
    }

    /// The proof that the processor has them.
    pub(crate) fn isa(&self) -> Isa {
        self.isa
    }

    /// Cuts `map` into rows of `row` values each and these into one stretch per thread, and runs each stretch with the
    /// number of its first row.
    pub fn split<T: Send>(&self, map: &mut [T], row: usize, run: impl Fn(usize, &mut [T]) + Sync) {
        self.split_by_cost(size_of_val(map), map, row, run);
    }

    /// As [`Self::split`], for rows that are themselves only where to write: as much work as writing so many `bytes`.
    pub fn split_by_cost<T: Send>(
        &self,
        bytes: usize,
        map: &mut [T],
        row: usize,
        run: impl Fn(usize, &mut [T]) + Sync,
    ) {
        let rows = map.len() / row.max(1);
        if self.size <= 1 || rows <= 1 {
            return run(0, map);
        }
        match self.backend {
            Backend::OpenMp(openmp) if bytes >= FEW => {
                openmp.run(self.size, &Work::new(map, row, run));
            }
            #[cfg(test)]
            Backend::Spawn => std::thread::scope(|scope| {
                let share = rows.div_ceil(self.size);
                for (index, stretch) in map[..rows * row].chunks_mut(share * row).enumerate() {
                    let run = &run;
                    scope.spawn(move || run(index * share, stretch));
                }
            }),
            _ => run(0, map),
        }
    }
}

/// A loop over the rows of a map, which nothing else has while it lives.
struct Work<'a, T, F> {
    /// Of `rows · row` values and more.
    map: *mut T,
    rows: usize,
    row: usize,
    run: F,
    /// What a thread panicked with: that must not pass through OpenMP.
    panic: Mutex<Option<Box<dyn Any + Send>>>,
    borrowed: PhantomData<&'a mut [T]>,
}

impl<'a, T, F> Work<'a, T, F> {
    fn new(map: &'a mut [T], row: usize, run: F) -> Self {
        let rows = map.len() / row.max(1);
        Self { map: map.as_mut_ptr(), rows, row, run, panic: Mutex::default(), borrowed: PhantomData }
    }
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

    #[cfg(all(unix, not(miri)))]
    #[allow(unsafe_code, reason = "functions are called by the signatures in OpenMP's headers")]
    fn load() -> Option<Self> {
        let program = libloading::os::unix::Library::this();
        // SAFETY: the types are those of these functions in C; the program never unloads the library.
        unsafe {
            Some(Self {
                parallel: *program.get(b"GOMP_parallel\0").ok()?,
                thread: *program.get(b"omp_get_thread_num\0").ok()?,
                threads: *program.get(b"omp_get_num_threads\0").ok()?,
            })
        }
    }

    // Miri runs Rust alone.
    #[cfg(any(not(unix), miri))]
    fn load() -> Option<Self> {
        None
    }

    /// Runs every row of `work` once, on so many threads.
    #[allow(unsafe_code, reason = "a C interface")]
    fn run<T: Send, F: Fn(usize, &mut [T]) + Sync>(&self, threads: usize, work: &Work<'_, T, F>) {
        extern "C" fn share<T: Send, F: Fn(usize, &mut [T]) + Sync>(data: *mut c_void) {
            // SAFETY: `data` is what the function around this one hands over, which waits until every thread is through. Of the work's map,
            // which may be sent to other threads, each takes its own part; the rest may be shared.
            let (openmp, work) = unsafe { *data.cast::<(&OpenMp, &Work<'_, T, F>)>() };
            let done = catch_unwind(AssertUnwindSafe(|| {
                let (index, count) = ((openmp.thread)() as usize, (openmp.threads)().max(1) as usize);
                let share = work.rows.div_ceil(count);
                let first = (index * share).min(work.rows);
                let length = share.min(work.rows - first);
                if length > 0 {
                    // SAFETY: the rows lie within the map, and no two threads have the same: all three functions are of the one
                    // OpenMP library that libtorch has loaded, which numbers the threads of a region.
                    let stretch = unsafe {
                        let start = work.map.add(first * work.row);
                        std::slice::from_raw_parts_mut(start, length * work.row)
                    };
                    (work.run)(first, stretch);
                }
            }));
            if let Err(panic) = done {
                *work.panic.lock().unwrap_or_else(PoisonError::into_inner) = Some(panic);
            }
        }
        let shared = (self, work);
        let data = std::ptr::from_ref(&shared).cast_mut().cast();
        // SAFETY: `share` gets what it expects, and the call returns only after the last thread has.
        unsafe { (self.parallel)(share::<T, F>, data, c_uint::try_from(threads).unwrap_or(1), 0) };
        if let Some(panic) = work.panic.lock().unwrap_or_else(PoisonError::into_inner).take() {
            resume_unwind(panic);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loop_runs_every_row_once_on_any_number_of_threads() {
        for threads in 1..5 {
            runs_every_row_once(&ThreadPool::spawning(threads));
        }
    }

    fn runs_every_row_once(pool: &ThreadPool) {
        for rows in [0, 1, 2, 7, if cfg!(miri) { 50 } else { 5000 }] {
            let mut map = vec![0u32; rows * 3];
            pool.split(&mut map, 3, |first, stretch| {
                for (index, row) in stretch.chunks_exact_mut(3).enumerate() {
                    row.iter_mut().for_each(|value| *value += (first + index) as u32 + 1);
                }
            });
            let expected: Vec<u32> = (0..rows as u32).flat_map(|row| [row + 1; 3]).collect();
            assert_eq!(map, expected);
        }
    }

    /// In a program that is linked with libtorch, its library is there; here it is loaded.
    #[cfg(all(target_os = "linux", not(miri)))]
    #[test]
    #[allow(unsafe_code, reason = "a library is loaded")]
    fn openmps_threads_run_every_row_once_and_hand_back_what_one_panics_with() {
        use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_NOW};
        // SAFETY: its initialisers only read the environment.
        let library = unsafe { Library::open(Some("libgomp.so.1"), RTLD_NOW | RTLD_GLOBAL) };
        let Ok(library) = library else { return eprintln!("skipped: there is no libgomp.so.1 here") };
        std::mem::forget(library);
        let openmp: &'static OpenMp = Box::leak(Box::new(OpenMp::load().unwrap()));
        for size in 1..5 {
            let pool = ThreadPool { backend: Backend::OpenMp(openmp), ..ThreadPool::spawning(size) };
            runs_every_row_once(&pool);
            let mut map = vec![0u32; 9000];
            let broken = catch_unwind(AssertUnwindSafe(|| {
                pool.split(&mut map, 3, |first, _| assert!(first > 0, "the first row"));
            }));
            assert!(broken.unwrap_err().downcast_ref::<&str>().is_some_and(|said| *said == "the first row"));
        }
    }

    #[test]
    fn only_instructions_that_the_processor_has_can_be_asked_for() {
        for set in InstructionSet::ALL {
            let pool = ThreadPool::new(1).with_instruction_set(set).map(|pool| pool.instruction_set());
            let expected = if set.is_available() { Ok(set) } else { Err(KernelError::InstructionSet(set)) };
            assert_eq!(pool, expected);
        }
        assert_eq!(InstructionSet::available().next(), Some(InstructionSet::Plain));
        // scripts/sanitize tells which versions it has run.
        let names: Vec<String> = InstructionSet::available().map(|set| set.to_string()).collect();
        println!("instruction sets: {}", names.join(", "));
        assert_eq!(ThreadPool::new(1).instruction_set(), InstructionSet::widest());
        assert_eq!("avx2".parse(), Ok(InstructionSet::Avx2));
        assert!("sse".parse::<InstructionSet>().unwrap_err().contains("use plain, avx2"));
    }
}
