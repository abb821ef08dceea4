//! What the tables of `quorate ctl` are made of: the addresses of pages, and cells out of JSON.

use serde_json::Value;

/// For the query of an address.
pub fn encoded(text: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:".contains(&byte);
    text.bytes()
        .map(|byte| if is_plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

pub fn cell(row: &Value, name: &str) -> String {
    match &row[name] {
        Value::String(text) if text.is_empty() => "-".to_owned(),
        Value::String(text) => text.clone(),
        Value::Null => "-".to_owned(),
        other => other.to_string(),
    }
}

/// `93.4s` of milliseconds.
pub fn seconds(row: &Value, name: &str) -> String {
    match cell(row, name).parse::<u64>() {
        Ok(ms) => format!("{}.{}s", ms / 1_000, ms % 1_000 / 100),
        Err(_) => "-".to_owned(),
    }
}

pub fn rows(page: &Value) -> &[Value] {
    page["data"].as_array().map(Vec::as_slice).unwrap_or_default()
}

/// What is missing, if something is.
pub fn missing(page: &Value) -> Option<String> {
    let groups = page["groupsUnanswered"].as_array()?;
    (!groups.is_empty()).then(|| cell(page, "message"))
}
