//! What must hold for every input, one function per reader: fuzz targets call them with whatever libFuzzer comes up with,
//! `tests/fuzz_corpus.rs` with the files in `corpus/`.
//!
//! A function returns if the input is read or refused as it should be, and panics if not. Inputs are kept as a person can
//! read and make them: a file is the file itself, a form begins with a line for its `Content-Type`.

mod caffe;
mod form;
mod graph_def;
mod memory;
mod onnx;
mod picture;
mod spec;
mod torch_file;

pub use caffe::caffe;
pub use form::form;
pub use graph_def::graph_def;
pub use memory::Counting;
pub use onnx::onnx;
pub use picture::{picture, tell_new_panics};
pub use spec::spec;
pub use torch_file::{safetensors, torch_file};

/// The reader of a target.
pub type Check = fn(&[u8]);

/// All targets by the names of their folders in `corpus/`.
pub const TARGETS: [(&str, Check); 8] = [
    ("picture", picture),
    ("graph_def", graph_def),
    ("onnx", onnx),
    ("torch_file", torch_file),
    ("safetensors", safetensors),
    ("caffe", caffe),
    ("spec", spec),
    ("form", form),
];

/// Asserts that a message is one for a person to read, however long the input is.
fn assert_short(message: &str, most: usize) {
    assert!(!message.is_empty() && message.len() <= most, "a message of {} bytes: {message}", message.len());
}
