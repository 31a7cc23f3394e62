//! Pictures and what is known of them are for the server alone: folders are 0700 and files 0600, whatever the mask that
//! it was started with.
//!
//! New files get their mode from the process's mask, which is the only way to reach those that libraries make, such as
//! SQLite's log. What an earlier version made is tightened at the start, where it belongs to the same user; a folder that
//! belongs to somebody else, such as a mount point, stays as they want it.

use std::{
    fs::{self, Permissions},
    io,
    os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt},
    path::Path,
};

use rustix::{fs::Mode, process};

/// From now on nobody but the user of this process can read or write what it makes.
pub fn mask() {
    process::umask(Mode::RWXG | Mode::RWXO);
}

/// Makes a folder with all that lead to it; one that is there already is tightened.
///
/// # Errors
/// When it cannot be made.
pub fn folder(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    tighten(path)
}

/// Takes everybody else's rights to a file or folder of ours away; what is not there, or not ours, is left alone.
///
/// # Errors
/// When the rights cannot be changed.
pub fn tighten(path: &Path) -> io::Result<()> {
    let found = match fs::metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    let mode = found.mode();
    // A folder with the sticky bit is meant for everybody, such as /tmp.
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
