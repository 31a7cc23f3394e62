//! Forms and JSON bodies: `src/form.rs` says what must hold.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| checks::form(bytes));
