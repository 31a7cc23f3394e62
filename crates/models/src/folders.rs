//! Where model files are looked for, and which there are.
//!
//! A folder that is named is the only one. Without a name there are three, so that the program finds its models wherever it is
//! started: `models` in the working directory, `models` beside the program, and the user's data folder. A model of an earlier
//! folder hides one of the same id in a later one, as with programs on a path.

use std::{
    collections::BTreeMap,
    env,
    ffi::OsString,
    io,
    path::{Path, PathBuf},
};

use super::{KnownModel, ModelError};

/// Extensions of model files.
const EXTENSIONS: [&str; 6] = ["caffemodel", "onnx", "pb", "pt", "pth", "safetensors"];

/// The folders to look into, the first one first: `named` alone if there is one.
pub fn folders(named: Option<&Path>) -> Vec<PathBuf> {
    let program = env::current_exe().ok();
    named.map_or_else(|| usual(program.as_deref(), |name| env::var_os(name)), |named| vec![named.to_owned()])
}

/// The user's folder for models: `$XDG_DATA_HOME/reverie/models`, by default below `~/.local/share`. None without a home.
pub fn data_folder() -> Option<PathBuf> {
    data_folder_of(|name| env::var_os(name))
}

fn data_folder_of(variable: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    // As the XDG Base Directory Specification has it: a relative path is ignored.
    let absolute = |name| variable(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let data = absolute("XDG_DATA_HOME").or_else(|| Some(absolute("HOME")?.join(".local/share")));
    Some(data?.join("reverie/models"))
}

fn usual(program: Option<&Path>, variable: impl Fn(&str) -> Option<OsString>) -> Vec<PathBuf> {
    let mut folders = vec![PathBuf::from("models")];
    folders.extend(program.and_then(Path::parent).map(|folder| folder.join("models")));
    folders.extend(data_folder_of(variable));
    folders
}

/// The model files of a folder.
#[derive(Default)]
pub(super) struct Files {
    pub(super) by_id: BTreeMap<String, PathBuf>,
    /// Files whose names are no ids, or taken.
    pub(super) refused: Vec<ModelError>,
}

/// The model files of a folder, by their extensions; none where there is no folder. Subfolders and files whose names begin
/// with a dot are left alone.
pub(super) fn files(folder: &Path) -> Result<Files, ModelError> {
    let unreadable = |source| ModelError::Io { path: folder.to_owned(), source };
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Files::default()),
        entries => entries.map_err(unreadable)?,
    };
    let paths = entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<Vec<_>, _>>();
    let mut paths = paths.map_err(unreadable)?;
    // Of two with the same id the first in alphabetical order is taken.
    paths.sort_unstable();
    let mut files = Files::default();
    for path in paths {
        let extension = path.extension().and_then(|extension| extension.to_str());
        // macOS writes a "._NAME" beside every file that it copies to a foreign disk.
        let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if hidden || !extension.is_some_and(|extension| EXTENSIONS.contains(&extension)) || !path.is_file() {
            continue;
        }
        let id = match stem(&path) {
            Ok(stem) => KnownModel::claimed_by(stem).map_or(stem, |known| known.id).to_owned(),
            Err(error) => {
                files.refused.push(error);
                continue;
            }
        };
        if let Some(first) = files.by_id.get(&id) {
            let first = first.clone();
            files.refused.push(ModelError::SameId { id, first, second: path });
        } else {
            files.by_id.insert(id, path);
        }
    }
    Ok(files)
}

/// A file's name without extension, where it can be an id.
pub(super) fn stem(path: &Path) -> Result<&str, ModelError> {
    let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
    if stem.is_empty() || !stem.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c)) {
        return Err(ModelError::Name { path: path.to_owned() });
    }
    Ok(stem)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_named_folder_is_the_only_one() {
        assert_eq!(folders(Some(Path::new("mine"))), [Path::new("mine")]);
        let found = folders(None);
        let beside = env::current_exe().unwrap().parent().unwrap().join("models");
        assert_eq!(found[..2], [PathBuf::from("models"), beside]);
    }

    #[test]
    fn the_data_folder_is_where_xdg_says() {
        let usual = |set: &[(&str, &str)]| {
            let set: BTreeMap<String, OsString> =
                set.iter().map(|&(name, value)| (name.to_owned(), value.into())).collect();
            usual(Some(Path::new("/opt/reverie/bin/reverie")), |name| set.get(name).cloned())
        };
        let first = [Path::new("models"), Path::new("/opt/reverie/bin/models")];
        for (set, data) in [
            (&[("XDG_DATA_HOME", "/data"), ("HOME", "/home/ann")][..], Some("/data/reverie/models")),
            (&[("HOME", "/home/ann")], Some("/home/ann/.local/share/reverie/models")),
            (
                &[("XDG_DATA_HOME", "data"), ("HOME", "/home/ann")],
                Some("/home/ann/.local/share/reverie/models"),
            ),
            (&[("XDG_DATA_HOME", "")], None),
        ] {
            let expected: Vec<&Path> = first.into_iter().chain(data.map(Path::new)).collect();
            assert_eq!(usual(set), expected, "{set:?}");
        }
    }
}
