//! `reverie looks`: lists the looks of a model, for `reverie render --look`.

use std::io::{self, Write};

use serde_json::json;

use super::{ExitCode, Failure, models};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A model's id, or a model file. By default the best model that is there.
    model: Option<String>,
    /// One JSON object per look and line instead of a table.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    folder: models::Folder,
}

/// Runs the command.
pub(super) fn run(args: &Args) -> Result<ExitCode, Failure> {
    let mut out = io::stdout().lock();
    let model = match &args.model {
        Some(model) => models::load(model, &args.folder)?,
        None => reverie_models::load_best(&args.folder.list())?,
    };
    if model.looks.is_empty() {
        eprintln!("no looks are known of {}; reverie models layers lists its layers", model.id);
    }
    for look in &model.looks {
        if args.json {
            let line = json!({
                "model": model.id, "id": look.id, "title": look.title, "description": look.description,
                "spec": look.spec,
            });
            writeln!(out, "{line}")?;
        } else {
            writeln!(out, "{:<12} {}", look.id, look.description)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
