//! `reverie completions`: prints what a shell completes commands and options with.

use std::io::{self, Write};

use clap::{Command, CommandFactory};
use clap_complete::Shell;

use super::{Cli, ExitCode, Failure};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The shell.
    shell: Shell,
}

/// Prints the script of the shell.
pub(super) fn run(args: &Args) -> Result<ExitCode, Failure> {
    // The generator offers hidden commands, too.
    let all = Cli::command();
    let shown = all.get_subcommands().filter(|command| !command.is_hide_set()).cloned();
    let mut offered = Command::new("reverie").version(env!("CARGO_PKG_VERSION")).subcommands(shown);
    // It panics where it cannot write, as into a closed pipe.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut offered, "reverie", &mut script);
    io::stdout().write_all(&script)?;
    Ok(ExitCode::SUCCESS)
}
