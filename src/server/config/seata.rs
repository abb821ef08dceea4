//! Seata's own names for multi-raft, read in `[seata.raft]` of the file and turned into ours; and `enabled` of its
//! `[seata.metrics]`.
//!
//! Nothing is accepted and ignored: a key that has no counterpart here is refused, and so is a key together with its
//! counterpart.

use super::error::{ConfigError, nearest};
use super::keys::GROUPS_AT;
use super::layers::Setting;
use std::collections::BTreeMap;

/// Where Seata's keys stand.
pub const TABLE: &str = "seata.";
const PREFIX: &str = "seata.raft.";
const GROUPS: &str = "seata.raft.groups.";
const METRICS: &str = "seata.metrics.";
const METRICS_ENABLED: &str = "seata.metrics.enabled";
/// Kept under its own name, because it has no counterpart: a bound on `groups`.
pub const MULTI_RAFT_ENABLED: &str = "seata.raft.multi-raft-enabled";

/// Seata's name and ours.
const NAMES: [(&str, &str); 7] = [
    ("sharding.strategy", "sharding.strategy"),
    ("sharding.group-count", "groups"),
    ("snapshot-interval", "raft.snapshot_interval_s"),
    ("apply-batch", "raft.batch_commands_max"),
    ("max-append-buffer-size", "raft.batch_bytes_max"),
    ("max-replicator-inflight-msgs", "raft.batches_in_flight_max"),
    ("election-timeout-ms", "raft.election_timeout_ms"),
];

/// Tables that may stand there without a key.
pub const TABLES: [&str; 5] = ["seata", "seata.raft", "seata.raft.sharding", "seata.raft.groups", "seata.metrics"];

/// Whether a key of Seata may be a list.
pub fn is_list(key: &str) -> bool {
    key.starts_with(GROUPS) && key.ends_with(".server-addr")
}

/// Whether any text is a value of a key of Seata.
pub fn is_text(key: &str) -> bool {
    key.starts_with(GROUPS) && key.ends_with(".data-dir")
}

type Flat = BTreeMap<String, Setting>;

/// Our settings of the file with Seata's among them.
pub fn merge(mut own: Flat, seata: Flat) -> Result<Flat, ConfigError> {
    for (key, setting) in seata {
        if let Some(group_key) = key.strip_prefix(GROUPS) {
            merge_group(&mut own, group_key, setting)?;
            continue;
        }
        match key.strip_prefix(PREFIX) {
            Some("multi-raft-enabled") => check_word(&setting, &["true", "false"])?,
            Some("serialization") => {
                check_word(&setting, &["bincode"])?;
                continue;
            }
            Some(_) | None => {}
        }
        let ours = NAMES.iter().find(|(theirs, _)| key.strip_prefix(PREFIX) == Some(theirs));
        match ours {
            Some((_, ours)) => insert(&mut own, ours, setting)?,
            None if key == METRICS_ENABLED => insert(&mut own, "metrics.seata", setting)?,
            None if key == MULTI_RAFT_ENABLED => insert(&mut own, MULTI_RAFT_ENABLED, setting)?,
            None => return Err(unknown(&key, setting)),
        }
    }
    Ok(own)
}

fn unknown(key: &str, setting: Setting) -> ConfigError {
    let known = NAMES.iter().map(|(theirs, _)| format!("{PREFIX}{theirs}"));
    let known: Vec<String> = known.chain([MULTI_RAFT_ENABLED.to_owned(), format!("{PREFIX}serialization")]).collect();
    let of_raft = known.iter().map(String::as_str).filter(|_| !key.starts_with(METRICS));
    let known = of_raft.chain((!key.starts_with(PREFIX)).then_some(METRICS_ENABLED));
    let nearest = nearest(key, known).map(|key| format!("`{key}`"));
    ConfigError::UnknownKey { named: setting.named, nearest }
}

fn check_word(setting: &Setting, words: &[&str]) -> Result<(), ConfigError> {
    if words.contains(&setting.value.as_str()) {
        return Ok(());
    }
    let reason = format!("only {} is possible here", words.join(" or "));
    Err(ConfigError::BadValue { named: setting.named.clone(), value: setting.value.clone(), reason })
}

/// `groups.<name>.data-dir` and `groups.<name>.server-addr`.
fn merge_group(own: &mut Flat, group_key: &str, setting: Setting) -> Result<(), ConfigError> {
    match group_key.rsplit_once('.') {
        Some((name, "server-addr")) => insert(own, &format!("{GROUPS_AT}{name}"), setting),
        Some((_, "data-dir")) => match own.get("data_dir") {
            // One log per node holds all groups, so they can only share a folder.
            Some(other) if other.named.contains(GROUPS) && other.value == setting.value => Ok(()),
            Some(other) if other.named.contains(GROUPS) => Err(ConfigError::Together(format!(
                "{} = `{}` and {} = `{}`: all groups of a node share one folder; make them alike",
                other.named, other.value, setting.named, setting.value
            ))),
            Some(_) | None => insert(own, "data_dir", setting),
        },
        Some(_) | None => Err(ConfigError::UnknownKey {
            named: setting.named,
            nearest: Some(format!("`{GROUPS}<name>.server-addr`")),
        }),
    }
}

fn insert(own: &mut Flat, key: &str, setting: Setting) -> Result<(), ConfigError> {
    match own.get(key) {
        Some(other) => Err(ConfigError::Twice { one: other.named.clone(), other: setting.named }),
        None => {
            own.insert(key.to_owned(), setting);
            Ok(())
        }
    }
}
