//! Several pictures to one folder: the model is loaded once, one renderer dreams on one after another, and one that fails
//! does not stop the others.

use std::{fs, path::Path};

use bytes::Bytes;
use clap::error::ErrorKind;

use super::{
    super::{ExitCode, Failure, show::Screen, stop::Stop},
    Args,
    folder::{self, Job},
    input::Source,
    output::{self, Target},
    report,
    session::Session,
};
use reverie_dream::spec::InputKind;
use reverie_graph::visible_lines;

impl Args {
    /// Whether dreams go to a folder: those of several inputs, of a folder, or of one file where `-o` names a folder.
    pub(super) fn has_several(&self) -> bool {
        match &self.inputs[..] {
            [] => false,
            [one] if one == Path::new("-") => false,
            [one] => one.is_dir() || names_folder(&self.output),
            _ => true,
        }
    }

    /// Refuses what has no meaning for several pictures.
    fn check_several(&self) -> Result<(), Failure> {
        let out = self.output.display();
        let refused = |detail: String| -> Result<(), Failure> {
            Err(clap::Error::raw(ErrorKind::ArgumentConflict, detail + "\n").into())
        };
        if self.inputs.iter().any(|input| input == Path::new("-")) {
            return refused("standard input (-) is one picture without a name; render it by itself".into());
        }
        if self.output == Path::new("-") {
            return refused("standard output takes one dream; name a folder for several with -o".into());
        }
        if self.replay.is_some() {
            return refused("--replay renders one dream again: give it one input and a file with -o".into());
        }
        if self.dream.starts_from_noise() {
            return refused("--noise starts without a picture: leave the inputs out".into());
        }
        let is_file = self.output.symlink_metadata().is_ok() && !self.output.is_dir();
        if is_file || (!names_folder(&self.output) && output::ending(&out.to_string()).is_some()) {
            return refused(format!("{out} names a file, and several dreams need a folder: use -o FOLDER"));
        }
        Ok(())
    }
}

/// Whether a path is a folder, or would be one.
fn names_folder(path: &Path) -> bool {
    let ends_so = path
        .as_os_str()
        .as_encoded_bytes()
        .last()
        .is_some_and(|last| std::path::is_separator((*last).into()));
    ends_so || path.is_dir()
}

/// Renders the dreams of all inputs.
pub(super) fn run(args: &Args) -> Result<ExitCode, Failure> {
    args.check_several()?;
    let pictures = folder::pictures(&args.inputs)?;
    let attached = args.attached()?;
    let start = if attached.mask.is_some() { InputKind::Masked } else { InputKind::Image };
    let plan = args.settle(args.written()?, start, attached, args.format)?;
    let jobs = folder::jobs(pictures, &args.output, plan.spec.format.extension(), args.force)?;
    let screen = Screen::wanted(args.show, false);
    let stop = Stop::listen()?;
    let session = Session::start(args, &plan, &stop)?;
    fs::create_dir_all(&args.output).map_err(|error| format!("{}: {error}", args.output.display()))?;
    let (mut written, mut failed) = (0, Vec::new());
    for (index, job) in jobs.iter().enumerate() {
        let place = format!("{} of {}", index + 1, jobs.len());
        let source = Source::of(&job.input);
        let outcome = render(args, &session, &stop, job, &place);
        let stopped = stop.asked();
        match outcome {
            Ok((name, rendered)) => {
                written += 1;
                if let Some(screen) = &screen {
                    screen.show(&rendered.image, plan.spec.format);
                }
                let dream = report::Dream { name: &name, input: Some(&source), rendered: &rendered };
                match args.json {
                    true => dream.print_line(&plan.spec, false)?,
                    false => dream.print_words(&format!("{place}: ")),
                }
            }
            Err(_) if stopped.is_some() => {}
            Err(error) => {
                let (error, input) = (error.to_string(), source.to_string());
                // Of a mask that does not fit, the message names the mask alone.
                let error = if error.starts_with(&input) { error } else { format!("{input}: {error}") };
                eprintln!("error: {place}: {}", visible_lines(&error));
                if args.json {
                    report::print_failure(&source, &error)?;
                }
                failed.push(input);
            }
        }
        if let Some(code) = stopped {
            eprintln!("stopped; {written} of {} dreams are written to {}", jobs.len(), args.output.display());
            return Ok(code);
        }
    }
    if failed.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    eprintln!(
        "{written} of {} dreams are written to {}; there is none of {}",
        jobs.len(),
        args.output.display(),
        failed.join(", ")
    );
    Ok(ExitCode::FAILURE)
}

/// Renders one dream; its name and the dream.
fn render(
    args: &Args,
    session: &Session<'_>,
    stop: &Stop,
    job: &Job,
    place: &str,
) -> Result<(String, reverie_engine::Rendered), Failure> {
    let source = Source::of(&job.input);
    let input = Bytes::from(source.read()?);
    let output = Target::in_folder(job.output.clone(), args.force).open()?;
    stop.deletes(output.temporary());
    let name = output.name().to_owned();
    let rendered = session.render(Some(input), &format!("{place}  {}", source));
    let rendered = rendered.map_err(|error| args.blame(error, Some(&source), &name))?;
    output.write(&rendered.image)?;
    Ok((name, rendered))
}
