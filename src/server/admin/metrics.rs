//! How counts of other parts are called on the metrics page.

use super::exposition::Exposition;
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

/// The node's log.
pub fn of_log(figures: &Figures, page: &mut Exposition) {
    page.counter("quorate_log_batches_total", "Batches written to the log, each with one sync").value(figures.batches);
    page.counter("quorate_log_written_bytes_total", "Bytes written to the log").value(figures.written_bytes);
    let syncs = "How long the log's syncs took";
    page.times("quorate_log_sync_seconds", syncs, &figures.syncs_below_us, figures.sync_total_us);
    page.gauge("quorate_log_queued_bytes", "Bytes that wait for the disk").value(figures.queued_bytes as u64);
    page.gauge("quorate_log_cached_bytes", "Log entries in memory").value(figures.cached_bytes as u64);
    page.gauge("quorate_log_spare_segments", "Prepared segments").value(figures.spares as u64);
    let waiting = "1 while the log waits for space or for a file descriptor";
    page.gauge("quorate_log_waiting", waiting).value(u64::from(figures.is_waiting));
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
