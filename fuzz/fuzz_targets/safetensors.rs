//! Safetensors files: `src/torch_file.rs` says what must hold.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| checks::safetensors(bytes));
