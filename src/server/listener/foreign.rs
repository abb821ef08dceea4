//! Frames whose body is in a serializer or compressor that is not spoken here, and what to tell their owner.
//!
//! The others carry graphs of Java objects, so nothing in them can be served. But a client's first frame is a registration,
//! and a refused one is the answer that it shows to its owner; without it he sees a time-out after half a minute. Clients of
//! Seata 1.x read the answer in any serializer, those of 2.x in their own alone: where its words are the names of classes and
//! fields (hessian, fastjson2) the refusal is written in it ([`theirs`]), else in Seata's.

mod theirs;

use bytes::BytesMut;
use quorate_core::wire::{EncodeError, Head, Message, MessageKind, RegistrationResult, encode_frame, encode_opaque};
use theirs::Registration;

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

/// The answer to a registration that cannot be read.
#[derive(PartialEq, Eq, Debug)]
pub struct Refusal {
    head: Head,
    body: Body,
}

#[derive(PartialEq, Eq, Debug)]
enum Body {
    /// In the serializer that every client has, and those of Seata 1.x read whatever they write.
    Ours(Message),
    /// In the one that the client wrote.
    Theirs(Vec<u8>),
}

impl Refusal {
    /// To a frame that says it is a registration; of one who has not registered every request is, for clients send no other
    /// first. Nothing, where it cannot be one.
    pub fn to(head: &Head, body: &[u8], is_stranger: bool, advice: &str) -> Option<Refusal> {
        let asked = registration(body).or_else(|| (is_stranger && is_asked(head.kind)).then(|| guessed(body)))?;
        let mut answer = Head::new(head.version, MessageKind::Response, head.request_id);
        if let Some(theirs) = theirs::refusal(head, body, asked, advice) {
            answer.serializer = head.serializer;
            return Some(Refusal { head: answer, body: Body::Theirs(theirs) });
        }
        // Version 1 has no field for a reason, so it stands where a client shows the server's version.
        let result = RegistrationResult::refused(advice, advice);
        let message = match asked {
            Registration::Tm => Message::RegisterTmResult(result),
            Registration::Rm => Message::RegisterRmResult(result),
        };
        Some(Refusal { head: answer, body: Body::Ours(message) })
    }

    /// Appends the frame.
    pub fn encode(&self, out: &mut BytesMut) -> Result<(), EncodeError> {
        match &self.body {
            Body::Ours(message) => encode_frame(&self.head, message, out),
            Body::Theirs(body) => encode_opaque(&self.head, body, out),
        }
    }
}

fn is_asked(kind: MessageKind) -> bool {
    match kind {
        MessageKind::Request | MessageKind::OneWay => true,
        MessageKind::Response | MessageKind::Ping | MessageKind::Pong | MessageKind::Other(_) => false,
    }
}

/// What a body says it is, where it names its class.
fn registration(body: &[u8]) -> Option<Registration> {
    let begin = body.get(..NAME_WITHIN_BYTES).unwrap_or(body);
    Registration::ALL.into_iter().find(|registration| contains(begin, registration.request().as_bytes()))
}

/// Kryo and fst write numbers for classes, in an order that is not the same in two processes. But texts stand in the clear,
/// and only a TM says its group for a second time, beside its signature.
fn guessed(body: &[u8]) -> Registration {
    if contains(body, b"\nvgroup=") || contains(body, b"\ndigest=") { Registration::Tm } else { Registration::Rm }
}

fn contains(bytes: &[u8], text: &[u8]) -> bool {
    bytes.windows(text.len()).any(|window| window == text)
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

    fn foreign(serializer: u8) -> Head {
        Head { serializer, ..Head::new(Version::V1, MessageKind::Request, 5) }
    }

    fn answer(serializer: u8, body: &[u8], is_stranger: bool) -> Option<i16> {
        let refusal = Refusal::to(&foreign(serializer), body, is_stranger, "why")?;
        assert_eq!(refusal.head.request_id, 5);
        match refusal.body {
            Body::Ours(message) => {
                assert_eq!(refusal.head, Head::new(Version::V1, MessageKind::Response, 5));
                Some(message.type_code())
            }
            Body::Theirs(_) => {
                assert_eq!(refusal.head, Head { kind: MessageKind::Response, ..foreign(serializer) });
                Some(0)
            }
        }
    }

    #[test]
    fn registrations_are_recognised_by_their_class() {
        const BEGIN: &[u8] = b"org.apache.seata.core.protocol.transaction.GlobalBeginRequest";
        // Fury, which writes names.
        assert_eq!(answer(86, b"org.apache.seata.core.protocol.RegisterTMRequest\x96", false), Some(102));
        assert_eq!(answer(86, b"io.seata.core.protocol.RegisterRMRequest", false), Some(104));
        assert_eq!(answer(86, BEGIN, false), None);
        assert_eq!(answer(86, &[&[b' '; 600][..], b"RegisterTMRequest"].concat(), false), None);
        assert_eq!(answer(86, b"", false), None);
    }

    #[test]
    fn the_first_request_of_a_client_is_a_registration() {
        // Client 2.6.0 with kryo.
        let tm = b"-\x01\x01ki\xf4\0\x01\xf7\x01ak=null\ndigest=kit_group,192.0.2.2,1796068585846\nvgroup=kit_group\n\x01kit_grou\xf0";
        let rm = b"(\x01\x01ki\xf4\0\0\x01a,\xe2\x01gr\xf0\x012.6.\xb0";
        assert_eq!((answer(4, tm, true), answer(4, rm, true)), (Some(102), Some(104)));
        assert_eq!((answer(4, tm, false), answer(4, rm, false)), (None, None), "they have registered before");
        let said = Head { kind: MessageKind::Response, ..foreign(4) };
        assert_eq!(Refusal::to(&said, tm, true, "why"), None, "an answer is not answered");
    }

    #[test]
    fn hessian_and_fastjson2_are_answered_in_kind() {
        assert_eq!(answer(22, b"C0\x30org.apache.seata.core.protocol.RegisterTMRequest\x95", true), Some(0));
        assert_eq!(answer(100, b"\x92y80org.apache.seata.core.protocol.RegisterRMRequest\0", false), Some(0));
        // Packed in a way that cannot be unpacked: who knows what it is.
        assert_eq!(answer(22, b"\x1f\x8b", true), Some(104));
    }
}
