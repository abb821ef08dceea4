//! The codec refuses whatever it would not have written itself.

use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use super::*;

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct Note {
    text: String,
    number: u64,
}

impl Persisted for Note {
    const BYTES_MAX: usize = 64;
}

fn note(text: &str, number: u64) -> Note {
    Note { text: text.into(), number }
}

#[test]
fn a_value_comes_back() {
    let bytes = encode(&note("shop", 60_000)).expect("short");
    assert_eq!(bytes, [1, 4, b's', b'h', b'o', b'p', 0xfb, 0x60, 0xea]);
    assert_eq!(decode::<Note>(&bytes), Ok(note("shop", 60_000)));
    assert_eq!(decode_canonical::<Note>(&bytes), Ok(note("shop", 60_000)));
}

#[test]
fn a_long_value_is_neither_written_nor_read() {
    let long = note(&"x".repeat(62), 1);
    assert_eq!(encode(&long), Err(CodecError::TooLong { bytes: 65, bytes_max: 64 }));
    assert!(encode(&note(&"x".repeat(61), 1)).is_ok());
    assert_eq!(decode::<Note>(&[1; 65]), Err(CodecError::TooLong { bytes: 65, bytes_max: 64 }));
}

#[test]
fn trailing_bytes_are_refused() {
    let mut bytes = encode(&note("a", 1)).expect("short");
    bytes.push(0);
    assert_eq!(decode::<Note>(&bytes), Err(CodecError::Trailing { bytes: 1 }));
}

#[test]
fn other_versions_are_refused() {
    assert_eq!(decode::<Note>(&[]), Err(CodecError::Version { version: None }));
    assert_eq!(decode::<Note>(&[2, 0, 0]), Err(CodecError::Version { version: Some(2) }));
}

#[test]
fn a_longer_spelling_is_not_canonical() {
    let bytes = [1, 1, b'a', 0xfb, 5, 0];
    assert_eq!(decode::<Note>(&bytes), Ok(note("a", 5)));
    assert_eq!(decode_canonical::<Note>(&bytes), Err(CodecError::NotCanonical));
}

#[test]
fn every_cut_is_malformed() {
    let bytes = encode(&note("shop", 60_000)).expect("short");
    for length in 1..bytes.len() {
        assert_eq!(decode::<Note>(&bytes[..length]), Err(CodecError::Malformed), "{length}");
    }
    assert_eq!(decode::<Note>(&[1, 1, 0xff, 0]), Err(CodecError::Malformed));
}

#[test]
fn a_claimed_length_allocates_nothing() {
    // A string of 2^62 bytes, by its own account.
    let mut bytes: Vec<u8> = vec![1, 0xfd];
    bytes.extend((1u64 << 62).to_le_bytes());
    assert_eq!(decode::<Note>(&bytes), Err(CodecError::Malformed));
}
