//! A PyTorch checkpoint, as a model file is read.

use reverie_import::{ImportError, efficientnet, torch_file as reader};

use super::assert_short;

/// Reads a checkpoint of either format, and builds a network of it.
pub fn torch_file(bytes: &[u8]) {
    let arrays = match reader::read(bytes) {
        Ok(arrays) => arrays,
        Err(error) => return refused(&error, bytes),
    };
    for array in arrays.values() {
        assert_eq!(array.shape.iter().product::<usize>(), array.data.len());
    }
    if let Err(error) = efficientnet::build(arrays) {
        refused(&error, bytes);
    }
}

/// A message holds names from the file, each a few times at most.
fn refused(error: &ImportError, bytes: &[u8]) {
    assert_short(&error.to_string(), 1000 + 8 * bytes.len());
}
