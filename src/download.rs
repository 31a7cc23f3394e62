//! Downloads a file whose hash is known: resumes what broke off, and leaves nothing behind that is not what it should be.
//!
//! What has come is kept beside the target, under a name with a dot (`.NAME.part`), and the next try asks for the rest
//! (`Range`). The hash decides what the file is, so neither the server nor an older part needs to be believed.

use std::{
    error::Error,
    fs::{self, File, TryLockError},
    io::{self, Read, Seek, SeekFrom, Write},
    iter::successors,
    path::{Path, PathBuf},
    time::Duration,
};

use reqwest::{
    Client, Response, StatusCode,
    header::{CONTENT_RANGE, RANGE},
};
use zip::{
    ZipArchive,
    read::{ArchiveOffset, Config},
};

use reverie_models::KnownHash;

/// How long a connection may take, and how long a server may be silent.
const STALL_TIMEOUT: Duration = Duration::from_secs(30);

/// Tries of one download, as long as each brings something.
const TRIES: usize = 10;

/// How much longer than expected an archive may be.
const SLACK: u64 = 100;

/// A file to get.
#[derive(Clone, Copy, Debug)]
pub struct Download<'a> {
    /// The file, or a zip archive that holds it.
    pub url: &'a str,
    /// Expected length of what the URL leads to. A hundredth more is allowed.
    pub size: u64,
    /// Path in the archive, if it is one.
    pub member: Option<&'a str>,
    /// The hash of the file itself.
    pub hash: KnownHash<'a>,
}

/// Why a file did not come.
#[derive(Debug, thiserror::Error)]
pub enum DownloadError {
    /// The file cannot be written.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// Another process downloads the same file.
    #[error("{0}: another download of this file is running")]
    Busy(PathBuf),
    /// The client cannot be set up, or the URL is none.
    #[error("{url}: {cause}")]
    Request {
        /// The URL.
        url: String,
        /// What is wrong.
        cause: String,
    },
    /// The server is out of reach.
    #[error("{url} cannot be reached: {cause}")]
    Unreachable {
        /// The URL.
        url: String,
        /// What the system says.
        cause: String,
    },
    /// The server refuses.
    #[error("{url} answers {status}")]
    Status {
        /// The URL.
        url: String,
        /// The status.
        status: StatusCode,
    },
    /// The answer ended too early, again and again.
    #[error(
        "{url} broke off after {received} bytes: {cause}; run the same command again to go on from there"
    )]
    Broken {
        /// The URL.
        url: String,
        /// Bytes that are kept.
        received: u64,
        /// What the connection says.
        cause: String,
    },
    /// More came than the file can have.
    #[error("{url} sends more than {expected} bytes, so it is not the expected file; nothing was kept")]
    TooLong {
        /// The URL.
        url: String,
        /// Largest length that is allowed.
        expected: u64,
    },
    /// Something else came.
    #[error("the {algorithm} of {url} must {demand}, what came has {found}; nothing was kept")]
    WrongHash {
        /// The URL.
        url: String,
        /// Of the hash.
        algorithm: &'static str,
        /// What the known hash asks for.
        demand: String,
        /// The hash of what came.
        found: String,
    },
    /// The archive does not hold the file.
    #[error("{url} is not the expected archive: {problem}; nothing was kept")]
    Archive {
        /// The URL.
        url: String,
        /// What was found.
        problem: String,
    },
}

impl Download<'_> {
    /// Gets the file and puts it at `target`, whose folder exists. `progress` hears how many bytes have come of how many.
    ///
    /// # Errors
    /// See [`DownloadError`]. A part is kept only of a download that broke off.
    pub async fn save(&self, target: &Path, mut progress: impl FnMut(u64, u64)) -> Result<(), DownloadError> {
        let client = Client::builder().connect_timeout(STALL_TIMEOUT).read_timeout(STALL_TIMEOUT).build();
        let client = client.map_err(|error| self.request_error(&error))?;
        let mut part = Part::open(beside(target, "part"))?;
        let old = part.length > 0;
        if let Err(error) = self.receive(&client, &mut part, &mut progress).await {
            if part.length == 0 {
                drop(fs::remove_file(&part.path));
            }
            return Err(error);
        }
        let mut done = self.finish(&mut part, target);
        if old && matches!(done, Err(DownloadError::WrongHash { .. } | DownloadError::Archive { .. })) {
            // The old part may be of another file: once more from the beginning.
            part.clear()?;
            self.receive(&client, &mut part, &mut progress).await?;
            done = self.finish(&mut part, target);
        }
        // A direct download is moved to its place; all else is of no more use.
        if done.is_err() || self.member.is_some() {
            drop(fs::remove_file(&part.path));
        }
        done
    }

    /// Longest answer that may be the file.
    fn limit(&self) -> u64 {
        self.size + self.size / SLACK
    }

    /// Fills the part until the server says that it is whole.
    async fn receive(
        &self,
        client: &Client,
        part: &mut Part,
        progress: &mut impl FnMut(u64, u64),
    ) -> Result<(), DownloadError> {
        let mut tries = 0;
        loop {
            let before = part.length;
            match self.try_once(client, part, progress).await {
                // More than once only while there is something to be had.
                Err(DownloadError::Broken { .. }) if part.length > before && tries < TRIES => tries += 1,
                Err(error @ DownloadError::TooLong { .. }) => {
                    part.clear()?;
                    return Err(error);
                }
                ended => return ended,
            }
        }
    }

    async fn try_once(
        &self,
        client: &Client,
        part: &mut Part,
        progress: &mut impl FnMut(u64, u64),
    ) -> Result<(), DownloadError> {
        let mut response = self.ask(client, part.length).await?;
        let partial = response.status() == StatusCode::PARTIAL_CONTENT;
        if partial && part.length > 0 && !continues(&response, part.length) {
            // Another range than the one that was asked for: from the beginning, without one.
            part.clear()?;
            response = self.ask(client, 0).await?;
        }
        match response.status() {
            StatusCode::PARTIAL_CONTENT if continues(&response, part.length) => {}
            // It has no more than that: the hash tells whether it is the file.
            StatusCode::RANGE_NOT_SATISFIABLE if part.length > 0 => return Ok(()),
            // The whole, from a server that does not know ranges.
            StatusCode::OK => part.clear()?,
            status => return Err(DownloadError::Status { url: self.url.to_owned(), status }),
        }
        let left = response.content_length();
        let total = left.map_or(self.size, |left| part.length.saturating_add(left));
        if total > self.limit() {
            return Err(self.too_long());
        }
        loop {
            progress(part.length, total);
            let chunk = match response.chunk().await {
                Ok(None) => return Ok(()),
                Ok(Some(chunk)) => chunk,
                Err(error) => {
                    let (url, cause) = (self.url.to_owned(), cause_of(&error));
                    return Err(DownloadError::Broken { url, received: part.length, cause });
                }
            };
            if part.length + chunk.len() as u64 > self.limit() {
                return Err(self.too_long());
            }
            part.write(&chunk)?;
        }
    }

    /// Asks for what follows the first `from` bytes.
    async fn ask(&self, client: &Client, from: u64) -> Result<Response, DownloadError> {
        let mut request = client.get(self.url);
        if from > 0 {
            request = request.header(RANGE, format!("bytes={from}-"));
        }
        request.send().await.map_err(|error| self.request_error(&error))
    }

    /// Checks what came and puts it in its place.
    fn finish(&self, part: &mut Part, target: &Path) -> Result<(), DownloadError> {
        let Some(member) = self.member else {
            self.check(&part.hash(self.hash)?)?;
            return part.save_as(&part.path, target);
        };
        let unpacked = beside(target, "unpacked");
        let done = self.unpack(part, member, &unpacked).and_then(|hash| {
            self.check(&hash)?;
            part.save_as(&unpacked, target)
        });
        if done.is_err() {
            drop(fs::remove_file(&unpacked));
        }
        done
    }

    fn check(&self, found: &str) -> Result<(), DownloadError> {
        if self.hash.fits(found) {
            return Ok(());
        }
        let (url, algorithm, demand) = (self.url.to_owned(), self.hash.algorithm(), self.hash.demand());
        Err(DownloadError::WrongHash { url, algorithm, demand, found: found.to_owned() })
    }

    /// Unpacks the file, and hashes it. An archive may hold anything: what it may unpack to is limited.
    fn unpack(&self, part: &mut Part, member: &str, to: &Path) -> Result<String, DownloadError> {
        let not_it = |problem: String| DownloadError::Archive { url: self.url.to_owned(), problem };
        // It begins with the file: a search for its beginning can find another.
        let whole = Config { archive_offset: ArchiveOffset::Known(0) };
        let archive = ZipArchive::with_config(whole, &mut part.file);
        let mut archive = archive.map_err(|error| not_it(error.to_string()))?;
        let entry = archive.by_name(member).map_err(|error| not_it(format!("\"{member}\": {error}")))?;
        // Weights hardly compress.
        let limit = self.limit() * 4;
        let written = |source| DownloadError::Io { path: to.to_owned(), source };
        let mut file = File::create(to).map_err(written)?;
        let mut hash = self.hash.hasher();
        let mut entry = entry.take(limit + 1);
        let mut chunk = vec![0; 1 << 20];
        let mut length = 0;
        loop {
            let count = entry.read(&mut chunk).map_err(|error| not_it(format!("\"{member}\": {error}")))?;
            let Some(read) = chunk.get(..count).filter(|read| !read.is_empty()) else { break };
            length += count as u64;
            if length > limit {
                return Err(not_it(format!("\"{member}\" has more than {limit} bytes")));
            }
            hash.update(read);
            file.write_all(read).map_err(written)?;
        }
        file.sync_all().map_err(written)?;
        Ok(hash.finish())
    }

    fn too_long(&self) -> DownloadError {
        DownloadError::TooLong { url: self.url.to_owned(), expected: self.limit() }
    }

    fn request_error(&self, error: &reqwest::Error) -> DownloadError {
        let (url, cause) = (self.url.to_owned(), cause_of(error));
        if error.is_builder() {
            DownloadError::Request { url, cause }
        } else {
            DownloadError::Unreachable { url, cause }
        }
    }
}

/// Whether a partial answer begins where the part ends.
fn continues(response: &Response, length: u64) -> bool {
    let range = response.headers().get(CONTENT_RANGE).and_then(|range| range.to_str().ok());
    range.is_some_and(|range| range.starts_with(&format!("bytes {length}-")))
}

/// The innermost cause; the outer errors only say that a request failed.
fn cause_of(error: &reqwest::Error) -> String {
    let causes = successors(error.source(), |cause| (*cause).source());
    causes.last().map_or_else(|| error.to_string(), ToString::to_string)
}

/// `.NAME.ENDING` in the folder of the target, which a search for models passes over.
fn beside(target: &Path, ending: &str) -> PathBuf {
    let name = target.file_name().unwrap_or_default().to_string_lossy();
    target.with_file_name(format!(".{name}.{ending}"))
}

/// What has come so far, locked against other processes.
struct Part {
    path: PathBuf,
    file: File,
    length: u64,
}

impl Part {
    fn open(path: PathBuf) -> Result<Self, DownloadError> {
        let failed = |source| DownloadError::Io { path: path.clone(), source };
        let file = File::options().read(true).append(true).create(true).open(&path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(DownloadError::Busy(path)),
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
        let length = file.metadata().map_err(failed)?.len();
        Ok(Self { file, length, path })
    }

    fn failed(&self, source: io::Error) -> DownloadError {
        DownloadError::Io { path: self.path.clone(), source }
    }

    fn clear(&mut self) -> Result<(), DownloadError> {
        self.length = 0;
        self.file.set_len(0).map_err(|source| self.failed(source))
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), DownloadError> {
        self.file.write_all(bytes).map_err(|source| self.failed(source))?;
        self.length += bytes.len() as u64;
        Ok(())
    }

    fn hash(&mut self, known: KnownHash<'_>) -> Result<String, DownloadError> {
        let mut hash = known.hasher();
        let mut read = || {
            self.file.seek(SeekFrom::Start(0))?;
            let mut chunk = vec![0; 1 << 20];
            loop {
                match self.file.read(&mut chunk)? {
                    0 => return self.file.sync_all(),
                    count => hash.update(chunk.get(..count).unwrap_or_default()),
                }
            }
        };
        read().map_err(|source| self.failed(source))?;
        Ok(hash.finish())
    }

    fn save_as(&self, from: &Path, target: &Path) -> Result<(), DownloadError> {
        fs::rename(from, target).map_err(|source| DownloadError::Io { path: target.to_owned(), source })
    }
}
