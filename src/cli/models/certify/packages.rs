//! The Python packages of a peer, pinned, in a folder of their own: `$XDG_CACHE_HOME/reverie/peers/NAME-…`.
//!
//! pip puts them there (`--target`) and nothing is installed: no virtual environment either, as Debian's Python can lack the means
//! to make one. The folder is renamed into place when it is whole, and named after what is in it, so other pins make another.

use std::{
    env, fs, io,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use sha2::{Digest, Sha256};

use super::{Failure, Peer};
use reverie_dream::digest;

/// Oldest Python that the pinned packages run on.
const PYTHON: &str = "3.11";

/// PyTorch's own index: its packages for CPUs are a tenth of those at PyPI, which bring CUDA. Where it cannot be reached, PyPI serves.
const CPU_INDEX: &str = "https://download.pytorch.org/whl/cpu";

impl Peer {
    /// What is installed for it.
    fn packages(self) -> &'static [&'static str] {
        match self {
            Self::OnnxRuntime => &["onnxruntime==1.32.0", "onnx==1.23.2", "numpy==2.4.6"],
            Self::TensorFlow => &["tensorflow-cpu==2.21.0"],
            Self::Torch => &["torch==2.11.0", "torchvision==0.26.0", "numpy==2.4.6", "safetensors==0.8.0"],
        }
    }

    /// Packages without their dependencies: of old ones, which ask for more than is needed.
    fn without_dependencies(self) -> &'static [&'static str] {
        match self {
            Self::OnnxRuntime | Self::TensorFlow => &[],
            Self::Torch => &["efficientnet-lite-pytorch==0.1.0"],
        }
    }
}

/// The folder with the peer's packages, which is filled if it is not there.
pub(super) fn prepare(peer: Peer, python: &Path) -> Result<PathBuf, Failure> {
    let version = check(python)?;
    let pins = [peer.packages(), peer.without_dependencies()].concat().join(" ");
    let hash = digest::hex(&Sha256::digest(format!("{version} {pins}")));
    let cache = cache_folder().ok_or("there is no home folder to keep packages in; set XDG_CACHE_HOME")?;
    let folder = cache.join(format!("{}-{}", peer.name(), hash.get(..12).unwrap_or_default()));
    if folder.is_dir() {
        return Ok(folder);
    }
    let failed = |error: io::Error| format!("{}: {error}", cache.display());
    fs::create_dir_all(&cache).map_err(failed)?;
    // Removed where something goes wrong.
    let new = tempfile::Builder::new().prefix(".new-").tempdir_in(&cache).map_err(failed)?;
    eprintln!("installing {pins} into {}", folder.display());
    install(peer, python, new.path())?;
    match fs::rename(new.path(), &folder) {
        Ok(()) => drop(new.keep()),
        // Another process was faster.
        Err(_) if folder.is_dir() => {}
        Err(error) => return Err(failed(error).into()),
    }
    Ok(folder)
}

/// Looks whether `python` runs, is new enough and has pip; returns its version.
fn check(python: &Path) -> Result<String, Failure> {
    let say = "import sys; print('%d.%d' % sys.version_info[:2]); import pip";
    let output = Command::new(python).args(["-P", "-c", say]).stdin(Stdio::null()).output().map_err(|error| {
        let python = python.display();
        format!("Python {PYTHON} or later with pip is needed, and {python} does not run ({error}); name one with --python")
    })?;
    let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    let number = |text: &str| text.split('.').map(|part| part.parse().unwrap_or(0)).collect::<Vec<u32>>();
    if number(&said) < number(PYTHON) {
        let python = python.display();
        return Err(format!(
            "{python} is Python {said}; {PYTHON} or later is needed, name one with --python"
        )
        .into());
    }
    if !output.status.success() {
        return Err(format!("{} has no pip, which is needed to get packages", python.display()).into());
    }
    Ok(said)
}

fn install(peer: Peer, python: &Path, target: &Path) -> Result<(), Failure> {
    let packages = peer.packages();
    let quick = ["--index-url", CPU_INDEX, "--retries", "0", "--timeout", "10"];
    let done = peer == Peer::Torch && pip(python, target, &quick, packages)?.status.success();
    if !done {
        check_installed(&pip(python, target, &[], packages)?, packages)?;
    }
    match peer.without_dependencies() {
        [] => Ok(()),
        more => check_installed(&pip(python, target, &["--no-deps"], more)?, more),
    }
}

fn pip(python: &Path, target: &Path, options: &[&str], packages: &[&str]) -> Result<Output, Failure> {
    let mut command = Command::new(python);
    command.args(["-P", "-m", "pip", "--disable-pip-version-check", "--no-input", "--quiet", "install"]);
    command
        .args(["--no-warn-script-location", "--only-binary", ":all:", "--upgrade", "--target"])
        .arg(target);
    Ok(command.args(options).args(packages).stdin(Stdio::null()).output()?)
}

fn check_installed(output: &Output, packages: &[&str]) -> Result<(), Failure> {
    if output.status.success() {
        return Ok(());
    }
    let (packages, why) = (packages.join(" "), last_line(&output.stderr));
    Err(format!("pip cannot get {packages}: {why}; PyPI or a mirror of it (PIP_INDEX_URL) is needed once")
        .into())
}

/// The line that a program of Python ends its complaints with.
pub(super) fn last_line(stderr: &[u8]) -> String {
    let text = String::from_utf8_lossy(stderr);
    let line = text.lines().rev().map(str::trim).find(|line| !line.is_empty());
    line.unwrap_or("it says nothing").chars().take(400).collect()
}

/// `$XDG_CACHE_HOME/reverie/peers`, by default below `~/.cache`.
fn cache_folder() -> Option<PathBuf> {
    let absolute = |name| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let cache = absolute("XDG_CACHE_HOME").or_else(|| Some(absolute("HOME")?.join(".cache")));
    Some(cache?.join("reverie/peers"))
}
