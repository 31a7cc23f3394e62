//! TensorFlow graphs: `src/graph_def.rs` says what must hold.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| checks::graph_def(bytes));
