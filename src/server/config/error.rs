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

/// The candidate that `wanted` is likely to mean: at most a third of its letters are wrong, missing, too many or swapped, or
/// only the table before it is left out.
pub fn nearest<'a>(wanted: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let edits = |candidate: &str| match candidate.rsplit_once('.') {
        Some((_, name)) if name == wanted => 0,
        Some(_) | None => strsim::osa_distance(wanted, candidate),
    };
    let near = |candidate: &str| edits(candidate) * 3 <= wanted.chars().count().max(candidate.chars().count());
    candidates.into_iter().filter(|candidate| near(candidate)).min_by_key(|candidate| edits(candidate))
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn only_what_is_near_is_suggested() {
        let names = ["log_format", "raft.heartbeat_ms", "off", "info", "json"];
        for (wanted, expected) in [
            ("foo", None),
            ("loud", None),
            ("logformat", Some("log_format")),
            ("inof", Some("info")),
            ("jsn", Some("json")),
            ("raft.hartbeet_ms", Some("raft.heartbeat_ms")),
            ("heartbeat_ms", Some("raft.heartbeat_ms")),
            ("", None),
        ] {
            assert_eq!(nearest(wanted, names), expected, "{wanted}");
        }
    }
}
