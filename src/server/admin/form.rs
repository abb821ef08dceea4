//! Parameters of a request: the query of its address and the body of a form, decoded.

use std::collections::BTreeMap;

/// Names and values. Of a name that comes twice the last value counts; an empty value is as good as none, as in Seata's
/// console, which sends all its fields.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Form(BTreeMap<String, String>);

impl Form {
    /// Reads `a=1&b=two%20words`. What is no UTF-8 behind its percent signs becomes the replacement character.
    pub fn parse(text: &str) -> Form {
        let pairs = text.split('&').filter_map(|pair| pair.split_once('='));
        let decoded = pairs.map(|(name, value)| (decode(name), decode(value)));
        Form(decoded.filter(|(_, value)| !value.is_empty()).collect())
    }

    /// The value of a name.
    pub fn text(&self, name: &str) -> Option<String> {
        self.0.get(name).cloned()
    }

    /// The value of a name, a whole number. Refused: in words.
    pub fn number<T: core::str::FromStr>(&self, name: &str) -> Result<Option<T>, String> {
        let Some(text) = self.0.get(name) else { return Ok(None) };
        text.trim().parse().map(Some).map_err(|_| format!("{name} must be a whole number, and is `{text}`"))
    }
}

/// Percent signs and plus signs.
fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let pair = after.get(..2).and_then(|digits| core::str::from_utf8(digits).ok());
        let byte =
            pair.filter(|digits| !digits.starts_with('+')).and_then(|digits| u8::from_str_radix(digits, 16).ok());
        (rest, _) = match (first, byte) {
            (b'%', Some(byte)) => (&after[2..], bytes.push(byte)),
            (b'+', _) => (after, bytes.push(b' ')),
            (other, _) => (after, bytes.push(*other)),
        };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_decoded() {
        let form =
            Form::parse("xid=10.0.0.1%3A8091%3a7&name=a+b%2Bc&empty=&pageNum=2&odd=100%&worse=%+1&é=%C3%A9&flag");
        let text = |name| form.text(name);
        assert_eq!(text("xid").as_deref(), Some("10.0.0.1:8091:7"));
        assert_eq!(text("name").as_deref(), Some("a b+c"));
        assert_eq!((text("empty"), text("flag"), text("missing")), (None, None, None));
        assert_eq!((text("odd").as_deref(), text("worse").as_deref()), (Some("100%"), Some("% 1")));
        assert_eq!(text("é").as_deref(), Some("é"));
        assert_eq!(form.number::<u64>("pageNum"), Ok(Some(2)));
        assert_eq!(form.number::<u64>("missing"), Ok(None));
        assert_eq!(form.number::<u64>("odd"), Err("odd must be a whole number, and is `100%`".to_owned()));
    }
}
