//! Resource ids of Go clients are data source names and hold the database password
//! (`user:password@tcp(host:port)/db`). Nobody prints one without going through here.

use std::borrow::Cow;
use std::fmt;

/// A resource id for a log line or a screen: a password in it is replaced by `***`.
#[derive(Clone, Copy)]
pub struct Masked<'a>(pub &'a str);

impl fmt::Display for Masked<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&masked(self.0))
    }
}

/// `user:password@rest` becomes `user:***@rest`, behind a scheme too (`jdbc:mysql://user:password@host`), and so does a
/// `password=..` among parameters.
pub fn masked(resource: &str) -> Cow<'_, str> {
    let before_parameters = resource.find('?').unwrap_or(resource.len());
    let Some(at) = resource[..before_parameters].rfind('@') else { return masked_parameter(resource) };
    let user = resource[..at].rfind("//").map_or(0, |slashes| slashes + 2);
    let Some(colon) = resource[user..at].find(':') else { return masked_parameter(resource) };
    let rest = masked_parameter(&resource[at..]);
    Cow::Owned(format!("{}:***{rest}", &resource[..user + colon]))
}

fn masked_parameter(text: &str) -> Cow<'_, str> {
    const KEY: &str = "password=";
    let Some(start) = text.to_ascii_lowercase().find(KEY) else { return Cow::Borrowed(text) };
    let value = start + KEY.len();
    let end = text[value..].find(['&', ';', ',']).map_or(text.len(), |length| value + length);
    Cow::Owned(format!("{}***{}", &text[..value], &text[end..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_vanish_and_nothing_else() {
        for (resource, shown) in [
            ("user:secret@tcp(10.0.0.1:3306)/shop", "user:***@tcp(10.0.0.1:3306)/shop"),
            ("user:se:cr@et@tcp(h:1)/shop?a=b", "user:***@tcp(h:1)/shop?a=b"),
            ("jdbc:mysql://user:secret@h:1/shop", "jdbc:mysql://user:***@h:1/shop"),
            ("jdbc:mysql://h:1/shop?user=a&password=secret&x=y", "jdbc:mysql://h:1/shop?user=a&password=***&x=y"),
            ("jdbc:mysql://10.0.0.1:3306/shop", "jdbc:mysql://10.0.0.1:3306/shop"),
            ("payAction", "payAction"),
            ("someone@here", "someone@here"),
        ] {
            assert_eq!(masked(resource), shown);
        }
    }
}
