//! `reverie models certify` as a person uses it: with ONNX Runtime from PyPI, which is fetched once for a target folder.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may fail loudly")]

#[path = "common/scratch.rs"]
mod scratch;

use std::{
    env, fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use prost::Message;
use reverie_import::onnx_proto::{ModelProto, TensorProto};
use scratch::reverie;

const TINY: &str = "tests/fixtures/tiny.onnx";

/// Runs the command with packages in `cache`.
fn certify(cache: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_reverie"));
    command.current_dir(env!("CARGO_MANIFEST_DIR")).env("XDG_CACHE_HOME", cache);
    command.args(["models", "certify"]).args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// The cache that all runs of one target folder share.
fn cache() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("peers")
}

/// Whether the framework cannot be had here, which is said, and an error where nothing may be skipped.
fn is_skipped(test: &str, output: &Output) -> bool {
    let told = text(&output.stderr);
    let missing = ["pip cannot get", "or later", "has no pip"].iter().any(|reason| told.contains(reason));
    if output.status.success() || !missing || env::var_os("CI").is_some() {
        return false;
    }
    let _ = std::io::stderr().write_all(format!("skipped: {test}: {told}").as_bytes());
    true
}

/// The same file with another first value of a weight.
fn changed(weight: &str) -> Vec<u8> {
    let mut file = fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join(TINY)).unwrap();
    let graph = ModelProto::decode(&*file).unwrap().graph.unwrap();
    let weights = graph.initializer.iter().map(|bytes| TensorProto::decode(bytes.clone()).unwrap());
    let data = weights.into_iter().find(|tensor| tensor.name == weight).unwrap().raw_data;
    let at = file.windows(data.len()).position(|part| part == data).unwrap();
    let first = f32::from_le_bytes(data[..4].try_into().unwrap());
    file[at..at + 4].copy_from_slice(&(first + 0.01).to_le_bytes());
    file
}

/// Rows of a certificate: verdict, layer, errors of activation and gradient.
fn rows(output: &Output) -> Vec<[String; 4]> {
    let said = text(&output.stdout);
    let rows = said.lines().filter(|line| line.starts_with("ok ") || line.starts_with("FAILED "));
    rows.map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        [0, 1, 2, 3].map(|index| words[index].to_owned())
    })
    .collect()
}

#[test]
fn an_onnx_file_is_certified_and_a_changed_one_does_not_pass_for_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let reference = path("reference.npz");
    let output = certify(&cache(), &[TINY, "--with", "onnxruntime", "--size", "47x33", "--keep", &reference]);
    if is_skipped("an_onnx_file_is_certified_and_a_changed_one_does_not_pass_for_it", &output) {
        return;
    }
    let said = text(&output.stdout);
    assert!(output.status.success(), "{said}{}", text(&output.stderr));
    let rows = rows(&output);
    // All that ONNX Runtime puts out, which is all but what Reverie has in two steps; each with its gradient.
    let layers =
        ["stem_norm", "pool_ceil", "lrn", "joined", "gated", "after_pad", "same", "logits", "probabilities"];
    for layer in layers {
        let row = rows.iter().find(|row| row[1] == layer).unwrap_or_else(|| panic!("no {layer} in {said}"));
        assert!(row[0] == "ok" && row[2] != "-" && row[3] != "-", "{row:?}");
    }
    assert!(rows.len() > 35 && rows.iter().all(|row| row[0] == "ok"), "{said}");
    assert!(said.contains("activations, largest error") && !said.contains("undecided"), "{said}");

    // What was kept is a reference as any other: the file agrees with it, one with another weight does not.
    let verified = reverie(&["models", "verify", TINY, "--reference", &reference]);
    assert!(verified.status.success(), "{}", text(&verified.stdout));
    fs::write(path("tiny.onnx"), changed("reduced.w")).unwrap();
    let failed = reverie(&["models", "verify", &path("tiny.onnx"), "--reference", &reference]);
    let said = text(&failed.stdout);
    assert!(!failed.status.success() && text(&failed.stderr).contains("out of tolerance"), "{said}");
    let line = |start: &str, layer: &str, kind: &str| {
        said.lines().any(|line| {
            line.trim_start().starts_with(start)
                && line.contains(&format!(" {layer} "))
                && line.contains(kind)
        })
    };
    for (start, layer, kind) in [
        ("ok", "lrn", "activation"),
        ("ok", "slope_l2_lrn", "slope"),
        ("FAILED", "reduced", "activation"),
        ("FAILED", "slope_l2_reduced", "slope"),
    ] {
        assert!(line(start, layer, kind), "no {start} {layer} in {said}");
    }
    // With its own reference it is as good as the first.
    let own = certify(&cache(), &[&path("tiny.onnx"), "--size", "47x33"]);
    assert!(own.status.success(), "{}", text(&own.stdout));
}

#[test]
fn what_cannot_be_certified_is_told_in_a_sentence() {
    let folder = tempfile::tempdir().unwrap();
    for (arguments, told) in [
        (
            &[TINY, "--with", "torch"][..],
            "tiny.onnx: this is an ONNX file, which torch does not read; use --with onnxruntime",
        ),
        (
            &["tests/fixtures/tiny.caffemodel"],
            "tiny.caffemodel: this is a Caffe model, none of the frameworks reads it",
        ),
        (&[TINY, "--with", "caffe"], "[possible values: onnxruntime, tensorflow, torch]"),
        (&[TINY, "--python", "/nowhere/python3"], "with pip is needed, and /nowhere/python3 does not run"),
        (&[TINY, "--size", "4x4"], "use WIDTHxHEIGHT, from 8x8 to 2048x2048"),
        (&["tests/fixtures/none.onnx"], "none.onnx"),
    ] {
        let output = certify(folder.path(), arguments);
        let error = text(&output.stderr);
        assert!(!output.status.success() && error.contains(told), "{arguments:?}: {error}");
        assert!(!error.contains("panicked") && !error.contains("Traceback"), "{error}");
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "something was installed");
}

#[test]
fn without_a_network_nothing_is_left_behind() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_reverie"));
    command.current_dir(env!("CARGO_MANIFEST_DIR")).env("XDG_CACHE_HOME", folder.path());
    // Nothing listens there.
    command
        .env("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
        .env("PIP_RETRIES", "0")
        .env("PIP_CONFIG_FILE", "/dev/null");
    let output = command.args(["models", "certify", TINY]).output().unwrap();
    let error = text(&output.stderr);
    if error.contains("or later") || error.contains("has no pip") {
        assert!(env::var_os("CI").is_none(), "{error}");
        return;
    }
    let told = error.contains("pip cannot get onnxruntime==") && error.contains("PIP_INDEX_URL");
    assert!(!output.status.success() && told, "{error}");
    let left = fs::read_dir(folder.path().join("reverie/peers")).unwrap().count();
    assert_eq!(left, 0, "something was left behind");
}
