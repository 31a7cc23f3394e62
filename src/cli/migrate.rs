//! `reverie migrate`: updates the schema of the database and the settings that all processes share.

use std::path::PathBuf;

use super::{ExitCode, Failure};
use crate::{app, config::Config, private, telemetry::Telemetry};

/// Arguments of `reverie migrate`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Configuration file, see deploy/reverie.toml; REVERIE__SECTION__KEY in the environment overrides it.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Updates the database and prints what was done.
pub(super) fn run(args: Args) -> Result<ExitCode, Failure> {
    let config = Config::load(args.config.as_deref())?;
    private::mask();
    let telemetry = Telemetry::start(&config.log, &config.telemetry)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let done = runtime.block_on(app::migrate(&config));
    telemetry.end();
    for line in done? {
        println!("{line}");
    }
    Ok(ExitCode::SUCCESS)
}
