//! Blobs: input images and finished dreams, in folders on a disk or in a bucket of an S3-compatible store.
//!
//! An [`ObjectKey`] is the only way to name one, so that no path is ever put together from what a client
//! sent. The local store stages every blob beside its place and renames it when it is whole; with its
//! `fsync` option the file and its folder are on the disk before `put` returns, which a job's row relies on:
//! an accepted job whose input is lost would be a broken promise, while a blob without a row only takes space.
//! A bucket makes the same promises by itself.

mod error;
mod folder;
mod key;
mod s3;

use std::{fs, io, ops::Range, path::Path, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::{
    StreamExt,
    stream::{self, BoxStream},
};
use object_store::{GetOptions, ObjectStore, ObjectStoreExt, aws::AmazonS3Builder, local::LocalFileSystem};

pub use error::ObjectError;
pub use key::ObjectKey;

use folder::Folder;

use crate::{
    clock::Timestamp,
    config::{Config, Place, S3Config},
    private,
    recent::Recent,
};
use s3::S3;

/// The folders that keys live in.
const FOLDERS: [&str; 5] = ["inputs", "masks", "results", "checkpoints", "previews"];

/// What is stored and deleted to see whether the store takes blobs.
const PROBE: &str = "probe";

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
    kind: Arc<Kind>,
}

/// What stands behind it.
#[derive(Debug)]
enum Kind {
    /// Folders below this one, and whether something could be written there lately.
    Disk(Folder, Recent),
    Bucket(Box<S3>),
}

impl Objects {
    /// The store that is configured; credentials for a bucket come from the environment.
    ///
    /// # Errors
    /// When it cannot be used; a bucket that does not answer is waited for.
    pub async fn configured(config: &Config) -> Result<Self, ObjectError> {
        match &config.storage.objects {
            Place::Disk => Self::local(&config.storage.dir),
            Place::Bucket { bucket, prefix } => {
                Self::bucket(bucket, prefix, &config.s3, AmazonS3Builder::from_env()).await
            }
        }
    }

    /// A store in a bucket, below `prefix`; `base` brings the credentials.
    ///
    /// # Errors
    /// When the bucket cannot be used, or does not answer within `config.start`.
    pub async fn bucket(
        bucket: &str,
        prefix: &str,
        config: &S3Config,
        base: AmazonS3Builder,
    ) -> Result<Self, ObjectError> {
        let (s3, store) = S3::new(bucket, prefix, config, base)?;
        s3.ready(&*store, config.start).await?;
        Ok(Self { store, kind: Arc::new(Kind::Bucket(Box::new(s3))) })
    }

    /// A store in folders below `root`, which is created where needed. What an earlier process left
    /// half-written is removed, so no other process may be using the folder.
    ///
    /// # Errors
    /// When the folders cannot be created or read.
    pub fn local(root: &Path) -> Result<Self, ObjectError> {
        for folder in FOLDERS {
            let path = root.join(folder);
            let prepared = private::folder(&path).and_then(|()| remove_staged(&path));
            prepared.map_err(|source| ObjectError::Prepare { path: path.display().to_string(), source })?;
        }
        let store = LocalFileSystem::new_with_prefix(root).map_err(ObjectError::Open)?.with_fsync(true);
        let kind = Kind::Disk(Folder::mark(root)?, Recent::default());
        Ok(Self { store: Arc::new(store), kind: Arc::new(kind) })
    }

    /// Whether the store can be used: a small blob is stored and deleted. The answer may be some seconds old, since a
    /// probe that anyone may send should not keep the store busy. Whether a disk's folders are there, as they are not
    /// where it was unmounted, is looked at every time.
    ///
    /// # Errors
    /// [`ObjectError::Away`] with what is missing.
    pub async fn check(&self) -> Result<(), ObjectError> {
        self.look(false).await
    }

    /// As [`Objects::check`], but the answer is never an old one: for whoever has just met a failure.
    ///
    /// # Errors
    /// As [`Objects::check`].
    pub async fn check_now(&self) -> Result<(), ObjectError> {
        self.look(true).await
    }

    async fn look(&self, now: bool) -> Result<(), ObjectError> {
        let (folder, last) = match &*self.kind {
            Kind::Bucket(s3) => return s3.check(now).await,
            Kind::Disk(folder, last) => (folder, last),
        };
        folder.check().await?;
        for name in FOLDERS {
            folder.check_inner(name).await?;
        }
        let write = async {
            self.write_probe(Bytes::from_static(b"reverie")).await.map_err(|source| error::reason(&source))
        };
        let written = last.ask(now, write).await;
        written.map_err(|reason| ObjectError::Away { place: folder.name(), reason })
    }

    /// Whether there is room for a blob of so many bytes: one is stored and deleted.
    ///
    /// # Errors
    /// [`ObjectError::Probe`] with the store's reason.
    pub async fn check_room(&self, bytes: usize) -> Result<(), ObjectError> {
        self.write_probe(vec![0; bytes].into()).await.map_err(ObjectError::Probe)
    }

    async fn write_probe(&self, bytes: Bytes) -> Result<(), object_store::Error> {
        let path = object_store::path::Path::from(PROBE);
        match &*self.kind {
            Kind::Disk(..) => self.store.put(&path, bytes.into()).await.map(drop)?,
            Kind::Bucket(_) => s3::put(&*self.store, &path, bytes).await?,
        }
        match self.store.delete(&path).await {
            Err(source) if error::is_missing(&source) => Ok(()),
            ended => ended,
        }
    }

    /// Stores a blob, replacing one of the same name. It is durable, and visible as a whole, when this
    /// returns.
    ///
    /// # Errors
    /// When the store fails or is away; nothing is visible then.
    pub async fn put(&self, key: ObjectKey, bytes: Bytes) -> Result<(), ObjectError> {
        let stored = match &*self.kind {
            Kind::Disk(folder, _) => {
                folder.check().await?;
                self.store.put(&key.path(), bytes.into()).await.map(drop)
            }
            Kind::Bucket(_) => s3::put(&*self.store, &key.path(), bytes).await,
        };
        stored.map_err(|source| ObjectError::of(key, source))
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
        found.bytes().await.map_err(|source| ObjectError::of(key, source))
    }

    /// Length of a blob in bytes.
    ///
    /// # Errors
    /// [`ObjectError::NotFound`], or when the store fails.
    pub async fn size(&self, key: ObjectKey) -> Result<u64, ObjectError> {
        let found = self.store.head(&key.path()).await;
        found.map(|meta| meta.size).map_err(|source| ObjectError::of(key, source))
    }

    /// An address under which anyone who knows it can fetch a blob from the store itself, for `time`; none where
    /// the store cannot do that. `answer` are parameters of S3 that choose headers of the answer. Whether the blob
    /// is there is not looked at.
    ///
    /// # Errors
    /// When there are no credentials to sign with.
    pub async fn signed_address(
        &self,
        key: ObjectKey,
        time: Duration,
        answer: &[(&str, &str)],
    ) -> Result<Option<String>, ObjectError> {
        let Kind::Bucket(s3) = &*self.kind else { return Ok(None) };
        let signed = s3.sign(&key.path(), time, answer).await;
        signed.map(Some).map_err(|source| ObjectError::of(key, source))
    }

    /// Blobs that were stored before `before`, as they are found.
    ///
    /// # Errors
    /// When the store fails; nothing more comes then.
    pub fn older_than(&self, before: Timestamp) -> BoxStream<'static, Result<ObjectKey, ObjectError>> {
        let store = Arc::clone(&self.store);
        let all = stream::iter(FOLDERS).flat_map(move |folder| store.list(Some(&folder.into())));
        let old = all.filter_map(move |found| async move {
            match found {
                Ok(found) if found.last_modified.timestamp_millis() < before.as_millis() => {
                    ObjectKey::parse(found.location.as_ref()).map(Ok)
                }
                Ok(_) => None,
                Err(error) => Some(Err(ObjectError::List(error))),
            }
        });
        old.boxed()
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
        match (ObjectError::of(key, source), &*self.kind) {
            (ObjectError::NotFound(key), Kind::Disk(folder, _)) => {
                folder.check().await.err().unwrap_or(ObjectError::NotFound(key))
            }
            (error, _) => error,
        }
    }

    /// Deletes many blobs, with few requests where the store allows that. Those that are not there are no mistake.
    ///
    /// # Errors
    /// When the store fails; some may be deleted then.
    pub async fn delete_all(&self, keys: Vec<ObjectKey>) -> Result<(), ObjectError> {
        let paths = stream::iter(keys).map(|key| Ok(key.path())).boxed();
        let mut deleted = self.store.delete_stream(paths);
        while let Some(outcome) = deleted.next().await {
            match outcome {
                Err(source) if !error::is_missing(&source) => return Err(ObjectError::Delete(source)),
                _ => {}
            }
        }
        Ok(())
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
    use crate::jobs::JobId;

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
    fn half_written_blobs_of_a_killed_process_are_removed() {
        let folder = tempfile::tempdir().unwrap();
        Objects::local(folder.path()).unwrap();
        let staged = folder.path().join("results/0198c0de#1");
        fs::write(&staged, b"half").unwrap();
        Objects::local(folder.path()).unwrap();
        assert!(!staged.exists());
    }
}
