//! Which file is which: two names may be of one file.

use std::fs::Metadata;

/// What an open file is, without opening it again: that would wait at a pipe.
#[cfg(unix)]
pub(super) fn metadata_of(open: &impl std::os::fd::AsFd) -> Option<Metadata> {
    std::fs::File::from(open.as_fd().try_clone_to_owned().ok()?).metadata().ok()
}

/// Device and inode, which two names of one file share.
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
