//! Who may register, where access keys are asked for: the signature that stock clients send with RegisterTM (protocol,
//! section 3.3). Seata's own server reads it and checks nothing.
//!
//! A digest is `HMAC-SHA256(k4, "service group,ip,time stamp")` in Base64, with k4 derived from the secret key in four
//! steps. It is compared in constant time, and what it says of the time must be near the server's clock. Who has one may
//! use it again within that window, from anywhere: it keeps out strangers, not whoever reads along.
//!
//! Java RMs send no signature. A RegisterRM without one is accepted from an address where a TM of the same application
//! is registered, at this node and at this moment; any client registers its TM at every node.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use quorate_core::wire::Registration;

use crate::mac::{is_same, mac};

/// What the derivation begins and ends with.
const VERSION: &str = "aliyun_v4";
const REGION: &str = "cn-beijing";
const PRODUCT: &str = "seata";
const CLOSING: &str = "aliyun_v4_request";
/// Of extra data.
const AUTH_VERSION: &str = "V4";
const DAY_MS: u64 = 86_400_000;

/// Who may register.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Access {
    /// Secret keys by access key; none: everybody may.
    pub secrets: BTreeMap<String, String>,
    /// How far a time stamp may be from the server's clock.
    pub window_ms: u64,
}

/// Why somebody may not.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum AccessError {
    /// No signature.
    #[error("this server asks for an access key: set accessKey and secretKey in the client")]
    Missing,
    /// No signature, and no TM that has one.
    #[error(
        "this server asks for an access key, and no transaction manager of this application has registered with one from this address"
    )]
    NoManager,
    /// The access key is unknown, or the digest is not its.
    #[error("access key and signature do not fit")]
    Wrong,
    /// Too old, or of the future.
    #[error("the signature's time stamp is {away_ms} ms away from the server's clock, at most {window_ms} are allowed")]
    Stale {
        /// How far.
        away_ms: u64,
        /// What is allowed.
        window_ms: u64,
    },
}

impl Access {
    /// Whether access keys are asked for.
    pub fn is_asked_for(&self) -> bool {
        !self.secrets.is_empty()
    }

    /// Checks the signature in the extra data of a registration, at this wall time.
    pub fn check(&self, registration: &Registration, now_ms: u64) -> Result<(), AccessError> {
        let signature = Signature::of(&registration.extra_data).ok_or(AccessError::Missing)?;
        let secret = self.secrets.get(signature.access_key);
        // Somebody without a key must not learn from the time it takes which keys there are.
        let known = secret.map_or("", String::as_str);
        let text = format!("{},{},{}", registration.service_group, signature.ip, signature.stamp_ms);
        // One spelling for each digest: nothing else is decoded.
        let digest = STANDARD.decode(signature.digest).unwrap_or_default();
        let fits = is_same(&mac(&key(known, signature.stamp_ms), text.as_bytes()), &digest);
        if !fits || secret.is_none() || signature.version != AUTH_VERSION {
            return Err(AccessError::Wrong);
        }
        let away_ms = signature.stamp_ms.abs_diff(now_ms);
        if away_ms > self.window_ms {
            return Err(AccessError::Stale { away_ms, window_ms: self.window_ms });
        }
        Ok(())
    }
}

/// What a client says of itself, one `key=value` a line.
struct Signature<'a> {
    access_key: &'a str,
    digest: &'a str,
    stamp_ms: u64,
    version: &'a str,
    ip: &'a str,
}

impl<'a> Signature<'a> {
    /// Nothing if there is none: no such lines, or those of a client without keys.
    fn of(extra_data: &'a str) -> Option<Signature<'a>> {
        let value = |key: &str| {
            let lines = extra_data.lines().filter_map(|line| line.split_once('='));
            lines.into_iter().find_map(|(name, value)| (name == key).then_some(value))
        };
        let access_key = value("ak").filter(|key| !key.is_empty() && *key != "null")?;
        Some(Signature {
            access_key,
            digest: value("digest")?,
            stamp_ms: value("timestamp")?.parse().ok()?,
            version: value("authVersion")?,
            ip: value("ip")?,
        })
    }
}

/// The key that a client signs with on the day of its time stamp.
fn key(secret: &str, stamp_ms: u64) -> Vec<u8> {
    let first = [VERSION.as_bytes(), secret.as_bytes()].concat();
    let texts = [&date(stamp_ms), REGION, PRODUCT, CLOSING];
    texts.into_iter().fold(first, |key, text| mac(&key, text.as_bytes()).to_vec())
}

/// `yyyyMMdd` in UTC.
fn date(stamp_ms: u64) -> String {
    // Years that begin in March end with the odd day; 400 of them have 146,097 days.
    let days = stamp_ms / DAY_MS + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    format!("{year:04}{month:02}{day:02}")
}

/// What a stock client with these keys adds to its registration, from this address and at this time. Our own server never
/// registers anywhere: the clients of the simulation do.
pub fn extra_data((access_key, secret): (&str, &str), service_group: &str, ip: &str, stamp_ms: u64) -> String {
    let digest = sign(secret, service_group, ip, stamp_ms);
    let lines = [
        ("ak", access_key),
        ("digest", &digest),
        ("timestamp", &stamp_ms.to_string()),
        ("authVersion", AUTH_VERSION),
        ("vgroup", service_group),
        ("ip", ip),
    ];
    lines.map(|(key, value)| format!("{key}={value}\n")).concat()
}

/// The digest of a client with this secret.
pub(super) fn sign(secret: &str, service_group: &str, ip: &str, stamp_ms: u64) -> String {
    STANDARD.encode(mac(&key(secret, stamp_ms), format!("{service_group},{ip},{stamp_ms}").as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of a client with the secret `mySecret` (protocol, section 3.3).
    const DIGEST: &str = "AyS4cIim8el6PJtgXDKABnzVOiGPvA7LYOnDl8DHuT8=";
    const STAMP_MS: u64 = 1_730_000_000_000;

    fn access() -> Access {
        let secrets = [("myKey", "mySecret"), ("other", "otherSecret")];
        Access { secrets: secrets.map(|(key, secret)| (key.into(), secret.into())).into(), window_ms: 300_000 }
    }

    fn registration(key: &str, digest: &str, stamp: &str) -> Registration {
        let group = "default_tx_group";
        let lines =
            format!("ak={key}\ndigest={digest}\ntimestamp={stamp}\nauthVersion=V4\nvgroup={group}\nip=192.168.1.5\n");
        Registration {
            version: "2.3.0".into(),
            application_id: "shop".into(),
            service_group: group.into(),
            extra_data: lines,
        }
    }

    fn check(registration: &Registration, now_ms: u64) -> Result<(), AccessError> {
        access().check(registration, now_ms)
    }

    #[test]
    fn what_stock_clients_sign() {
        let signed = registration("myKey", DIGEST, "1730000000000");
        assert_eq!(check(&signed, STAMP_MS), Ok(()));
        assert_eq!(check(&signed, STAMP_MS + 300_000), Ok(()));
        assert_eq!(check(&signed, STAMP_MS - 300_000), Ok(()));
        let stale = AccessError::Stale { away_ms: 300_001, window_ms: 300_000 };
        assert_eq!(check(&signed, STAMP_MS + 300_001), Err(stale));
        assert_eq!(check(&signed, STAMP_MS - 300_001), Err(stale));
    }

    #[test]
    fn what_is_added_to_a_registration_is_what_is_checked() {
        let lines = extra_data(("myKey", "mySecret"), "default_tx_group", "192.168.1.5", STAMP_MS);
        let stock = registration("myKey", DIGEST, "1730000000000");
        assert_eq!(lines, stock.extra_data);
        let wrong = extra_data(("myKey", "other"), "default_tx_group", "192.168.1.5", STAMP_MS);
        assert_eq!(check(&Registration { extra_data: wrong, ..stock }, STAMP_MS), Err(AccessError::Wrong));
    }

    #[test]
    fn what_does_not_fit() {
        let wrong = Err(AccessError::Wrong);
        for (key, digest, stamp) in [
            ("other", DIGEST, "1730000000000"),
            ("nobody", DIGEST, "1730000000000"),
            ("myKey", DIGEST, "1730000000001"),
            ("myKey", "AyS4cIim8el6PJtgXDKABnzVOiGPvA7LYOnDl8DHuT9=", "1730000000000"),
            ("myKey", "AyS4cIim8el6PJtgXDKABnzVOiGPvA7LYOnDl8DHuT8", "1730000000000"),
            ("myKey", "", "1730000000000"),
            // What a client without a secret key sends.
            ("myKey", "default_tx_group,192.168.1.5,1730000000000", "1730000000000"),
        ] {
            assert_eq!(check(&registration(key, digest, stamp), STAMP_MS), wrong, "{key} {digest} {stamp}");
        }
        let mut of_another_group = registration("myKey", DIGEST, "1730000000000");
        of_another_group.service_group = "other_tx_group".into();
        assert_eq!(check(&of_another_group, STAMP_MS), wrong);
        // An unknown key is not one with an empty secret.
        let empty = sign("", "default_tx_group", "192.168.1.5", STAMP_MS);
        assert_eq!(check(&registration("nobody", &empty, "1730000000000"), STAMP_MS), wrong);
    }

    #[test]
    fn what_is_missing() {
        let missing = Err(AccessError::Missing);
        for (key, stamp) in [("null", "1730000000000"), ("", "1730000000000"), ("myKey", "soon")] {
            assert_eq!(check(&registration(key, DIGEST, stamp), STAMP_MS), missing);
        }
        let silent = Registration { extra_data: String::new(), ..registration("myKey", DIGEST, "1") };
        assert_eq!(check(&silent, STAMP_MS), missing);
    }

    #[test]
    fn dates() {
        for (stamp_ms, expected) in [
            (0, "19700101"),
            (STAMP_MS, "20241027"),
            (951_782_400_000, "20000229"),
            (951_868_800_000, "20000301"),
            (1_704_067_199_999, "20231231"),
            (4_107_542_400_000, "21000301"),
        ] {
            assert_eq!(date(stamp_ms), expected);
        }
        assert!(!date(u64::MAX).is_empty());
    }
}
