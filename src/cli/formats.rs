//! `reverie formats`: what dreams can be written as on this machine, for `--format` and the endings of file names.

use std::io::{self, Write};

use super::{ExitCode, Failure};
use reverie_picture::FormatInfo;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// One JSON object per format and line instead of a table.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(super) fn run(args: &Args) -> Result<ExitCode, Failure> {
    let mut out = io::stdout().lock();
    for format in FormatInfo::all() {
        if args.json {
            writeln!(out, "{}", serde_json::to_string(&format)?)?;
            continue;
        }
        let FormatInfo { name, media_type, description, reason, .. } = format;
        let about =
            reason.map_or_else(|| description.to_owned(), |reason| format!("not available: {reason}"));
        writeln!(out, "{name:<5} {media_type:<10}  {about}")?;
    }
    Ok(ExitCode::SUCCESS)
}
