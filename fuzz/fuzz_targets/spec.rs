//! Dream specs: `src/spec.rs` says what must hold.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| checks::spec(bytes));
