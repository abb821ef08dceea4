//! What must hold for any packed body.

use quorate_compressor::{Compressor, open, unpack};
use quorate_core::model::limits::UNPACKED_BODY_BYTES_MAX;
use quorate_core::wire::{Decoded, Head, MessageKind, Version};

/// `data` is a compressor and a body. It is unpacked within the bound or refused, and if a message was in it, the message
/// can be packed again.
pub fn packed(data: &[u8]) {
    let Some((code, body)) = data.split_first() else { return };
    let Some(compressor) = Compressor::of_code(code % 8) else { return };
    let mut head = Head { compressor: compressor.code(), ..Head::new(Version::V1, MessageKind::Request, 7) };
    let Ok(plain) = unpack(compressor, &mut head, body) else { return };
    assert!(plain.len() <= UNPACKED_BODY_BYTES_MAX, "{compressor:?} gave {} bytes", plain.len());
    let again = quorate_compressor::pack(compressor, &head, &plain).expect("memory takes everything");
    assert_eq!(unpack(compressor, &mut head, &again), Ok(plain));
    let shut = Decoded::Opaque(head, body.to_vec().into());
    assert!(!matches!(open(shut), Decoded::Opaque(..)), "a body that was unpacked stays shut");
}
