//! What must hold between settings. Each refusal names both, and the value that would do.

use super::error::ConfigError;
use super::layers::Settings;
use super::values::show_size;
use super::{Config, Sharding};
use quorate_core::model::limits::NODES_MAX;
use quorate_core::model::{GroupId, NodeId};
use std::collections::BTreeMap;

/// What a file of the log is made of.
const PAGE_BYTES: u64 = 4_096;

type Checked = Result<(), ConfigError>;

/// All of them.
pub fn together(config: &Config, settings: &Settings) -> Checked {
    identity(config, settings)?;
    founders(config, settings)?;
    groups(config, settings)?;
    places(config, settings)?;
    sharding(config, settings)?;
    raft(config, settings)
}

fn refuse(text: String) -> Checked {
    Err(ConfigError::Together(text))
}

fn identity(config: &Config, settings: &Settings) -> Checked {
    if config.join.is_some() && !config.peers.is_empty() {
        let (join, peers) = (settings.named("join"), settings.named("peers"));
        return refuse(format!("{join} and {peers} exclude each other: founders know all peers, others join one"));
    }
    match config.node_id {
        Some(_) if config.join.is_some() => refuse(format!(
            "{} cannot be chosen with {}: the cluster gives the number",
            settings.named("node_id"),
            settings.named("join")
        )),
        Some(node) if !config.peers.is_empty() && !config.peers.contains_key(&node) => {
            let known: Vec<String> = config.peers.keys().map(NodeId::to_string).collect();
            let named = settings.named("node_id");
            refuse(format!("{named} = {node} is not among the peers; their numbers are {}", known.join(", ")))
        }
        None if !config.peers.is_empty() => {
            let peers = settings.named("peers");
            refuse(format!("node_id is missing (--node-id): with {peers} a node must know which of them it is"))
        }
        Some(_) | None => Ok(()),
    }
}

fn founders(config: &Config, settings: &Settings) -> Checked {
    let named = settings.named("peers");
    if config.peers.len() > NODES_MAX {
        return refuse(format!("{named}: {} founders; at most {NODES_MAX}", config.peers.len()));
    }
    let mut residues = BTreeMap::new();
    for node in config.peers.keys() {
        // The low six bits of a node's number travel in the ids of its requests to clients.
        if let Some(other) = residues.insert(node.0 % NODES_MAX as u64, node) {
            return refuse(format!("{named}: nodes {other} and {node} are equal modulo {NODES_MAX}; renumber one"));
        }
    }
    let founders = config.peers.len().max(1);
    if config.join.is_none() && config.replicas as usize > founders {
        let (named, replicas) = (settings.named("replicas"), config.replicas);
        let nearest = if founders >= 3 { 3 } else { 1 };
        return refuse(format!("{named} = {replicas} with {founders} founders; the nearest right value is {nearest}"));
    }
    Ok(())
}

fn groups(config: &Config, settings: &Settings) -> Checked {
    let named = settings.named("groups");
    if !config.groups_at.is_empty() && config.groups_at.len() != config.groups as usize {
        let names = config.groups_at.len();
        return refuse(format!(
            "{named} = {}, but {names} groups have names; leave it out or say {names}",
            config.groups
        ));
    }
    match settings.single_group_asked() {
        Some(single) if config.groups > 1 => {
            refuse(format!("{} = false allows one data group, and there are {}", single.named, config.groups))
        }
        Some(_) | None => Ok(()),
    }
}

fn places(config: &Config, settings: &Settings) -> Checked {
    for group in &config.groups_at {
        let named = settings.named(&format!("{}{}", super::keys::GROUPS_AT, group.name));
        if !matches!(group.replicas.len(), 1 | 3 | 5) {
            return refuse(format!("{named}: {} replicas; a group has 1, 3 or 5", group.replicas.len()));
        }
        for (place, node) in group.replicas.iter().enumerate() {
            if group.replicas[..place].contains(node) {
                return refuse(format!("{named}: node {node} stands there twice"));
            }
        }
    }
    Ok(())
}

fn sharding(config: &Config, settings: &Settings) -> Checked {
    let Sharding::Explicit(table) = &config.sharding else { return Ok(()) };
    let named = settings.named("sharding.table");
    if let Some(group) = table.iter().find(|group| group.0 > config.groups) {
        return refuse(format!("{named}: group {group}, but there are {} groups", config.groups));
    }
    let missing = (1..=config.groups).map(GroupId).find(|group| !table.contains(group));
    missing.map_or(Ok(()), |group| refuse(format!("{named}: group {group} gets no slot")))
}

fn raft(config: &Config, settings: &Settings) -> Checked {
    let (heartbeat_ms, election_ms) = (config.raft.heartbeat_ms, config.raft.election_timeout_ms);
    if election_ms < 3 * heartbeat_ms {
        let (named, beat) = (settings.named("raft.election_timeout_ms"), settings.named("raft.heartbeat_ms"));
        let least = 3 * heartbeat_ms;
        return refuse(format!(
            "{named} = {election_ms} is below 3 heartbeats ({beat} = {heartbeat_ms}); the nearest right value is {least}"
        ));
    }
    let (batch, segment) = (config.raft.batch_bytes_max, config.storage.segment_bytes);
    if !segment.is_multiple_of(PAGE_BYTES) {
        let named = settings.named("storage.segment_bytes");
        let nearest = show_size((segment + PAGE_BYTES / 2) / PAGE_BYTES * PAGE_BYTES);
        return refuse(format!("{named} is no multiple of {PAGE_BYTES}; the nearest right value is {nearest}"));
    }
    if batch > segment / 4 {
        let (named, other) = (settings.named("raft.batch_bytes_max"), settings.named("storage.segment_bytes"));
        let most = show_size(segment / 4);
        return refuse(format!("{named} is above a quarter of {other}; the nearest right value is {most}"));
    }
    if config.storage.wal_bytes_target < 4 * segment {
        let (named, other) = (settings.named("storage.wal_bytes_target"), settings.named("storage.segment_bytes"));
        let least = show_size(4 * segment);
        return refuse(format!("{named} is below four times {other}; the nearest right value is {least}"));
    }
    Ok(())
}
