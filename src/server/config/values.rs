//! From text to values, alike for flags, environment and file. A refusal says what would be right.

use super::error::nearest;
use core::net::SocketAddr;
use core::ops::RangeInclusive;
use quorate_core::model::{GroupId, NodeId, SLOTS};
use std::collections::BTreeMap;

/// Why a text is no value of its key; becomes [`super::ConfigError::BadValue`].
pub type Parsed<T> = Result<T, String>;

/// A whole number within bounds.
pub fn number(text: &str, bounds: RangeInclusive<u64>) -> Parsed<u64> {
    let value: u64 = text.parse().map_err(|_| format!("not a whole number; {} to {}", bounds.start(), bounds.end()))?;
    within(value, &bounds, |n| n.to_string())
}

fn within(value: u64, bounds: &RangeInclusive<u64>, show: fn(u64) -> String) -> Parsed<u64> {
    if value < *bounds.start() {
        return Err(format!("too small; the nearest right value is {}", show(*bounds.start())));
    }
    if value > *bounds.end() {
        return Err(format!("too large; the nearest right value is {}", show(*bounds.end())));
    }
    Ok(value)
}

const UNITS: [(&str, u32); 4] = [("KiB", 10), ("MiB", 20), ("GiB", 30), ("TiB", 40)];

/// A number of bytes, plain or with a unit: `67108864`, `64MiB`.
pub fn size(text: &str, bounds: RangeInclusive<u64>) -> Parsed<u64> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = &text[digits.len()..];
    let shift = match UNITS.iter().find(|(name, _)| *name == unit) {
        Some((_, shift)) => *shift,
        None if unit.is_empty() || unit == "B" => 0,
        None => {
            let near = UNITS.iter().find(|(name, _)| name[..1].eq_ignore_ascii_case(&unit[..1]));
            let example = near.map_or("MiB", |(name, _)| name);
            return Err(format!("`{unit}` is no unit of size; write {}{example}", digits.trim()));
        }
    };
    let value: u64 = digits.trim().parse().map_err(|_| "not a size; write bytes, or a number with KiB, MiB or GiB")?;
    let bytes = value.checked_mul(1 << shift).ok_or("too large")?;
    within(bytes, &bounds, show_size)
}

/// `64MiB` where that is exact.
pub fn show_size(bytes: u64) -> String {
    let unit = UNITS.iter().rev().find(|(_, shift)| bytes != 0 && bytes.trailing_zeros() >= *shift);
    unit.map_or_else(|| bytes.to_string(), |(name, shift)| format!("{}{name}", bytes >> shift))
}

/// An address to listen at.
pub fn listen_address(text: &str) -> Parsed<SocketAddr> {
    text.parse().map_err(|_| {
        let example = match text.rsplit_once(':') {
            Some((_, port)) if port.parse::<u16>().is_ok() => format!("127.0.0.1:{port}"),
            Some(_) | None => "127.0.0.1:8091".to_owned(),
        };
        format!("not IP:PORT; write it like {example}")
    })
}

/// A host, by name or address, and a port. IPv6 may stand without brackets, as in XIDs.
pub fn host_and_port(text: &str) -> Parsed<String> {
    let (host, port) = text.rsplit_once(':').ok_or_else(|| format!("no port; write {text}:PORT"))?;
    let port_is_right = port.parse::<u16>().is_ok_and(|port| port != 0);
    if host.is_empty() || host.contains([' ', '/', ',', '=', ';']) || !port_is_right {
        return Err("not HOST:PORT, like 10.0.0.1:8091".to_owned());
    }
    Ok(text.to_owned())
}

/// A key that is hard to guess.
pub fn secret(text: &str) -> Parsed<String> {
    match text.chars().count() {
        0..16 => Err("too short; write 16 characters or more".to_owned()),
        16.. => Ok(text.to_owned()),
    }
}

/// One of a few words.
pub fn choice<T: Copy>(text: &str, choices: &[(&str, T)]) -> Parsed<T> {
    if let Some((_, value)) = choices.iter().find(|(word, _)| *word == text) {
        return Ok(*value);
    }
    let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
    let near = nearest(text, words.iter().copied()).map(|word| format!("; did you mean {word}?")).unwrap_or_default();
    Err(format!("not one of {}{near}", words.join(", ")))
}

const LOG_LEVELS: [(&str, ()); 6] =
    [("off", ()), ("error", ()), ("warn", ()), ("info", ()), ("debug", ()), ("trace", ())];

/// A filter of the log: `info`, `warn,quorate_server=debug`. A lone word that is no level would be taken for a target, and
/// with it nothing else would be logged.
pub fn log_filter(text: &str) -> Parsed<String> {
    if text.trim().is_empty() {
        return Err("empty; leave the key out for its default".to_owned());
    }
    for part in text.split(',').map(str::trim) {
        let (target, level) = part.split_once('=').map_or((None, part), |(target, level)| (Some(target), level));
        choice(&level.trim().to_ascii_lowercase(), &LOG_LEVELS)
            .map_err(|reason| format!("`{part}` is no LEVEL or TARGET=LEVEL: {reason}"))?;
        let is_name =
            |name: &str| !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "_-:.".contains(c));
        if target.is_some_and(|target| !is_name(target.trim())) {
            return Err(format!("`{part}`: no target; write it like quorate_server=debug"));
        }
    }
    Ok(text.to_owned())
}

/// A node's number.
pub fn node_id(text: &str) -> Parsed<NodeId> {
    number(text, 1..=u64::from(u32::MAX)).map(NodeId)
}

/// `1=10.0.0.1:9091,2=..`: founders and where their peer ports are.
pub fn founders(text: &str) -> Parsed<BTreeMap<NodeId, String>> {
    let mut founders = BTreeMap::new();
    for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let (id, address) = part.split_once('=').ok_or_else(|| match part.contains(':') {
            true => format!("`{part}`: write it ID={part}"),
            false => format!("`{part}`: write it ID=HOST:PEER_PORT"),
        })?;
        let id = node_id(id.trim()).map_err(|reason| format!("`{part}`: {reason}"))?;
        let address = host_and_port(address.trim()).map_err(|reason| format!("`{part}`: {reason}"))?;
        if founders.values().any(|other| *other == address) {
            return Err(format!("{address} stands there twice"));
        }
        if founders.insert(id, address).is_some() {
            return Err(format!("node {id} stands there twice"));
        }
    }
    if founders.is_empty() {
        // It may be a variable that was never filled: a node alone would found a cluster of its own.
        return Err("empty; write ID=HOST:PEER_PORT,.. or leave the key out for a cluster of one".to_owned());
    }
    Ok(founders)
}

/// `KEY=SECRET,..`. What is refused is never repeated: it may be a secret.
pub fn access_keys(text: &str) -> Parsed<BTreeMap<String, String>> {
    let mut keys = BTreeMap::new();
    for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let Some((key, secret)) = part.split_once('=').filter(|(key, secret)| !key.is_empty() && !secret.is_empty())
        else {
            return Err("not ACCESS_KEY=SECRET_KEY,..".to_owned());
        };
        if keys.insert(key.to_owned(), secret.to_owned()).is_some() {
            return Err(format!("the access key {key} stands there twice"));
        }
    }
    if keys.is_empty() {
        return Err("empty; leave the key out to let every client register".to_owned());
    }
    Ok(keys)
}

/// `0-1023=1,1024-4095=2`: every slot exactly once.
pub fn slot_table(text: &str) -> Parsed<Vec<GroupId>> {
    let mut owners: Vec<Option<GroupId>> = vec![None; usize::from(SLOTS)];
    for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let (first, last, group) = slot_range(part).map_err(|reason| format!("`{part}`: {reason}"))?;
        for (slot, owner) in owners.iter_mut().enumerate().take(last + 1).skip(first) {
            if owner.replace(group).is_some() {
                return Err(format!("`{part}`: slot {slot} stands there twice"));
            }
        }
    }
    let missing = owners.iter().position(Option::is_none);
    match missing {
        Some(slot) => Err(format!("slot {slot} has no group; all of 0-{} need one", SLOTS - 1)),
        None => Ok(owners.into_iter().flatten().collect()),
    }
}

fn slot_range(part: &str) -> Parsed<(usize, usize, GroupId)> {
    let (range, group) = part.split_once('=').ok_or("write it FIRST-LAST=GROUP")?;
    let range = range.trim();
    let (first, last) = range.split_once('-').unwrap_or((range, range));
    let slots = 0..=u64::from(SLOTS - 1);
    let (first, last) = (number(first.trim(), slots.clone())? as usize, number(last.trim(), slots)? as usize);
    let group = number(group.trim(), 1..=1024)?;
    if first > last {
        return Err(format!("the range is empty; write {last}-{first}"));
    }
    Ok((first, last, GroupId(group as u32)))
}

/// Comma-separated `HOST:PORT`s.
pub fn addresses(text: &str) -> Parsed<Vec<String>> {
    text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(host_and_port).collect()
}
