//! `reverie models time`: how long a gradient step of a model takes, by itself. `benches/peer/families.py` compares it with PyTorch's.

use std::{
    io::{self, Write},
    sync::Arc,
};

use serde_json::json;

use super::{Compute, ExitCode, Failure, Folder, load, objective_of, size};
use reverie_engine::steps;
use reverie_graph::visible;

/// Arguments of `reverie models time`.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// A model's id, or a model file.
    model: String,
    /// Layer to maximise; by default the model's default layer.
    #[arg(long)]
    layer: Option<String>,
    /// Size of the image, which is one tile.
    #[arg(long, value_name = "WIDTHxHEIGHT", default_value = "512x512", value_parser = size)]
    size: [u32; 2],
    /// Steps to measure, after two that are not counted.
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u16).range(1..=1000))]
    steps: u16,
    /// One JSON object with the seconds of every step.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    compute: Compute,
    #[command(flatten)]
    folder: Folder,
}

/// Runs the command.
pub(super) fn run(args: &Args) -> Result<ExitCode, Failure> {
    let model = Arc::new(load(&args.model, &args.folder)?);
    let objective = objective_of(&model, args.layer.as_deref())?;
    let count = args.steps.into();
    let mut seconds =
        steps::measure(&model, &objective, args.size, count, &args.compute.device, args.compute.kernels)?;
    let mut out = io::stdout().lock();
    if args.json {
        writeln!(out, "{}", json!({ "model": model.id, "layer": objective.layer, "seconds": seconds }))?;
        return Ok(ExitCode::SUCCESS);
    }
    seconds.sort_unstable_by(f64::total_cmp);
    let at = |index: usize| seconds.get(index).copied().unwrap_or_default() * 1e3;
    writeln!(
        out,
        "{} {}: {:.1} ms (median of {count}; {:.1} to {:.1})",
        model.id,
        visible(&objective.layer),
        at(count / 2),
        at(0),
        at(count - 1)
    )?;
    Ok(ExitCode::SUCCESS)
}
