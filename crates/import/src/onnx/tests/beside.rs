//! Weights in files beside.

use super::*;
use crate::{onnx_data::data_files, onnx_proto::Entry};

/// As PyTorch's exporter writes weights.
#[test]
fn weights_are_read_from_files_beside() {
    let entry = |key: &str, value: &str| Entry { key: key.into(), value: value.into() };
    let of = |name: &str, offset: &str, length: &str| {
        let external_data = vec![entry("location", name), entry("offset", offset), entry("length", length)];
        let weight = TensorProto { data_location: 1, external_data, ..floats("w", &[1, 3, 1, 1], &[]) };
        file(image(), &[node("Conv", "it", &["image", "w"], vec![])], &[weight], 18)
    };
    let mut bytes = vec![7; 4];
    bytes.extend([0.5f32, 1.0, -2.0].iter().flat_map(|value| value.to_le_bytes()));
    let beside = DataFiles::from([("w.data".to_owned(), bytes.into())]);
    for name in ["w.data", "./w.data"] {
        let file = of(name, "4", "12");
        assert_eq!(data_files(file.clone().into()).unwrap(), ["w.data"]);
        let network = crate::onnx::import(file, &beside).unwrap();
        let Op::Conv2d { weight, .. } = op(&network, "it") else { panic!("no convolution") };
        assert_eq!(*weight.data, [0.5, 1.0, -2.0]);
    }
    for (offset, length, told) in [
        ("8", "12", "weight \"w\": its values lie outside \"w.data\", which has 16 bytes: is it whole?"),
        ("18446744073709551615", "12", "lie outside"),
        ("4", "-1", "its length in \"w.data\" is \"-1\""),
        ("4", "8", "the file holds 2 value(s) for it"),
    ] {
        let error = crate::onnx::import(of("w.data", offset, length), &beside).unwrap_err().to_string();
        assert!(error.contains(told), "{error}");
    }
    for name in ["", "..", "../w", "/etc/passwd", "a/b", "a\\b", "./..", &"x".repeat(256)] {
        let error = data_files(of(name, "0", "4").into()).unwrap_err().to_string();
        assert!(error.contains("must be the name of a file in the same folder"), "{error}");
    }
    let error = import(of("w.data", "4", "12")).unwrap_err().to_string();
    assert!(error.contains("are in the file \"w.data\", which is not there"), "{error}");
}
