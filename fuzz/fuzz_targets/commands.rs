//! An encoded command, batch or outcome.
#![no_main]

#[path = "../bodies/stored.rs"]
mod stored;

libfuzzer_sys::fuzz_target!(|data: &[u8]| stored::commands(data));
