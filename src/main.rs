//! The `reverie` program: reads the command line and runs it.

use std::process::ExitCode;

use clap::Parser;

/// Also what libtorch allocates with. The C library's allocator hands every map back to the system when it is freed, and
/// the next step's maps come with page faults: 15 % of a dream's time.
#[cfg(target_os = "linux")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    reverie::cli::run(reverie::cli::Cli::parse())
}
