//! The first part of the self-test: values that TensorFlow and PyTorch computed.

use std::{io::Write, sync::Arc};

use super::super::Failure;
use reverie_dream::model::Model;
use reverie_engine::{
    Kernels,
    verify::{Check, verify as compare},
};
use reverie_models as models;

/// A small graph with every operation of the Inception family, and what TensorFlow makes of it.
const GRAPH: &[u8] = include_bytes!("../../../tests/fixtures/tiny_graph.pb");
const OF_GRAPH: [&[u8]; 2] = [
    include_bytes!("../../../tests/fixtures/tiny_graph_33x47.npz"),
    include_bytes!("../../../tests/fixtures/tiny_graph_64x40.npz"),
];

/// What PyTorch makes of EfficientNet-Lite0.
const EFFICIENTNET: (&str, &[u8]) =
    ("efficientnet-lite0", include_bytes!("../../../tests/fixtures/efficientnet_lite0_160x192.npz"));

/// All checks in float32 on `device`: of the graph, and of `model` where the program carries a reference of it.
pub(super) fn verify(model: &Arc<Model>, device: &str, kernels: Kernels) -> Result<Vec<Check>, Failure> {
    // Models and references are read from files.
    let folder = tempfile::tempdir()?;
    let write = |name: &str, bytes: &[u8]| -> Result<_, Failure> {
        let path = folder.path().join(name);
        std::fs::File::create(&path)?.write_all(bytes)?;
        Ok(path)
    };
    let graph = Arc::new(models::load_file(&write("graph.pb", GRAPH)?)?);
    let mut pairs = vec![];
    for (index, reference) in OF_GRAPH.iter().enumerate() {
        pairs.push((Arc::clone(&graph), write(&format!("{index}.npz"), reference)?));
    }
    let (id, reference) = EFFICIENTNET;
    if model.id == id {
        pairs.push((Arc::clone(model), write("model.npz", reference)?));
    }
    let mut checks = vec![];
    for (model, reference) in pairs {
        checks.extend(compare(&model, &reference, device, kernels)?);
    }
    Ok(checks)
}
