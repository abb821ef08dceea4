//! HMAC-SHA256 (RFC 2104), and the comparison of what somebody shows with what it should be: for the tokens of the console
//! and the signatures of registrations.

use sha2::{Digest, Sha256};

/// Length of a code.
pub const MAC_BYTES: usize = 32;
/// Of SHA-256.
const BLOCK_BYTES: usize = 64;

/// The code of a text under a key of any length.
pub fn mac(key: &[u8], text: &[u8]) -> [u8; MAC_BYTES] {
    let mut block = [0; BLOCK_BYTES];
    match block.get_mut(..key.len()) {
        Some(begin) => begin.copy_from_slice(key),
        None => block[..MAC_BYTES].copy_from_slice(&Sha256::digest(key)),
    }
    let inner = Sha256::new().chain_update(block.map(|byte| byte ^ 0x36)).chain_update(text).finalize();
    Sha256::new().chain_update(block.map(|byte| byte ^ 0x5c)).chain_update(inner).finalize().into()
}

/// Whether both are the same; takes the same time wherever the first difference is.
pub fn is_same(one: &[u8], other: &[u8]) -> bool {
    let differing = one.iter().zip(other).fold(0, |differing, (left, right)| differing | (left ^ right));
    one.len() == other.len() && std::hint::black_box(differing) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn macs_of_the_standard() {
        // RFC 4231, cases 1, 2 and 6.
        let one = mac(&[0x0b; 20], b"Hi There");
        assert_eq!(hex(&one), "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7");
        let two = mac(b"Jefe", b"what do ya want for nothing?");
        assert_eq!(hex(&two), "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
        let six = mac(&[0xaa; 131], b"Test Using Larger Than Block-Size Key - Hash Key First");
        assert_eq!(hex(&six), "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
    }

    #[test]
    fn what_is_the_same() {
        assert!(is_same(b"key", b"key") && is_same(b"", b""));
        assert!(!is_same(b"key", b"kex") && !is_same(b"key", b"ke") && !is_same(b"", b"k"));
    }
}
