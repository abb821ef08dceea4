//! Arbitrary bodies of the Seata serializer and of protobuf.
#![no_main]

#[path = "../bodies/wire.rs"]
mod wire;

libfuzzer_sys::fuzz_target!(|data: &[u8]| wire::messages(data));
