//! Records of a snapshot.
#![no_main]

#[path = "../bodies/stored.rs"]
mod stored;

libfuzzer_sys::fuzz_target!(|data: &[u8]| stored::snapshots(data));
