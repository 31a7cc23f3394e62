//! `reverie render`: one image in, one dream out.
//!
//! Options become the same JSON that the API takes, so both are checked by the same code and a spec file
//! can be mixed with options; an option wins over the file.

use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use bytes::Bytes;
use serde_json::{Map, Value, json};
use tempfile::NamedTempFile;

use super::{Failure, models, profile, progress};
use crate::{
    digest,
    fields::FieldError,
    metrics,
    models::{Catalogue, Model},
    picture,
    render::{CancelFlag, Recipe, RenderOptions, RenderRequest, Rendered, Renderer},
    spec::{self, DreamSpec, Format, Start},
};

/// Largest input that the command line takes, in pixels: 10,000 × 10,000.
const MAX_PIXELS: u64 = 100_000_000;

/// Options of `reverie render`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Image to dream on (PNG, JPEG, WebP, GIF, BMP or TIFF); left out, the dream starts from noise.
    input: Option<PathBuf>,
    /// Where to write the dream; the ending (.png, .jpg, .jpeg, .webp) chooses the format.
    #[arg(short, long, value_name = "OUT")]
    output: PathBuf,
    #[command(flatten)]
    dream: DreamArgs,
    /// An image as large as the input, white where the dream may grow.
    #[arg(long, value_name = "FILE", requires = "input")]
    mask: Option<PathBuf>,
    /// A dream that this program made: render it again, from the same input, with what it says about itself.
    #[arg(long, value_name = "DREAM", conflicts_with = "spec")]
    replay: Option<PathBuf>,
    /// A spec as the API takes it; options given beside it win.
    #[arg(long, value_name = "FILE.json")]
    spec: Option<PathBuf>,
    /// auto, cpu or cuda:N.
    #[arg(long, default_value = "auto")]
    device: String,
    /// CPU threads; 0 means one per core.
    #[arg(long, default_value_t = 0)]
    threads: usize,
    /// Folder with the model files.
    #[arg(long, env = "REVERIE__MODELS__DIR", default_value = "models", value_name = "DIR")]
    models_dir: PathBuf,
    /// End with one line of JSON that describes the result.
    #[arg(long)]
    json: bool,
    /// Show where the time went.
    #[arg(long)]
    profile: bool,
}

/// What to dream; everything left out comes from the preset and the model.
#[derive(Debug, clap::Args)]
struct DreamArgs {
    /// A model's id, or a model file.
    #[arg(long, value_name = "ID|FILE")]
    model: Option<String>,
    /// Layer to maximise.
    #[arg(long)]
    layer: Option<String>,
    /// Only this channel of the layer; can be repeated.
    #[arg(long = "channel", value_name = "C")]
    channels: Vec<u32>,
    /// mean, l2, class or probability.
    #[arg(long)]
    objective: Option<String>,
    /// Class to maximise, counted from 0.
    #[arg(long, value_name = "K")]
    class: Option<u32>,
    /// naive, multiscale, lapnorm, deepdream or deepdream-lapnorm.
    #[arg(long)]
    preset: Option<String>,
    /// Gradient steps per octave.
    #[arg(long, value_name = "N")]
    iterations: Option<u64>,
    /// Step length.
    #[arg(long, value_name = "S", allow_negative_numbers = true, value_parser = parse_number)]
    step: Option<f64>,
    /// Number of scales.
    #[arg(long, value_name = "N")]
    octaves: Option<u64>,
    /// Ratio of neighbouring scales.
    #[arg(long, value_name = "R", value_parser = parse_number)]
    octave_scale: Option<f64>,
    /// carry-detail (the result has the input's size) or enlarge (it grows octave by octave).
    #[arg(long, value_name = "MODE")]
    octave_mode: Option<String>,
    /// Size of a start from noise in pixels.
    #[arg(long, value_name = "WxH", value_parser = parse_size)]
    noise: Option<(u32, u32)>,
    /// Largest edge of a tile in pixels.
    #[arg(long, value_name = "T")]
    tile_size: Option<u64>,
    /// even (covers every pixel) or article.
    #[arg(long)]
    tiling: Option<String>,
    /// mean-abs, std or laplacian.
    #[arg(long)]
    normalization: Option<String>,
    /// Levels of the Laplacian normalisation.
    #[arg(long, value_name = "N")]
    laplacian_levels: Option<u64>,
    /// Keep the tiles where they are.
    #[arg(long)]
    no_jitter: bool,
    /// Seed of every random choice.
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Share of the original in the result, 0 to 1.
    #[arg(long, value_name = "B", value_parser = parse_number)]
    blend: Option<f64>,
    /// Keep the colours of the original; take only brightness from the dream.
    #[arg(long)]
    preserve_colors: bool,
    /// Set the result's contrast to a standard (the default for a start from noise), or not.
    #[arg(long, value_name = "true|false", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    auto_contrast: Option<bool>,
    /// Colour behind transparent areas [default: #ffffff].
    #[arg(long, value_name = "#RRGGBB")]
    background: Option<String>,
    /// Width in pixels over which the edges of the mask are softened.
    #[arg(long, value_name = "PIXELS")]
    mask_feather: Option<u64>,
    /// Quality of a JPEG or a lossy WebP, 1 to 100.
    #[arg(long, value_name = "Q")]
    quality: Option<u64>,
    /// Keep every pixel of a WebP as it is.
    #[arg(long)]
    lossless: bool,
    /// Leave out the recipe that the result carries.
    #[arg(long)]
    no_recipe: bool,
    /// fp32, bf16 or auto.
    #[arg(long)]
    precision: Option<String>,
}

/// Runs the command.
pub(super) fn run(args: Args) -> Result<ExitCode, Failure> {
    let format = output_format(&args.output)?;
    let read = |path: &PathBuf| fs::read(path).map_err(|error| format!("{}: {error}", path.display()));
    let input = args.input.as_ref().map(read).transpose()?;
    let mask = args.mask.as_ref().map(read).transpose()?;
    let start = match (&input, &mask) {
        (Some(_), Some(_)) => Start::Masked,
        (Some(_), None) => Start::Image,
        (None, _) => Start::Nothing { image: "/INPUT" },
    };
    let recipe = args.replay.as_deref().map(read_recipe).transpose()?;
    let mut fields = match (&args.spec, &recipe) {
        (Some(path), _) => read_spec(path)?,
        (None, Some(recipe)) => {
            object(serde_json::to_value(&recipe.spec)?).ok_or("the recipe has no spec")?
        }
        (None, None) => Map::new(),
    };
    args.dream.overlay(&mut fields);
    let model = match fields.get("model").and_then(Value::as_str) {
        Some(model) => models::load(model, &args.models_dir)?,
        None => models::load(crate::models::DEFAULT_MODEL, &args.models_dir)?,
    };
    if let Some(recipe) = &recipe {
        check_replay(recipe, &model, input.as_deref(), mask.as_deref())?;
    }
    fields.insert("model".into(), model.id.clone().into());
    fields.insert("format".into(), json!(format));
    let mut catalogue = Catalogue::default();
    catalogue.insert(model);
    let spec = spec::resolve("", Value::Object(fields), &catalogue, start).map_err(mistakes)?;
    let rendered = render(&args, [input, mask], spec.clone(), &catalogue)?;
    write_whole(&args.output, &rendered.image)?;
    if args.json {
        let profile = rendered.profile.as_ref().map(profile::to_json);
        let Rendered { width, height, score, render_seconds, notes, .. } = rendered;
        let output = args.output.display().to_string();
        let line = json!({
            "output": output, "width": width, "height": height, "score": score, "render_seconds": render_seconds,
            "peak_memory_bytes": metrics::peak_memory(), "notes": notes, "spec": spec,
            "profile": profile,
        });
        writeln!(io::stdout(), "{line}")?;
    } else {
        for note in &rendered.notes {
            eprintln!("note: {note}");
        }
        eprintln!(
            "{} ({:.1} s, score {:.4})",
            args.output.display(),
            rendered.render_seconds,
            rendered.score
        );
        if let Some(profile) = &rendered.profile {
            eprint!("{}", profile::Table(profile));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Renders on a thread of its own while this one waits.
fn render(
    args: &Args,
    [input, mask]: [Option<Vec<u8>>; 2],
    spec: DreamSpec,
    catalogue: &Catalogue,
) -> Result<Rendered, Failure> {
    let model = catalogue.get(&spec.model).ok_or("the model is gone")?;
    let options = RenderOptions {
        device: args.device.clone(),
        threads: args.threads,
        queue: 1,
        max_pixels: MAX_PIXELS,
        profile: args.profile,
    };
    let renderer = Renderer::start(&options)?;
    let bar = progress::bar();
    let shown = bar.clone();
    let outcome = renderer.submit(RenderRequest {
        model: model.clone(),
        spec,
        input: input.map(Bytes::from),
        mask: mask.map(Bytes::from),
        resume: None,
        on_progress: Box::new(move |progress| progress::show(&shown, &progress)),
        on_octave: None,
        cancel: CancelFlag::default(),
    })?;
    let rendered = outcome.blocking_recv().map_err(|_| "the renderer has stopped")?;
    bar.finish_and_clear();
    Ok(rendered?)
}

impl DreamArgs {
    /// Writes the given options over the fields of a spec.
    fn overlay(&self, fields: &mut Map<String, Value>) {
        let given = [
            ("model", self.model.as_ref().map(|value| json!(value))),
            ("preset", self.preset.as_ref().map(|value| json!(value))),
            ("iterations", self.iterations.map(|value| json!(value))),
            ("step", self.step.map(|value| json!(value))),
            ("octaves", self.octaves.map(|value| json!(value))),
            ("octave_scale", self.octave_scale.map(|value| json!(value))),
            ("noise", self.noise.map(|(width, height)| json!({ "width": width, "height": height }))),
            ("octave_mode", self.octave_mode.as_ref().map(|value| json!(value))),
            ("tile_size", self.tile_size.map(|value| json!(value))),
            ("tiling", self.tiling.as_ref().map(|value| json!(value))),
            ("normalization", self.normalization.as_ref().map(|value| json!(value))),
            ("laplacian_levels", self.laplacian_levels.map(|value| json!(value))),
            ("jitter", self.no_jitter.then_some(json!(false))),
            ("seed", self.seed.map(|value| json!(value))),
            ("precision", self.precision.as_ref().map(|value| json!(value))),
            ("blend", self.blend.map(|value| json!(value))),
            ("preserve_colors", self.preserve_colors.then_some(json!(true))),
            ("recipe", self.no_recipe.then_some(json!(false))),
            ("auto_contrast", self.auto_contrast.map(|value| json!(value))),
            ("background", self.background.as_ref().map(|value| json!(value))),
            ("mask", self.mask_feather.map(|value| json!({ "feather": value }))),
            ("lossless", self.lossless.then_some(json!(true))),
            ("quality", self.quality.map(|value| json!(value))),
            ("objectives", self.objective().map(|objective| json!([objective]))),
        ];
        for (name, value) in given {
            if let Some(value) = value {
                fields.insert(name.into(), value);
            }
        }
    }

    /// The objective that the options describe. Its kind follows from the others where it is not given: a
    /// class means `class`, channels mean `mean`, as in the article; a layer alone means `l2`.
    fn objective(&self) -> Option<Map<String, Value>> {
        let kind = match (&self.objective, self.class, &self.channels[..], &self.layer) {
            (Some(kind), ..) => kind.as_str(),
            (None, Some(_), ..) => "class",
            (None, None, [_, ..], _) => "mean",
            (None, None, [], Some(_)) => "l2",
            (None, None, [], None) => return None,
        };
        let mut objective = Map::from_iter([("kind".to_owned(), json!(kind))]);
        if let Some(layer) = &self.layer {
            objective.insert("layer".into(), json!(layer));
        }
        if !self.channels.is_empty() {
            objective.insert("channels".into(), json!(self.channels));
        }
        if let Some(class) = self.class {
            objective.insert("class".into(), json!(class));
        }
        Some(objective)
    }
}

/// A number; JSON, which the options become, knows neither NaN nor infinity.
fn parse_number(text: &str) -> Result<f64, String> {
    let number = text.parse().ok().filter(|number: &f64| number.is_finite());
    number.ok_or_else(|| "give a number such as 1.5".into())
}

/// `224x224` as width and height.
fn parse_size(text: &str) -> Result<(u32, u32), String> {
    let size =
        text.split_once('x').and_then(|(width, height)| Some((width.parse().ok()?, height.parse().ok()?)));
    size.ok_or_else(|| "a size looks like 224x224".into())
}

fn output_format(path: &Path) -> Result<Format, Failure> {
    let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or("").to_ascii_lowercase();
    match ending.as_str() {
        "png" => Ok(Format::Png),
        "jpg" | "jpeg" => Ok(Format::Jpeg),
        "webp" => Ok(Format::Webp),
        _ => Err(format!("{}: the output must end in .png, .jpg, .jpeg or .webp", path.display()).into()),
    }
}

fn read_spec(path: &Path) -> Result<Map<String, Value>, Failure> {
    let text = fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let spec = serde_json::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))?;
    object(spec).ok_or_else(|| format!("{}: a spec is a JSON object", path.display()).into())
}

fn object(value: Value) -> Option<Map<String, Value>> {
    match value {
        Value::Object(fields) => Some(fields),
        _ => None,
    }
}

/// What a dream says about itself.
fn read_recipe(path: &Path) -> Result<Recipe, Failure> {
    let file = fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let text = picture::recipe::extract(&file);
    let text =
        text.ok_or_else(|| format!("{}: this image carries no recipe of this program", path.display()))?;
    Ok(serde_json::from_str(&text).map_err(|error| format!("{}: its recipe: {error}", path.display()))?)
}

/// A replay with other weights is another dream; another input or machine is worth a word.
fn check_replay(
    recipe: &Recipe,
    model: &Model,
    input: Option<&[u8]>,
    mask: Option<&[u8]>,
) -> Result<(), Failure> {
    if recipe.model_sha256 != model.sha256 {
        let detail = "the dream was made with another model file";
        return Err(format!("{detail}: sha256 {}, this one has {}", recipe.model_sha256, model.sha256).into());
    }
    if recipe.input_sha256 != input.map(digest::sha256) {
        eprintln!("note: the dream was made from another input");
    }
    if recipe.mask_sha256 != mask.map(digest::sha256) {
        eprintln!("note: the dream was made with another mask");
    }
    if recipe.reverie != env!("CARGO_PKG_VERSION") {
        eprintln!("note: the dream was made by version {}; bytes may differ", recipe.reverie);
    }
    Ok(())
}

/// All mistakes in one message, a line each.
fn mistakes(errors: Vec<FieldError>) -> Failure {
    let lines: Vec<String> = errors
        .iter()
        .map(|error| format!("{}: {}", error.pointer.trim_start_matches('/'), error.detail))
        .collect();
    lines.join("\n       ").into()
}

/// Writes a file whole or not at all: a temporary file beside it is renamed when complete.
fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let fail = |error: std::io::Error| format!("{}: {error}", path.display());
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = NamedTempFile::new_in(folder).map_err(fail)?;
    file.write_all(bytes).map_err(fail)?;
    // Temporary files are private; a picture gets the permissions of any new file.
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = fs::metadata(path).map_or(0o644, |old| old.permissions().mode());
        file.as_file().set_permissions(fs::Permissions::from_mode(mode)).map_err(fail)?;
    }
    file.persist(path).map_err(|error| fail(error.error))?;
    Ok(())
}
