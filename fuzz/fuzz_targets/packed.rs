//! Arbitrary packed bodies.
#![no_main]

#[path = "../bodies/packed.rs"]
mod packed;

libfuzzer_sys::fuzz_target!(|data: &[u8]| packed::packed(data));
