//! An ONNX file, as a model file is read.

use bytes::Bytes;
use reverie_import::{
    onnx as reader,
    onnx_data::{DataFiles, data_files},
};

use super::{assert_short, graph_def::answers};

/// Imports a network and asks it what the service asks. Files that it names as beside it hold the same bytes.
pub fn onnx(bytes: &[u8]) {
    let file = Bytes::copy_from_slice(bytes);
    let told = |error: &dyn ToString| assert_short(&error.to_string(), 1000 + 8 * bytes.len());
    let data: DataFiles = match data_files(file.clone()) {
        Ok(names) => names.into_iter().take(2).map(|name| (name, file.clone())).collect(),
        Err(error) => return told(&error),
    };
    match reader::import(file, &data) {
        Ok(network) => answers(&network, bytes.len()),
        // A message holds names from the file, each a few times at most.
        Err(error) => told(&error),
    }
}
