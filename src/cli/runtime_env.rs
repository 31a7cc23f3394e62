//! Settings of libraries that read them before `main`: how long libtorch's threads spin while they wait for each
//! other, and how long freed memory is kept.
//!
//! OpenMP's threads wait by spinning for milliseconds at the end of every operation. On a machine that does nothing
//! else this saves a wake-up; where the processors are shared, with other processes or under a container's quota,
//! the spinning thread takes the time that the other one needs to arrive: two renders at once on two cores took
//! 16 seconds each after 30,000 turns, 5 after 1000 (docs/operations/scale.md has more). The allocator gives freed memory
//! back to the system after ten milliseconds, and a step of a dream takes longer than that: the next one's maps came
//! with page faults. Of memory in large pieces it waits ten times as long, by which time a picture that was decoded and is of no
//! more use has become the peak: after decoding 100 megapixels of 16 bits, 1.1 GB of it.
//!
//! Both libraries read their settings when they are loaded, so the program starts itself once more with them.

#[cfg(target_os = "linux")]
use std::{env, os::unix::process::CommandExt, process::Command};

/// Turns of the waiting loop before a thread goes to sleep: some microseconds. Milliseconds until freed memory goes back to the
/// system, and how many times as long large pieces wait. Who has chosen one of the names to the left has chosen.
#[cfg(target_os = "linux")]
const SETTINGS: [(&[&str], &str, &str); 3] = [
    (&["GOMP_SPINCOUNT", "OMP_WAIT_POLICY"], "GOMP_SPINCOUNT", "5000"),
    (&["MIMALLOC_PURGE_DELAY"], "MIMALLOC_PURGE_DELAY", "1000"),
    (&["MIMALLOC_ARENA_PURGE_MULT", "MIMALLOC_PURGE_DELAY"], "MIMALLOC_ARENA_PURGE_MULT", "1"),
];

/// Replaces the process by itself with the settings in place, unless whoever started it has chosen. Must come
/// before anything else: nothing is kept.
pub fn apply() {
    #[cfg(target_os = "linux")]
    {
        let missing = || {
            let open =
                SETTINGS.iter().filter(|(names, ..)| names.iter().all(|name| env::var_os(name).is_none()));
            open.map(|(_, name, value)| (name, value))
        };
        if missing().next().is_some()
            && let Ok(program) = env::current_exe()
        {
            let mut arguments = env::args_os();
            let mut command = Command::new(program);
            if let Some(name) = arguments.next() {
                command.arg0(name);
            }
            // Comes back only where it fails; then the program runs as it is.
            drop(command.args(arguments).envs(missing()).exec());
        }
    }
}
