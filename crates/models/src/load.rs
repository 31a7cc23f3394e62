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

use super::{KnownModel, defaults::DreamDefaults, looks};
use reverie_import::{
    ImportError, efficientnet,
    format::{self, Format},
    onnx, tensorflow, torch_file,
};

/// Largest model file, 1 GiB: it is read into memory as a whole.
const MAX_FILE: u64 = 1 << 30;

/// Extensions that [`load_dir`] looks for.
const EXTENSIONS: [&str; 4] = ["onnx", "pb", "pt", "pth"];

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
    #[error("{second} is left out, as {first} is called \"{id}\" too; rename one of them")]
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
    let (network, defaults, format) = match format::recognise(&file).map_err(refused)? {
        Format::Torch => {
            let network = torch_file::read(&file).and_then(efficientnet::build).map_err(refused)?;
            let defaults = DreamDefaults::of_efficientnet(&network);
            (network, Some(defaults), "EfficientNet-Lite weights")
        }
        Format::GraphDef => {
            let network = tensorflow::import(file).map_err(refused)?;
            let defaults = DreamDefaults::of_graph(&network);
            (network, defaults, "A TensorFlow graph")
        }
        Format::Onnx => {
            let network = onnx::import(file).map_err(refused)?;
            let defaults = DreamDefaults::of_onnx(&network);
            (network, defaults, "An ONNX network")
        }
    };
    let defaults = defaults.ok_or_else(|| ModelError::NoLayer { path: path.to_owned() })?;
    let looks = looks::of(&network);
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
        colors: defaults.colors,
        looks,
    })
}

/// The models of a folder.
#[derive(Debug, Default)]
pub struct Folder {
    /// Those that can be used; at least one.
    pub catalogue: Catalogue,
    /// Files that were left out, and why.
    pub refused: Vec<ModelError>,
}

/// Loads every model file of a folder, by its extension; subfolders and files whose names begin with a dot are left alone.
/// A file that cannot be used is left out: the other models do not need it.
///
/// # Errors
/// See [`ModelError`]: the folder cannot be read, or it has no model that can be used.
pub fn load_dir(dir: &Path) -> Result<Folder, ModelError> {
    let Files { by_id, mut refused } = files(dir)?;
    let mut catalogue = Catalogue::default();
    for path in by_id.values() {
        match load_file(path) {
            Ok(model) => catalogue.insert(model),
            Err(error) => refused.push(error),
        }
    }
    if catalogue.ids().is_empty() && !refused.is_empty() {
        return Err(refused.swap_remove(0));
    }
    Ok(Folder { catalogue, refused })
}

/// Loads the model `id` from a folder; the other models there are not read.
///
/// # Errors
/// See [`ModelError`].
pub fn load_id(dir: &Path, id: &str) -> Result<Model, ModelError> {
    let files = files(dir)?.by_id;
    let path = files.get(id).ok_or_else(|| ModelError::UnknownId {
        id: id.to_owned(),
        dir: dir.to_owned(),
        available: files.keys().cloned().collect::<Vec<_>>().join(", "),
    })?;
    load_file(path)
}

/// The model files of a folder.
#[derive(Default)]
struct Files {
    by_id: BTreeMap<String, PathBuf>,
    /// Files whose names are no ids, or taken.
    refused: Vec<ModelError>,
}

/// The model files of a folder; at least one.
fn files(dir: &Path) -> Result<Files, ModelError> {
    let unreadable = |source| ModelError::Io { path: dir.to_owned(), source };
    let entries = match std::fs::read_dir(dir) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(ModelError::NoModels { dir: dir.to_owned() });
        }
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
    if files.by_id.is_empty() && files.refused.is_empty() {
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
