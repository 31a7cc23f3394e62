//! ONNX files: `src/onnx.rs` says what must hold.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| checks::onnx(bytes));
