//! Weights by key, as a model file is read: a PyTorch checkpoint or a safetensors file.

use reverie_import::{
    ImportError, safetensors_file,
    state_dict::{self, Weights},
    torch_file as reader,
};

use super::{assert_short, graph_def::answers};

/// Reads a checkpoint of either format, and builds a network of it.
pub fn torch_file(bytes: &[u8]) {
    build(reader::read(bytes), bytes);
}

/// Reads a safetensors file, and builds a network of it.
pub fn safetensors(bytes: &[u8]) {
    build(safetensors_file::read(bytes), bytes);
}

fn build(weights: Result<Weights, ImportError>, bytes: &[u8]) {
    let weights = match weights {
        Ok(weights) => weights,
        Err(error) => return refused(&error, bytes),
    };
    for array in weights.values() {
        assert_eq!(array.shape.iter().product::<usize>(), array.data.len());
    }
    match state_dict::build(weights) {
        // A key is longer than the nodes that follow from it are many.
        Ok((network, _)) => answers(&network, bytes.len()),
        Err(error) => refused(&error, bytes),
    }
}

/// A message holds names from the file, each a few times at most.
fn refused(error: &ImportError, bytes: &[u8]) {
    assert_short(&error.to_string(), 1000 + 8 * bytes.len());
}
