//! Files put together by hand; what networks compute is compared with other programs in `crates/engine/src/tests`.

use prost::Message;
use reverie_graph::{Padding, Window};

use super::{
    super::caffe_proto::{self as proto, Blob as BlobProto, BlobShape},
    *,
};

fn blob(shape: &[i64]) -> Bytes {
    let count = shape.iter().product::<i64>().clamp(0, 1 << 20);
    let shape = Some(BlobShape { dim: shape.to_vec() });
    BlobProto { data: vec![0.5; count as usize], shape, ..Default::default() }.encode_to_vec().into()
}

fn layer(name: &str, kind: &str, bottom: &[&str], top: &str) -> Layer {
    let bottom = bottom.iter().map(|&bottom| bottom.to_owned()).collect();
    Layer { name: name.into(), r#type: kind.into(), bottom, top: vec![top.into()], ..Default::default() }
}

fn conv(name: &str, bottom: &str, weight: &[i64]) -> Layer {
    let kernel_size = vec![weight[2] as u32];
    let convolution = Some(proto::Convolution { kernel_size, ..Default::default() });
    let blobs = vec![blob(weight), blob(&weight[..1])];
    Layer { convolution, blobs, ..layer(name, "Convolution", &[bottom], name) }
}

/// A file of these layers, after an input.
fn file(layers: Vec<Layer>) -> Vec<u8> {
    let layers = [vec![layer("data", "Input", &[], "data")], layers].concat();
    let layer = layers.iter().map(|layer| layer.encode_to_vec().into()).collect();
    let net = NetParameter { layer, ..Default::default() }.encode_to_vec();
    [b"\x0a\x03net".to_vec(), net].concat()
}

fn refusal(layers: Vec<Layer>) -> String {
    import(file(layers)).unwrap_err().to_string()
}

fn fixture(name: &str) -> Vec<u8> {
    std::fs::read(format!("{}/../../tests/fixtures/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

#[test]
fn files_of_both_kinds_are_recognised_and_read() {
    for name in ["tiny.caffemodel", "tiny_v1.caffemodel"] {
        let file = fixture(name);
        assert!(is_caffe(&file), "{name}");
        let Imported { network, mean, scale, linear } = import(file).unwrap();
        assert_eq!((mean, scale), ([123.68, 116.779, 103.939], 1.0));
        assert!(linear.contains(&"logits".to_owned()), "{linear:?}");
        let op = |name: &str| &network.node(network.find(name).unwrap()).op;
        let pool = Padding::Explicit { before: [0; 2], after: [0; 2], ceil: true };
        assert_eq!(op("pool1"), &Op::MaxPool(Window { kernel: [3; 2], stride: [2; 2], padding: pool }));
        assert!(matches!(op("grouped"), Op::Conv2d { groups: 2, .. }), "{name}");
        assert!(matches!(op("relu2"), Op::LeakyRelu { .. }), "{name}");
        // In place: what comes later reads what was written last.
        let reader = network.node(network.find("pool1").unwrap());
        assert_eq!(network.node(reader.inputs[0]).name, "relu1");
        // A normalisation is part of the convolution before it.
        let left_out: Vec<&String> = network.left_out().keys().collect();
        assert_eq!(
            left_out,
            if name == "tiny.caffemodel" { vec!["bn", "reduced"] } else { vec![] },
            "{name}"
        );
    }
    for other in ["tiny_graph.pb", "tiny.onnx"] {
        assert!(!is_caffe(&fixture(other)), "{other}");
    }
    for other in
        [&b""[..], b"\x0a", b"\x0a\xff\xff\xff\xff\x7f", b"PK\x03\x04", b"no graph", b"\x0a\x03net\x12\x01x"]
    {
        assert!(!is_caffe(other));
    }
}

#[test]
fn the_file_may_say_how_pixels_are_prepared() {
    let transform = |mean_value: &[f32], scale| {
        let transform = Some(proto::Transform { mean_value: mean_value.to_vec(), scale });
        let data = Layer { transform, ..layer("data", "Data", &[], "data") };
        let layers = [data, conv("conv", "data", &[4, 3, 1, 1])];
        let layer = layers.iter().map(|layer| layer.encode_to_vec().into()).collect();
        let read = import(NetParameter { layer, ..Default::default() }.encode_to_vec()).unwrap();
        (read.mean, read.scale)
    };
    assert_eq!(transform(&[1.0, 2.0, 3.0], None), ([3.0, 2.0, 1.0], 1.0));
    assert_eq!(transform(&[7.0], Some(0.5)), ([7.0; 3], 0.5));
    assert_eq!(transform(&[], Some(f32::NAN)), ([123.68, 116.779, 103.939], 1.0));
}

#[test]
fn what_training_needs_is_passed_over() {
    let mut data = layer("data", "Data", &[], "data");
    data.top.push("label".into());
    let layers = vec![
        data,
        conv("conv", "data", &[4, 3, 1, 1]),
        layer("loss", "SoftmaxWithLoss", &["conv", "label"], "loss"),
        layer("accuracy", "Accuracy", &["conv", "label"], "accuracy"),
        layer("odd", "Python", &["conv"], "odd"),
        layer("after", "ReLU", &["odd"], "after"),
    ];
    let network = import(file(layers)).unwrap().network;
    let names: Vec<&str> = network.nodes().iter().map(|node| &*node.name).collect();
    assert_eq!(names, ["data", "conv", "loss"]);
    let left_out: Vec<&String> = network.left_out().keys().collect();
    assert_eq!(left_out, ["after", "odd"]);
    let error = network.find("after").unwrap_err().to_string();
    assert!(error.contains("the operation Python is not supported"), "{error}");
}

#[test]
fn what_is_not_computed_is_named() {
    let pooling = |pooling| Layer { pooling: Some(pooling), ..layer("x", "Pooling", &["data"], "x") };
    let all = |pool| proto::Pooling { pool, global_pooling: Some(true), ..Default::default() };
    let kernel = |kernel_size| proto::Pooling { kernel_size, ..Default::default() };
    let mut misshapen = conv("x", "data", &[4, 3, 1, 1]);
    misshapen.blobs[0] = blob(&[4, 3, 3, 3]);
    let mut odd = conv("x", "data", &[4, 3, 1, 1]);
    odd.blobs[0] = BlobProto { shape: Some(BlobShape { dim: vec![4, 3, 1, 9] }), ..Default::default() }
        .encode_to_vec()
        .into();
    let mut negative = conv("x", "data", &[4, 3, 1, 1]);
    negative.blobs[0] = blob(&[-4, 3, 1, 1]);
    let inner =
        |shape: &[i64]| Layer { blobs: vec![blob(shape)], ..layer("x", "InnerProduct", &["data"], "x") };
    let even = proto::Lrn { local_size: Some(4), ..Default::default() };
    let within = proto::Lrn { norm_region: Some(1), ..Default::default() };
    let lrn = |lrn| Layer { lrn: Some(lrn), ..layer("x", "LRN", &["data"], "x") };
    let cube = Some(proto::Power { power: Some(3.0), ..Default::default() });
    let axis = Some(proto::Concat { axis: Some(2), ..Default::default() });
    let largest = Some(proto::Eltwise { operation: Some(2), ..Default::default() });
    for (layer, expected) in [
        (layer("x", "Deconvolution", &["data"], "x"), "\"x\": the operation Deconvolution is not supported"),
        (layer("x", "ReLU", &["none"], "x"), "reads \"none\", which is not in the file"),
        (layer("x", "Convolution", &["data"], "x"), "has 0 weights"),
        (conv("x", "data", &[4, 5, 1, 1]), "\"x\" (conv2d)"),
        (misshapen, "has kernels of [1, 1] and a weight of the shape [4, 3, 3, 3]"),
        (odd, "and 0 values"),
        (negative, "has weights of the shape [-4, 3, 1, 1]"),
        (pooling(all(None)), "the largest value of all positions is not computed"),
        (pooling(kernel(None)), "window extents"),
        (pooling(proto::Pooling { pool: Some(2), ..kernel(Some(2)) }), "pooling number 2 is not known"),
        (inner(&[2, 7]), "no square map of 3 channels"),
        (inner(&[0, 3]), "has a weight of the shape"),
        (lrn(even), "the size 4 must be odd"),
        (lrn(within), "within channels"),
        (Layer { power: cube, ..layer("x", "Power", &["data"], "x") }, "powers other than 1"),
        (Layer { concat: axis, ..layer("x", "Concat", &["data"], "x") }, "axis 1"),
        (Layer { eltwise: largest, ..layer("x", "Eltwise", &["data", "data"], "x") }, "operation number 2"),
        (layer("x", "Eltwise", &["data"], "x"), "reads 1 blobs, needs two"),
        (layer("data", "ReLU", &["data"], "x"), "two nodes are called \"data\""),
    ] {
        let error = refusal(vec![layer]);
        assert!(error.contains(expected), "{expected}: {error}");
    }
    assert!(import(b"\x0a\x03net".to_vec()).unwrap_err().to_string().contains("exactly one input"));
}

#[test]
fn damaged_files_do_no_harm() {
    let file = fixture("tiny_v1.caffemodel");
    for position in (0..file.len()).step_by(37) {
        drop(import(file[..position].to_vec()));
        let mut damaged = file.clone();
        damaged[position] ^= 0xff;
        drop(import(damaged));
    }
    // A layer that stands for many values.
    let wide = (0..60).map(|index| {
        let before = if index == 0 { "conv".to_owned() } else { format!("power{}", index - 1) };
        layer(&format!("power{index}"), "Power", &[&before], &format!("power{index}"))
    });
    let layers = [vec![conv("conv", "data", &[1 << 17, 3, 1, 1])], wide.collect()].concat();
    assert!(refusal(layers).contains("too many values for a file of this length"));
}
