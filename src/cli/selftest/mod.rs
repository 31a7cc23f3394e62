//! `reverie selftest`: whether this machine computes right, and how fast. For operators, above all of GPUs, before they let
//! clients in.
//!
//! 1. Activations and gradients are compared with references from TensorFlow and PyTorch, which the program carries.
//! 2. The standard dream (1024×1024, four octaves of ten steps) is rendered several times in each precision: the bytes must be equal, also
//!    after a dream of another size, and the score must be near that of float32.
//! 3. Sixteen dreams of four sizes go through one renderer, through several, and through several that share passes.
//!
//! It fails if something is wrong, never for being slow.

mod load;
mod report;
mod verify;

use std::sync::Arc;

use serde_json::json;

use super::{ExitCode, Failure, models::Folder};
use load::{Load, Subject};
use report::{Dream, Report};
use reverie_dream::{
    model::{Catalogue, REFERENCE_MODEL},
    spec::Precision,
};
use reverie_engine::{Kernels, RenderOptions, Renderer};
use reverie_models as models;

/// Share of the score of float32 that every precision has to reach. One dream varies by some per cent with every rounding.
const LEAST_SCORE: f64 = 0.9;

/// Height and width of the standard dream.
const STANDARD: [u32; 2] = [1024, 1024];

/// Height and width of another one, whose windows have the same sizes.
const BETWEEN: [u32; 2] = [1010, 1010];

/// Renders of the standard dream in each precision; the first one also loads and plans.
const RENDERS: usize = 4;

/// Renderers that share the dreams of the last part.
const WORKERS: usize = 4;

/// Options of `reverie selftest`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// auto, cpu or cuda:N.
    #[arg(long, default_value = "auto")]
    device: String,
    /// A model's id.
    #[arg(long, default_value = REFERENCE_MODEL)]
    model: String,
    /// auto, or library: on a CPU use only libtorch's operations, as on a GPU; on a GPU start them one by one.
    #[arg(long, env = "REVERIE__WORKER__KERNELS", default_value = "auto", hide = true)]
    kernels: Kernels,
    /// Small pictures and few steps: whether it computes right, not how fast.
    #[arg(long)]
    quick: bool,
    /// Print one JSON object instead of a table.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    folder: Folder,
}

/// Runs the command.
pub(super) fn run(args: Args) -> Result<ExitCode, Failure> {
    let mut catalogue = Catalogue::default();
    catalogue.insert(models::load_id(&args.folder.list(), &args.model)?);
    let model = catalogue.get(&args.model).cloned().ok_or("the model is gone")?;
    let options = RenderOptions {
        device: args.device.clone(),
        kernels: args.kernels,
        queue: load::DREAMS,
        max_pixels: load::MAX_PIXELS,
        ..RenderOptions::default()
    };
    let renderer = Renderer::start(&options)?;
    let mut report = Report::new(renderer.device(), &model.id);
    let say = |words: &str| eprintln!("selftest: {words}");

    if args.kernels == Kernels::Auto {
        report.own_kernels = reverie_engine::has_gpu_kernels(renderer.device());
    }
    say("activations and gradients");
    report.checks = verify::verify(&model, renderer.device(), args.kernels)?;

    let subject = Subject { catalogue: &catalogue, model: Arc::clone(&model), quick: args.quick };
    let mut precisions = vec![Precision::Fp32];
    if renderer.device() != "cpu" {
        precisions.push(Precision::Tf32);
    }
    precisions.push(Precision::Bf16);
    let [picture, between] =
        [load::picture(STANDARD, 0, args.quick)?, load::picture(BETWEEN, 1, args.quick)?];
    for precision in precisions {
        say(&format!("the standard dream in {}", precision.as_str()));
        let request = || subject.request(&picture, json!({ "precision": precision }));
        let mut renders =
            (1..RENDERS).map(|_| load::finish(&renderer, request()?)).collect::<Result<Vec<_>, _>>()?;
        // Its passes are the same with other numbers, which none that is recorded may keep.
        let other = subject.request(&between, json!({ "precision": precision }))?;
        drop(load::finish(&renderer, other)?);
        let (last, before) = (request()?, reverie_engine::replayed_passes());
        let steps = load::steps(&last);
        renders.push(load::finish(&renderer, last)?);
        let after = reverie_engine::replayed_passes();
        let started = [0, 1].map(|index| (after[index] - before[index]) as f64 / steps);
        report.dreams.push(Dream::of(precision, &renders, started));
    }
    // From here on each load has renderers of its own; this one gives its memory back.
    drop(renderer);
    for load in [Load::One, Load::Several(WORKERS), Load::Together(WORKERS)] {
        say(&format!("{} dreams, {load}", load::DREAMS));
        report.loads.push((load, load.run(&options, &subject)?));
    }
    report.memory = reverie_engine::memory_in_use(&report.device);
    report.pinned_memory = reverie_engine::has_pinned_memory(&report.device);
    report.judge(LEAST_SCORE);
    if args.json {
        println!("{}", report.to_json())
    } else {
        print!("{report}")
    }
    for failure in &report.failures {
        eprintln!("error: {failure}");
    }
    Ok(if report.failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

#[cfg(test)]
mod tests {
    use reverie_dream::{
        plan::{Grid, HALO},
        spec::Tiling,
    };

    use super::*;

    #[test]
    fn the_picture_between_has_the_passes_of_the_standard_dream() {
        for (stride, shrunk) in [(8, 1), (16, 1), (32, 1), (16, 4)] {
            let grid = Grid { tile: 512, halo: HALO, stride, tiling: Tiling::Even, uniform: true };
            for octave in 0..4 {
                let size = |edge: u32| (f64::from(edge / shrunk) / 1.4_f64.powi(octave)).round() as i64;
                let passes = |[height, width]: [u32; 2]| grid.windows(size(height), size(width));
                assert_eq!(passes(BETWEEN), passes(STANDARD), "octave {octave}, stride {stride}");
                assert_ne!(size(BETWEEN[0]), size(STANDARD[0]), "their numbers differ");
            }
        }
    }
}
