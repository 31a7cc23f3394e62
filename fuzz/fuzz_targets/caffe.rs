//! Caffe models: `src/caffe.rs` says what must hold.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| checks::caffe(bytes));
