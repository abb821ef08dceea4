//! What must hold for any bytes on the Seata port. Plain functions: libFuzzer calls them, and so does an ordinary test.
#![allow(dead_code)] // each target uses one of them

use bytes::BytesMut;
use quorate_core::model::limits::FRAME_BYTES_MAX;
use quorate_core::wire::{
    Decoded, Decoder, EncodeError, FrameError, Head, MessageKind, Version, decode_body, encode_frame, encode_heartbeat,
    encode_opaque, protobuf, seata,
};

/// `data` is what a connection brings. The pieces it comes in make no difference, and every frame that was understood
/// can be written again so that it is understood in the same way.
pub fn frames(data: &[u8]) {
    let whole = decode(data, data.len().max(1));
    let piece = 1 + data.iter().fold(0, |sum, byte| (sum * 31 + usize::from(*byte)) % 61);
    assert_eq!(whole, decode(data, piece), "in pieces of {piece} bytes");
    for frame in &whole.0 {
        rewrite(frame);
    }
}

/// `data` is a version (0 to 2 with the Seata serializer, 3 and 4 are 1 and 2 with protobuf) and a body. What was
/// understood can be written, and what was written is understood.
pub fn messages(data: &[u8]) {
    let Some((first, body)) = data.split_first() else { return };
    let (version, serializer) = match first % 5 {
        version @ 0..3 => (version, seata::SERIALIZER),
        version => (version - 2, protobuf::SERIALIZER),
    };
    let mut head = Head { serializer, ..Head::new(Version::of_byte(version), MessageKind::Request, 7) };
    if let Ok(message) = decode_body(&mut head, body) {
        rewrite(&Decoded::Message(head, message));
    }
}

fn decode(data: &[u8], piece: usize) -> (Vec<Decoded>, Option<FrameError>) {
    let mut decoder = Decoder::new();
    let mut frames = Vec::new();
    for piece in data.chunks(piece) {
        decoder.push(piece);
        loop {
            match decoder.next_frame() {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(error) => return (frames, Some(error)),
            }
        }
        assert!(decoder.buffered_bytes() <= FRAME_BYTES_MAX + piece.len(), "more is kept than one frame");
    }
    (frames, None)
}

/// Writing and reading again and again ends at once: the second bytes are the first.
fn rewrite(frame: &Decoded) {
    let Some(first) = encode(frame) else { return };
    let (mut frames, error) = decode(&first, first.len());
    assert_eq!((frames.len(), &error), (1, &None), "{frame:?}");
    let again = frames.remove(0);
    assert_eq!(encode(&again).as_ref(), Some(&first), "{frame:?}");
    let settled = decode(&first, 7);
    assert_eq!(settled, (vec![again], None));
}

/// Nothing if there are no bytes for it: U+FFFD is longer than the byte it stands for, so that a string may outgrow
/// its length.
fn encode(frame: &Decoded) -> Option<BytesMut> {
    let mut out = BytesMut::new();
    let result = match frame {
        Decoded::Heartbeat(head) => encode_heartbeat(head, &mut out),
        Decoded::Message(head, message) => encode_frame(head, message, &mut out),
        Decoded::Opaque(head, body) => encode_opaque(head, body, &mut out),
        Decoded::Undecodable(..) => return None,
    };
    match result {
        Ok(()) => Some(out),
        Err(EncodeError::StringTooLong { .. } | EncodeError::FrameTooLong(_) | EncodeError::HeadMapTooLong(_)) => None,
        // Newer branch types are read all the same.
        Err(EncodeError::NotInProtobuf { .. }) => None,
        Err(error) => panic!("{frame:?}: {error}"),
    }
}
