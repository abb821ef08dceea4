//! The XID: `address:port:transaction id`, text, as Seata writes it (protocol, section 3.5).
//!
//! Only the number routes. The address names the node that received the Begin, and clients balance by it.

use alloc::string::String;
use core::fmt;

use serde::{Deserialize, Serialize};

use super::ids::TransactionId;

/// A parsed XID. Its text is exactly what [`Xid::parse`] was given.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Xid {
    /// `address:port`; IPv6 without brackets.
    pub address: String,
    /// What the transaction is known by inside.
    pub transaction: TransactionId,
}

/// Text that is no XID.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum XidError {
    /// Empty text.
    #[error("the xid is empty")]
    Empty,
    /// No colon, or what follows the last one is no positive decimal number.
    #[error("the xid does not end in `:` and a positive decimal number")]
    NoNumber,
}

impl Xid {
    /// Reads an XID; splits at the last colon, so that IPv6 works.
    pub fn parse(text: &str) -> Result<Xid, XidError> {
        if text.is_empty() {
            return Err(XidError::Empty);
        }
        let (address, number) = text.rsplit_once(':').ok_or(XidError::NoNumber)?;
        let canonical = !number.starts_with(['+', '0']);
        match number.parse::<i64>() {
            Ok(id) if id > 0 && canonical => Ok(Xid { address: address.into(), transaction: TransactionId(id) }),
            _ => Err(XidError::NoNumber),
        }
    }
}

impl fmt::Display for Xid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.address, self.transaction)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn text_comes_back() {
        for text in ["127.0.0.1:8091:4097", "::1:8091:1", ":7"] {
            assert_eq!(Xid::parse(text).map(|xid| xid.to_string()), Ok(text.to_string()));
        }
    }

    #[test]
    fn refuses_what_is_no_xid() {
        assert_eq!(Xid::parse(""), Err(XidError::Empty));
        for text in ["a", "a:", "a:b", "a:0", "a:-3", "a:+3", "a:03", "a:9223372036854775808"] {
            assert_eq!(Xid::parse(text), Err(XidError::NoNumber), "{text}");
        }
    }
}
