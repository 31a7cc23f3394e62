//! Networks that people have, as they have them, against the frameworks that made them: Keras' as frozen graphs, torchvision's as state
//! dicts, as safetensors and as PyTorch exports them, and the light ones of the package `onnx`.
//!
//! `tests/families/*.py` makes them and their references, with random weights, one after another (`common.py` says how). The frameworks
//! are those of `reverie models certify`, which fetches them once for a target folder: some gigabytes, since PyPI has PyTorch with CUDA
//! alone. Tolerances are those of `reverie models verify`: activations 1e-4 of the largest, gradients 1e-3 of their norm.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may fail loudly")]

#[path = "common/scratch.rs"]
mod scratch;

use std::{
    env,
    ffi::OsString,
    fs,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use scratch::reverie;

/// What PyTorch's exporter needs besides.
const EXPORTER: [&str; 2] = ["onnxscript==0.7.2", "onnx_ir==1.1.0"];

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The folder that all runs of one target folder share.
fn shared() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("peers")
}

/// Whether packages cannot be had here, which is said, and an error where nothing may be skipped.
fn is_skipped(what: &str, output: &Output) -> bool {
    let told = text(&output.stderr);
    if output.status.success() {
        return false;
    }
    assert!(env::var_os("CI").is_none(), "{what}: {told}");
    let _ = std::io::stderr().write_all(format!("skipped: {what}: {told}").as_bytes());
    true
}

/// The packages of a framework; none where they cannot be had.
fn packages(framework: &str) -> Option<PathBuf> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_reverie"));
    command.env("XDG_CACHE_HOME", shared()).args(["models", "certify", "--prepare", "--with", framework]);
    let output = command.output().unwrap();
    (!is_skipped(framework, &output)).then(|| text(&output.stdout).trim().into())
}

/// What PyTorch's exporter needs, in a folder of its own; none where it cannot be had.
fn exporter() -> Option<PathBuf> {
    let folder = shared().join(EXPORTER.join("-").replace("==", "-"));
    if folder.is_dir() {
        return Some(folder);
    }
    fs::create_dir_all(shared()).unwrap();
    let new = tempfile::tempdir_in(shared()).unwrap();
    let mut command = Command::new("python3");
    command.args(["-m", "pip", "--quiet", "--disable-pip-version-check", "install", "--no-deps"]);
    let output = command.arg("--target").arg(new.path()).args(EXPORTER).output().unwrap();
    if is_skipped("PyTorch's exporter", &output) {
        return None;
    }
    fs::rename(new.keep(), &folder).unwrap();
    Some(folder)
}

/// Runs a script, and compares each network that it hands over, in each of its formats, with its reference. How many were compared.
fn compare(script: &str, packages: &[PathBuf], endings: &[&str]) -> usize {
    let folder = tempfile::tempdir().unwrap();
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/families");
    let paths: OsString = env::join_paths(packages).unwrap();
    let mut child = Command::new("python3")
        .args([&scripts.join(script), folder.path()])
        .env("PYTHONPATH", paths)
        .env("PYTHONNOUSERSITE", "1")
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut taken, said) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
    let (mut count, mut wrong) = (0, Vec::new());
    for name in said.lines() {
        let name = name.unwrap();
        let path = |ending: &str| folder.path().join(format!("{name}.{ending}"));
        for ending in endings {
            let file = path(ending).to_str().unwrap().to_owned();
            let references = [path("npz"), path(&format!("{ending}.npz"))];
            let references: Vec<_> = references.iter().filter(|path| path.exists()).collect();
            if references.is_empty() {
                wrong.push(format!("{name}.{ending} has no reference"));
            }
            for reference in references {
                let output =
                    reverie(&["models", "verify", &file, "--reference", reference.to_str().unwrap()]);
                let table = text(&output.stdout);
                println!("{name}.{ending}\n{table}");
                let compared = table.lines().filter(|line| line.trim_start().starts_with("ok")).count();
                if !output.status.success() || compared == 0 {
                    wrong.push(format!("{name}.{ending}: {}\n{table}", text(&output.stderr)));
                }
            }
            count += 1;
        }
        for entry in fs::read_dir(folder.path()).unwrap() {
            fs::remove_file(entry.unwrap().path()).unwrap();
        }
        taken.write_all(b"\n").unwrap();
    }
    assert!(child.wait().unwrap().success(), "{script} ended early");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    count
}

#[test]
fn networks_of_keras_are_those_of_tensorflow() {
    if let Some(tensorflow) = packages("tensorflow") {
        assert_eq!(compare("keras_networks.py", &[tensorflow], &["pb"]), 7);
    }
}

#[test]
fn networks_of_torchvision_are_those_of_pytorch_in_every_format() {
    if let (Some(torch), Some(onnx), Some(exporter)) =
        (packages("torch"), packages("onnxruntime"), exporter())
    {
        assert_eq!(
            compare("torchvision_networks.py", &[torch, onnx, exporter], &["pth", "safetensors", "onnx"]),
            3 * 8
        );
    }
}

#[test]
fn light_networks_give_what_onnx_expects_of_them() {
    if let Some(onnx) = packages("onnxruntime") {
        assert_eq!(compare("light_networks.py", &[onnx], &["onnx"]), 2 * 9);
    }
}
