//! `reverie man`: writes the manual pages, which are made from the same definitions as the help.

use std::{
    fs,
    io::{self, Write},
    path::PathBuf,
};

use clap::{CommandFactory, ValueHint};

use super::{Cli, ExitCode, Failure};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Folder for a page of each command. Without it, the page of the program goes to standard output.
    #[arg(value_hint = ValueHint::DirPath)]
    dir: Option<PathBuf>,
}

/// Writes the pages.
pub(super) fn run(args: &Args) -> Result<ExitCode, Failure> {
    let Some(dir) = &args.dir else {
        let mut page = Vec::new();
        clap_mangen::Man::new(Cli::command()).render(&mut page)?;
        io::stdout().write_all(&page)?;
        return Ok(ExitCode::SUCCESS);
    };
    let written = fs::create_dir_all(dir).and_then(|()| clap_mangen::generate_to(Cli::command(), dir));
    written.map_err(|error| format!("{}: {error}", dir.display()))?;
    eprintln!("the pages are in {0}; read one with man -l {0}/reverie-render.1", dir.display());
    Ok(ExitCode::SUCCESS)
}
