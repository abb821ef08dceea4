//! The story of a failure: what happened, in plain text and in order, on a page that can be read.
//!
//! Of a long run it tells what bears on the promise that was broken: the faults, the transaction that the oracle
//! names, the group's leaders, the deaths; of the rest it says how much there was.

use crate::chronicle::{Chronicle, Entry, Kind};
use crate::plan::Plan;
use crate::verdict::Failure;
use crate::world::SeenThrough;
use quorate_world::time::Duration;

/// Lines between the head and the end.
const LINES_MAX: usize = 30;
const LINE_CHARS_MAX: usize = 200;
/// The table of oracles says what each promises.
const MANUAL: &str = include_str!("../../docs/SIMULATION.md");

/// Tells it.
pub fn tell(plan: &Plan, bug: Option<&str>, failure: Option<&Failure>, seen: &SeenThrough) -> String {
    let chronicle = &seen.chronicle;
    let mut lines = head(plan, bug);
    let entries = joined(chronicle, failure);
    let weights: Vec<u32> = entries.iter().map(|entry| weight(chronicle, entry, failure)).collect();
    let mut order: Vec<usize> = (0..entries.len()).filter(|place| weights[*place] > 0).collect();
    // The heaviest, and of those the last: what came right before the failure.
    order.sort_by_key(|place| std::cmp::Reverse((weights[*place], *place)));
    order.truncate(LINES_MAX);
    let mut left_out = 0;
    for (place, entry) in entries.iter().enumerate() {
        if order.contains(&place) {
            lines.extend(gap(&mut left_out));
            lines.push(line(chronicle, entry));
        } else if weights[place] > 0 {
            left_out += 1;
        }
    }
    lines.extend(gap(&mut left_out));
    lines.extend(end(chronicle, failure));
    lines.into_iter().map(|line| format!("{line}\n")).collect()
}

fn gap(left_out: &mut usize) -> Option<String> {
    let count = std::mem::take(left_out);
    (count > 0).then(|| format!("            .. {count} more"))
}

fn head(plan: &Plan, bug: Option<&str>) -> Vec<String> {
    let count = |count: usize, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
    let options = &plan.options;
    let planted = bug.map(|bug| format!(", with the planted bug `{bug}`")).unwrap_or_default();
    let mut lines = vec![
        format!("Seed {} of world {}{planted}.", plan.seed, plan.world),
        format!(
            "{}, {}, {}, {}; {} and {} in {:.1} s.",
            count(options.nodes as usize, "node"),
            count(options.groups as usize, "data group"),
            count(options.tms as usize, "TM"),
            count(options.rms as usize, "RM"),
            count(plan.operations.len(), "transaction"),
            count(plan.faults.len(), "fault"),
            options.safety_ms as f64 / 1e3,
        ),
    ];
    if options.operator {
        lines.push("An operator has a hand in phase two.".to_owned());
    }
    lines.push(String::new());
    lines
}

/// Lines of one sort at one time by one actor become one: a founding elects many leaders.
fn joined(chronicle: &Chronicle, failure: Option<&Failure>) -> Vec<Entry> {
    const TOGETHER: Duration = Duration::from_millis(300);
    let until = failure.map_or(Duration::MAX, |failure| failure.at);
    let mut entries: Vec<Entry> = Vec::new();
    for entry in chronicle.entries.iter().filter(|entry| entry.at <= until) {
        let like = |last: &&mut Entry| {
            let is_same = last.kind == entry.kind && last.lanes.first() == entry.lanes.first();
            is_same && entry.kind == Kind::Leader && entry.at.saturating_sub(last.at) < TOGETHER
        };
        match entries.iter_mut().rev().take(8).find(like) {
            Some(last) => {
                let text = entry.text.trim_start_matches("leads ");
                last.text.push_str(&format!(", {text}"));
                last.lanes.extend(entry.lanes.iter().skip(1).cloned());
            }
            None => entries.push(entry.clone()),
        }
    }
    entries
}

/// How much it bears on the failure; nothing for what does not belong into a story.
fn weight(chronicle: &Chronicle, entry: &Entry, failure: Option<&Failure>) -> u32 {
    let finding = failure.map(|failure| &failure.finding);
    let about = chronicle.about(&entry.text);
    let its_transaction = finding.and_then(|finding| finding.transaction).is_some_and(|it| about.contains(&it));
    let its_lanes: Vec<String> = finding
        .into_iter()
        .flat_map(|finding| {
            let node = finding.node.map(crate::chronicle::of_node);
            node.into_iter().chain(finding.group.map(crate::chronicle::of_group))
        })
        .collect();
    let is_there = its_lanes.iter().all(|lane| entry.lanes.contains(lane)) && !its_lanes.is_empty();
    let of_disks = failure.is_some_and(|failure| failure.oracle.starts_with('D'));
    let base = match entry.kind {
        Kind::Verdict => 0,
        Kind::Disk if is_there && of_disks => 5,
        Kind::Disk => 0,
        Kind::Fault => 6,
        Kind::Process => 4,
        Kind::Leader => 4,
        Kind::Entry | Kind::Client | Kind::Database => 3,
        Kind::PhaseTwo => 2,
    };
    if its_transaction && base > 0 { base + 4 } else { base }
}

fn line(chronicle: &Chronicle, entry: &Entry) -> String {
    let who = match entry.kind {
        Kind::Fault | Kind::Process if entry.lanes.is_empty() => "*".to_owned(),
        Kind::Fault => entry.lanes.join(", "),
        _ => entry.lanes.first().cloned().unwrap_or_default(),
    };
    let lasts = match entry.lasts.is_zero() {
        true => String::new(),
        false => format!(", for {:.3} s", entry.lasts.as_secs_f64()),
    };
    let mark = if entry.kind == Kind::Fault { "!" } else { " " };
    let text = format!("{:9.3} s {mark} {who:<8} {}{lasts}", entry.at.as_secs_f64(), chronicle.named(&entry.text));
    text.chars().take(LINE_CHARS_MAX).collect()
}

fn end(chronicle: &Chronicle, failure: Option<&Failure>) -> Vec<String> {
    let Some(failure) = failure else { return vec![String::new(), "Nothing is wrong.".to_owned()] };
    let finding = &failure.finding;
    let whose = finding.transaction.and_then(|transaction| chronicle.transactions.get(&transaction));
    let whose = whose.map(|name| format!(" about {name}")).unwrap_or_default();
    let place = finding.node.map(crate::chronicle::of_node);
    let place = place.into_iter().chain(finding.group.map(crate::chronicle::of_group)).collect::<Vec<_>>().join(", ");
    let place = if place.is_empty() { place } else { format!(" ({place})") };
    let mut lines = vec![
        String::new(),
        format!(
            "{:9.3} s   {} is broken{whose}{place}: {}",
            failure.at.as_secs_f64(),
            failure.oracle,
            chronicle.named(&finding.text)
        ),
    ];
    lines.extend(promise(&failure.oracle).map(|promise| format!("            The promise: {promise}.")));
    lines
}

/// What an oracle watches over, as the manual says it.
fn promise(oracle: &str) -> Option<&'static str> {
    let row = MANUAL.lines().find_map(|line| line.strip_prefix(&format!("| {oracle} | ")))?;
    row.split(" | ").next()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracles;
    use crate::plan::SIZES;
    use crate::verdict::Kind as FailureKind;

    #[test]
    fn the_manual_says_what_every_oracle_promises() {
        for oracle in oracles::all() {
            assert!(promise(oracle.name()).is_some(), "{}", oracle.name());
        }
    }

    #[test]
    fn a_story_fits_on_a_page() {
        let entry = |number: u64, kind: Kind| Entry {
            at: Duration::from_millis(number),
            lasts: Duration::ZERO,
            lanes: vec!["n1".to_owned()],
            kind,
            text: format!("event {number}"),
        };
        let entries = (0..500).map(|number| entry(number, if number % 100 == 0 { Kind::Fault } else { Kind::Client }));
        let chronicle = Chronicle { entries: entries.collect(), ..Chronicle::default() };
        let seen = SeenThrough { chronicle, ..SeenThrough::default() };
        let failure = Failure::plain(FailureKind::Safety, "it is wrong", Duration::from_secs(1));
        let story = tell(&Plan::draw(1, SIZES[1]), Some("a_bug"), Some(&failure), &seen);
        assert!(story.contains("event 0\n") && story.contains("event 400") && story.contains("event 499"), "{story}");
        assert!(!story.contains("event 150") && story.contains(" more"), "{story}");
        assert!(story.contains("- is broken: it is wrong"), "{story}");
    }
}
