//! `reverie render`: one image in, one dream out.
//!
//! Options become the same JSON that the API takes, so both are checked by the same code and a spec file
//! can be mixed with options; an option wins over the file. The picture may go to standard output, so that everything that
//! is for people goes to stderr.

mod files;
mod input;
mod options;
mod output;
mod stop;

use std::{
    io::{self, Write},
    panic,
    path::PathBuf,
    process::ExitCode,
};

use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::{Failure, models, profile, progress};
use crate::metrics;
use input::{Source, check_replay, object, read_recipe, read_spec};
use options::{DreamArgs, NO_INPUT, parse_format};
use output::Target;
use reverie_dream::{
    model::Catalogue,
    spec::{self, DreamSpec, Format, InputKind},
};
use reverie_engine::{Kernels, RenderError, RenderOptions, RenderRequest, Rendered, Renderer};
use reverie_picture::PictureError;
use stop::Stop;

/// Largest input that the command line takes, in pixels: 10,000 × 10,000.
const MAX_PIXELS: u64 = 100_000_000;

/// The end of `reverie render --help`.
pub(super) const AFTER_HELP: &str = "\
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
    /// Image to dream on (PNG, JPEG, WebP, GIF, BMP or TIFF; HEIC and AVIF where built with libheif), or - for standard input; left out, the dream starts from noise.
    input: Option<PathBuf>,
    /// Where to write the dream, or - for standard output; the ending (.png, .jpg, .jpeg, .webp) chooses the format.
    #[arg(short, long, value_name = "OUT")]
    output: PathBuf,
    /// png, jpeg or webp, where no ending says it; standard output gets a PNG by default.
    #[arg(long, value_parser = parse_format)]
    format: Option<Format>,
    /// Write the dream even over a file that it is made from, such as the input.
    #[arg(long)]
    force: bool,
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
    /// auto, or library: compute on a CPU as on a GPU, with libtorch's operations only.
    #[arg(long, env = "REVERIE__WORKER__KERNELS", default_value = "auto", hide = true)]
    kernels: Kernels,
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

/// A dream before it is rendered.
struct Plan {
    spec: DreamSpec,
    catalogue: Catalogue,
    /// The image and the mask.
    files: [Option<Vec<u8>>; 2],
}

/// Runs the command.
pub(super) fn run(args: Args) -> Result<ExitCode, Failure> {
    quiet_render_thread();
    let target = Target::new(&args.output, &args.sources(), args.force)?;
    let format = target.format(args.format)?;
    let to_stdout = target.is_stdout();
    let plan = args.plan(format)?;
    // Before there is anything to leave behind.
    let stop = Stop::listen()?;
    let output = target.open()?;
    if let Some(temporary) = output.temporary() {
        stop.deletes(temporary);
    }
    let spec = args.json.then(|| plan.spec.clone());
    let rendered = render(&args, plan, &stop);
    if let Some(code) = stop.asked() {
        eprintln!("stopped; nothing is written");
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

/// What went in and came out, for programs.
fn print_line(name: &str, rendered: &Rendered, spec: &DreamSpec, to_stdout: bool) -> io::Result<()> {
    let Rendered { width, height, score, render_seconds, notes, .. } = rendered;
    let line = json!({
        "output": name, "width": width, "height": height, "score": score, "render_seconds": render_seconds,
        "peak_memory_bytes": metrics::peak_memory(), "notes": notes, "spec": spec,
        "profile": rendered.profile.as_ref().map(profile::to_json),
    });
    if to_stdout { writeln!(io::stderr(), "{line}") } else { writeln!(io::stdout(), "{line}") }
}

/// What came out, for people.
fn print_words(name: &str, rendered: &Rendered) {
    for note in &rendered.notes {
        eprintln!("note: {note}");
    }
    eprintln!("{name} ({:.1} s, score {:.4})", rendered.render_seconds, rendered.score);
    if let Some(profile) = &rendered.profile {
        eprint!("{}", profile::Table(profile));
    }
}

/// A panic on the render thread comes back as an error, which is told like any other: without a backtrace, unless somebody
/// asks for one.
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
    /// Everything that the dream is made from, each with what it is called.
    fn sources(&self) -> Vec<(&'static str, Source)> {
        let file = |path: &PathBuf| Source::File(path.clone());
        let given = [
            ("input", self.input.as_deref().map(Source::of)),
            ("mask", self.mask.as_ref().map(file)),
            ("spec", self.spec.as_ref().map(file)),
            ("dream to replay", self.replay.as_ref().map(file)),
            ("model", self.dream.model.as_ref().map(|model| Source::File(model.into()))),
        ];
        given.into_iter().filter_map(|(role, source)| Some((role, source?))).collect()
    }

    /// Reads everything that the dream is made from and checks what is wanted.
    fn plan(&self, format: Option<Format>) -> Result<Plan, Failure> {
        let input = self.input.as_deref().map(|path| Source::of(path).read()).transpose()?;
        let mask = self.mask.as_ref().map(|path| Source::File(path.clone()).read()).transpose()?;
        let start = match (&input, &mask) {
            (Some(_), Some(_)) => InputKind::Masked,
            (Some(_), None) => InputKind::Image,
            (None, _) => InputKind::Nothing { image: NO_INPUT },
        };
        let recipe = self.replay.as_deref().map(read_recipe).transpose()?;
        let (mut fields, from) = match (&self.spec, &self.replay, &recipe) {
            (Some(path), ..) => (read_spec(path)?, Some(path.display().to_string())),
            (None, Some(path), Some(recipe)) => {
                let spec = object(serde_json::to_value(&recipe.spec)?).ok_or("the recipe has no spec")?;
                (spec, Some(format!("the recipe in {}", path.display())))
            }
            _ => (Map::new(), None),
        };
        let given = self.dream.overlay(&mut fields);
        let model = match fields.get("model").and_then(Value::as_str) {
            Some(model) => models::load(model, &self.models_dir)?,
            None => models::load(reverie_dream::model::DEFAULT_MODEL, &self.models_dir)?,
        };
        if let Some(recipe) = &recipe {
            check_replay(recipe, &model, input.as_deref(), mask.as_deref())?;
        }
        fields.insert("model".into(), model.id.clone().into());
        if let Some(format) = format {
            fields.insert("format".into(), json!(format));
        }
        let mut catalogue = Catalogue::default();
        catalogue.insert(model);
        let spec = spec::resolve("", Value::Object(fields), &catalogue, start).map_err(|mistakes| {
            let told = |mistake| self.dream.told(mistake, &given, from.as_deref());
            // All of them in one message, a line each.
            mistakes.iter().map(told).collect::<Vec<String>>().join("\n       ")
        })?;
        Ok(Plan { spec, catalogue, files: [input, mask] })
    }

    /// Names the file that a render failed for, where it is one.
    fn blame(&self, error: Failure) -> Failure {
        let source = |path: &Option<PathBuf>| path.as_deref().map(Source::of);
        let (file, picture) = match error.downcast_ref::<RenderError>() {
            Some(RenderError::Picture(PictureError::EdgeTooLong { .. } | PictureError::Encode(_))) => {
                return format!("{}: {error}", self.output.display()).into();
            }
            Some(RenderError::Picture(picture)) => (source(&self.input), picture),
            Some(RenderError::Mask(picture)) => (source(&self.mask), picture),
            _ => return error,
        };
        match file {
            Some(file) => format!("{file}: {picture}").into(),
            None => error,
        }
    }
}

/// Renders on a thread of its own while this one waits.
fn render(args: &Args, plan: Plan, stop: &Stop) -> Result<Rendered, Failure> {
    let Plan { spec, catalogue, files: [input, mask] } = plan;
    let model = catalogue.get(&spec.model).ok_or("the model is gone")?;
    let options = RenderOptions {
        device: args.device.clone(),
        kernels: args.kernels,
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
        cancel: stop.cancel.clone(),
    })?;
    let rendered = outcome.blocking_recv().map_err(|_| "the renderer has stopped")?;
    bar.finish_and_clear();
    Ok(rendered?)
}
