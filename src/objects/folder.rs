//! Checks that the storage folder is still the one that the server started with. If a disk is unmounted or a
//! folder moved away, its path leads to an empty place or to nothing. The local store would create what it
//! misses, and those files would be lost as soon as the disk is back.
//!
//! So a file in the folder contains a unique name. The server checks it before it writes a blob, and whenever
//! a blob is missing. Unlike a device number, it stays the same when the disk is mounted again.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use uuid::Uuid;

use super::ObjectError;

/// Name of the marker file.
const MARKER: &str = "store-id";

/// A folder with a unique name.
#[derive(Debug)]
pub(super) struct Folder {
    root: PathBuf,
    id: Uuid,
}

impl Folder {
    /// Reads the folder's name, or creates one. The name need not survive a power cut: the next start would
    /// create another, which works as well.
    pub(super) fn mark(root: &Path) -> Result<Self, ObjectError> {
        let marker = root.join(MARKER);
        let known = fs::read_to_string(&marker).ok().and_then(|text| text.trim().parse().ok());
        let id = match known {
            Some(id) => id,
            None => {
                let id = Uuid::new_v4();
                fs::write(&marker, id.to_string())
                    .map_err(|source| ObjectError::Prepare { path: marker.display().to_string(), source })?;
                id
            }
        };
        Ok(Self { root: root.to_owned(), id })
    }

    /// For error messages.
    pub(super) fn name(&self) -> String {
        self.root.display().to_string()
    }

    /// Checks that the folder exists and is the same one.
    pub(super) async fn check(&self) -> Result<(), ObjectError> {
        let path = self.root.join(MARKER);
        let found = match tokio::fs::read_to_string(&path).await {
            Ok(text) if text.trim().parse() == Ok(self.id) => return Ok(()),
            Ok(_) => io::Error::other("it is a different folder than at the start"),
            Err(error) => error,
        };
        Err(ObjectError::Away { place: path.display().to_string(), reason: found.to_string() })
    }

    /// Checks that a subfolder exists.
    pub(super) async fn check_inner(&self, folder: &str) -> Result<(), ObjectError> {
        let path = self.root.join(folder);
        let found = match tokio::fs::metadata(&path).await {
            Ok(found) if found.is_dir() => return Ok(()),
            Ok(_) => io::ErrorKind::NotADirectory.into(),
            Err(error) => error,
        };
        Err(ObjectError::Away { place: path.display().to_string(), reason: found.to_string() })
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::{
        jobs::JobId,
        objects::{ObjectKey, Objects},
    };

    #[tokio::test]
    async fn nothing_is_written_or_missed_where_the_folder_is_away() {
        let folder = tempfile::tempdir().unwrap();
        let (root, away) = (folder.path().join("data"), folder.path().join("away"));
        let objects = Objects::local(&root).unwrap();
        let key = ObjectKey::Input(JobId::new());
        objects.put(key, Bytes::from_static(b"picture")).await.unwrap();
        fs::rename(&root, &away).unwrap();
        // Nothing in its place, then a folder that looks the same, as a mount point can.
        for _ in 0..2 {
            let refused = [
                objects.put(key, Bytes::from_static(b"other")).await.unwrap_err(),
                objects.get(key).await.unwrap_err(),
                objects.delete(key).await.unwrap_err(),
                objects.check().await.unwrap_err(),
            ];
            for error in refused {
                assert!(matches!(error, ObjectError::Away { .. }), "{error}");
            }
            fs::create_dir_all(root.join("inputs")).unwrap();
            assert!(fs::read_dir(root.join("inputs")).unwrap().next().is_none());
        }
        fs::remove_dir_all(&root).unwrap();
        fs::rename(&away, &root).unwrap();
        assert_eq!(objects.get(key).await.unwrap(), "picture");
        // The name stays with the folder.
        drop(Objects::local(&root).unwrap());
        objects.check().await.unwrap();
    }
}
