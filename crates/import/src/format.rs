//! What a file is, by its first bytes. Names say little: browsers, package managers and repositories hand out other things
//! under the name of a model, and each deserves a sentence that says what to do.

use super::{ImportError, caffe, onnx, safetensors_file, torch_file};

/// A format that can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// [`tensorflow`](super::tensorflow).
    GraphDef,
    /// [`onnx`].
    Onnx,
    /// [`caffe`].
    Caffe,
    /// [`torch_file`].
    Torch,
    /// [`safetensors_file`].
    Safetensors,
}

/// How a file of another kind starts, and what to do about it.
const OTHERS: [(&[u8], &str); 9] = [
    (
        b"version https://git-lfs.github.com/",
        "a Git LFS pointer, not the model itself; fetch that with `git lfs pull`",
    ),
    (b"\x1f\x8b", "packed with gzip; unpack it first"),
    (b"BZh", "packed with bzip2; unpack it first"),
    (b"\xfd7zXZ\0", "packed with xz; unpack it first"),
    (
        b"\0\x05\x16\x07",
        "what macOS notes about a file (\"._NAME\"), not the file; the model is the file without \"._\"",
    ),
    (
        b"\x89HDF\r\n\x1a\n",
        "HDF5, as Keras saves models (.h5); freeze the model to a GraphDef, or export it as ONNX",
    ),
    (b"\x08\x01\x12", "a TensorFlow SavedModel; freeze it to a GraphDef"),
    (b"{", "JSON, not a model's weights"),
    (b"%PDF", "a PDF document"),
];

/// What a file is.
///
/// # Errors
/// [`ImportError::OtherKind`] for a file that is known to be no model that can be read.
pub fn recognise(file: &[u8]) -> Result<Format, ImportError> {
    let other = |what: &'static str| Err(ImportError::OtherKind(what));
    if torch_file::is_torch_file(file) {
        return Ok(Format::Torch);
    }
    if onnx::is_onnx(file) {
        return Ok(Format::Onnx);
    }
    if file.is_empty() {
        return other("empty");
    }
    if let Some((_, what)) = OTHERS.iter().find(|(start, _)| file.starts_with(start)) {
        return other(what);
    }
    if file.get(4..8) == Some(b"TFL3") {
        return other("a TensorFlow Lite model; use what it was made of");
    }
    if safetensors_file::is_safetensors(file) {
        return Ok(Format::Safetensors);
    }
    if caffe::is_caffe(file) {
        return Ok(Format::Caffe);
    }
    let text = file.trim_ascii_start();
    let is = |start: &str| {
        text.get(..start.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(start.as_bytes()))
    };
    if ["<!doctype", "<html", "<?xml"].iter().any(|start| is(start)) {
        return other("a web page, not a model; the link leads to a page about it, or to an error");
    }
    if ["node {", "node:", "name:", "layer {", "input:"].iter().any(|start| is(start)) {
        return other(
            "a network in text form (.pbtxt, .prototxt), without weights; the binary file is needed",
        );
    }
    Ok(Format::GraphDef)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_other_kinds_get_their_name() {
        let header = [&9u64.to_le_bytes()[..], b"{\"w\": {}}"].concat();
        for (file, what) in [
            (
                &b"version https://git-lfs.github.com/spec/v1\noid sha256:abc\nsize 1\n"[..],
                "a Git LFS pointer",
            ),
            (b"<!DOCTYPE html><html>404", "a web page"),
            (b"\n <HTML>", "a web page"),
            (b"\x1f\x8b\x08\0", "packed with gzip"),
            (b"\0\x05\x16\x07\0\x02\0\0Mac OS X", "what macOS notes about a file"),
            (b"\x89HDF\r\n\x1a\n\0", "HDF5"),
            (b"\x08\x01\x12\x05", "a TensorFlow SavedModel"),
            (b"node {\n  name: \"x\"\n}", "a network in text form"),
            (b"name: \"GoogLeNet\"", "a network in text form"),
            (b"\x1c\0\0\0TFL3", "a TensorFlow Lite model"),
            (b"", "empty"),
        ] {
            let error = recognise(file).unwrap_err().to_string();
            assert!(error.starts_with(&format!("this is {what}")), "{error}");
        }
        for file in [&b"\x0a\x07\x0a\x01a"[..], b"no graph"] {
            assert_eq!(recognise(file), Ok(Format::GraphDef));
        }
        assert_eq!(recognise(b"PK\x03\x04"), Ok(Format::Torch));
        assert_eq!(recognise(&header), Ok(Format::Safetensors));
        assert_eq!(recognise(b"\x08\x08\x12\x07pytorch"), Ok(Format::Onnx));
    }
}
