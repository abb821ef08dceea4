//! Operations on the state machine and on its model.
#![no_main]

#[path = "../bodies/operations.rs"]
mod operations;

libfuzzer_sys::fuzz_target!(|data: &[u8]| operations::operations(data));
