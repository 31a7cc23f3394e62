//! Finds out what a model file is, reads it, and says how to dream with it.
//!
//! The content decides what a file is, its name only what it is called. A file that claims to be a known
//! model must have the known hash: a dream names its model by id, and the id must mean the same everywhere.

use std::{
    collections::BTreeMap,
    fs::File,
    io::Read,
    path::{Path, PathBuf},
};

use sha2::{Digest, Sha256};

use reverie_dream::{
    digest,
    model::{Catalogue, Model},
};

use super::{KnownModel, defaults::DreamDefaults};
use reverie_import::{ImportError, efficientnet, tensorflow, torch_file};

/// Largest model file, 1 GiB: it is read into memory as a whole.
const MAX_FILE: u64 = 1 << 30;

/// Extensions that [`load_dir`] looks for.
const EXTENSIONS: [&str; 3] = ["pb", "pt", "pth"];

/// Why a model file was refused.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// The file or folder cannot be read.
    #[error("{path}: {source}")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The file is larger than any model that can be used.
    #[error("{path}: the file has more than {MAX_FILE} bytes")]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// The file's name cannot be an id.
    #[error(
        "{path}: a model is called after its file, so only letters, digits, \".\", \"_\" and \"-\" may stand in the name"
    )]
    Name {
        /// The file.
        path: PathBuf,
    },
    /// The file claims to be a known model, but is not.
    #[error(
        "{path}: the sha256 of \"{id}\" must be {expected}, this file has {found}; download it again, or rename it"
    )]
    WrongHash {
        /// The file.
        path: PathBuf,
        /// The known model's id.
        id: &'static str,
        /// The known hash.
        expected: &'static str,
        /// The file's hash.
        found: String,
    },
    /// The file's content is refused.
    #[error("{path}: {source}")]
    Import {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: ImportError,
    },
    /// The network has nothing to dream of.
    #[error("{path}: the network has no layer with positions, so there is nothing to dream of")]
    NoLayer {
        /// The file.
        path: PathBuf,
    },
    /// Two files have the same id.
    #[error("{first} and {second} are both called \"{id}\"; remove one of them")]
    SameId {
        /// The id.
        id: String,
        /// One file.
        first: PathBuf,
        /// The other file.
        second: PathBuf,
    },
    /// There is no model of that id.
    #[error("there is no model \"{id}\" in {dir}; available are {available}")]
    UnknownId {
        /// What was asked for.
        id: String,
        /// The folder.
        dir: PathBuf,
        /// Comma-separated list.
        available: String,
    },
    /// There is no model at all.
    #[error("there are no models in {dir}{}; run scripts/setup to fetch the default one", missing(.dir))]
    NoModels {
        /// The folder.
        dir: PathBuf,
    },
}

fn missing(dir: &Path) -> &'static str {
    if dir.exists() { "" } else { ", which does not exist" }
}

/// Loads one file. Its id is the file's name without extension, or that of the known model it claims to be.
///
/// # Errors
/// See [`ModelError`].
pub fn load_file(path: &Path) -> Result<Model, ModelError> {
    let stem = stem(path)?;
    let known = KnownModel::claimed_by(stem);
    let (file, sha256) = read(path)?;
    if let Some(known) = known.filter(|known| known.sha256 != sha256) {
        return Err(ModelError::WrongHash {
            path: path.to_owned(),
            id: known.id,
            expected: known.sha256,
            found: sha256,
        });
    }
    let refused = |source| ModelError::Import { path: path.to_owned(), source };
    let (network, defaults, format) = if torch_file::is_torch_file(&file) {
        let network = torch_file::read(&file).and_then(efficientnet::build).map_err(refused)?;
        (network, Some(DreamDefaults::of_efficientnet()), "EfficientNet-Lite0 weights")
    } else {
        let network = tensorflow::import(file).map_err(refused)?;
        let defaults = DreamDefaults::of_graph(&network);
        (network, defaults, "A TensorFlow graph")
    };
    let defaults = defaults.ok_or_else(|| ModelError::NoLayer { path: path.to_owned() })?;
    let described = || format!("{format} from a file called {stem}.");
    Ok(Model {
        id: known.map_or(stem, |known| known.id).to_owned(),
        description: known.map_or_else(described, |known| known.description.to_owned()),
        path: path.to_owned(),
        sha256,
        network,
        preprocessing: defaults.preprocessing,
        default_layer: defaults.default_layer,
        class_layer: defaults.class_layer,
        channel_layer: defaults.channel_layer,
    })
}

/// Loads every `*.pb`, `*.pt` and `*.pth` of a folder; subfolders are left alone.
///
/// # Errors
/// See [`ModelError`]; one bad file fails the whole folder, since jobs may ask for it.
pub fn load_dir(dir: &Path) -> Result<Catalogue, ModelError> {
    let mut catalogue = Catalogue::default();
    for path in files(dir)?.values() {
        catalogue.insert(load_file(path)?);
    }
    Ok(catalogue)
}

/// Loads the model `id` from a folder; the other models there are not read.
///
/// # Errors
/// See [`ModelError`].
pub fn load_id(dir: &Path, id: &str) -> Result<Model, ModelError> {
    let files = files(dir)?;
    let path = files.get(id).ok_or_else(|| ModelError::UnknownId {
        id: id.to_owned(),
        dir: dir.to_owned(),
        available: files.keys().cloned().collect::<Vec<_>>().join(", "),
    })?;
    load_file(path)
}

/// The model files of a folder by id; at least one.
fn files(dir: &Path) -> Result<BTreeMap<String, PathBuf>, ModelError> {
    let unreadable = |source| ModelError::Io { path: dir.to_owned(), source };
    let entries = match std::fs::read_dir(dir) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(ModelError::NoModels { dir: dir.to_owned() });
        }
        entries => entries.map_err(unreadable)?,
    };
    let mut files = BTreeMap::new();
    for entry in entries {
        let path = entry.map_err(unreadable)?.path();
        let extension = path.extension().and_then(|extension| extension.to_str());
        if !extension.is_some_and(|extension| EXTENSIONS.contains(&extension)) || !path.is_file() {
            continue;
        }
        let stem = stem(&path)?;
        let id = KnownModel::claimed_by(stem).map_or(stem, |known| known.id).to_owned();
        if let Some(other) = files.insert(id.clone(), path.clone()) {
            let (first, second) = (other.clone().min(path.clone()), other.max(path));
            return Err(ModelError::SameId { id, first, second });
        }
    }
    if files.is_empty() {
        return Err(ModelError::NoModels { dir: dir.to_owned() });
    }
    Ok(files)
}

/// A file's name without extension, where it can be an id.
fn stem(path: &Path) -> Result<&str, ModelError> {
    let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
    if stem.is_empty() || !stem.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c)) {
        return Err(ModelError::Name { path: path.to_owned() });
    }
    Ok(stem)
}

/// Reads a file and hashes what was read, so that no other content can slip in between.
fn read(path: &Path) -> Result<(Vec<u8>, String), ModelError> {
    let unreadable = |source| ModelError::Io { path: path.to_owned(), source };
    let mut source = File::open(path).map_err(unreadable)?.take(MAX_FILE + 1);
    let mut file = Vec::new();
    let mut hash = Sha256::new();
    let mut chunk = vec![0; 1 << 20];
    loop {
        let count = source.read(&mut chunk).map_err(unreadable)?;
        let Some(read) = chunk.get(..count).filter(|read| !read.is_empty()) else {
            break;
        };
        hash.update(read);
        file.extend_from_slice(read);
    }
    if file.len() as u64 > MAX_FILE {
        return Err(ModelError::TooLarge { path: path.to_owned() });
    }
    let sha256 = digest::hex(&hash.finalize());
    Ok((file, sha256))
}

#[cfg(test)]
mod tests;
