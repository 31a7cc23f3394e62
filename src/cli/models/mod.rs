//! `reverie models`: lists, fetches and describes models, and checks that they compute correctly.

mod certify;
mod fetch;
mod time;

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{ExitCode, Failure};
use reverie_dream::{model::Model, spec::Objective};
use reverie_engine::{
    Kernels, seams,
    verify::{self, Check, Quantity},
};
use reverie_graph::visible;
use reverie_models as models;

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// List the models that are there.
    List {
        /// List the models that `reverie models fetch` can get instead.
        #[arg(long)]
        available: bool,
        #[command(flatten)]
        folder: Folder,
    },
    /// Get a known model's file from the internet, and check it.
    Fetch(fetch::Args),
    /// List a model's layers.
    Layers {
        /// A model's id, or a model file.
        model: String,
        /// One JSON object per layer and line instead of a table.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        folder: Folder,
    },
    /// List a model's classes: number and name, where that is known.
    Classes {
        /// A model's id, or a model file.
        model: String,
        /// Only those whose names hold these letters.
        #[arg(long, value_name = "TEXT")]
        like: Option<String>,
        #[command(flatten)]
        folder: Folder,
    },
    /// Measure the effect of tile borders on the gradient of an image, compared with the gradient of the
    /// whole image.
    Seams {
        /// A model's id, or a model file.
        model: String,
        /// An image that fits in memory as one tile.
        image: PathBuf,
        /// Layer to maximise; by default the model's default layer.
        #[arg(long)]
        layer: Option<String>,
        /// Largest edge of a tile in pixels.
        #[arg(long, default_value_t = 256)]
        tile_size: u32,
        #[command(flatten)]
        folder: Folder,
    },
    /// Compare a model with reference values, layer by layer.
    Verify {
        /// A model's id, or a model file.
        model: String,
        /// A NumPy .npz file with the input and the expected values; can be repeated.
        #[arg(long = "reference", required = true, value_name = "FILE.npz")]
        references: Vec<PathBuf>,
        #[command(flatten)]
        compute: Compute,
        #[command(flatten)]
        folder: Folder,
    },
    /// Make the reference of a model with the framework that its file comes from, and compare every layer and gradient.
    Certify(certify::Args),
    /// Measure how long a gradient step takes, by itself, in float32.
    Time(time::Args),
}

/// What computes.
#[derive(Debug, clap::Args)]
pub(super) struct Compute {
    /// auto, cpu or cuda:N.
    #[arg(long, default_value = "auto")]
    pub(super) device: String,
    /// auto, or library: on a CPU use only libtorch's operations, as on a GPU.
    #[arg(long, env = "REVERIE__WORKER__KERNELS", default_value = "auto", hide = true)]
    pub(super) kernels: Kernels,
}

#[derive(Debug, clap::Args)]
pub(super) struct Folder {
    /// Folder with the model files. By default models here, models beside the program, and
    /// $XDG_DATA_HOME/reverie/models.
    #[arg(long, env = "REVERIE__MODELS__DIR", value_name = "DIR")]
    models_dir: Option<PathBuf>,
}

impl Folder {
    /// The folders to look into.
    pub(super) fn list(&self) -> Vec<PathBuf> {
        // An empty variable is as none, as in the server's configuration.
        models::folders(self.models_dir.as_deref().filter(|dir| !dir.as_os_str().is_empty()))
    }
}

/// Runs the command.
pub(super) fn run(command: Command) -> Result<ExitCode, Failure> {
    match command {
        Command::List { available: true, folder } => fetch::list(&folder),
        Command::List { available: false, folder } => list(&folder),
        Command::Fetch(args) => fetch::run(&args),
        Command::Layers { model, json, folder } => layers(&load(&model, &folder)?, json),
        Command::Classes { model, like, folder } => classes(&load(&model, &folder)?, like.as_deref()),
        Command::Seams { model, image, layer, tile_size, folder } => {
            measure_seams(load(&model, &folder)?, &image, layer.as_deref(), tile_size)
        }
        Command::Verify { model, references, compute, folder } => {
            verify(&Arc::new(load(&model, &folder)?), &references, &compute)
        }
        Command::Certify(args) => certify::run(&args),
        Command::Time(args) => time::run(&args),
    }
}

/// Reads the size of an image, `WIDTHxHEIGHT`.
fn size(text: &str) -> Result<[u32; 2], String> {
    let sides =
        text.split_once('x').and_then(|(width, height)| Some([width.parse().ok()?, height.parse().ok()?]));
    sides
        .filter(|sides| sides.iter().all(|side| (8..=2048).contains(side)))
        .ok_or_else(|| "use WIDTHxHEIGHT, from 8x8 to 2048x2048".to_owned())
}

/// Loads a model from the file `model`, if it is one, or else by id from the folders.
pub(super) fn load(model: &str, folder: &Folder) -> Result<Model, Failure> {
    let path = Path::new(model);
    if path.is_file() || path.components().count() > 1 {
        return Ok(models::load_file(path)?);
    }
    Ok(models::load_id(&folder.list(), model)?)
}

fn list(folder: &Folder) -> Result<ExitCode, Failure> {
    let mut out = io::stdout().lock();
    let models::Folder { catalogue, refused } = models::load_folders(&folder.list())?;
    for error in refused {
        eprintln!("left out: {}", visible(&error.to_string()));
    }
    for model in catalogue.iter() {
        let layers = model.network.layers().len();
        writeln!(
            out,
            "{:<20} {layers:>4} layers  sha256 {}  {}{}",
            model.id,
            &model.sha256[..12],
            model.description,
            if model.id == catalogue.default_id() { " (default)" } else { "" }
        )?;
    }
    Ok(ExitCode::SUCCESS)
}

fn layers(model: &Model, json: bool) -> Result<ExitCode, Failure> {
    let mut out = io::stdout().lock();
    let layers = model.network.layers();
    if json {
        for layer in &layers {
            writeln!(out, "{}", serde_json::to_string(layer)?)?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let convolutions = layers.iter().filter(|layer| layer.kind == "conv2d").count();
    writeln!(out, "{}: {} layers, {convolutions} of them convolutions", model.id, layers.len())?;
    writeln!(
        out,
        "dreamed of by default: {}; worth a look: {}",
        visible(&model.default_layer),
        visible(&model.featured.join(", "))
    )?;
    writeln!(
        out,
        "{:<48} {:<12} {:>8} {:>6} {:>15}",
        "name", "kind", "channels", "stride", "receptive field"
    )?;
    let left_out = model.network.left_out();
    if let Some((name, reason)) = left_out.first_key_value() {
        eprintln!(
            "{} nodes of the file are no layers, the first of them \"{}\": {}",
            left_out.len(),
            visible(name),
            visible(reason)
        );
    }
    for layer in &layers {
        let number = |value: Option<usize>| value.map_or("-".into(), |value| value.to_string());
        let (stride, field) = (number(layer.stride), number(layer.receptive_field));
        let name = visible(&layer.name);
        writeln!(out, "{name:<48} {:<12} {:>8} {stride:>6} {field:>15}", layer.kind, layer.channels)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn classes(model: &Model, like: Option<&str>) -> Result<ExitCode, Failure> {
    let mut out = io::stdout().lock();
    let like = like.map(str::to_lowercase);
    for class in 0..model.classes() {
        let name = model.labels.as_ref().and_then(|labels| labels.get(class)).map_or("", String::as_str);
        if like.as_ref().is_none_or(|like| name.to_lowercase().contains(like)) {
            writeln!(out, "{class:>4} {}", visible(name))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// What a model dreams of by default, or of a layer by any of its names.
fn objective_of(model: &Model, layer: Option<&str>) -> Result<Objective, Failure> {
    let mut objective = model.default_objective();
    if let Some(layer) = layer {
        model.network.own_name(layer)?.clone_into(&mut objective.layer);
    }
    Ok(objective)
}

fn measure_seams(
    model: Model,
    image: &Path,
    layer: Option<&str>,
    tile_size: u32,
) -> Result<ExitCode, Failure> {
    let mut out = io::stdout().lock();
    let bytes = std::fs::read(image).map_err(|error| format!("{}: {error}", image.display()))?;
    let objective = objective_of(&model, layer)?;
    writeln!(out, "{} {}, tiles of {tile_size} pixels", model.id, visible(&objective.layer))?;
    writeln!(
        out,
        "{:<8} {:>5} {:>10} {:>10} {:>10} {:>10}",
        "tiling", "halo", "seams", "interior", "skipped", "work"
    )?;
    for seam in seams::measure(&Arc::new(model), &objective, &bytes, tile_size)? {
        writeln!(
            out,
            "{:<8} {:>5} {:>9.1}% {:>9.1}% {:>9.1}% {:>9.2}x",
            seam.tiling,
            seam.halo,
            seam.border * 100.0,
            seam.interior * 100.0,
            seam.skipped * 100.0,
            seam.work
        )?;
    }
    Ok(ExitCode::SUCCESS)
}

fn verify(
    model: &Arc<Model>,
    references: &[PathBuf],
    Compute { device, kernels }: &Compute,
) -> Result<ExitCode, Failure> {
    let mut out = io::stdout().lock();
    let mut failed = 0;
    for reference in references {
        writeln!(out, "{}", reference.display())?;
        for check in verify::verify(model, reference, device, *kernels)? {
            writeln!(out, "  {}", line(&check))?;
            failed += usize::from(!check.passed());
        }
    }
    if failed > 0 {
        eprintln!("error: {failed} value(s) of {} are out of tolerance", model.id);
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

fn line(check: &Check) -> String {
    let what = match check.quantity {
        Quantity::Activation => "activation",
        Quantity::Gradient => "gradient",
        Quantity::Slope => "slope",
        Quantity::Score => "score",
    };
    let cosine = check.cosine.map_or(String::new(), |cosine| format!("  cosine {cosine:.6}"));
    let own = check.own.map_or(String::new(), |own| {
        let counts = if own.counts { "" } else { " (kinks: others count, too)" };
        format!("  as rendered {:.1e}{counts}", own.error)
    });
    let verdict = if check.passed() { "ok" } else { "FAILED" };
    format!(
        "{verdict:<6} {:<44} {what:<10} {:.1e} of {:.0e}{cosine}{own}",
        visible(&check.name),
        check.error,
        check.tolerance
    )
}
