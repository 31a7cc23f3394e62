//! Folders: the pictures in a folder of inputs, and the names of their dreams in the folder of `-o`.

use std::{
    collections::HashMap,
    fs::{self, File},
    io::Read,
    path::{Path, PathBuf},
};

use super::super::Failure;
use reverie_picture as picture;

/// First bytes of a file by which its kind is told.
const HEAD: u64 = 64;

/// Names that a message lists; of the others it tells how many there are.
const LISTED: usize = 3;

/// The endings of pictures. A file with one of them is taken even if it is damaged, so that its error is told.
const ENDINGS: [&str; 11] =
    ["png", "jpg", "jpeg", "webp", "gif", "bmp", "tif", "tiff", "heic", "heif", "avif"];

/// A picture, and where its dream goes.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Job {
    pub(super) input: PathBuf,
    pub(super) output: PathBuf,
}

/// All pictures of `inputs`: files as they are given, and of folders the pictures in them in the order of their names.
///
/// # Errors
/// A folder that cannot be read, or has no picture.
pub(super) fn pictures(inputs: &[PathBuf]) -> Result<Vec<PathBuf>, Failure> {
    let mut all = Vec::new();
    for input in inputs {
        if input.is_dir() { all.extend(pictures_in(input)?) } else { all.push(input.clone()) }
    }
    Ok(all)
}

fn pictures_in(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    let wrong = |error| format!("{}: {error}", folder.display());
    let mut entries = Vec::new();
    for entry in fs::read_dir(folder).map_err(wrong)? {
        let name = entry.map_err(wrong)?.file_name();
        // Hidden files are none of the person's.
        if !name.as_encoded_bytes().starts_with(b".") {
            entries.push(name);
        }
    }
    entries.sort_unstable();
    let (taken, others): (Vec<_>, Vec<_>) =
        entries.into_iter().map(|name| folder.join(name)).partition(|path| is_picture(path));
    if taken.is_empty() {
        let kinds = "PNG, JPEG, WebP, GIF, BMP, TIFF, HEIC or AVIF";
        return Err(format!("{}: there is no picture ({kinds}) in this folder", folder.display()).into());
    }
    if !others.is_empty() {
        let names = listed(others.iter().filter_map(|path| path.file_name()).map(|name| name.display()));
        eprintln!("note: {}: left out, as no pictures: {names}", folder.display());
    }
    Ok(taken)
}

/// Whether a file is, or claims to be, a picture.
fn is_picture(path: &Path) -> bool {
    if !path.is_file() {
        return false;
    }
    let ending = path.extension().map(|ending| ending.to_ascii_lowercase());
    if ending.is_some_and(|ending| ENDINGS.iter().any(|known| ending == **known)) {
        return true;
    }
    let mut head = Vec::new();
    let read = File::open(path).and_then(|file| file.take(HEAD).read_to_end(&mut head));
    read.is_ok() && picture::media_type(&head).is_ok()
}

/// Names the dreams in `folder` after their inputs, with this extension. Without `force` none of them is there yet.
///
/// # Errors
/// Dreams that would have the same name, or that of a file which is there.
pub(super) fn jobs(
    inputs: Vec<PathBuf>,
    folder: &Path,
    extension: &str,
    force: bool,
) -> Result<Vec<Job>, Failure> {
    let named = |input: PathBuf| {
        let mut name = input.file_stem().unwrap_or_default().to_owned();
        name.push(".");
        name.push(extension);
        Job { output: folder.join(name), input }
    };
    let jobs: Vec<Job> = inputs.into_iter().map(named).collect();
    let mut first: HashMap<&Path, &Path> = HashMap::new();
    let mut collisions = Vec::new();
    for Job { input, output } in &jobs {
        if let Some(other) = first.insert(output, input) {
            let (output, other, input) = (output.display(), other.display(), input.display());
            collisions.push(format!("{other} and {input} would both be written to {output}"));
        }
    }
    if !collisions.is_empty() {
        return Err(format!("{}; render them to different folders", collisions.join("\n       ")).into());
    }
    // A link that leads nowhere is there, too.
    let mut there = jobs.iter().map(|job| &job.output).filter(|output| output.symlink_metadata().is_ok());
    if let Some(folder) = there.clone().find(|output| output.is_dir()) {
        return Err(format!("{} is a folder; a dream would have its name", folder.display()).into());
    }
    if !force && there.clone().next().is_some() {
        let names = listed(there.by_ref().map(|output| output.display()));
        return Err(
            format!("already there: {names}; choose another folder, or add --force to overwrite").into()
        );
    }
    Ok(jobs)
}

/// The first of some names, and how many others there are.
fn listed<T: ToString>(names: impl Iterator<Item = T>) -> String {
    let names: Vec<String> = names.map(|name| name.to_string()).collect();
    let (shown, others) = names.split_at(names.len().min(LISTED));
    let more = if others.is_empty() { String::new() } else { format!(" and {} more", others.len()) };
    format!("{}{more}", shown.join(", "))
}
