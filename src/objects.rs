//! Blobs: input images and finished dreams, in folders on a disk or in a bucket of an S3-compatible store.
//!
//! An [`ObjectKey`] is the only way to name a blob, so no path is ever built from client input. The local
//! store writes every blob to a temporary file beside its place and renames it when complete. With the
//! `fsync` option the file and its folder are on the disk before `put` returns. A job's row relies on that:
//! an accepted job without its input would be a broken promise, while a blob without a row only takes space.
//! A bucket makes the same promises by itself.

mod error;
mod folder;
mod key;
mod s3;

use std::{fs, io, ops::Range, path::Path, sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use futures::{
    StreamExt, TryStreamExt,
    stream::{self, BoxStream},
};
use hyper::Method;
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

/// The folders of the keys.
const FOLDERS: [&str; 9] =
    ["inputs", "masks", "guides", "results", "checkpoints", "previews", "thumbnails", "uploads", TILES];

/// Of the tiles, which belong to no job.
const TILES: &str = "tiles";

/// The blob that a check of the store writes and deletes.
const PROBE: &str = "probe";

/// A blob that is being read.
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

/// The kind of store.
#[derive(Debug)]
enum Kind {
    /// Folders below this one, and whether a write there succeeded recently.
    Disk(Folder, Recent),
    Bucket(Box<S3>),
}

impl Objects {
    /// Opens the configured store; credentials for a bucket come from the environment.
    ///
    /// # Errors
    /// If it is unusable. For a bucket that does not answer, it waits.
    pub async fn configured(config: &Config) -> Result<Self, ObjectError> {
        match &config.storage.objects {
            Place::Disk => Self::local(&config.storage.dir),
            Place::Bucket { bucket, prefix } => {
                Self::bucket(bucket, prefix, &config.s3, AmazonS3Builder::from_env()).await
            }
        }
    }

    /// Opens a bucket below `prefix`; `base` provides the credentials.
    ///
    /// # Errors
    /// If the bucket is unusable, or does not answer within `config.start`.
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

    /// Opens a store in folders below `root`, and creates them if needed. Deletes half-written files of an
    /// earlier process, so no other process may use the folder.
    ///
    /// # Errors
    /// If the folders cannot be created or read.
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

    /// Checks that the store is usable: stores and deletes a small blob. The result may be some seconds old,
    /// so that probes, which any client may send, do not load the store. Only the existence of a disk's
    /// folders, which are missing after an unmount, is checked every time.
    ///
    /// # Errors
    /// [`ObjectError::Away`] with what is missing.
    pub async fn check(&self) -> Result<(), ObjectError> {
        self.look(false).await
    }

    /// Like [`Objects::check`], but never with an old result: for use after a failure.
    ///
    /// # Errors
    /// Like [`Objects::check`].
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

    /// Checks for room: stores and deletes a blob of `bytes` bytes.
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

    /// Stores a blob, replacing one of the same key. When this returns, it is durable and completely visible.
    ///
    /// # Errors
    /// If the store fails or is unavailable; then nothing is visible.
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

    /// Opens a blob for reading in pieces.
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

    /// Reads a part of a blob, as of [`Self::open_range`].
    ///
    /// # Errors
    /// [`ObjectError::NotFound`], or when the store fails.
    pub async fn get_range(&self, key: ObjectKey, range: Range<u64>) -> Result<Bytes, ObjectError> {
        let pieces = self.open_range(key, range).await?.stream;
        let all = pieces.try_fold(BytesMut::new(), async |mut all, piece| {
            all.extend_from_slice(&piece);
            Ok(all)
        });
        Ok(all.await.map_err(|source| ObjectError::of(key, source))?.freeze())
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

    /// A blob, if it is there.
    ///
    /// # Errors
    /// See [`ObjectError`], but for [`ObjectError::NotFound`].
    pub async fn find(&self, key: ObjectKey) -> Result<Option<Bytes>, ObjectError> {
        match self.get(key).await {
            Ok(blob) => Ok(Some(blob)),
            Err(ObjectError::NotFound(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Length of a blob in bytes.
    ///
    /// # Errors
    /// [`ObjectError::NotFound`], or when the store fails.
    pub async fn size(&self, key: ObjectKey) -> Result<u64, ObjectError> {
        let found = self.store.head(&key.path()).await;
        found.map(|meta| meta.size).map_err(|source| ObjectError::of(key, source))
    }

    /// A URL from which anyone who knows it can fetch a blob from the store directly, for `time`; `None` if
    /// the store does not support that. `answer` are S3 parameters that set response headers. Does not check
    /// that the blob exists.
    ///
    /// # Errors
    /// If there are no credentials to sign with.
    pub async fn signed_address(
        &self,
        key: ObjectKey,
        time: Duration,
        answer: &[(&str, &str)],
    ) -> Result<Option<String>, ObjectError> {
        let Kind::Bucket(s3) = &*self.kind else { return Ok(None) };
        let signed = s3.sign(Method::GET, &key.path(), time, answer).await;
        signed.map(Some).map_err(|source| ObjectError::of(key, source))
    }

    /// A URL to which anyone who knows it can PUT a blob, for `time`; `None` if the store does not support that. The store bounds
    /// neither its length nor how often it is replaced.
    ///
    /// # Errors
    /// If there are no credentials to sign with.
    pub async fn upload_address(
        &self,
        key: ObjectKey,
        time: Duration,
    ) -> Result<Option<String>, ObjectError> {
        let Kind::Bucket(s3) = &*self.kind else { return Ok(None) };
        let signed = s3.sign(Method::PUT, &key.path(), time, &[]).await;
        signed.map(Some).map_err(|source| ObjectError::of(key, source))
    }

    /// Lists blobs of jobs that were stored before `before`, as they are found.
    ///
    /// # Errors
    /// If the store fails; the stream then ends.
    pub fn older_than(&self, before: Timestamp) -> BoxStream<'static, Result<ObjectKey, ObjectError>> {
        let store = Arc::clone(&self.store);
        let of_jobs = stream::iter(FOLDERS.into_iter().filter(|folder| *folder != TILES));
        let all = of_jobs.flat_map(move |folder| store.list(Some(&folder.into())));
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

    /// Deletes a blob; a missing one is not an error.
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

    /// The reason for a failed read. A blob counts as missing only if the store itself is there.
    async fn failed(&self, key: ObjectKey, source: object_store::Error) -> ObjectError {
        match (ObjectError::of(key, source), &*self.kind) {
            (ObjectError::NotFound(key), Kind::Disk(folder, _)) => {
                folder.check().await.err().unwrap_or(ObjectError::NotFound(key))
            }
            (error, _) => error,
        }
    }

    /// Deletes many blobs, with few requests if the store allows that. Missing blobs are not an error.
    ///
    /// # Errors
    /// If the store fails; some blobs may be deleted.
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

/// Deletes the temporary files of a killed process: the local store names them `<name>#<number>`.
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
