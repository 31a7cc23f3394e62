//! Environment settings that libraries read before `main`: how long libtorch's threads spin while they wait
//! for each other, and how long freed memory is kept.
//!
//! OpenMP's threads spin for milliseconds at the end of every operation. On an idle machine this saves a
//! wake-up. If the processors are shared, with other processes or under a container's quota, the spinning
//! thread takes the time that the other thread needs to arrive: two renders at once on two cores took 16
//! seconds each with 30,000 turns, and 5 with 1000 (docs/operations/scale.md has more). The allocator returns freed
//! memory to the system after ten milliseconds, and a step of a dream takes longer than that, so the next
//! step's mappings came with page faults. For large pieces the allocator waits ten times as long; by then a
//! decoded, no longer needed image had become the peak: 1.1 GB of it after decoding 100 megapixels of 16
//! bits.
//!
//! Both libraries read their settings when they are loaded, so the program re-executes itself with them.

#[cfg(target_os = "linux")]
use std::{env, os::unix::process::CommandExt, process::Command};

/// The settings: turns of the spin loop before a thread sleeps (some microseconds), milliseconds until freed
/// memory returns to the system, and the factor for large pieces. A name on the left that is already set
/// wins.
#[cfg(target_os = "linux")]
const SETTINGS: [(&[&str], &str, &str); 3] = [
    (&["GOMP_SPINCOUNT", "OMP_WAIT_POLICY"], "GOMP_SPINCOUNT", "5000"),
    (&["MIMALLOC_PURGE_DELAY"], "MIMALLOC_PURGE_DELAY", "1000"),
    (&["MIMALLOC_ARENA_PURGE_MULT", "MIMALLOC_PURGE_DELAY"], "MIMALLOC_ARENA_PURGE_MULT", "1"),
];

/// Re-executes the process with the settings, unless they are already set. Must come before anything else:
/// nothing is kept.
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
            // `exec` returns only if it fails; then the program runs without the settings.
            drop(command.args(arguments).envs(missing()).exec());
        }
    }
}
