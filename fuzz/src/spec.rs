//! A dream spec, as a client sends it: JSON, the spec in it, and the same once more as it is stored.

use std::sync::LazyLock;

use reverie_dream::{
    model::{Catalogue, Model},
    spec::{DreamSpec, InputKind, resolve},
};
use reverie_fields::{MOST_MISTAKES, json};
use reverie_graph::{Array, Network, Node, NodeId, Op};

use super::assert_short;

/// A catalogue of one model with a map of 3 channels and 4 classes.
static CATALOGUE: LazyLock<Catalogue> = LazyLock::new(|| {
    let weight = Array::new(vec![3, 4], vec![0.0; 12]).expect("twelve values");
    let ops = [
        ("input", Op::Input { channels: 3 }),
        ("features", Op::Relu),
        ("mean", Op::SpatialMean),
        ("logits", Op::MatMul { weight }),
    ];
    let node = |(index, (name, op)): (usize, (&str, Op))| {
        let inputs = index.checked_sub(1).map(NodeId).into_iter().collect();
        Node { name: name.into(), op, inputs }
    };
    let network = Network::new(ops.into_iter().enumerate().map(node).collect()).expect("a sound network");
    let mut catalogue = Catalogue::default();
    catalogue.insert(Model::of_network("small", network, "features", Some("logits")));
    catalogue
});

/// Parses and resolves a spec with, without and beside an image and a mask.
pub fn spec(bytes: &[u8]) {
    let value = match json::parse(bytes) {
        Ok(value) => value,
        Err(error) => return assert_short(&error.to_string(), 1000),
    };
    for start in [InputKind::Image, InputKind::Masked, InputKind::Nothing { image: "/image" }] {
        match resolve("/spec", value.clone(), &CATALOGUE, start) {
            Ok(spec) => resolves_to_itself(&spec, start),
            Err(mistakes) => {
                assert!((1..=MOST_MISTAKES).contains(&mistakes.len()));
                for mistake in mistakes {
                    assert!(mistake.pointer.len() <= 500, "{}", mistake.pointer);
                    assert_short(&mistake.detail, 1000);
                }
            }
        }
    }
}

/// A spec is stored as text, resolved anew for a replay, and must mean the same each time.
fn resolves_to_itself(spec: &DreamSpec, start: InputKind) {
    let stored = serde_json::to_string(spec).expect("a spec can be written");
    assert_eq!(&serde_json::from_str::<DreamSpec>(&stored).expect("it can be read"), spec, "{stored}");
    let again = json::parse(stored.as_bytes()).expect("it names no member twice");
    assert_eq!(resolve("", again, &CATALOGUE, start).as_ref(), Ok(spec), "{stored}");
}
