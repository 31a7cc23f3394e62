//! The `reverie` program: parses the command line and runs it.

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    reverie::cli::run(reverie::cli::Cli::parse())
}
