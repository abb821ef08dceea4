//! Who may use the console: the one user of the configuration, and the tokens he gets for his password.
//!
//! Tokens are JSON web tokens with HS256 (RFC 7519, 7515, 2104), as those of Seata's console; to clients they are opaque.
//! A node keeps nothing of them: whoever knows the key can check them, so nodes with the same `console.secret` take each
//! other's.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use core::net::IpAddr;
use quorate_world::time::{Duration, Instant, wall_ms};
use serde::{Deserialize, Serialize};

use super::attempts::Attempts;
use crate::mac::{is_same, mac};

/// How the header of every token of ours reads; another algorithm is never looked at.
const HEADER: &str = r#"{"alg":"HS256","typ":"JWT"}"#;

/// The user of the console.
pub struct Login {
    /// His name.
    pub user: String,
    /// His password.
    pub password: String,
    /// What tokens are signed with.
    pub key: Vec<u8>,
    /// How long a token is good for.
    pub validity_ms: u64,
    /// Who has failed of late.
    pub attempts: Attempts,
}

/// Why somebody gets no token.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NoEntry {
    /// Name or password is wrong.
    Wrong,
    /// His address has failed too often: for so long nothing is looked at.
    TooOften(Duration),
}

#[derive(Serialize, Deserialize)]
struct Claims {
    sub: String,
    /// Seconds since 1970.
    iat: u64,
    exp: u64,
}

impl Login {
    /// A token for whoever knows name and password, and has not failed too often of late.
    pub fn enter(&self, from: IpAddr, user: &str, password: &str) -> Result<String, NoEntry> {
        let now = Instant::now();
        if let Some(wait) = self.attempts.wait(from, now) {
            return Err(NoEntry::TooOften(wait));
        }
        match self.token(user, password) {
            Some(token) => {
                self.attempts.succeeded(from);
                Ok(token)
            }
            None => {
                self.attempts.failed(from, now);
                Err(NoEntry::Wrong)
            }
        }
    }

    fn token(&self, user: &str, password: &str) -> Option<String> {
        // Both are looked at, whichever is wrong.
        let (is_user, is_password) = (same(user, &self.user), same(password, &self.password));
        (is_user & is_password).then(|| self.signed(wall_ms()))
    }

    fn signed(&self, now_ms: u64) -> String {
        let exp = now_ms.saturating_add(self.validity_ms).div_ceil(1_000);
        let claims = Claims { sub: self.user.clone(), iat: now_ms / 1_000, exp };
        let claims = serde_json::to_vec(&claims).unwrap_or_default();
        let content = format!("{}.{}", encoded(HEADER.as_bytes()), encoded(&claims));
        let signature = encoded(&mac(&self.key, content.as_bytes()));
        format!("{content}.{signature}")
    }

    /// Whose token it is; nothing: nobody's, or not any more.
    pub fn user_of(&self, token: &str) -> Option<String> {
        self.user_at(token, wall_ms())
    }

    fn user_at(&self, token: &str, now_ms: u64) -> Option<String> {
        let (content, signature) = token.rsplit_once('.')?;
        if !same(signature, &encoded(&mac(&self.key, content.as_bytes()))) {
            return None;
        }
        let claims = content.strip_prefix(&encoded(HEADER.as_bytes()))?.strip_prefix('.')?;
        let claims: Claims = serde_json::from_slice(&decoded(claims)?).ok()?;
        (claims.sub == self.user && now_ms / 1_000 < claims.exp).then_some(claims.sub)
    }
}

/// Whether two texts are the same; takes the same time wherever the first difference is.
pub fn same(one: &str, other: &str) -> bool {
    is_same(one.as_bytes(), other.as_bytes())
}

/// Base64 for addresses, without padding.
fn encoded(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn decoded(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_there_and_back() {
        // RFC 4648, section 10.
        for (bytes, text) in
            [("", ""), ("f", "Zg"), ("fo", "Zm8"), ("foo", "Zm9v"), ("foob", "Zm9vYg"), ("fooba", "Zm9vYmE")]
        {
            assert_eq!((encoded(bytes.as_bytes()).as_str(), decoded(text)), (text, Some(bytes.into())));
        }
        assert_eq!(encoded(&[0xfb, 0xff]), "-_8");
        assert_eq!((decoded("Z"), decoded("Zm9vY"), decoded("Z+8")), (None, None, None));
    }

    #[test]
    fn a_token_is_good_for_its_user_its_key_and_its_time() {
        let login = |user: &str, key: &str| Login {
            user: user.into(),
            password: "sesame".into(),
            key: key.into(),
            validity_ms: 60_000,
            attempts: Attempts::default(),
        };
        let ours = login("ops", "key");
        let token = ours.signed(1_800_000_000_000);
        assert!(token.starts_with("eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9."), "{token}");
        let later = |ms: u64| 1_800_000_000_000 + ms;
        assert_eq!(ours.user_at(&token, later(59_999)).as_deref(), Some("ops"));
        assert_eq!(ours.user_at(&token, later(60_000)), None, "its time is up");
        assert_eq!(login("ops", "another key").user_at(&token, later(0)), None);
        assert_eq!(login("other", "key").user_at(&token, later(0)), None);
        let (content, signature) = token.rsplit_once('.').expect("three parts");
        let unsigned = format!("{}.{}.", encoded(br#"{"alg":"none"}"#), content.split('.').nth(1).expect("claims"));
        for wrong in [content, "", ".", "..", &format!("{content}."), &format!("{content}x.{signature}"), &unsigned] {
            assert_eq!(ours.user_at(wrong, later(0)), None, "{wrong}");
        }
        quorate_world::runtime::run_test(async move {
            // By the clock of this node.
            assert!(ours.token("ops", "sesame").is_some_and(|token| ours.user_of(&token).as_deref() == Some("ops")));
            assert!(ours.token("ops", "Sesame").is_none() && ours.token("op", "sesame").is_none());
        });
    }
}
