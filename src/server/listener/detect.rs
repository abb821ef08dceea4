//! What speaks on a new connection, judged by its first bytes (protocol, section 1.1).

use quorate_core::wire::frame::MAGIC;

/// The verdict.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Protocol {
    /// Seata's own.
    Seata,
    /// HTTP/1.
    Http,
    /// Nothing that is served here. HTTP/2 too: gRPC clients are told to use the other transport.
    Stranger,
    /// Too few bytes to say.
    Undecided,
}

const METHODS: [&[u8]; 7] = [b"GET ", b"POST ", b"PUT ", b"DELETE ", b"HEAD ", b"OPTIONS ", b"PATCH "];

/// The longest of all beginnings.
pub const BYTES_MAX: usize = 8;

/// Looks at what has arrived so far.
pub fn detect(bytes: &[u8]) -> Protocol {
    let begins = |whole: &[u8]| bytes.starts_with(whole);
    let may_begin = |whole: &[u8]| whole.starts_with(bytes);
    if begins(&MAGIC) {
        Protocol::Seata
    } else if METHODS.into_iter().any(begins) {
        Protocol::Http
    } else if may_begin(&MAGIC) || METHODS.into_iter().any(may_begin) {
        Protocol::Undecided
    } else {
        Protocol::Stranger
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_bytes() {
        for (bytes, expected) in [
            (b"".as_slice(), Protocol::Undecided),
            (b"\xda", Protocol::Undecided),
            (b"\xda\xda", Protocol::Seata),
            (b"\xda\xda\x01\0\0", Protocol::Seata),
            (b"\xda\xdb", Protocol::Stranger),
            (b"G", Protocol::Undecided),
            (b"GET", Protocol::Undecided),
            (b"GET /health", Protocol::Http),
            (b"GETTING", Protocol::Stranger),
            (b"OPTIONS", Protocol::Undecided),
            (b"OPTIONS *", Protocol::Http),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Protocol::Stranger),
            (b"\x16\x03\x01", Protocol::Stranger),
            (b"get /", Protocol::Stranger),
        ] {
            assert_eq!(detect(bytes), expected, "{bytes:?}");
        }
    }

    #[test]
    fn so_many_bytes_always_decide() {
        for method in METHODS {
            assert!(method.len() <= BYTES_MAX);
        }
        assert_ne!(detect(&[b'O'; BYTES_MAX]), Protocol::Undecided);
    }
}
