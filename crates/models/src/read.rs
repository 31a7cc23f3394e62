//! Reads model files, and hashes what was read, so that no other content can slip in between.

use std::{fs::File, io::Read, path::Path};

use sha2::{Digest, Sha256};

use reverie_dream::digest;

use super::ModelError;

/// Largest model, 1 GiB with what stands in files beside it: it is read into memory as a whole.
pub(super) const MAX_FILE: u64 = 1 << 30;

/// Reads the files of one model, one after another.
#[derive(Default)]
pub(super) struct Reader {
    hash: Sha256,
    read: u64,
}

impl Reader {
    /// The content of a file.
    ///
    /// # Errors
    /// [`ModelError::Io`], and [`ModelError::TooLarge`] where it is too large together with what was read before.
    pub(super) fn read(&mut self, path: &Path) -> Result<Vec<u8>, ModelError> {
        let unreadable = |source| ModelError::Io { path: path.to_owned(), source };
        let mut source = File::open(path).map_err(unreadable)?.take(MAX_FILE - self.read + 1);
        let mut file = Vec::new();
        let mut chunk = vec![0; 1 << 20];
        loop {
            let count = source.read(&mut chunk).map_err(unreadable)?;
            let Some(read) = chunk.get(..count).filter(|read| !read.is_empty()) else {
                break;
            };
            self.hash.update(read);
            file.extend_from_slice(read);
        }
        self.read += file.len() as u64;
        if self.read > MAX_FILE {
            return Err(ModelError::TooLarge { path: path.to_owned() });
        }
        Ok(file)
    }

    /// The SHA-256 of all that was read, in hex.
    pub(super) fn sha256(&self) -> String {
        digest::hex(&self.hash.clone().finalize())
    }
}

/// The content of a single file and its SHA-256.
///
/// # Errors
/// As of [`Reader::read`].
pub(super) fn read(path: &Path) -> Result<(Vec<u8>, String), ModelError> {
    let mut reader = Reader::default();
    let file = reader.read(path)?;
    Ok((file, reader.sha256()))
}
