//! `reverie models fetch`: gets the file of a known model, after saying how large it is and under which terms it comes.

use std::{
    fs,
    io::{self, Write},
    path::PathBuf,
};

use tokio::runtime::Builder;

use super::{super::progress, ExitCode, Failure, Folder};
use crate::download::Download;
use reverie_models::{self as models, KnownModel};

/// Arguments of `reverie models fetch`.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// Id of a known model; `reverie models list --available` lists them.
    id: String,
    /// Get the file from a mirror: its address and the last part of the model's own make the URL.
    #[arg(long, env = "REVERIE_MODELS_MIRROR", value_name = "URL")]
    mirror: Option<String>,
    #[command(flatten)]
    folder: Folder,
}

/// Runs the command.
pub(super) fn run(args: &Args) -> Result<ExitCode, Failure> {
    let known = find(&args.id)?;
    if let Some(path) = models::find_known(&args.folder.list(), known)? {
        eprintln!("\"{}\" is there already: {}", known.id, path.display());
        return Ok(ExitCode::SUCCESS);
    }
    let folder = args.target()?;
    fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let url =
        args.mirror.as_deref().map_or_else(|| known.download.url.to_owned(), |mirror| at(mirror, known));
    eprintln!("{}: {}", known.id, known.description);
    eprintln!("{:.1} MB from {url}", known.megabytes());
    eprintln!("licence: {}", known.licence);
    let target = folder.join(known.file_name);
    let download =
        Download { url: &url, size: known.download.size, member: known.download.member, hash: known.hash };
    let bar = progress::bytes();
    let saved = Builder::new_current_thread().enable_all().build()?.block_on(download.save(
        &target,
        |done, total| {
            bar.set_length(total);
            bar.set_position(done);
        },
    ));
    bar.finish_and_clear();
    saved?;
    println!("{}", target.display());
    Ok(ExitCode::SUCCESS)
}

fn find(id: &str) -> Result<&'static KnownModel, Failure> {
    let known = models::known_models();
    let ids = || known.iter().map(|known| known.id).collect::<Vec<_>>().join(", ");
    let found = known.iter().find(|known| known.id == id);
    found.ok_or_else(|| format!("there is no known model \"{id}\"; known are {}", ids()).into())
}

/// The URL of a model's download at a mirror.
fn at(mirror: &str, known: &KnownModel) -> String {
    let name = known.download.url.rsplit('/').next().unwrap_or_default();
    format!("{}/{name}", mirror.trim_end_matches('/'))
}

impl Args {
    /// Where the file goes: the folder that is named, else `models` if it is there, else the user's data folder.
    fn target(&self) -> Result<PathBuf, Failure> {
        let here = PathBuf::from("models");
        match &self.folder.models_dir {
            Some(named) => Ok(named.clone()),
            None if here.is_dir() => Ok(here),
            None => {
                Ok(models::data_folder().ok_or("there is no home folder; name a folder with --models-dir")?)
            }
        }
    }
}

/// Lists what can be fetched, and whether it is there.
pub(super) fn list(folder: &Folder) -> Result<ExitCode, Failure> {
    let mut out = io::stdout().lock();
    let folders = folder.list();
    for known in models::known_models() {
        let there = if models::find_known(&folders, known)?.is_some() { "here" } else { "-" };
        let KnownModel { id, description, licence, .. } = known;
        writeln!(out, "{id:<20} {there:<4} {:>6.1} MB  {description} Licence: {licence}", known.megabytes())?;
    }
    Ok(ExitCode::SUCCESS)
}
