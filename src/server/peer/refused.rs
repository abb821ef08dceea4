//! The body of an error frame.

use quorate_core::codec::{self, Persisted};
use serde::{Deserialize, Serialize};

use super::CallError;

/// Why a request got no proper answer.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum ErrorV1 {
    /// Whoever serves this kind said no.
    Refused(String),
    /// Too many requests of this connection are being served.
    Busy,
    /// The node is starting or stopping.
    NotServing,
    /// A kind that the node does not know.
    UnknownKind(u8),
}

impl Persisted for ErrorV1 {
    const BYTES_MAX: usize = 64 << 10;
}

impl ErrorV1 {
    /// Its bytes. An over-long text is replaced, so there always are some.
    pub fn bytes(&self) -> Vec<u8> {
        codec::encode(self).unwrap_or_else(|_| {
            codec::encode(&ErrorV1::Refused("refused, with a reason too long to send".into()))
                .expect("a short text is within the bound")
        })
    }

    /// What an error frame means to the asker.
    pub fn read(body: &[u8]) -> CallError {
        match codec::decode_canonical(body) {
            Ok(ErrorV1::Refused(reason)) => CallError::Refused(reason),
            Ok(ErrorV1::Busy) => CallError::Full,
            Ok(ErrorV1::NotServing) => CallError::Unreachable,
            Ok(ErrorV1::UnknownKind(kind)) => CallError::Refused(format!("the node does not know kind {kind}")),
            Err(error) => CallError::Refused(format!("an error that does not read: {error}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_come_back() {
        let refused = ErrorV1::Refused("no".into());
        assert_eq!(refused.bytes(), [1, 0, 2, b'n', b'o']);
        assert_eq!(ErrorV1::read(&refused.bytes()), CallError::Refused("no".into()));
        assert_eq!(ErrorV1::read(&ErrorV1::Busy.bytes()), CallError::Full);
        assert_eq!(ErrorV1::read(&ErrorV1::NotServing.bytes()), CallError::Unreachable);
        assert!(matches!(ErrorV1::read(&ErrorV1::UnknownKind(9).bytes()), CallError::Refused(_)));
        assert!(matches!(ErrorV1::read(b"junk"), CallError::Refused(_)));
        let long = ErrorV1::Refused("x".repeat(70_000));
        assert!(matches!(ErrorV1::read(&long.bytes()), CallError::Refused(_)));
    }
}
