//! The page of a failure: one HTML file that needs no network, with everything that happened and every message.
//!
//! `page.html` draws; this makes its data: lanes, lines of the chronicle, messages with the names that the wire gives them.

use crate::chronicle::{Chronicle, Kind};
use crate::plan::Plan;
use crate::plan::swarm::Class;
use crate::story;
use crate::verdict::Failure;
use crate::world::SeenThrough;
use quorate_core::model::TransactionId;
use quorate_core::wire::{Decoded, Decoder};
use quorate_world::sim::Carried;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

const PAGE: &str = include_str!("page.html");
/// Where the data goes.
const PLACE: &str = "\"DATA\"";
/// Of a longer run the last ones are drawn: a page stays below 5 MB.
const MESSAGES_MAX: usize = 25_000;
const ENTRIES_MAX: usize = 12_000;
const TEXT_CHARS_MAX: usize = 240;

/// The page.
pub fn page(plan: &Plan, bug: Option<&str>, failure: Option<&Failure>, seen: &SeenThrough) -> String {
    let chronicle = &seen.chronicle;
    let lanes = lanes(plan, chronicle);
    let place = |lane: &str| lanes.iter().position(|known| known == lane);
    let names = |ids: &[TransactionId]| -> Vec<String> {
        ids.iter().filter_map(|id| chronicle.transactions.get(id).cloned()).collect()
    };
    let entries: Vec<Value> = chronicle
        .entries
        .iter()
        .skip(chronicle.entries.len().saturating_sub(ENTRIES_MAX))
        .map(|entry| {
            let about = names(&chronicle.about(&entry.text));
            let at: Vec<usize> = entry.lanes.iter().chain(&about).filter_map(|lane| place(lane)).collect();
            let text: String = chronicle.named(&entry.text).chars().take(TEXT_CHARS_MAX).collect();
            json!([micros(entry.at), micros(entry.lasts), kind(entry.kind), at, text, about])
        })
        .collect();
    let messages: Vec<Value> = labelled(seen)
        .into_iter()
        .filter_map(|(carried, label)| {
            let machine = |number: u32| place(seen.machines.get(&number)?);
            let (from, to) = (machine(carried.from)?, machine(carried.to)?);
            let about = names(&chronicle.about(&label));
            let text: String = chronicle.named(&label).chars().take(TEXT_CHARS_MAX).collect();
            let (sent, arrived) = (carried.sent_nanos / 1_000, carried.arrived_nanos / 1_000);
            Some(json!([sent, arrived, from, to, carried.bytes.len(), text, about]))
        })
        .collect();
    let left_out = messages.len().saturating_sub(MESSAGES_MAX);
    let data = json!({
        "title": format!("{} seed {}{}", plan.world, plan.seed, bug.map(|bug| format!(", {bug}")).unwrap_or_default()),
        "story": story::tell(plan, bug, failure, seen),
        "lanes": lanes,
        "entries": entries,
        "messages": &messages[left_out..],
        "left_out": left_out,
        "verdict": failure.map(|failure| json!([micros(failure.at), failure.oracle, chronicle.named(&failure.finding.text)])),
    });
    // Within a script element nothing may look like its end.
    PAGE.replace(PLACE, &data.to_string().replace('<', "\\u003c"))
}

fn micros(at: quorate_world::time::Duration) -> u64 {
    at.as_micros() as u64
}

fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Fault => "fault",
        Kind::Process => "process",
        Kind::Leader => "leader",
        Kind::Entry => "entry",
        Kind::Client => "client",
        Kind::Database => "database",
        Kind::PhaseTwo => "phase two",
        Kind::Disk => "disk",
        Kind::Verdict => "verdict",
    }
}

/// Clients, nodes, resources' owners, groups, transactions: from who asks to what is changed.
fn lanes(plan: &Plan, chronicle: &Chronicle) -> Vec<String> {
    let options = &plan.options;
    let many = |kind: &'static str, count: u32| (1..=count).map(move |number| format!("{kind}{number}"));
    let operator = plan.needs_operator().then(|| "operator".to_owned());
    let moves = plan.faults.iter().any(|fault| fault.class == Class::Transfer);
    let operator = operator.into_iter().chain(moves.then(|| "mover".to_owned()));
    let machines = many("tm", options.tms).chain(many("n", options.nodes)).chain(many("rm", options.rms));
    let groups: BTreeSet<&String> = chronicle.entries.iter().flat_map(|entry| &entry.lanes).collect();
    let groups = groups.into_iter().filter(|lane| lane.ends_with("group") || lane.starts_with("group ")).cloned();
    let transactions: BTreeSet<&String> = chronicle.transactions.values().collect();
    machines.chain(operator).chain(groups).chain(transactions.into_iter().cloned()).collect()
}

/// What each message is called: those of clients by the wire, those between nodes by their size.
fn labelled(seen: &SeenThrough) -> Vec<(&Carried, String)> {
    let mut decoders: BTreeMap<u64, Decoder> = BTreeMap::new();
    let is_node = |machine: u32| seen.machines.get(&machine).is_some_and(|name| name.starts_with('n'));
    let label = |carried: &Carried, decoders: &mut BTreeMap<u64, Decoder>| {
        if is_node(carried.from) && is_node(carried.to) {
            return Some("between nodes".to_owned());
        }
        if !is_node(carried.from) && !is_node(carried.to) {
            return Some(format!(
                "business: {}",
                String::from_utf8_lossy(&carried.bytes).replace(char::is_control, " ")
            ));
        }
        let decoder = decoders.entry(carried.way).or_default();
        decoder.push(&carried.bytes);
        let mut names = Vec::new();
        // An operator's HTTP is no frame.
        while let Ok(Some(decoded)) = decoder.next_frame() {
            match decoded {
                Decoded::Heartbeat(_) => {}
                Decoded::Message(_, message) => names.push(format!("{} {message:?}", message.name())),
                Decoded::Opaque(..) => names.push("packed".to_owned()),
                Decoded::Undecodable(..) => names.push("undecodable".to_owned()),
            }
        }
        (!names.is_empty()).then(|| names.join(" + "))
    };
    seen.messages.iter().filter_map(|carried| Some((carried, label(carried, &mut decoders)?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chronicle::Entry;
    use crate::plan::SIZES;
    use quorate_world::time::Duration;

    #[test]
    fn a_page_has_its_data_and_nothing_from_elsewhere() {
        let entry = Entry {
            at: Duration::from_millis(3),
            lasts: Duration::ZERO,
            lanes: vec!["n1".to_owned()],
            kind: Kind::Client,
            text: "</script> is text".to_owned(),
        };
        let chronicle = Chronicle { entries: vec![entry], ..Chronicle::default() };
        let message = Carried { way: 2, from: 2, to: 3, sent_nanos: 5_000, arrived_nanos: 9_000, bytes: vec![1, 2] };
        let machines = BTreeMap::from([(2, "n1".to_owned()), (3, "n2".to_owned())]);
        let seen = SeenThrough { chronicle, messages: vec![message], machines };
        let page = page(&Plan::draw(1, SIZES[1]), Some("a_bug"), None, &seen);
        assert!(!page.contains(PLACE) && page.contains("[5,9,2,3,2,\"between nodes\",[]]"));
        assert_eq!(page.matches("</script>").count(), 1, "text cannot end the script");
        assert!(!page.contains("http://") && !page.contains("https://"), "no network");
    }
}
