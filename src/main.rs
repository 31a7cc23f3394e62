//! The `reverie` program: parses the command line and runs it.

use clap::Parser;

fn main() {
    reverie::cli::run(reverie::cli::Cli::parse()).end()
}
