//! How long libtorch's threads spin while they wait for each other.
//!
//! OpenMP's threads wait by spinning for milliseconds at the end of every operation. On a machine that does nothing
//! else this saves a wake-up; where the processors are shared, with other processes or under a container's quota,
//! the spinning thread takes the time that the other one needs to arrive: two renders at once on two cores took
//! 9 seconds each instead of 5 (docs/operations.md). GNU's library reads its setting when it is loaded, before
//! `main`, so the program starts itself once more with a short spin.

#[cfg(target_os = "linux")]
use std::{env, os::unix::process::CommandExt, process::Command};

/// Turns of the waiting loop before a thread goes to sleep: some microseconds.
#[cfg(target_os = "linux")]
const SPINS: &str = "10000";

/// Replaces the process by itself with the setting in place, unless whoever started it has chosen. Must come
/// before anything else: nothing is kept.
pub fn apply() {
    #[cfg(target_os = "linux")]
    if ["GOMP_SPINCOUNT", "OMP_WAIT_POLICY"].iter().all(|name| env::var_os(name).is_none())
        && let Ok(program) = env::current_exe()
    {
        let mut arguments = env::args_os();
        let mut command = Command::new(program);
        if let Some(name) = arguments.next() {
            command.arg0(name);
        }
        // Comes back only where it fails; then the program runs as it is.
        drop(command.args(arguments).env("GOMP_SPINCOUNT", SPINS).exec());
    }
}
