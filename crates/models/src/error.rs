//! Why a model file, or a folder of them, cannot be used.

use std::path::{Path, PathBuf};

use reverie_dream::model::Unreadable;
use reverie_import::ImportError;

use super::{hash::KnownHash, read::MAX_FILE};

/// Why a model file was refused. The message begins with the file and a colon, where it is about one.
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
    #[error("{path}: the model has more than {MAX_FILE} bytes")]
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
        "{path}: the {} of \"{id}\" must {}, this file has {found}; download it again, or rename it",
        .hash.algorithm(),
        .hash.demand()
    )]
    WrongHash {
        /// The file.
        path: PathBuf,
        /// The known model's id.
        id: &'static str,
        /// The known hash.
        hash: KnownHash<'static>,
        /// The file's hash.
        found: String,
    },
    /// A file beside it that has its weights cannot be read.
    #[error("{path}: its weights are in the file \"{name}\", which must lie beside it: {source}")]
    Companion {
        /// The file.
        path: PathBuf,
        /// The name of the other.
        name: String,
        /// The system's reason.
        source: std::io::Error,
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
    /// What is said of the model in the file beside it, or in its labels, cannot be used.
    #[error("{path}: {problem}")]
    Settings {
        /// `NAME.toml`, or the file of labels.
        path: PathBuf,
        /// What was found and what is allowed.
        problem: String,
    },
    /// Two files of a folder have the same id.
    #[error("{second}: {} is called \"{id}\" too; rename one of them", shown(.first))]
    SameId {
        /// The id.
        id: String,
        /// One file.
        first: PathBuf,
        /// The other file.
        second: PathBuf,
    },
    /// There is no model of that id.
    #[error("there is no model \"{id}\" in {}; available are {available}", list(.folders))]
    UnknownId {
        /// What was asked for.
        id: String,
        /// Where it was looked for.
        folders: Vec<PathBuf>,
        /// Comma-separated list.
        available: String,
    },
    /// There is no model at all.
    #[error(
        "there are no models in {}{}; run scripts/setup or `reverie models fetch` to get one",
        list(.folders),
        missing(.folders)
    )]
    NoModels {
        /// Where they were looked for.
        folders: Vec<PathBuf>,
    },
}

impl ModelError {
    /// The file that is at fault, if it is one file.
    pub fn file(&self) -> Option<&Path> {
        match self {
            Self::Io { path, .. }
            | Self::TooLarge { path }
            | Self::Name { path }
            | Self::WrongHash { path, .. }
            | Self::Companion { path, .. }
            | Self::Import { path, .. }
            | Self::NoLayer { path }
            | Self::Settings { path, .. }
            | Self::SameId { second: path, .. } => Some(path),
            Self::UnknownId { .. } | Self::NoModels { .. } => None,
        }
    }

    /// File and reason without the folder, which is nothing to tell clients; none where no file is at fault.
    pub fn unreadable(&self) -> Option<Unreadable> {
        let path = self.file()?;
        let message = self.to_string();
        let reason = message.strip_prefix(&format!("{}: ", path.display())).unwrap_or(&message);
        Some(Unreadable { file: shown(path), reason: reason.to_owned() })
    }
}

fn shown(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn list(folders: &[PathBuf]) -> String {
    let folders: Vec<String> = folders.iter().map(|folder| folder.display().to_string()).collect();
    folders.join(" or ")
}

fn missing(folders: &[PathBuf]) -> &'static str {
    match folders {
        [folder] if !folder.exists() => ", which does not exist",
        _ => "",
    }
}
