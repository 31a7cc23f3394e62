//! Image files: `src/picture.rs` says what must hold.
#![no_main]

#[global_allocator]
static ALLOCATOR: checks::Counting = checks::Counting;

libfuzzer_sys::fuzz_target!(init: checks::tell_new_panics(), |bytes: &[u8]| checks::picture(bytes));
