//! Finds out what a model file is and reads it.

use std::path::{Path, PathBuf};

use super::{Catalogue, Model};

/// Why a model file was refused.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// The file cannot be read.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
}

/// Loads one file.
///
/// # Errors
/// See [`ModelError`].
pub fn load_file(_path: &Path) -> Result<Model, ModelError> {
    unimplemented!()
}

/// Loads a folder.
///
/// # Errors
/// See [`ModelError`].
pub fn load_dir(_path: &Path) -> Result<Catalogue, ModelError> {
    unimplemented!()
}

/// Loads by id.
///
/// # Errors
/// See [`ModelError`].
pub fn load_id(_folder: &Path, _id: &str) -> Result<Model, ModelError> {
    unimplemented!()
}
