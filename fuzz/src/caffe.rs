//! A Caffe model, as a model file is read.

use reverie_import::caffe as reader;

use super::{assert_short, graph_def::answers};

/// Imports a network and asks it what the service asks.
pub fn caffe(bytes: &[u8]) {
    let _ = reader::is_caffe(bytes);
    match reader::import(bytes.to_vec()) {
        Ok(imported) => {
            assert!(imported.mean.iter().chain([&imported.scale]).all(|value| value.is_finite()));
            answers(&imported.network, bytes.len());
        }
        // A message holds names from the file, each a few times at most.
        Err(error) => assert_short(&error.to_string(), 1000 + 8 * bytes.len()),
    }
}
