//! Blobs: input images and finished dreams.
//!
//! An [`ObjectKey`] is the only way to name one, so that no path is ever put together from what a client
//! sent. The local store stages every blob beside its place and renames it when it is whole; with its
//! `fsync` option the file and its folder are on the disk before `put` returns, which a job's row relies on:
//! an accepted job whose input is lost would be a broken promise, while a blob without a row only takes space.

mod place;

use std::{fmt, fs, io, ops::Range, path::Path, sync::Arc};

use bytes::Bytes;
use futures::{StreamExt, stream::BoxStream};
use object_store::{GetOptions, ObjectStore, ObjectStoreExt, local::LocalFileSystem};
use uuid::Uuid;

use place::Place;

use crate::{
    clock::Timestamp,
    jobs::{Job, JobId, Lease},
};

/// The folders that keys live in.
const FOLDERS: [&str; 5] = ["inputs", "masks", "results", "checkpoints", "previews"];

/// Name of one blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ObjectKey {
    /// The image that a job starts from.
    Input(JobId),
    /// The image that says where the dream may grow.
    Mask(JobId),
    /// A finished dream. The lease is part of the name, so that a worker that lost its job can neither
    /// overwrite nor delete what its successor stored.
    Result(JobId, Uuid),
    /// The state after the newest finished octave of a job at work. Whoever works on a job writes the same
    /// states in the same order, so the lease is no part of the name.
    Checkpoint(JobId),
    /// The newest finished octave as a small JPEG.
    Preview(JobId),
}

impl ObjectKey {
    /// Where the holder of `lease` stores its dream.
    pub fn result_under(lease: Lease) -> Self {
        Self::Result(lease.job, lease.token)
    }

    /// Where a job's dream is, once there is one.
    pub fn result_of(job: &Job) -> Option<Self> {
        job.result.as_ref().map(|result| Self::Result(job.id, result.lease))
    }

    /// The job that it belongs to.
    pub fn job(self) -> JobId {
        match self {
            Self::Input(job) | Self::Mask(job) => job,
            Self::Result(job, _) | Self::Checkpoint(job) | Self::Preview(job) => job,
        }
    }

    /// Reads a name as [`fmt::Display`] writes it; none where it is nobody's.
    fn parse(name: &str) -> Option<Self> {
        match name.split_once('/')? {
            ("inputs", job) => Some(Self::Input(job.parse().ok()?)),
            ("masks", job) => Some(Self::Mask(job.parse().ok()?)),
            ("checkpoints", job) => Some(Self::Checkpoint(job.parse().ok()?)),
            ("previews", job) => Some(Self::Preview(job.parse().ok()?)),
            ("results", name) => {
                let (job, lease) = name.rsplit_once('-')?;
                Some(Self::Result(job.parse().ok()?, lease.parse().ok()?))
            }
            _ => None,
        }
    }

    /// Every blob that belongs to a job.
    pub fn all_of(job: &Job) -> Vec<Self> {
        let own = [Self::Input(job.id), Self::Checkpoint(job.id), Self::Preview(job.id)];
        let mask = job.spec.mask.map(|_| Self::Mask(job.id));
        own.into_iter().chain(mask).chain(Self::result_of(job)).collect()
    }

    fn path(self) -> object_store::path::Path {
        object_store::path::Path::from(self.to_string())
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Input(job) => write!(f, "inputs/{job}"),
            Self::Mask(job) => write!(f, "masks/{job}"),
            Self::Checkpoint(job) => write!(f, "checkpoints/{job}"),
            Self::Preview(job) => write!(f, "previews/{job}"),
            Self::Result(job, lease) => write!(f, "results/{job}-{}", lease.simple()),
        }
    }
}

/// Why a blob could not be stored, read or deleted.
#[derive(Debug, thiserror::Error)]
pub enum ObjectError {
    /// There is no blob of that name.
    #[error("there is no object {0}")]
    NotFound(ObjectKey),
    /// The store failed.
    #[error("object {key}: {source}")]
    Store {
        /// The blob.
        key: ObjectKey,
        /// The store's reason.
        source: object_store::Error,
    },
    /// The folders cannot be prepared.
    #[error("{path}: {source}")]
    Prepare {
        /// The folder.
        path: String,
        /// The system's reason.
        source: io::Error,
    },
    /// The folder is not there, or not the one that it was: nothing in it can be told to exist or not.
    #[error("the blob store is away: {path}: {source}")]
    Away {
        /// What was looked for.
        path: String,
        /// What was found.
        source: io::Error,
    },
    /// The store cannot be opened.
    #[error("the blob store cannot be opened: {0}")]
    Open(object_store::Error),
    /// The blobs cannot be listed.
    #[error("the blob store cannot be listed: {0}")]
    List(object_store::Error),
}

impl ObjectError {
    /// Whether there was no room: the disk is full, or its quota used up.
    pub fn is_full(&self) -> bool {
        let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(self);
        while let Some(error) = cause {
            if let Some(error) = error.downcast_ref::<io::Error>() {
                return matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
            }
            cause = error.source();
        }
        false
    }
}

/// A blob on its way out.
pub struct Object {
    /// Length in bytes.
    pub size: u64,
    /// The bytes, in pieces.
    pub stream: BoxStream<'static, Result<Bytes, object_store::Error>>,
}

/// The blob store. Clones share it.
#[derive(Clone, Debug)]
pub struct Objects {
    store: Arc<dyn ObjectStore>,
    place: Arc<Place>,
}

impl Objects {
    /// A store in folders below `root`, which is created where needed. What an earlier process left
    /// half-written is removed, so no other process may be using the folder.
    ///
    /// # Errors
    /// When the folders cannot be created or read.
    pub fn local(root: &Path) -> Result<Self, ObjectError> {
        for folder in FOLDERS {
            let path = root.join(folder);
            let prepared = fs::create_dir_all(&path).and_then(|()| remove_staged(&path));
            prepared.map_err(|source| ObjectError::Prepare { path: path.display().to_string(), source })?;
        }
        let store = LocalFileSystem::new_with_prefix(root).map_err(ObjectError::Open)?.with_fsync(true);
        Ok(Self { store: Arc::new(store), place: Arc::new(Place::mark(root)?) })
    }

    /// Whether the folders are there, as they are not where a disk was unmounted. Writes nothing: a probe
    /// that anyone may send should not keep the disk busy.
    ///
    /// # Errors
    /// [`ObjectError::Away`] with what is missing.
    pub async fn check(&self) -> Result<(), ObjectError> {
        self.place.check().await?;
        for folder in FOLDERS {
            self.place.check_folder(folder).await?;
        }
        Ok(())
    }

    /// Stores a blob, replacing one of the same name. It is durable, and visible as a whole, when this
    /// returns.
    ///
    /// # Errors
    /// When the store fails or is away; nothing is visible then.
    pub async fn put(&self, key: ObjectKey, bytes: Bytes) -> Result<(), ObjectError> {
        self.place.check().await?;
        let stored = self.store.put(&key.path(), bytes.into()).await;
        stored.map(drop).map_err(|source| failed(key, source))
    }

    /// Opens a blob for reading piece by piece.
    ///
    /// # Errors
    /// [`ObjectError::NotFound`], or when the store fails.
    pub async fn open(&self, key: ObjectKey) -> Result<Object, ObjectError> {
        let found = match self.store.get(&key.path()).await {
            Ok(found) => found,
            Err(source) => return Err(self.failed(key, source).await),
        };
        Ok(Object { size: found.meta.size, stream: found.into_stream().boxed() })
    }

    /// Opens a part of a blob; `range` must lie inside it.
    ///
    /// # Errors
    /// [`ObjectError::NotFound`], or when the store fails.
    pub async fn open_range(&self, key: ObjectKey, range: Range<u64>) -> Result<Object, ObjectError> {
        let size = range.end - range.start;
        let options = GetOptions { range: Some(range.into()), ..GetOptions::default() };
        let found = match self.store.get_opts(&key.path(), options).await {
            Ok(found) => found,
            Err(source) => return Err(self.failed(key, source).await),
        };
        Ok(Object { size, stream: found.into_stream().boxed() })
    }

    /// Reads a whole blob.
    ///
    /// # Errors
    /// [`ObjectError::NotFound`], or when the store fails.
    pub async fn get(&self, key: ObjectKey) -> Result<Bytes, ObjectError> {
        let found = match self.store.get(&key.path()).await {
            Ok(found) => found,
            Err(source) => return Err(self.failed(key, source).await),
        };
        found.bytes().await.map_err(|source| failed(key, source))
    }

    /// Blobs that were stored before `before`.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn older_than(&self, before: Timestamp) -> Result<Vec<ObjectKey>, ObjectError> {
        let mut old = Vec::new();
        for folder in FOLDERS {
            let mut all = self.store.list(Some(&folder.into()));
            while let Some(found) = all.next().await {
                let found = found.map_err(ObjectError::List)?;
                if found.last_modified.timestamp_millis() < before.as_millis() {
                    old.extend(ObjectKey::parse(found.location.as_ref()));
                }
            }
        }
        Ok(old)
    }

    /// Deletes a blob; one that is not there is no mistake.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn delete(&self, key: ObjectKey) -> Result<(), ObjectError> {
        match self.store.delete(&key.path()).await {
            Ok(()) => Ok(()),
            Err(source) => match self.failed(key, source).await {
                ObjectError::NotFound(_) => Ok(()),
                error => Err(error),
            },
        }
    }

    /// Why a blob could not be had. One that is not found is missing only where the store itself is there.
    async fn failed(&self, key: ObjectKey, source: object_store::Error) -> ObjectError {
        match (failed(key, source), self.place.check().await) {
            (ObjectError::NotFound(_), Err(away)) => away,
            (error, _) => error,
        }
    }
}

fn failed(key: ObjectKey, source: object_store::Error) -> ObjectError {
    match source {
        object_store::Error::NotFound { .. } => ObjectError::NotFound(key),
        source => ObjectError::Store { key, source },
    }
}

/// Removes what a killed process was writing: the local store stages a blob as `<name>#<number>`.
fn remove_staged(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().contains('#') {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn blobs_come_back_whole_and_go_away() {
        let folder = tempfile::tempdir().unwrap();
        let objects = Objects::local(folder.path()).unwrap();
        let job = JobId::new();
        let key = ObjectKey::Input(job);
        assert!(matches!(objects.get(key).await, Err(ObjectError::NotFound(_))));
        objects.put(key, Bytes::from_static(b"picture")).await.unwrap();
        assert_eq!(objects.get(key).await.unwrap(), "picture");
        assert_eq!(fs::read(folder.path().join(format!("inputs/{job}"))).unwrap(), b"picture");
        assert_eq!(objects.open(key).await.unwrap().size, 7);
        objects.delete(key).await.unwrap();
        objects.delete(key).await.unwrap();
        assert!(matches!(objects.open(key).await, Err(ObjectError::NotFound(_))));
    }

    #[test]
    fn names_are_read_as_they_are_written() {
        let job = JobId::new();
        let own = [ObjectKey::Input(job), ObjectKey::Checkpoint(job), ObjectKey::Preview(job)];
        for key in own.into_iter().chain([ObjectKey::Result(job, Uuid::new_v4())]) {
            assert_eq!(ObjectKey::parse(&key.to_string()), Some(key));
        }
        for strange in ["", "inputs", "inputs/holiday.jpg", "results/holiday-1", "else/where"] {
            assert_eq!(ObjectKey::parse(strange), None, "{strange}");
        }
    }

    #[test]
    fn half_written_blobs_of_a_killed_process_are_removed() {
        let folder = tempfile::tempdir().unwrap();
        Objects::local(folder.path()).unwrap();
        let staged = folder.path().join("results/0198c0de#1");
        fs::write(&staged, b"half").unwrap();
        Objects::local(folder.path()).unwrap();
        assert!(!staged.exists());
    }
}
