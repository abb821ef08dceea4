//! How counts of other parts are called on the metrics page.

use super::exposition::Exposition;
use super::status::GroupStatus;
use quorate_core::model::NodeId;
use quorate_storage::Figures;

/// Requests of clients, by the name of their count.
const REQUESTS: [(&str, &str); 8] = [
    ("begins", "begin"),
    ("commits", "commit"),
    ("rollbacks", "rollback"),
    ("status_queries", "status"),
    ("reports", "report"),
    ("branch_registers", "branch_register"),
    ("branch_reports", "branch_report"),
    ("lock_queries", "lock_query"),
];

/// The coordinator's counts: requests as one family by kind, everything else under its own name.
pub fn of_counts(counts: &[(&'static str, u64)], page: &mut Exposition) {
    let of = |name: &str| counts.iter().find(|(known, _)| *known == name).map(|(_, count)| *count);
    let mut requests = page.counter("quorate_requests_total", "Requests of clients received by this node, by kind");
    for (name, kind) in REQUESTS {
        if let Some(count) = of(name) {
            requests = requests.sample(&[("kind", kind)], count);
        }
    }
    for (name, count) in counts.iter().filter(|(name, _)| !REQUESTS.iter().any(|(known, _)| known == name)) {
        let help = format!("{}, since this process started", name.replace('_', " "));
        page.counter(&format!("quorate_{name}_total"), &help).value(*count);
    }
}

/// The groups of a node.
pub fn of_groups(node: Option<NodeId>, groups: &[GroupStatus], page: &mut Exposition) {
    let mut health = page.gauge("quorate_group_health_state", "1 for the state that the group is in, as seen here");
    for group in groups {
        health = health.sample(&[("group", &group.group.to_string()), ("state", &group.health.to_string())], 1);
    }
    let mut leading = page.gauge("quorate_group_leading_state", "1 if this node leads the group");
    for group in groups {
        let leads = node.is_some() && group.leader.map(|(_, leader)| leader) == node;
        leading = leading.sample(&[("group", &group.group.to_string())], leads.into());
    }
    let mut terms = page.gauge("quorate_group_term_number", "Term of the leader that is known here; 0 without one");
    for group in groups {
        terms = terms.sample(&[("group", &group.group.to_string())], group.leader.map_or(0, |(term, _)| term.0));
    }
    let mut behind =
        page.gauge("quorate_group_behind_entries", "Entries committed, as known here, and not yet applied");
    for group in groups {
        let entries = group.committed.saturating_sub(group.applied);
        behind = behind.sample(&[("group", &group.group.to_string())], entries);
    }
}

/// The node's log.
pub fn of_log(figures: &Figures, page: &mut Exposition) {
    page.counter("quorate_log_batches_total", "Batches written to the log, each with one sync").value(figures.batches);
    page.counter("quorate_log_written_bytes_total", "Bytes written to the log").value(figures.written_bytes);
    let syncs = "How long the log's syncs took";
    page.times("quorate_log_sync_seconds", syncs, &figures.syncs_below_us, figures.sync_total_us);
    page.gauge("quorate_log_queued_bytes", "Bytes that wait for the disk").value(figures.queued_bytes as u64);
    page.gauge("quorate_log_cached_bytes", "Log entries in memory").value(figures.cached_bytes as u64);
    page.gauge("quorate_log_spare_segments", "Prepared segments").value(figures.spares as u64);
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate_core::cluster::health::Health;
    use quorate_core::model::{GroupId, Term};

    #[test]
    fn requests_are_one_family() {
        let mut page = Exposition::new();
        of_counts(&[("begins", 3), ("commits", 2), ("lock_conflicts", 1)], &mut page);
        let text = page.into_text();
        assert!(
            text.contains("quorate_requests_total{kind=\"begin\"} 3\nquorate_requests_total{kind=\"commit\"} 2\n"),
            "{text}"
        );
        assert!(
            text.ends_with("# TYPE quorate_lock_conflicts_total counter\nquorate_lock_conflicts_total 1\n"),
            "{text}"
        );
        assert_eq!(text.matches("begins").count(), 0);
    }

    #[test]
    fn groups() {
        let mut page = Exposition::new();
        let leader = Some((Term(4), NodeId(2)));
        let group = GroupStatus { group: GroupId(7), leader, health: Health::LeaderDown, committed: 9, applied: 5 };
        of_groups(Some(NodeId(2)), &[group], &mut page);
        let text = page.into_text();
        for line in [
            "quorate_group_health_state{group=\"7\",state=\"LEADER_DOWN\"} 1\n",
            "quorate_group_leading_state{group=\"7\"} 1\n",
            "quorate_group_term_number{group=\"7\"} 4\n",
            "quorate_group_behind_entries{group=\"7\"} 4\n",
        ] {
            assert!(text.contains(line), "{text}");
        }
    }
}
