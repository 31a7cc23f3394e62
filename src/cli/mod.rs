//! The command line: its commands, and how failures are printed.

mod atlas;
mod completions;
mod ending;
mod formats;
mod health;
mod keys;
mod looks;
mod man;
mod migrate;
mod models;
mod openapi;
mod parameters;
mod profile;
mod progress;
mod render;
mod runtime_env;
mod selftest;
pub mod serve;
mod show;
mod stop;

use std::io;

use clap::{Parser, Subcommand};

use reverie_graph::visible_lines;

pub use ending::ExitCode;

/// Dreams on photographs with neural networks, on the command line or as a service.
#[derive(Debug, Parser)]
#[command(name = "reverie", version, about)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Render dreams from pictures, or one from noise.
    #[command(after_help = render::AFTER_HELP, after_long_help = render::AFTER_LONG_HELP)]
    Render(Box<render::Args>),
    /// Render what the layers of a model dream, as sheets of tiles with a page to look through them.
    #[command(after_long_help = atlas::AFTER_LONG_HELP)]
    Atlas(atlas::Args),
    /// List, fetch and check models.
    #[command(subcommand)]
    Models(models::Command),
    /// List the looks of a model.
    Looks(looks::Args),
    /// List the formats that dreams can be written in on this machine.
    Formats(formats::Args),
    /// Check that this machine computes right, and measure how fast.
    Selftest(selftest::Args),
    /// Run the HTTP server, with workers.
    Serve(serve::Args),
    /// Run only workers, for servers that share a PostgreSQL database with them.
    Worker(serve::WorkerArgs),
    /// Migrate the database, and make the shared settings of this configuration those of all processes.
    Migrate(migrate::Args),
    /// Make, list and revoke API keys.
    #[command(subcommand)]
    Keys(keys::Command),
    /// Check a running server; fails if it is not ready.
    Health(health::Args),
    /// Print the OpenAPI 3.1 document of the HTTP API.
    Openapi,
    /// Print the completion script of a shell.
    Completions(completions::Args),
    /// Write the manual pages.
    Man(man::Args),
    /// Print what the repository holds of the table of parameters; `scripts/renew` writes it.
    #[command(hide = true, subcommand)]
    Parameters(parameters::Command),
}

/// Runs the command; prints failures to stderr.
pub fn run(cli: Cli) -> ExitCode {
    if let Command::Render(_)
    | Command::Atlas(_)
    | Command::Models(_)
    | Command::Selftest(_)
    | Command::Serve(_)
    | Command::Worker(_) = cli.command
    {
        runtime_env::apply();
    }
    let outcome = match cli.command {
        Command::Render(args) => render::run(*args),
        Command::Atlas(args) => atlas::run(&args),
        Command::Models(command) => models::run(command),
        Command::Looks(args) => looks::run(&args),
        Command::Formats(args) => formats::run(&args),
        Command::Selftest(args) => selftest::run(args),
        Command::Serve(args) => serve::run(args),
        Command::Worker(args) => serve::run_worker(args),
        Command::Migrate(args) => migrate::run(args),
        Command::Keys(command) => keys::run(command),
        Command::Health(args) => health::run(args),
        Command::Openapi => openapi::run(),
        Command::Completions(args) => completions::run(&args),
        Command::Man(args) => man::run(&args),
        Command::Parameters(command) => parameters::run(command),
    };
    match outcome {
        Ok(code) => code,
        // The reader of our output has seen enough, as in `reverie models layers … | head`.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        // What the definition of the options cannot refuse, because it depends on the files.
        Err(error) if error.is::<clap::Error>() => {
            eprint!("{error}");
            ExitCode::USAGE
        }
        Err(error) => {
            // It may name what a file holds, such as a layer.
            eprintln!("error: {}", visible_lines(&error.to_string()));
            ExitCode::FAILURE
        }
    }
}

/// Any failure, in one message that says what is wrong and what is allowed.
type Failure = Box<dyn std::error::Error + Send + Sync>;

fn is_broken_pipe(error: &Failure) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}
