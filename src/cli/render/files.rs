//! Identifies files: two names may mean the same file.

use std::fs::Metadata;

/// Metadata of an open file, without opening it again: that would block on a pipe.
#[cfg(unix)]
pub(super) fn metadata_of(open: &impl std::os::fd::AsFd) -> Option<Metadata> {
    std::fs::File::from(open.as_fd().try_clone_to_owned().ok()?).metadata().ok()
}

/// Device and inode, equal for two names of one file.
pub(super) fn identity(file: &Metadata) -> Option<(u64, u64)> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        Some((file.dev(), file.ino()))
    }
    #[cfg(not(unix))]
    {
        let _ = file;
        None
    }
}
