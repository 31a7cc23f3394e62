//! An ONNX file, as a model file is read.

use reverie_import::onnx as reader;

use super::{assert_short, graph_def::answers};

/// Imports a network and asks it what the service asks.
pub fn onnx(bytes: &[u8]) {
    match reader::import(bytes.to_vec()) {
        Ok(network) => answers(&network, bytes.len()),
        // A message holds names from the file, each a few times at most.
        Err(error) => assert_short(&error.to_string(), 1000 + 8 * bytes.len()),
    }
}
