//! Imports of whole model files: the fixture with every operation, and the graphs of the shared folder.
#![allow(clippy::unwrap_used)]

#[path = "common/shared.rs"]
mod shared;

use std::{fs::File, io::Read, path::Path};

use flate2::read::GzDecoder;
use reverie_dream::model::Preprocessing;
use reverie_graph::{Network, NodeId, Op, Padding, Shape};
use reverie_import::tensorflow;
use reverie_models::load_file;
use shared::shared;

fn fixture(name: &str) -> Vec<u8> {
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)).unwrap()
}

fn count(network: &Network, kind: &str) -> usize {
    network.nodes().iter().filter(|node| node.op.kind() == kind).count()
}

fn shape(network: &Network, layer: &str, height: usize, width: usize) -> Shape {
    let id: NodeId = network.find(layer).unwrap();
    network.shapes(&[id], height, width).unwrap()[id.0].unwrap()
}

fn map(channels: usize, height: usize, width: usize) -> Shape {
    Shape::Map { channels, height, width }
}

#[test]
fn the_fixture_with_every_operation_is_imported() {
    let network = tensorflow::import(fixture("tiny_graph.pb")).unwrap();
    for kind in [
        "input",
        "conv2d",
        "bias_add",
        "relu",
        "relu6",
        "max_pool",
        "avg_pool",
        "lrn",
        "concat",
        "add",
        "spatial_mean",
        "flatten",
        "mat_mul",
        "softmax",
        "identity",
    ] {
        assert!(count(&network, kind) > 0, "{kind}");
    }
    // As in the reference values.
    for (layer, expected) in [
        ("conv0", map(8, 17, 24)),
        ("maxpool_same", map(8, 9, 12)),
        ("depthwise_multiplier", map(16, 9, 12)),
        ("joined", map(46, 9, 12)),
        ("oblong", map(5, 8, 10)),
        ("dilated_valid", map(5, 8, 10)),
        ("maxpool_valid", map(10, 4, 5)),
        ("map_softmax", map(20, 4, 5)),
        ("rows", Shape::Rows { rows: 20, features: 20 }),
        ("rows_softmax", Shape::Rows { rows: 20, features: 4 }),
        ("flat", Shape::Rows { rows: 1, features: 20 }),
        ("probabilities", Shape::Rows { rows: 1, features: 7 }),
    ] {
        assert_eq!(shape(&network, layer, 33, 47), expected, "{layer}");
    }
    let lrn = network.node(network.find("lrn0").unwrap());
    assert_eq!(lrn.op, Op::Lrn { radius: 2, bias: 1.5, alpha: 0.3, beta: 0.6 });
}

#[test]
fn bvlc_inception_is_imported() {
    let Some(path) = shared("bvlc_inception_is_imported", "models/bvlc_inception_graph.pb") else {
        return;
    };
    let model = load_file(&path).unwrap();
    assert_eq!(model.id, "bvlc_inception_graph");
    assert_eq!(model.preprocessing, Preprocessing::uniform(117.0, 1.0));
    assert_eq!(model.default_layer, "mixed4c");
    assert_eq!(model.channel_layer, "mixed4d_3x3_bottleneck_pre_relu");
    assert_eq!(model.class_layer.as_deref(), Some("softmax2_pre_activation"));
    let network = &model.network;
    // Under the names that Caffe's and torchvision's files of the same network have.
    for (alias, layer) in [
        ("inception_4c/output", "mixed4c"),
        ("inception4c", "mixed4c"),
        ("conv2/relu_3x3", "conv2d2"),
        ("inception_4d/3x3_reduce", "mixed4d_3x3_bottleneck_pre_relu"),
        ("inception5b.branch4.1", "mixed5b_pool_reduce"),
        ("loss3/classifier", "softmax2_pre_activation"),
    ] {
        assert_eq!(network.find(alias), network.find(layer), "{alias}");
        assert!(network.find(layer).is_ok(), "{layer}");
    }
    let told = network.find("inception4f").unwrap_err();
    assert!(told.nearest.iter().all(|name| name.starts_with("inception4")), "{told}");
    // Those of its looks.
    let blocks = ["3a", "3b", "4a", "4b", "4c", "4d", "4e", "5a"].map(|block| format!("mixed{block}"));
    assert_eq!(model.featured, [&["conv2d2".to_owned()], &blocks[..]].concat());
    assert_eq!((count(network, "conv2d"), count(network, "lrn")), (57, 2));
    let lrn = network.node(network.find("localresponsenorm0").unwrap());
    assert_eq!(lrn.op, Op::Lrn { radius: 2, bias: 1.0, alpha: 2e-5, beta: 0.75 });
    // As in references/bvlc_inception_graph/layers_odd.npz.
    for (layer, expected) in [
        ("conv2d0", map(64, 49, 66)),
        ("localresponsenorm1", map(192, 25, 33)),
        ("mixed3b", map(480, 13, 17)),
        ("mixed4c", map(512, 7, 9)),
        ("mixed5b", map(1024, 4, 5)),
        ("softmax2", Shape::Rows { rows: 1, features: 1000 }),
    ] {
        assert_eq!(shape(network, layer, 97, 131), expected, "{layer}");
    }
}

#[test]
fn the_layout_of_the_real_inception5h_is_imported() {
    let Some(path) =
        shared("the_layout_of_the_real_inception5h_is_imported", "models/inception5h_layout.pb.gz")
    else {
        return;
    };
    let mut file = Vec::new();
    GzDecoder::new(File::open(path).unwrap()).read_to_end(&mut file).unwrap();
    let network = tensorflow::import(file).unwrap();
    assert_eq!(count(&network, "conv2d"), 59);
    let channels = |layer: &str| network.channels(network.find(layer).unwrap());
    assert_eq!(channels("mixed4d_3x3_bottleneck_pre_relu"), 144);
    let lrn = network.node(network.find("localresponsenorm1").unwrap());
    assert_eq!(lrn.op, Op::Lrn { radius: 5, bias: 2.0, alpha: 1e-4, beta: 0.5 });
    let conv = network.node(network.find("conv2d1_pre_relu/conv").unwrap());
    assert!(matches!(conv.op, Op::Conv2d { padding: Padding::Valid, .. }));
    // As in references/inception5h_layout/layers_224.npz.
    for (layer, expected) in [
        ("conv2d0", map(64, 112, 112)),
        ("mixed4a", map(508, 14, 14)),
        ("mixed5b", map(1024, 7, 7)),
        ("avgpool0", map(1024, 1, 1)),
        ("nn0", Shape::Rows { rows: 1, features: 1024 }),
        ("output", Shape::Rows { rows: 1, features: 1008 }),
        ("output2", Shape::Rows { rows: 1, features: 1008 }),
    ] {
        assert_eq!(shape(&network, layer, 224, 224), expected, "{layer}");
    }
    // Away from 224×224 the auxiliary heads do not fit; the layers that do not need them still do.
    assert_eq!(shape(&network, "mixed5b", 97, 131), map(1024, 4, 5));
    let head = network.find("softmax0").unwrap();
    let error = network.shapes(&[head], 97, 131).unwrap_err();
    assert_eq!(error.node, "head0/bottleneck/reshape");
}
