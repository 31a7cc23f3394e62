//! What the tests of faults need of the machine: small disks, and a look at another process.

use std::{
    io::Write,
    path::{Path, PathBuf},
    process::Command,
};

use tempfile::TempDir;

/// A file system of a few megabytes; unmounted when dropped.
pub struct SmallDisk {
    folder: TempDir,
}

impl SmallDisk {
    /// Mounts one; `None` (and a line that names `test`) where that is not allowed.
    ///
    /// # Panics
    /// Where it is not allowed and `CI` is set: there nothing may be skipped.
    pub fn mount(test: &str, kilobytes: u32) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let size = format!("size={kilobytes}k");
        let mut mount = Command::new("mount");
        let mounted = mount.args(["-t", "tmpfs", "-o", &size, "none"]).arg(folder.path()).output();
        if mounted.is_ok_and(|output| output.status.success()) {
            return Some(Self { folder });
        }
        assert!(std::env::var_os("CI").is_none(), "{test} needs to mount a tmpfs");
        // Not println!: the test harness swallows what passing tests print, and a skip must be seen.
        let line = format!("skipped: {test}: a tmpfs cannot be mounted here\n");
        let _ = std::io::stderr().write_all(line.as_bytes());
        None
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Fills it up to the last block but `spare` kilobytes; removing the file makes room again.
    pub fn fill(&self, spare: u64) -> PathBuf {
        let ballast = self.path().join("ballast");
        let mut file = std::fs::File::create(&ballast).unwrap();
        while file.write_all(&[0; 1024]).is_ok() {}
        let length = file.metadata().unwrap().len();
        file.set_len(length.saturating_sub(spare * 1024)).unwrap();
        ballast
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a process that is about to die may have a file open.
        let _ = Command::new("umount").arg("-l").arg(self.folder.path()).status();
    }
}

/// Files and sockets that a process has open.
pub fn open_files(process: u32) -> usize {
    std::fs::read_dir(format!("/proc/{process}/fd")).unwrap().count()
}

/// Memory of a process in megabytes.
pub fn megabytes(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.split_whitespace().next().unwrap().parse::<u64>().unwrap() / 1024
}
