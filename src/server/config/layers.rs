//! Flags over environment over file: three sources of texts become one table of settings.
//!
//! Everything is text until `values` reads it, so that a value means the same wherever it comes from. Only what a file may not
//! write, such as a list for one value, is refused here.

use super::error::{ConfigError, nearest};
use super::keys::{self, KEYS, Unset};
use super::seata;
use super::values::Parsed;
use std::collections::BTreeMap;

/// A value as the operator wrote it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Setting {
    /// The text.
    pub value: String,
    /// The key as written and where: `--groups`, `QUORATE_GROUPS`, `` `groups` in quorate.toml ``.
    pub named: String,
}

/// What was set, by key.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Settings {
    set: BTreeMap<String, Setting>,
    passed_over: Vec<String>,
}

/// Texts from outside, not yet checked.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// By key name.
    pub flags: BTreeMap<String, String>,
    /// All variables of the environment; those that do not begin with `QUORATE_` are not looked at.
    pub environment: BTreeMap<String, String>,
    /// Path and content of the file.
    pub file: Option<(String, String)>,
}

/// How variables of ours begin.
pub const VARIABLES: &str = "QUORATE_";

/// The variable that names the file; everything else behind `QUORATE_` is a key.
pub const FILE_VARIABLE: &str = "QUORATE_CONFIG";

impl Settings {
    /// The three layers, the first one winning.
    pub fn gather(sources: &Sources) -> Result<Settings, ConfigError> {
        let mut settings = Settings::default();
        if let Some((path, text)) = &sources.file {
            settings.set = of_file(path, text)?;
        }
        for (variable, value) in &sources.environment {
            if is_of_service(variable, &sources.environment) {
                settings.passed_over.push(variable.clone());
                continue;
            }
            let Some(key) = keys::key_of_variable(variable).filter(|_| variable != FILE_VARIABLE) else { continue };
            if !keys::exists(&key) {
                let nearest = nearest(&key, key_names()).map(keys::variable_name);
                return Err(ConfigError::UnknownKey { named: variable.clone(), nearest });
            }
            settings.set.insert(key, Setting { value: value.clone(), named: variable.clone() });
        }
        for (key, value) in &sources.flags {
            let named = format!("--{}", keys::flag_name(key));
            settings.set.insert(key.clone(), Setting { value: value.clone(), named });
        }
        Ok(settings)
    }

    /// The setting of a key, if somebody set it.
    pub fn given(&self, key: &str) -> Option<&Setting> {
        self.set.get(key)
    }

    /// Variables of the environment that look like keys and are of a Kubernetes service.
    pub fn passed_over(&self) -> &[String] {
        &self.passed_over
    }

    /// How messages name a key: as the operator did, else by its name.
    pub fn named(&self, key: &str) -> String {
        self.given(key).map_or_else(|| key.to_owned(), |setting| setting.named.clone())
    }

    /// The value of a key, or of its default; nothing if it follows from others.
    pub fn read<T>(&self, key: &str, parse: impl FnOnce(&str) -> Parsed<T>) -> Result<Option<T>, ConfigError> {
        let unset = keys::find(key).map(|key| key.unset);
        let (named, value) = match (self.given(key), unset) {
            (Some(setting), _) => (setting.named.clone(), setting.value.clone()),
            (None, Some(Unset::Is(default))) => (format!("the default of {key}"), default.to_owned()),
            (None, Some(Unset::Follows(_)) | None) => return Ok(None),
        };
        match parse(&value) {
            Ok(parsed) => Ok(Some(parsed)),
            Err(reason) => {
                let value = if keys::is_secret(key) { "..".to_owned() } else { value };
                Err(ConfigError::BadValue { named, value, reason })
            }
        }
    }

    /// Like [`Settings::read`], for a key that always has a value.
    pub fn require<T>(&self, key: &str, parse: impl FnOnce(&str) -> Parsed<T>) -> Result<T, ConfigError> {
        self.read(key, parse)?.ok_or_else(|| ConfigError::Together(format!("{key} has no value")))
    }

    /// Names of groups that were given places of their own, in byte order.
    pub fn group_names(&self) -> impl Iterator<Item = &str> {
        self.set.keys().filter_map(|key| key.strip_prefix(keys::GROUPS_AT))
    }

    /// Whether Seata's `multi-raft-enabled` is there and false, and how it was named.
    pub fn single_group_asked(&self) -> Option<&Setting> {
        self.given(seata::MULTI_RAFT_ENABLED).filter(|setting| setting.value == "false")
    }
}

/// Kubernetes tells every container of a namespace about its services: for one that is called `quorate` or `quorate-x` in
/// variables that begin like ours. It always sets the host with the others; a lone `QUORATE_PORT` is somebody's mistake.
fn is_of_service(variable: &str, environment: &BTreeMap<String, String>) -> bool {
    let all_digits = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_digit());
    // `6379_TCP`, `6379_TCP_ADDR`
    let is_port = |rest: &str| {
        let mut parts = rest.split('_');
        parts.next().is_some_and(all_digits)
            && parts.next().is_some_and(|protocol| ["TCP", "UDP", "SCTP"].contains(&protocol))
            && parts.next().is_none_or(|what| ["PROTO", "PORT", "ADDR"].contains(&what))
            && parts.next().is_none()
    };
    let starts = variable.match_indices('_').map(|(at, _)| variable.split_at(at));
    let mut services = starts.filter(|(service, rest)| {
        let is_its = matches!(*rest, "_SERVICE_HOST" | "_SERVICE_PORT" | "_PORT")
            || rest.starts_with("_SERVICE_PORT_")
            || rest.strip_prefix("_PORT_").is_some_and(is_port);
        is_its && format!("{service}_").starts_with(VARIABLES)
    });
    services.any(|(service, _)| environment.contains_key(&format!("{service}_SERVICE_HOST")))
}

fn key_names() -> impl Iterator<Item = &'static str> {
    KEYS.iter().map(|key| key.name)
}

/// Tables that have keys. One that has none and is empty would be passed over without a word.
fn tables() -> impl Iterator<Item = &'static str> {
    let own = KEYS.iter().filter_map(|key| Some(key.name.rsplit_once('.')?.0));
    own.chain([keys::GROUPS_AT.trim_end_matches('.')]).chain(seata::TABLES)
}

fn of_file(path: &str, text: &str) -> Result<BTreeMap<String, Setting>, ConfigError> {
    let table: toml::Table = text
        .parse()
        .map_err(|error: toml::de::Error| ConfigError::NotToml { file: path.to_owned(), reason: error.to_string() })?;
    let mut flat = BTreeMap::new();
    flatten("", &table, path, &mut flat)?;
    let (seata, own): (BTreeMap<_, _>, BTreeMap<_, _>) =
        flat.into_iter().partition(|(key, _)| key.starts_with(seata::TABLE));
    for (key, setting) in &own {
        if !keys::exists(key) {
            let nearest = nearest(key, key_names()).map(|key| format!("`{key}`"));
            return Err(ConfigError::UnknownKey { named: setting.named.clone(), nearest });
        }
    }
    seata::merge(own, seata)
}

/// Tables become dotted names; a list becomes its parts with commas, which is how flags and variables write it.
fn flatten(
    prefix: &str,
    table: &toml::Table,
    path: &str,
    flat: &mut BTreeMap<String, Setting>,
) -> Result<(), ConfigError> {
    for (name, value) in table {
        let key = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
        let named = format!("`{key}` in {path}");
        if let toml::Value::Table(inner) = value
            && key != "sharding.table"
        {
            if inner.is_empty() && !tables().any(|table| table == key) {
                let nearest = nearest(&key, tables()).map(|table| format!("`{table}`"));
                return Err(ConfigError::UnknownKey { named, nearest });
            }
            flatten(&key, inner, path, flat)?;
            continue;
        }
        let bad = |value: String, reason: String| {
            let value = if keys::is_secret(&key) { "..".to_owned() } else { value };
            ConfigError::BadValue { named: named.clone(), value, reason }
        };
        let is_list = value.is_array();
        let is_quoted = !matches!(value, toml::Value::Integer(_) | toml::Value::Boolean(_));
        let value = text_of(value).map_err(|(value, kind)| {
            bad(value, format!("{kind} is no value of any key; write a text, a whole number, true or false"))
        })?;
        let is_known = keys::exists(&key) || key.starts_with(seata::TABLE);
        if is_list && is_known && !keys::is_list(&key) && !seata::is_list(&key) {
            return Err(bad(value, "a list, and this key has one value; write it without brackets".to_owned()));
        }
        if !is_quoted && (keys::is_text(&key) || seata::is_text(&key)) {
            return Err(bad(value, "not in quotes, and this key is a text; write it in quotes".to_owned()));
        }
        flat.insert(key, Setting { value, named });
    }
    Ok(())
}

/// A table of ranges (`sharding.table`) reads like the list that a flag would have. Refused: the text and its kind.
fn text_of(value: &toml::Value) -> Result<String, (String, &'static str)> {
    match value {
        toml::Value::String(text) => Ok(text.clone()),
        toml::Value::Integer(number) => Ok(number.to_string()),
        toml::Value::Boolean(flag) => Ok(flag.to_string()),
        toml::Value::Array(items) => {
            let parts: Result<Vec<String>, _> = items.iter().map(text_of).collect();
            Ok(parts?.join(","))
        }
        toml::Value::Table(pairs) => {
            let parts: Result<Vec<String>, _> =
                pairs.iter().map(|(name, value)| Ok(format!("{name}={}", text_of(value)?))).collect();
            Ok(parts?.join(","))
        }
        toml::Value::Float(number) => Err((number.to_string(), "a number with a point")),
        toml::Value::Datetime(date) => Err((date.to_string(), "a date")),
    }
}
