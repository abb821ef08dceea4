//! A refused registration in the serializers of others: written as far as that one answer goes, and never read.
//!
//! Only those that write classes and fields under their names. The bytes are what clients 1.8.0 (hessian) and 2.6.0 write for
//! the same answer, but for fields that are null.

use quorate_core::wire::{Head, Version};

const HESSIAN: u8 = 22;
const FASTJSON2: u8 = 100;

/// Where the classes of messages are, since Seata has been with Apache, and before.
const PACKAGES: [&str; 2] = ["org.apache.seata.core.protocol.", "io.seata.core.protocol."];

/// Both serializers have a short form of lengths, which ends before this.
const TEXT_BYTES_MAX: usize = 1_023;

/// What a client asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Registration {
    /// As transaction manager.
    Tm,
    /// As resource manager.
    Rm,
}

impl Registration {
    /// Both.
    pub const ALL: [Registration; 2] = [Registration::Tm, Registration::Rm];

    /// The class of the request.
    pub const fn request(self) -> &'static str {
        match self {
            Registration::Tm => "RegisterTMRequest",
            Registration::Rm => "RegisterRMRequest",
        }
    }

    const fn response(self) -> &'static str {
        match self {
            Registration::Tm => "RegisterTMResponse",
            Registration::Rm => "RegisterRMResponse",
        }
    }
}

/// The body of the refusal, as the one who wrote this request reads it.
pub fn refusal(head: &Head, request: &[u8], asked: Registration, why: &str) -> Option<Vec<u8>> {
    let is_of = |package: &&str| {
        let class = [package.as_bytes(), asked.request().as_bytes()].concat();
        request.windows(class.len()).any(|bytes| bytes == class)
    };
    let package = PACKAGES.into_iter().find(is_of)?;
    // Version 0 is older than both, and says hessian where it says nothing.
    match (head.version, head.serializer) {
        (Version::V1 | Version::V2, HESSIAN) => Some(hessian(package, asked, why)),
        (Version::V1 | Version::V2, FASTJSON2) => Some(fastjson2(package, asked, why)),
        (Version::V0 | Version::V1 | Version::V2, _) => None,
    }
}

/// Hessian 2: the definition of a class, then the values of its fields in that order.
fn hessian(package: &str, asked: Registration, why: &str) -> Vec<u8> {
    let mut body = Vec::new();
    hessian_class(&mut body, &[package, asked.response()], &["identified", "version", "msg", "resultCode"]);
    body.extend_from_slice(b"\x60F");
    hessian_text(&mut body, &[why]);
    hessian_text(&mut body, &[why]);
    hessian_class(&mut body, &[package, "ResultCode"], &["name"]);
    body.push(0x61);
    hessian_text(&mut body, &["Failed"]);
    body
}

fn hessian_class(body: &mut Vec<u8>, name: &[&str], fields: &[&str]) {
    body.push(b'C');
    hessian_text(body, name);
    body.push(0x90 + fields.len() as u8);
    fields.iter().for_each(|field| hessian_text(body, &[field]));
}

fn hessian_text(body: &mut Vec<u8>, parts: &[&str]) {
    let text = plain(parts);
    match text.len() {
        bytes @ 0..32 => body.push(bytes as u8),
        bytes => body.extend_from_slice(&[0x30 + (bytes >> 8) as u8, bytes as u8]),
    }
    body.extend_from_slice(&text);
}

/// JSONB of fastjson2: a type, then names and values; each name gets a number when it stands there for the first time.
fn fastjson2(package: &str, asked: Registration, why: &str) -> Vec<u8> {
    let mut body = vec![0x92];
    fastjson2_text(&mut body, &[package, asked.response()]);
    body.extend_from_slice(&[0, 0xa6]);
    let name = |body: &mut Vec<u8>, number: u8, name: &str| {
        body.push(0x7f);
        fastjson2_text(body, &[name]);
        body.push(number);
    };
    name(&mut body, 1, "identified");
    body.push(0xb0);
    name(&mut body, 2, "msg");
    fastjson2_text(&mut body, &[why]);
    // The position of `Failed` in its enum.
    name(&mut body, 3, "resultCode");
    body.push(0);
    name(&mut body, 4, "version");
    fastjson2_text(&mut body, &[why]);
    body.push(0xa5);
    body
}

fn fastjson2_text(body: &mut Vec<u8>, parts: &[&str]) {
    let text = plain(parts);
    match text.len() {
        bytes @ 0..=32 => body.push(0x49 + bytes as u8),
        bytes @ 33..48 => body.extend_from_slice(&[b'y', bytes as u8]),
        bytes => body.extend_from_slice(&[b'y', 0x38 + (bytes >> 8) as u8, bytes as u8]),
    }
    body.extend_from_slice(&text);
}

/// One byte a character, as both formats count them, and no longer than their short forms say.
fn plain(parts: &[&str]) -> Vec<u8> {
    let ascii = |char: char| if char.is_ascii() { char as u8 } else { b'?' };
    parts.concat().chars().take(TEXT_BYTES_MAX).map(ascii).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate_core::wire::MessageKind;

    /// As the clients' own serializers write it.
    #[test]
    fn the_bytes_are_those_of_stock_clients() {
        let head = |serializer| Head { serializer, ..Head::new(Version::V1, MessageKind::Request, 5) };
        let told = |serializer, request: &[u8], asked| refusal(&head(serializer), request, asked, "VVVV");
        let hessian = [
            b"C0)io.seata.core.protocol.RegisterTMResponse\x94\x0aidentified\x07version\x03msg\x0aresultCode`F\x04VVVV\x04VVVV".as_slice(),
            b"C0!io.seata.core.protocol.ResultCode\x91\x04namea\x06Failed",
        ];
        let asks = b"C0(io.seata.core.protocol.RegisterTMRequest\x95";
        assert_eq!(told(HESSIAN, asks, Registration::Tm), Some(hessian.concat()));
        let fastjson2 = [
            b"\x92y81org.apache.seata.core.protocol.RegisterRMResponse\0\xa6".as_slice(),
            b"\x7fSidentified\x01\xb0\x7fLmsg\x02MVVVV\x7fSresultCode\x03\0\x7fPversion\x04MVVVV\xa5",
        ];
        let asks = b"\x92y80org.apache.seata.core.protocol.RegisterRMRequest\0";
        assert_eq!(told(FASTJSON2, asks, Registration::Rm), Some(fastjson2.concat()));
        assert_eq!(told(FASTJSON2, b"net.seata.core.protocol.RegisterRMRequest", Registration::Rm), None);
        assert_eq!(told(86, asks, Registration::Rm), None);
    }

    #[test]
    fn lengths_of_texts() {
        let lengths = |text: fn(&mut Vec<u8>, &[&str]), bytes: usize| {
            let mut body = Vec::new();
            text(&mut body, &[&"x".repeat(bytes)]);
            body.truncate(body.len() - body.iter().filter(|byte| **byte == b'x').count());
            body
        };
        assert_eq!([0, 31].map(|bytes| lengths(hessian_text, bytes)), [vec![0], vec![31]]);
        assert_eq!([32, 600].map(|bytes| lengths(hessian_text, bytes)), [vec![0x30, 32], vec![0x32, 0x58]]);
        assert_eq!(lengths(hessian_text, 5_000), [0x33, 0xff]);
        assert_eq!([0, 32].map(|bytes| lengths(fastjson2_text, bytes)), [vec![0x49], vec![0x69]]);
        assert_eq!([33, 47].map(|bytes| lengths(fastjson2_text, bytes)), [vec![b'y', 33], vec![b'y', 47]]);
        assert_eq!(lengths(fastjson2_text, 48), [b'y', 0x38, 48]);
        assert_eq!(lengths(fastjson2_text, 5_000), [b'y', 0x3b, 0xff]);
        assert_eq!(plain(&["na\u{ef}ve"]), b"na?ve");
    }
}
