//! `reverie render`: renders one dream from one image.
//!
//! Options become the same JSON that the API takes, so the same code checks both, and a spec file can be
//! combined with options; an option overrides the file. The image may go to standard output, so messages for
//! people go to stderr.

mod files;
mod input;
mod options;
mod output;
mod stop;

use std::{
    io::{self, Write},
    panic,
    path::PathBuf,
};

use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::{ExitCode, Failure, models, profile, progress};
use crate::metrics;
use input::{Source, check_replay, object, read_recipe, read_spec};
use options::{DreamArgs, NO_GUIDE, NO_INPUT, parse_format};
use output::Target;
use reverie_dream::{
    model::Catalogue,
    spec::{self, DreamSpec, Format, GuideSent, InputKind},
};
use reverie_engine::{Kernels, RenderError, RenderOptions, RenderRequest, Rendered, Renderer};
use reverie_picture::PictureError;
use stop::Stop;

/// Maximum pixels of an input on the command line: 10,000 × 10,000.
const MAX_PIXELS: u64 = 100_000_000;

/// The end of `reverie render --help`.
pub(super) const AFTER_HELP: &str = "\
Objectives:
  --objective takes a kind, for the layer of --layer, or a sum of terms with + and -, each with a weight in front if it
  needs one: --objective 'mixed4c - 0.5*mixed3b:21 + guide(mixed4c)'
    LAYER                 the mean square (l2) of a layer; a name with other characters than letters, digits, _ . / in quotes
    LAYER:C,C             the mean of these channels
    mean(LAYER), l2(LAYER), mean(LAYER:C), l2(LAYER:C)
    strongest(LAYER, N), weakest(LAYER, N), random(LAYER, N)   the mean of N channels that the picture or the seed chooses
    direction(LAYER, C - 0.5*C), direction(LAYER, C + C, P)    along these channels, times the P-th power of the cosine
    at(X, Y, TERM), at(X, Y, R, TERM)   only near a place: shares of the width and the height, R of the shorter edge
    class(K), class(K, LAYER), probability(K)
    guide(LAYER), guide-cosine(LAYER)   likeness to the image of --guide

Exit codes:
  0    the dream is written
  1    it is not: stderr says why, and a file at OUT is as it was
  2    the command line cannot be read
  130  stopped by Ctrl-C (143: by SIGTERM, 129: by SIGHUP), nothing is written

Messages, the progress bar and notes go to stderr. With --json the last line of standard output describes the result; \
where the picture itself goes there, it is the last line of stderr.";

/// Options of `reverie render`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Image to dream on (PNG, JPEG, WebP, GIF, BMP or TIFF; also HEIC and AVIF if built with libheif), or -
    /// for standard input; without it, the dream starts from noise.
    input: Option<PathBuf>,
    /// Where to write the dream, or - for standard output; the extension (.png, .jpg, .jpeg, .webp, .gif,
    /// .mp4, .webm) selects the format. Videos need ffmpeg.
    #[arg(short, long, value_name = "OUT")]
    output: PathBuf,
    /// png, jpeg, webp, gif, mp4 or webm, if no extension selects the format; PNG by default for standard output.
    #[arg(long, value_parser = parse_format)]
    format: Option<Format>,
    /// Write the dream even over one of its sources, such as the input.
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    dream: DreamArgs,
    /// An image of the same size as the input, white where the dream may grow.
    #[arg(long, value_name = "FILE", requires = "input")]
    mask: Option<PathBuf>,
    /// An image whose forms the dream takes up, where --objective is guide or guide-cosine.
    #[arg(long, value_name = "FILE")]
    guide: Option<PathBuf>,
    /// Render a dream of this program again, from the same input and the recipe in the file.
    #[arg(long, value_name = "DREAM", conflicts_with_all = ["spec", "look"])]
    replay: Option<PathBuf>,
    /// A spec file as for the API; options override it.
    #[arg(long, value_name = "FILE.json")]
    spec: Option<PathBuf>,
    /// auto, cpu or cuda:N.
    #[arg(long, default_value = "auto")]
    device: String,
    /// auto, or library: on a CPU use only libtorch's operations, as on a GPU.
    #[arg(long, env = "REVERIE__WORKER__KERNELS", default_value = "auto", hide = true)]
    kernels: Kernels,
    /// CPU threads; 0 means one per core.
    #[arg(long, default_value_t = 0)]
    threads: usize,
    #[command(flatten)]
    folder: models::Folder,
    /// Print one line of JSON about the result at the end.
    #[arg(long)]
    json: bool,
    /// Print where the time went.
    #[arg(long)]
    profile: bool,
}

/// A validated dream before rendering.
struct Plan {
    spec: DreamSpec,
    catalogue: Catalogue,
    /// The image, the mask and the guide image.
    files: [Option<Vec<u8>>; 3],
}

/// Runs the command.
pub(super) fn run(args: Args) -> Result<ExitCode, Failure> {
    quiet_render_thread();
    let target = Target::new(&args.output, &args.sources(), args.force)?;
    let format = target.format(args.format)?;
    let to_stdout = target.is_stdout();
    let plan = args.plan(format)?;
    // Before there is anything to clean up.
    let stop = Stop::listen()?;
    let output = target.open()?;
    if let Some(temporary) = output.temporary() {
        stop.deletes(temporary);
    }
    let spec = args.json.then(|| plan.spec.clone());
    let rendered = render(&args, plan, &stop);
    if let Some(code) = stop.asked() {
        eprintln!("stopped; no file was written");
        return Ok(code);
    }
    let rendered = rendered.map_err(|error| args.blame(error))?;
    let name = output.name().to_owned();
    output.write(&rendered.image)?;
    match spec {
        Some(spec) => print_line(&name, &rendered, &spec, to_stdout)?,
        None => print_words(&name, &rendered),
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints the inputs and the result as JSON.
fn print_line(name: &str, rendered: &Rendered, spec: &DreamSpec, to_stdout: bool) -> io::Result<()> {
    let Rendered { width, height, score, render_seconds, notes, .. } = rendered;
    let line = json!({
        "output": name, "width": width, "height": height, "score": score, "render_seconds": render_seconds,
        "peak_memory_bytes": metrics::peak_memory(), "notes": notes, "spec": spec,
        "profile": rendered.profile.as_ref().map(profile::to_json),
    });
    if to_stdout { writeln!(io::stderr(), "{line}") } else { writeln!(io::stdout(), "{line}") }
}

/// Prints the result for people.
fn print_words(name: &str, rendered: &Rendered) {
    for note in &rendered.notes {
        eprintln!("note: {note}");
    }
    eprintln!("{name} ({:.1} s, score {:.4})", rendered.render_seconds, rendered.score);
    if let Some(profile) = &rendered.profile {
        eprint!("{}", profile::Table(profile));
    }
}

/// A panic on the render thread returns as an error and is printed like any other: without a backtrace,
/// unless requested.
fn quiet_render_thread() {
    if std::env::var_os("RUST_BACKTRACE").is_some() {
        return;
    }
    let usual = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        if std::thread::current().name() != Some("render") {
            usual(panic);
        }
    }));
}

impl Args {
    /// All sources of the dream, with their roles.
    fn sources(&self) -> Vec<(&'static str, Source)> {
        let file = |path: &PathBuf| Source::File(path.clone());
        let given = [
            ("input", self.input.as_deref().map(Source::of)),
            ("mask", self.mask.as_ref().map(file)),
            ("guide", self.guide.as_ref().map(file)),
            ("spec", self.spec.as_ref().map(file)),
            ("dream to replay", self.replay.as_ref().map(file)),
            ("model", self.dream.model().map(|model| Source::File(model.into()))),
        ];
        given.into_iter().filter_map(|(role, source)| Some((role, source?))).collect()
    }

    /// Reads all sources and validates the spec.
    fn plan(&self, format: Option<Format>) -> Result<Plan, Failure> {
        let input = self.input.as_deref().map(|path| Source::of(path).read()).transpose()?;
        let read = |path: &PathBuf| Source::File(path.clone()).read();
        let [mask, guide] =
            [self.mask.as_ref().map(read).transpose()?, self.guide.as_ref().map(read).transpose()?];
        let start = match (&input, &mask) {
            (Some(_), Some(_)) => InputKind::Masked,
            (Some(_), None) => InputKind::Image,
            (None, _) => InputKind::Nothing { image: NO_INPUT },
        };
        let recipe = self.replay.as_deref().map(read_recipe).transpose()?;
        let (mut fields, from) = match (&self.spec, &self.replay, &recipe) {
            (Some(path), ..) => (read_spec(path)?, Some(path.display().to_string())),
            (None, Some(path), Some(recipe)) => {
                let spec = object(recipe.spec.to_request()?).ok_or("the recipe has no spec")?;
                (spec, Some(format!("the recipe in {}", path.display())))
            }
            _ => (Map::new(), None),
        };
        let given = self.dream.overlay(&mut fields);
        let model = match fields.get("model").and_then(Value::as_str) {
            Some(model) => models::load(model, &self.folder)?,
            None => reverie_models::load_best(&self.folder.list())?,
        };
        if let Some(recipe) = &recipe {
            check_replay(recipe, &model, [&input, &mask, &guide].map(Option::as_deref))?;
        }
        fields.insert("model".into(), model.id.clone().into());
        if let Some(format) = format {
            fields.insert("format".into(), json!(format));
        }
        let mut catalogue = Catalogue::default();
        catalogue.insert(model);
        let guide_sent = GuideSent { pointer: NO_GUIDE, sent: guide.is_some() };
        let resolved =
            spec::resolve_with_guide("", Value::Object(fields), &catalogue, start, Some(guide_sent));
        let mut spec = resolved.map_err(|mistakes| {
            let describe = |mistake| self.dream.describe(mistake, &given, from.as_deref());
            // All errors in one message, one per line.
            mistakes.iter().map(describe).collect::<Vec<String>>().join("\n       ")
        })?;
        // A recipe from before there was a largest edge is written as it was.
        if recipe.is_some_and(|recipe| recipe.spec.max_edge.is_none()) {
            spec.max_edge = spec.max_edge.filter(|edge| *edge > 0);
        }
        reverie_picture::can_write(spec.format)?;
        Ok(Plan { spec, catalogue, files: [input, mask, guide] })
    }

    /// Names the file that caused a failed render, if there is one.
    fn blame(&self, error: Failure) -> Failure {
        let source = |path: &Option<PathBuf>| path.as_deref().map(Source::of);
        let (file, picture) = match error.downcast_ref::<RenderError>() {
            Some(RenderError::Picture(
                PictureError::EdgeTooLong { .. }
                | PictureError::Encode(_)
                | PictureError::NoVideoEncoder { .. },
            )) => {
                return format!("{}: {error}", self.output.display()).into();
            }
            Some(RenderError::Picture(picture)) => (source(&self.input), picture),
            Some(RenderError::Mask(picture)) => (source(&self.mask), picture),
            Some(RenderError::Guide(picture)) => (source(&self.guide), picture),
            _ => return error,
        };
        match file {
            Some(file) => format!("{file}: {picture}").into(),
            None => error,
        }
    }
}

/// Renders on its own thread while this one waits.
fn render(args: &Args, plan: Plan, stop: &Stop) -> Result<Rendered, Failure> {
    let Plan { spec, catalogue, files: [input, mask, guide] } = plan;
    let model = catalogue.get(&spec.model).ok_or("the model is gone")?;
    let options = RenderOptions {
        device: args.device.clone(),
        kernels: args.kernels,
        threads: args.threads,
        queue: 1,
        max_pixels: MAX_PIXELS,
        profile: args.profile,
        sharing: 1,
    };
    let renderer = Renderer::start(&options)?;
    let bar = progress::bar();
    let shown = bar.clone();
    let outcome = renderer.submit(RenderRequest {
        model: model.clone(),
        spec,
        input: input.map(Bytes::from),
        mask: mask.map(Bytes::from),
        guide: guide.map(Bytes::from),
        resume: None,
        on_progress: Box::new(move |progress| progress::show(&shown, &progress)),
        on_octave: None,
        on_preview: None,
        cancel: stop.cancel.clone(),
    })?;
    let rendered = outcome.blocking_recv().map_err(|_| "the renderer has stopped")?;
    bar.finish_and_clear();
    Ok(rendered?)
}
