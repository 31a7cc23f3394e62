//! File permissions: only the server may read pictures and job data. Folders are 0700 and files 0600,
//! whatever umask the server starts with.
//!
//! New files get their mode from the process's umask: only that reaches files that libraries create, such as
//! SQLite's log. At startup, the modes of files from an earlier version are tightened, if they belong to the
//! same user. A folder of another user, such as a mount point, keeps its mode.

use std::{
    fs::{self, Permissions},
    io,
    os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt},
    path::Path,
};

use rustix::{fs::Mode, process};

/// Sets the umask: from now on only this process's user can read or write new files.
pub fn mask() {
    process::umask(Mode::RWXG | Mode::RWXO);
}

/// Creates a folder with its parents; tightens one that exists.
///
/// # Errors
/// If it cannot be created.
pub fn folder(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    tighten(path)
}

/// Removes the rights of other users from a file or folder of ours; ignores one that is missing or not ours.
///
/// # Errors
/// If the mode cannot be changed.
pub fn tighten(path: &Path) -> io::Result<()> {
    let found = match fs::metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    let mode = found.mode();
    // A folder with the sticky bit is shared on purpose, such as /tmp.
    let shared = mode & 0o1000 != 0;
    if shared || found.uid() != process::geteuid().as_raw() || mode & 0o077 == 0 {
        return Ok(());
    }
    fs::set_permissions(path, Permissions::from_mode(mode & 0o7700))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o7777
    }

    #[test]
    fn what_is_there_is_tightened_and_what_is_shared_is_not() {
        let root = tempfile::tempdir().unwrap();
        let (old, shared) = (root.path().join("old"), root.path().join("shared"));
        for (path, bits) in [(&old, 0o755), (&shared, 0o1777)] {
            fs::create_dir(path).unwrap();
            fs::set_permissions(path, Permissions::from_mode(bits)).unwrap();
            folder(path).unwrap();
        }
        assert_eq!((mode(&old), mode(&shared)), (0o700, 0o1777));
        folder(&root.path().join("new/inner")).unwrap();
        assert_eq!((mode(&root.path().join("new")), mode(&root.path().join("new/inner"))), (0o700, 0o700));
        let file = root.path().join("file");
        fs::write(&file, "").unwrap();
        fs::set_permissions(&file, Permissions::from_mode(0o644)).unwrap();
        tighten(&file).unwrap();
        assert_eq!(mode(&file), 0o600);
        tighten(&root.path().join("missing")).unwrap();
    }
}
