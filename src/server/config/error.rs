//! What can be wrong with a configuration. Every text names the key as the operator wrote it, and the nearest right one.

/// Refused before anything is opened; exit code 2.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file is no TOML.
    #[error("{file}: not TOML: {reason}")]
    NotToml {
        /// Its path.
        file: String,
        /// What the parser says, with line and column.
        reason: String,
    },
    /// A key that does not exist.
    #[error("unknown key {named}{}", did_you_mean(.nearest.as_deref()))]
    UnknownKey {
        /// As written, with where.
        named: String,
        /// The key that looks most like it.
        nearest: Option<String>,
    },
    /// A value that the key does not take.
    #[error("{named} = `{value}`: {reason}")]
    BadValue {
        /// The key as written, with where.
        named: String,
        /// The value as written.
        value: String,
        /// What is wrong, and what would be right.
        reason: String,
    },
    /// One setting given under two names.
    #[error("{one} and {other} set the same thing; give one of them")]
    Twice {
        /// One of the names.
        one: String,
        /// The other.
        other: String,
    },
    /// Settings that are right alone and wrong together, or one that is missing.
    #[error("{0}")]
    Together(String),
}

fn did_you_mean(nearest: Option<&str>) -> String {
    nearest.map(|key| format!("; did you mean {key}?")).unwrap_or_default()
}

/// Below this two names have no more than some letters in common (1: they are the same).
const LIKENESS_MIN: f64 = 0.5;

/// The candidate that looks most like `wanted`, if any does.
pub fn nearest<'a>(wanted: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    candidates
        .into_iter()
        .map(|candidate| (strsim::jaro_winkler(wanted, candidate), candidate))
        .filter(|(likeness, _)| *likeness > LIKENESS_MIN)
        .max_by(|left, right| left.0.total_cmp(&right.0))
        .map(|(_, candidate)| candidate)
}
