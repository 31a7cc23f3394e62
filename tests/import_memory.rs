//! What an import takes at its peak follows from the file's length, for files of every format and for such as stand for more.
//!
//! The process resets its peak of memory before each file, so that this is the only test in its program.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may fail loudly")]
#![cfg(target_os = "linux")]

#[path = "common/models.rs"]
mod models;

use std::{
    fs,
    path::{Path, PathBuf},
    time::Instant,
};

use prost::Message;
use reverie_import::onnx_proto::{
    Dimension, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto, TensorShapeProto,
    TensorType, TypeProto, ValueInfoProto, data_type,
};
use reverie_models::load_file;

/// What a file may take besides its own length: the weights that a short file may stand for, 16 MiB, twice, and the rest of an
/// import.
const BASE: u64 = 48 << 20;

/// Times that the length of a file may be taken: the file, its weights, and one more of a format that is packed or turned.
const TIMES: u64 = 3;

/// Peak of this process's memory in bytes.
fn peak() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

/// Reads a file as the service does, and holds what that takes against its length. Whether it was read.
fn read(path: &Path) -> Result<(), String> {
    let length = fs::metadata(path).unwrap().len();
    // Sets the peak to what is in use now.
    fs::write("/proc/self/clear_refs", "5").unwrap();
    let (before, started) = (peak(), Instant::now());
    let loaded = load_file(path);
    let grown = peak().saturating_sub(before);
    let name = path.file_name().unwrap().to_string_lossy();
    println!("{name}: {} kB for {} kB, {:?}", grown / 1000, length / 1000, started.elapsed());
    assert!(grown <= BASE + TIMES * length, "{name} of {length} bytes takes {grown} bytes");
    loaded.map(drop).map_err(|error| error.to_string())
}

/// An ONNX file of a convolution with so many channels of 3×3: nine times twelve bytes each. The weight stands in the file, or
/// is a constant of a shape.
fn onnx(channels: i64, stands: bool) -> Vec<u8> {
    let dims = vec![channels, 3, 3, 3];
    let node = |op: &str, inputs: &[&str], output: &str| NodeProto {
        input: inputs.iter().map(|&input| input.to_owned()).collect(),
        output: vec![output.to_owned()],
        op_type: op.to_owned(),
        ..Default::default()
    };
    let mut nodes = vec![node("Conv", &["image", "w"], "conv")];
    let weight = if stands {
        let raw_data = vec![0; dims.iter().product::<i64>() as usize * 4].into();
        TensorProto { dims, data_type: data_type::FLOAT, name: "w".into(), raw_data, ..Default::default() }
    } else {
        nodes.insert(0, node("ConstantOfShape", &["shape"], "w"));
        let (count, data_type) = (dims.len() as i64, data_type::INT64);
        TensorProto {
            dims: vec![count],
            data_type,
            name: "shape".into(),
            int64_data: dims,
            ..Default::default()
        }
    };
    let dim = [1, 3, 0, 0].into_iter().map(|dim_value| Dimension { dim_value }).collect();
    let tensor = TensorType { elem_type: data_type::FLOAT, shape: Some(TensorShapeProto { dim }) };
    let graph = GraphProto {
        node: nodes.iter().map(|node| node.encode_to_vec().into()).collect(),
        initializer: vec![weight.encode_to_vec().into()],
        input: vec![ValueInfoProto {
            name: "image".into(),
            r#type: Some(TypeProto { tensor_type: Some(tensor) }),
        }],
    };
    let opset_import = vec![OperatorSetIdProto { domain: String::new(), version: 13 }];
    let model = ModelProto { graph: Some(graph), opset_import }.encode_to_vec();
    // The version of the format comes first.
    [&[8, 8], &model[..]].concat()
}

/// The nine networks of the package `onnx` whose weights are constants of a shape: a few kilobytes that stand for up to half a
/// gigabyte where the network runs. They are there where `tests/certify.rs` has fetched the package.
fn light_models() -> Vec<PathBuf> {
    let peers = Path::new(env!("CARGO_TARGET_TMPDIR")).join("peers/reverie/peers");
    let packages = fs::read_dir(peers).into_iter().flatten().map(|entry| entry.unwrap().path());
    let folders = packages.map(|package| package.join("onnx/backend/test/data/light"));
    let files = folders.filter_map(|folder| fs::read_dir(folder).ok()).flatten();
    let mut files: Vec<PathBuf> = files.map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "onnx"));
    files.sort();
    files
}

#[test]
fn what_an_import_takes_follows_from_the_length_of_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let written = |name: &str, file: Vec<u8>| {
        let path = folder.path().join(name);
        fs::write(&path, file).unwrap();
        path
    };
    // 43 MB of weights, and a gigabyte from 140 bytes, which takes memory where it runs; no more than that may run.
    let long = written("long.onnx", onnx(400_000, true));
    assert_eq!(read(&long), Ok(()));
    fs::remove_file(long).unwrap();
    assert_eq!(read(&written("short.onnx", onnx(9_000_000, false))), Ok(()));
    let refused = read(&written("large.onnx", onnx(10_000_000, false))).unwrap_err();
    let told = "node \"conv\" (Conv): the weights have more values than a model may have, 268435456";
    assert!(refused.ends_with(told), "{refused}");
    // Of 16 and of 32 bits, in a zip archive, and a graph.
    assert_eq!(read(&models::models_dir().join("efficientnet-lite0.pth")), Ok(()));
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    for name in ["torchvision/mobilenet_v2.pth", "tiny_graph.pb", "tiny.caffemodel", "tiny.onnx"] {
        assert_eq!(read(&fixtures.join(name)), Ok(()), "{name}");
    }
    for path in light_models() {
        assert_eq!(read(&path), Ok(()), "{}", path.display());
    }
}
