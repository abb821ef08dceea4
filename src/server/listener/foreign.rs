//! Frames whose body is in a serializer or compressor that is not spoken here, and what to tell their owner.
//!
//! The others carry graphs of Java objects, most of them under the names of their classes, so nothing in them can be answered.
//! But where it does, the name of a registration's class stands in the clear, and a refused registration is the one answer that
//! a client shows to its owner; without it he sees a time-out after half a minute.

use quorate_core::wire::{Head, Message, MessageKind, RegistrationResult};

/// Class names stand at the begin.
const NAME_WITHIN_BYTES: usize = 512;

/// The line for the log: what came, and what to set in the client.
pub fn advice(head: &Head) -> String {
    format!(
        "a frame with serializer {} and compressor {} cannot be read and was dropped; set transport.serialization to seata \
         or protobuf, and transport.compressor to none, gzip, zip, bzip2, lz4, deflater or zstd, in the client",
        serializer(head.serializer),
        compressor(head.compressor),
    )
}

/// The answer to a registration that cannot be read, in the serializer that every client has. Version 1 has no field for
/// a reason, so it stands where a client shows the server's version.
pub fn refusal(head: &Head, body: &[u8], advice: &str) -> Option<(Head, Message)> {
    let begin = body.get(..NAME_WITHIN_BYTES).unwrap_or(body);
    let names = |class: &[u8]| begin.windows(class.len()).any(|bytes| bytes == class);
    let result = || RegistrationResult::refused(advice, advice);
    let message = if names(b"RegisterTMRequest") {
        Message::RegisterTmResult(result())
    } else if names(b"RegisterRMRequest") {
        Message::RegisterRmResult(result())
    } else {
        return None;
    };
    Some((Head::new(head.version, MessageKind::Response, head.request_id), message))
}

/// The name of a serializer, as clients configure it.
fn serializer(code: u8) -> String {
    let name = match code {
        1 => "seata",
        2 => "protobuf",
        4 => "kryo",
        8 => "fst",
        22 => "hessian",
        40 => "grpc",
        50 => "jackson",
        86 => "fury",
        87 => "fory",
        100 => "fastjson2",
        other => return format!("number {other}"),
    };
    name.to_owned()
}

/// The name of a compressor, as clients configure it.
pub fn compressor(code: u8) -> String {
    let name = match code {
        0 => "none",
        1 => "gzip",
        2 => "zip",
        3 => "7z",
        4 => "bzip2",
        5 => "lz4",
        6 => "deflater",
        7 => "zstd",
        other => return format!("number {other}"),
    };
    name.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate_core::wire::Version;

    #[test]
    fn the_line_names_both_and_the_cure() {
        let mut head = Head::new(Version::V1, MessageKind::Request, 1);
        head.serializer = 22;
        head.compressor = 9;
        let line = advice(&head);
        assert!(line.contains("serializer hessian and compressor number 9"), "{line}");
        assert!(line.contains("transport.serialization to seata or protobuf"), "{line}");
    }

    #[test]
    fn registrations_are_recognised_by_their_class() {
        let head = Head { serializer: 22, ..Head::new(Version::V1, MessageKind::Request, 5) };
        let answer = |body: &[u8]| refusal(&head, body, "why").map(|(head, message)| (head, message.type_code()));
        let plain = Head::new(Version::V1, MessageKind::Response, 5);
        assert_eq!(answer(b"C0\x2eorg.apache.seata.core.protocol.RegisterTMRequest\x96"), Some((plain.clone(), 102)));
        assert_eq!(answer(b"io.seata.core.protocol.RegisterRMRequest"), Some((plain, 104)));
        assert_eq!(answer(b"org.apache.seata.core.protocol.transaction.GlobalBeginRequest"), None);
        assert_eq!(answer(&[&[b' '; 600][..], b"RegisterTMRequest"].concat()), None);
        assert_eq!(answer(b""), None);
    }
}
