//! `reverie render`: renders the dream of one image, or of several.
//!
//! Options become the same JSON that the API takes, so the same code checks both, and a spec file can be
//! combined with options; an option overrides the file. The image may go to standard output, so messages for
//! people go to stderr.

mod files;
mod folder;
mod help;
mod input;
mod options;
mod output;
mod plan;
mod report;
mod session;
mod several;

use std::{panic, path::PathBuf};

use bytes::Bytes;
use clap::{ArgAction, ValueHint};

use super::{ExitCode, Failure, models, show::Screen, stop::Stop};
pub(super) use help::{AFTER_HELP, AFTER_LONG_HELP};
use input::Source;
use options::{DreamArgs, parse_format};
use output::Target;
pub(super) use output::temporary;
use reverie_dream::spec::{Format, InputKind};
use reverie_engine::Kernels;
use session::Session;

/// Options of `reverie render`. `help.rs` has their order and their sections in the help.
#[derive(Debug, clap::Args)]
#[command(disable_help_flag = true, mut_args(help::place))]
pub(super) struct Args {
    /// Pictures or folders to dream on, or - for standard input; none starts from noise.
    ///
    /// Pictures are PNG, JPEG, WebP, GIF, BMP or TIFF, and HEIC or AVIF if built with libheif. Of a folder, those directly
    /// in it are taken.
    #[arg(value_name = "INPUT", value_hint = ValueHint::AnyPath)]
    inputs: Vec<PathBuf>,
    /// File of the dream, folder for those of several, or - for standard output.
    ///
    /// The extension (.png, .jpg, .jpeg, .webp, .gif, .mp4, .webm) selects the format. Videos need ffmpeg. In a folder, each dream is named as its input, with
    /// the extension of its format.
    #[arg(short, long, value_name = "OUT", value_hint = ValueHint::AnyPath)]
    output: PathBuf,
    /// Write over files in the folder, or over the input and other sources.
    #[arg(long)]
    force: bool,
    /// An image of the same size as the input, white where the dream may grow.
    #[arg(long, value_name = "FILE", requires = "inputs", value_hint = ValueHint::FilePath)]
    mask: Option<PathBuf>,
    /// An image whose forms the dream takes up, where --objective is guide or guide-cosine.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    guide: Option<PathBuf>,
    /// Render a dream of this program again, from the same input and the recipe in the file.
    #[arg(long, value_name = "DREAM", conflicts_with_all = ["spec", "look"], value_hint = ValueHint::FilePath)]
    replay: Option<PathBuf>,
    /// With --replay: keep the octaves up to this one, of an animation the frames, and dream the rest as the other options say.
    ///
    /// They are counted from 1. What the options leave out is as in the recipe.
    #[arg(long, value_name = "N", requires = "replay")]
    fork_after: Option<u32>,
    /// A spec file as for the API; options override it.
    #[arg(long, value_name = "FILE.json", value_hint = ValueHint::FilePath)]
    spec: Option<PathBuf>,
    #[command(flatten)]
    dream: DreamArgs,
    /// File format, where no extension of OUT selects it.
    ///
    /// PNG by default for standard output and for a folder.
    #[arg(long, value_parser = parse_format(), hide_possible_values = true, value_name = "png|jpeg|webp|gif|mp4|webm")]
    format: Option<Format>,
    /// Show the dream in the terminal, if it can show pictures.
    ///
    /// Those known to do so are kitty, Ghostty, Konsole, WezTerm, iTerm2, mintty, foot, mlterm, Contour and Windows Terminal. Of an animation, a video too, the first frame is shown.
    #[arg(long)]
    show: bool,
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
    /// Print one line of JSON about each result.
    #[arg(long)]
    json: bool,
    /// Print where the time went.
    #[arg(long)]
    profile: bool,
    /// Print help; --help prints all of it.
    #[arg(short, long, action = ArgAction::Help)]
    help: Option<bool>,
}

/// Runs the command.
pub(super) fn run(args: Args) -> Result<ExitCode, Failure> {
    quiet_render_thread();
    if args.has_several() { several::run(&args) } else { one(&args) }
}

/// Renders one dream to a file, a pipe or standard output.
fn one(args: &Args) -> Result<ExitCode, Failure> {
    let source = args.inputs.first().map(|path| Source::of(path));
    let target = Target::new(&args.output, &args.sources(), args.force)?;
    let format = target.format(args.format)?;
    let to_stdout = target.is_stdout();
    let input = source.as_ref().map(Source::read).transpose()?;
    let attached = args.attached()?;
    let written = args.written()?;
    written.check_replay(input.as_deref(), &attached)?;
    let start = match (&input, &attached.mask) {
        (Some(_), Some(_)) => InputKind::Masked,
        (Some(_), None) => InputKind::Image,
        (None, _) => InputKind::Nothing { image: options::NO_INPUT },
    };
    let plan = args.settle(written, start, attached, format)?;
    let screen = Screen::wanted(args.show, to_stdout);
    // Before there is anything to clean up.
    let stop = Stop::listen()?;
    let output = target.open()?;
    stop.deletes(output.temporary());
    let rendered = Session::start(args, &plan, &stop)?.render(input.map(Bytes::from), "");
    if let Some(code) = stop.asked() {
        eprintln!("stopped; no file was written");
        return Ok(code);
    }
    let name = output.name().to_owned();
    let rendered = rendered.map_err(|error| args.blame(error, source.as_ref(), &name))?;
    output.write(&rendered.image)?;
    if let Some(screen) = screen {
        screen.show(&rendered.image, plan.spec.format);
    }
    let result = report::Dream { name: &name, input: source.as_ref(), rendered: &rendered };
    match args.json {
        true => result.print_line(&plan.spec, to_stdout)?,
        false => result.print_words(""),
    }
    Ok(ExitCode::SUCCESS)
}

/// A panic on the render thread returns as an error and is printed like any other: without a backtrace,
/// unless requested.
pub(super) fn quiet_render_thread() {
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
