//! A TensorFlow graph, as a model file is read.

use reverie_graph::{Network, NodeId};
use reverie_import::{ImportError, tensorflow};

use super::assert_short;

/// Imports a graph and asks it what the service asks.
pub fn graph_def(bytes: &[u8]) {
    match tensorflow::import(bytes.to_vec()) {
        Ok(network) => answers(&network, bytes.len()),
        Err(error) => refused(&error, bytes),
    }
}

/// What holds for every network that was read from so many bytes.
pub(super) fn answers(network: &Network, length: usize) {
    let nodes = network.nodes();
    assert!(!nodes.is_empty() && nodes.len() <= length);
    for (name, reason) in network.left_out() {
        assert_short(reason, 1000 + 8 * length);
        assert!(network.find(name).is_err(), "\"{name}\" is left out and there");
    }
    assert_eq!(network.layers().len(), nodes.len() - 1);
    let ids: Vec<NodeId> = (0..nodes.len()).map(NodeId).collect();
    for (&id, node) in ids.iter().zip(nodes) {
        assert_eq!(network.find(&node.name), Ok(id));
        assert!(network.channels(id) > 0 && node.inputs.iter().all(|input| *input < id));
    }
    assert!(network.stride(&ids) > 0);
    for (height, width) in [(1, 1), (64, 48), (4096, 4096)] {
        let Ok(shapes) = network.shapes(&ids, height, width) else { continue };
        assert!(shapes.iter().flatten().all(|shape| !shape.is_empty()));
        for (&id, shape) in ids.iter().zip(&shapes) {
            let work = shape.map_or(0.0, |shape| network.multiply_adds(id, shape));
            assert!(work.is_finite() && work >= 0.0);
        }
    }
}

/// A message holds names from the file, each a few times at most.
fn refused(error: &ImportError, bytes: &[u8]) {
    assert_short(&error.to_string(), 1000 + 8 * bytes.len());
}
