//! The destination of a dream. It is checked and opened before the render begins, so a typo costs nothing,
//! and it is never one of the dream's sources.
//!
//! A file appears complete or not at all: a temporary file beside it is renamed when complete, and deleted
//! after a failure. Standard output, pipes and devices cannot be replaced by a rename, and are written at the
//! end.

use std::{
    fs::{self, File, Metadata, OpenOptions},
    io::{self, IsTerminal, Write},
    path::{Path, PathBuf},
};

use tempfile::NamedTempFile;

use super::{super::Failure, files, input::Source};
use reverie_dream::spec::Format;

/// A checked destination; nothing is open yet.
#[derive(Debug)]
pub(super) struct Target {
    /// The name as given.
    name: String,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Stdout,
    /// A pipe, a device, or another target that a file cannot replace.
    Special(PathBuf),
    File {
        path: PathBuf,
        /// The existing file.
        old: Option<Metadata>,
        /// Whether a file that is there is replaced.
        replace: bool,
    },
}

/// An open destination.
#[derive(Debug)]
pub(super) struct Output {
    name: String,
    opened: Opened,
}

#[derive(Debug)]
enum Opened {
    Stdout,
    Special(File),
    File { file: NamedTempFile, path: PathBuf, replace: bool },
}

impl Target {
    /// Checks the target of `-o`. Without `force` it must not be one of `sources`.
    ///
    /// # Errors
    /// A folder, a terminal, a source.
    pub(super) fn new(path: &Path, sources: &[(&str, Source)], force: bool) -> Result<Self, Failure> {
        let (name, kind, there) = if path == Path::new("-") {
            if io::stdout().is_terminal() {
                return Err(
                    "standard output is a terminal; name a file, or lead the picture elsewhere with > or |"
                        .into(),
                );
            }
            ("standard output".to_owned(), Kind::Stdout, stdout_metadata())
        } else {
            let there = fs::metadata(path).ok();
            let name = path.display().to_string();
            if there.as_ref().is_some_and(Metadata::is_dir) {
                return Err(format!("{name} is a folder; a file is required").into());
            }
            let regular = there.as_ref().is_none_or(Metadata::is_file) && !is_of_the_system(path);
            let kind = match regular {
                // Follows links, as every program does on writing: the link stays.
                true => Kind::File {
                    path: fs::canonicalize(path).unwrap_or_else(|_| path.to_owned()),
                    old: there.clone(),
                    replace: true,
                },
                false => Kind::Special(path.to_owned()),
            };
            (name, kind, there)
        };
        if let Some(there) = there.filter(Metadata::is_file).filter(|_| !force) {
            let mut same = sources.iter().filter(|(_, source)| source.is(&there, path));
            if let Some((role, source)) = same.next() {
                let detail = format!("{name} is the {role}, {source}: the dream would replace it");
                return Err(format!("{detail}; choose another name, or add --force").into());
            }
        }
        Ok(Self { name, kind })
    }

    /// A file in the folder of `-o`. One that is there already is replaced only with `force`, even if it came after the
    /// render began.
    pub(super) fn in_folder(path: PathBuf, force: bool) -> Self {
        let (name, old) = (path.display().to_string(), fs::metadata(&path).ok());
        let path = fs::canonicalize(&path).unwrap_or(path);
        Self { name, kind: Kind::File { path, old, replace: force } }
    }

    /// The format of the extension, or else `wanted`; `None` if neither is given and none is needed.
    ///
    /// # Errors
    /// If the two disagree, or a file has another extension and no format is given.
    pub(super) fn format(&self, wanted: Option<Format>) -> Result<Option<Format>, Failure> {
        let name = &self.name;
        let ending = match &self.kind {
            Kind::Stdout => None,
            Kind::Special(_) | Kind::File { .. } => ending(name),
        };
        match (ending, wanted, &self.kind) {
            (Some(ending), Some(wanted), _) if ending != wanted => {
                let [ending, wanted] = [ending, wanted].map(Format::extension);
                Err(format!("{name} ends as a {ending} file, and --format says {wanted}; change one of them")
                    .into())
            }
            (None, None, Kind::File { .. }) => Err(format!(
                "{name}: the output must end in .png, .jpg, .jpeg, .webp, .gif, .mp4 or .webm, or --format must say what it is"
            )
            .into()),
            (ending, wanted, _) => Ok(ending.or(wanted)),
        }
    }

    /// Whether the image goes to standard output.
    pub(super) fn is_stdout(&self) -> bool {
        match &self.kind {
            Kind::Stdout => true,
            Kind::Special(path) => {
                let ours = stdout_metadata().as_ref().and_then(files::identity);
                ours.is_some() && ours == fs::metadata(path).ok().as_ref().and_then(files::identity)
            }
            Kind::File { .. } => false,
        }
    }

    /// Opens the destination.
    ///
    /// # Errors
    /// A missing or read-only folder; a pipe or a device that cannot be written.
    pub(super) fn open(self) -> Result<Output, Failure> {
        let Self { name, kind } = self;
        let opened = match kind {
            Kind::Stdout => Opened::Stdout,
            Kind::Special(path) => {
                // Appends, so what a shell has written with >> stays.
                let file = OpenOptions::new().append(true).open(path);
                Opened::Special(file.map_err(|error| format!("{name}: {error}"))?)
            }
            Kind::File { path, old, replace } => {
                let file = temporary(&path, old.as_ref()).map_err(|error| format!("{name}: {error}"))?;
                Opened::File { file, path, replace }
            }
        };
        Ok(Output { name, opened })
    }
}

impl Output {
    /// The temporary file, to be deleted if the program is ended early.
    pub(super) fn temporary(&self) -> Option<PathBuf> {
        match &self.opened {
            Opened::File { file, .. } => Some(file.path().to_owned()),
            Opened::Stdout | Opened::Special(_) => None,
        }
    }

    /// The name as given.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Writes the dream.
    ///
    /// # Errors
    /// A system error, such as a full disk.
    pub(super) fn write(self, picture: &[u8]) -> Result<(), Failure> {
        let Self { name, opened } = self;
        let written = match opened {
            Opened::Stdout => {
                let mut out = io::stdout().lock();
                out.write_all(picture).and_then(|()| out.flush())
            }
            Opened::Special(mut file) => file.write_all(picture),
            Opened::File { mut file, path, replace } => file.write_all(picture).and_then(|()| {
                let kept = if replace { file.persist(path) } else { file.persist_noclobber(path) };
                kept.map(drop).map_err(|error| error.error)
            }),
        };
        // As text: a broken pipe has lost the dream, which is a failure here.
        Ok(written.map_err(|error| format!("{name}: {error}"))?)
    }
}

/// A file beside `path`, with the permissions of the `old` file, or of any new file.
pub(in crate::cli) fn temporary(path: &Path, old: Option<&Metadata>) -> io::Result<NamedTempFile> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut builder = tempfile::Builder::new();
    builder.prefix(".reverie-").suffix(".tmp");
    // Minus the umask.
    #[cfg(unix)]
    let new = std::os::unix::fs::PermissionsExt::from_mode(0o666);
    #[cfg(unix)]
    builder.permissions(new);
    let file = builder.tempfile_in(folder)?;
    if let Some(old) = old {
        file.as_file().set_permissions(old.permissions())?;
    }
    Ok(file)
}

/// Whether the path belongs to the running system, such as `/dev/stdout`, even if it is a regular file.
fn is_of_the_system(path: &Path) -> bool {
    cfg!(unix) && (path.starts_with("/dev/") || path.starts_with("/proc/"))
}

/// The format of a name's extension.
pub(super) fn ending(name: &str) -> Option<Format> {
    let ending = Path::new(name).extension()?.to_str()?.to_ascii_lowercase();
    match ending.as_str() {
        "png" => Some(Format::Png),
        "jpg" | "jpeg" => Some(Format::Jpeg),
        "webp" => Some(Format::Webp),
        "gif" => Some(Format::Gif),
        "mp4" => Some(Format::Mp4),
        "webm" => Some(Format::Webm),
        _ => None,
    }
}

/// Metadata of standard output.
fn stdout_metadata() -> Option<Metadata> {
    #[cfg(unix)]
    return files::metadata_of(&io::stdout());
    #[cfg(not(unix))]
    None
}
