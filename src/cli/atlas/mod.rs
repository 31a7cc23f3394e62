//! `reverie atlas`: renders what the layers of a model dream, by the recipe of the service's tiles ([`crate::tile`]), into sheets
//! that a person and a program can look through.
//!
//! The folder holds `index.json` (which tile is where), `index.html` (a page that opens from the disk) and `sheets/`. A sheet is
//! written once, when all of its tiles are rendered; until then they lie in `parts/`. So a run that was stopped goes on with what
//! is missing, and a later one with other layers or more channels adds sheets.

mod folder;
mod index;
mod page;
mod selection;
mod sheet;

use std::{path::PathBuf, sync::Arc};

use clap::{ValueHint, value_parser};
use indicatif::ProgressBar;

use super::{ExitCode, Failure, models, progress, render::quiet_render_thread, stop::Stop};
use folder::Folder;
use reverie_dream::{
    model::{Catalogue, Model},
    spec::{DreamSpec, Format},
};
use reverie_engine::{RenderOptions, RenderRequest, Renderer};
use selection::{Layers, Wanted};
use sheet::Sheet;

/// The end of `reverie atlas --help`.
pub(super) const AFTER_LONG_HELP: &str = "\
Examples:
  reverie atlas efficientnet-lite2 -o atlas                   the layers worth a look, a tile of each
  reverie atlas efficientnet-lite2 -o atlas --channels 16     and the first 16 channels of each
  reverie atlas efficientnet-lite2 -o atlas --layer block13   one layer with all of its channels
  reverie atlas inception5h -o atlas --all                    every layer

Each of these adds to what is in the folder. A run that was stopped goes on when the same command is given again.
Open DIR/index.html in a browser; DIR/index.json tells programs the same.";

/// Options of `reverie atlas`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A model's id, or a model file.
    #[arg(value_hint = ValueHint::AnyPath)]
    model: String,
    /// Folder of the atlas; one that has been begun is gone on with, and files of something else are never replaced.
    #[arg(short, long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    output: PathBuf,
    /// Only this layer, with all of its channels; can be repeated.
    #[arg(long = "layer", value_name = "LAYER")]
    layers: Vec<String>,
    /// The first N channels of each layer.
    #[arg(long, value_name = "N", value_parser = value_parser!(u32).range(1..))]
    channels: Option<u32>,
    /// Every layer, not only those that are worth a first look.
    #[arg(long, conflicts_with = "layers")]
    all: bool,
    /// CPU threads; 0 means one per core.
    #[arg(long, default_value_t = 0)]
    threads: usize,
    #[command(flatten)]
    compute: models::Compute,
    #[command(flatten)]
    folder: models::Folder,
}

/// Runs the command.
pub(super) fn run(args: &Args) -> Result<ExitCode, Failure> {
    quiet_render_thread();
    let mut catalogue = Catalogue::default();
    catalogue.insert(models::load(&args.model, &args.folder)?);
    let model = catalogue.iter().next().ok_or("the model is gone")?;
    let layers = match (&args.layers[..], args.all) {
        ([], true) => Layers::All,
        ([], false) => Layers::Featured,
        (names, _) => Layers::Named(names),
    };
    let wanted = selection::of(model, &catalogue, layers, args.channels)?;
    let mut folder = Folder::open(&args.output, model)?;
    let all = wanted.len();
    let missing: Vec<Wanted> = wanted.into_iter().filter(|wanted| !folder.has(&wanted.tile)).collect();
    let stop = Stop::listen()?;
    let mut painter = Painter::start(args, model, &stop, &missing, &folder)?;
    folder.begin()?;
    for sheet in sheet::cut(&missing) {
        painter.fill(&sheet, &mut folder)?;
        if let Some(code) = stop.asked() {
            painter.bar.finish_and_clear();
            let there = all - missing.iter().filter(|wanted| !folder.keeps(&wanted.tile)).count();
            eprintln!(
                "stopped; {there} of {all} tiles are rendered, and the same command goes on with the others"
            );
            return Ok(code);
        }
    }
    painter.bar.finish_and_clear();
    let failed = painter.failed;
    eprintln!(
        "{} has {} tiles, {} of them new",
        args.output.join(folder::PAGE).display(),
        folder.tiles(),
        missing.len() - failed
    );
    if failed > 0 {
        eprintln!("error: {failed} of {all} tiles could not be rendered; the same command tries them again");
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

/// Renders tiles, one after another.
struct Painter<'a> {
    renderer: Renderer,
    model: &'a Arc<Model>,
    stop: &'a Stop,
    bar: ProgressBar,
    /// Whether a tile has been rendered, so that the pace is known.
    warm: bool,
    /// Tiles that could not be rendered.
    failed: usize,
}

impl<'a> Painter<'a> {
    fn start(
        args: &Args,
        model: &'a Arc<Model>,
        stop: &'a Stop,
        missing: &[Wanted],
        folder: &Folder,
    ) -> Result<Self, Failure> {
        let renderer = Renderer::start(&RenderOptions {
            device: args.compute.device.clone(),
            kernels: args.compute.kernels,
            threads: args.threads,
            queue: 1,
            max_pixels: u64::MAX,
            profile: false,
            sharing: 1,
        })?;
        // What a run that was stopped has rendered takes no time.
        let open = missing.iter().filter(|wanted| !folder.keeps(&wanted.tile));
        let bar = progress::work(open.map(|wanted| wanted.seconds).sum());
        Ok(Self { renderer, model, stop, bar, warm: false, failed: 0 })
    }

    /// Renders what a sheet lacks, and writes it; nothing more once the program was asked to stop.
    ///
    /// # Errors
    /// If the folder cannot be written.
    fn fill(&mut self, sheet: &Sheet<'_>, folder: &mut Folder) -> Result<(), Failure> {
        for wanted in &sheet.tiles {
            if folder.keeps(&wanted.tile) {
                continue;
            }
            let rendered = self.render(wanted);
            if !std::mem::replace(&mut self.warm, true) {
                progress::is_warm(&self.bar);
            }
            if self.stop.asked().is_some() {
                return Ok(());
            }
            match rendered {
                Ok(picture) => folder.keep(&wanted.tile, &picture)?,
                Err(error) => {
                    self.failed += 1;
                    self.bar.suspend(|| eprintln!("error: {}: {error}", wanted.name()));
                }
            }
        }
        if let Some((file, tiles)) = folder.finish(sheet)? {
            self.bar.suspend(|| eprintln!("{file} ({tiles} tiles)"));
        }
        Ok(())
    }

    /// One tile as a PNG: it is compressed with its sheet, and should not be before.
    fn render(&self, wanted: &Wanted) -> Result<Vec<u8>, Failure> {
        let (bar, before, name) = (self.bar.clone(), self.bar.position(), wanted.name());
        bar.set_message(name);
        let steps = progress::in_steps(wanted.seconds);
        let shown = bar.clone();
        let outcome = self.renderer.submit(RenderRequest {
            on_progress: Box::new(move |progress| {
                shown.set_position(before + (progress.fraction * steps as f64) as u64);
            }),
            cancel: self.stop.cancel.clone(),
            ..RenderRequest::alone(
                self.model.clone(),
                DreamSpec { format: Format::Png, ..wanted.spec.clone() },
            )
        })?;
        let rendered = outcome.blocking_recv().map_err(|_| "the renderer has stopped")??.encode()?;
        bar.set_position(before + steps);
        Ok(rendered.image)
    }
}
