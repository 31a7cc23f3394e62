//! The command line: what can be asked, and how failures are told.

mod health;
mod migrate;
mod models;
mod openapi;
mod profile;
mod progress;
mod render;
mod runtime_env;
pub mod serve;

use std::{io, process::ExitCode};

use clap::{Parser, Subcommand};

/// Dreams on photographs with neural networks, on the command line or as a service.
#[derive(Debug, Parser)]
#[command(name = "reverie", version, about)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Dream on one image.
    #[command(after_help = render::AFTER_HELP)]
    Render(Box<render::Args>),
    /// Look at models and check them.
    #[command(subcommand)]
    Models(models::Command),
    /// Run the HTTP service, with workers.
    Serve(serve::Args),
    /// Run workers alone, for services that share a PostgreSQL database with them.
    Worker(serve::WorkerArgs),
    /// Bring the database up to date, and make the shared settings of this configuration those of all processes.
    Migrate(migrate::Args),
    /// Ask a running server how it is; fails where it is not well.
    Health(health::Args),
    /// Print the contract of the HTTP service (OpenAPI 3.1).
    Openapi,
}

/// Runs what `cli` asks for; failures are printed to stderr.
pub fn run(cli: Cli) -> ExitCode {
    if let Command::Render(_) | Command::Models(_) | Command::Serve(_) | Command::Worker(_) = cli.command {
        runtime_env::apply();
    }
    let outcome = match cli.command {
        Command::Render(args) => render::run(*args),
        Command::Models(command) => models::run(command),
        Command::Serve(args) => serve::run(args),
        Command::Worker(args) => serve::run_worker(args),
        Command::Migrate(args) => migrate::run(args),
        Command::Health(args) => health::run(args),
        Command::Openapi => openapi::run(),
    };
    match outcome {
        Ok(code) => code,
        // Whoever reads our output has seen enough, as in `reverie models layers … | head`.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Any failure, told in one message; its parts say what was wrong and what is allowed.
type Failure = Box<dyn std::error::Error + Send + Sync>;

fn is_broken_pipe(error: &Failure) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}
