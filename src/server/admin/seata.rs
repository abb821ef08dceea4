//! Seata's own family on the metrics page, for dashboards that were made for it: names, labels and their order as its
//! exporter writes them (semantics, section 7.6).
//!
//! Not here: `seata_exception`, whose label is the class of a Java exception in its server's log; and time stamps, which
//! Seata puts behind its samples: these are of the moment they are read.

use super::exposition::{Exposition, Family};
use quorate_core::meters::{Event, Figures, PairFigures, WINDOW_S};

/// Which meters Seata has of what happens, and what it calls it.
struct Shown {
    event: Event,
    status: &'static str,
    counter: bool,
    timer: bool,
}

const fn shown(event: Event, status: &'static str, counter: bool, timer: bool) -> Shown {
    Shown { event, status, counter, timer }
}

/// A summary of each.
const SHOWN: [Shown; 6] = [
    shown(Event::Committed, "committed", true, true),
    shown(Event::Rollbacked, "rollbacked", true, true),
    shown(Event::Failed, "failed", false, true),
    shown(Event::PhaseTwoTimeout, "2phaseTimeout", false, false),
    shown(Event::AfterCommitted, "AfterCommitted", true, true),
    shown(Event::AfterRollbacked, "AfterRollbacked", true, true),
];

/// The family; nothing while nobody has begun anything. A pair has all its samples from the first one on, so that a rate
/// can be taken of each.
pub fn of_transactions(pairs: &[PairFigures], page: &mut Exposition) {
    if pairs.is_empty() {
        return;
    }
    let help = "Transactions led here, as Seata counts them; count and total since this process started, tps, average and \
                max of the last full minute, times in milliseconds";
    let mut family = page.untyped("seata_transaction", help);
    for pair in pairs {
        family = of_pair(pair, family);
    }
}

fn of_pair<'a>(pair: &PairFigures, family: Family<'a>) -> Family<'a> {
    let labels = &pair.labels;
    let whose = [("applicationId", &*labels.application), ("group", &*labels.service_group)];
    let counter = |status| [whose[0], whose[1], ("meter", "counter"), ("role", "tc"), ("status", status)];
    let mut family = family.sample(&counter("active"), pair.active);
    for Shown { event, status, counter: has_counter, timer: has_timer } in SHOWN {
        let Figures { ever, recent } = pair.of_events[event as usize];
        let of = |meter, statistic| {
            [whose[0], whose[1], ("meter", meter), ("role", "tc"), ("statistic", statistic), ("status", status)]
        };
        if has_counter {
            family = family.sample(&counter(status), ever.count);
        }
        family = family
            .sample(&of("summary", "count"), ever.count)
            .sample(&of("summary", "total"), ever.count)
            .decimal(&of("summary", "tps"), recent.count as f64 / WINDOW_S as f64);
        if has_timer {
            let average_ms = recent.total_ms as f64 / recent.count.max(1) as f64;
            family = family
                .sample(&of("timer", "count"), ever.count)
                .sample(&of("timer", "total"), ever.total_ms)
                .sample(&of("timer", "max"), recent.max_ms)
                .decimal(&of("timer", "average"), average_ms);
        }
    }
    family
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate_core::meters::{Labels, Meters};
    use std::collections::{BTreeMap, BTreeSet};

    fn page(meters: &Meters, active: &BTreeMap<Labels, u64>, step: u64) -> String {
        let mut page = Exposition::new();
        of_transactions(&meters.figures(active, step), &mut page);
        page.into_text()
    }

    fn labels(application: &str) -> Labels {
        Labels { application: application.into(), service_group: "default_tx_group".into() }
    }

    #[test]
    fn samples_are_called_as_seata_calls_them() {
        let mut meters = Meters::default();
        meters.count(labels("shop"), Event::Committed, 30, 0);
        meters.count(labels("shop"), Event::Committed, 15, 1);
        let text = page(&meters, &BTreeMap::from([(labels("shop"), 4)]), 2);
        let whose = "seata_transaction{applicationId=\"shop\",group=\"default_tx_group\",meter=";
        for line in [
            "\"counter\",role=\"tc\",status=\"active\"} 4",
            "\"counter\",role=\"tc\",status=\"committed\"} 2",
            "\"summary\",role=\"tc\",statistic=\"count\",status=\"committed\"} 2",
            "\"summary\",role=\"tc\",statistic=\"total\",status=\"committed\"} 2",
            "\"summary\",role=\"tc\",statistic=\"tps\",status=\"committed\"} 0.03333333333333333",
            "\"timer\",role=\"tc\",statistic=\"count\",status=\"committed\"} 2",
            "\"timer\",role=\"tc\",statistic=\"total\",status=\"committed\"} 45",
            "\"timer\",role=\"tc\",statistic=\"max\",status=\"committed\"} 30",
            "\"timer\",role=\"tc\",statistic=\"average\",status=\"committed\"} 22.5",
            "\"timer\",role=\"tc\",statistic=\"average\",status=\"failed\"} 0",
            "\"summary\",role=\"tc\",statistic=\"count\",status=\"2phaseTimeout\"} 0",
            "\"timer\",role=\"tc\",statistic=\"max\",status=\"AfterRollbacked\"} 0",
        ] {
            assert!(text.contains(&format!("\n{whose}{line}\n")), "{line}\n{text}");
        }
        assert!(text.contains("\n# TYPE seata_transaction untyped\n"), "{text}");
        // 5 counters, 6 summaries of 3, 5 timers of 4, and every sample once.
        let samples: BTreeSet<&str> = text.lines().filter(|line| line.starts_with("seata_")).collect();
        assert_eq!((samples.len(), text.lines().count()), (43, 45));
    }

    #[test]
    fn who_reads_spoils_nothing() {
        let mut meters = Meters::default();
        meters.count(labels("shop"), Event::Rollbacked, 30, 0);
        let first = page(&meters, &BTreeMap::new(), 1);
        assert_eq!(first, page(&meters, &BTreeMap::new(), 1));
        let later = page(&meters, &BTreeMap::new(), 99);
        assert!(later.contains("statistic=\"total\",status=\"rollbacked\"} 30\n"), "{later}");
        assert!(later.contains("statistic=\"max\",status=\"rollbacked\"} 0\n"), "{later}");
    }

    #[test]
    fn names_of_clients_cannot_write_on_the_page() {
        let mut meters = Meters::default();
        meters.place(labels("a\"} 1\nforged{x=\"\\"));
        let text = page(&meters, &BTreeMap::new(), 0);
        assert!(text.contains("{applicationId=\"a\\\"} 1\\nforged{x=\\\"\\\\\",group="), "{text}");
        assert!(text.lines().all(|line| line.starts_with("# ") || line.starts_with("seata_transaction{")), "{text}");
    }

    #[test]
    fn of_nobody_nothing_is_said() {
        assert_eq!(page(&Meters::default(), &BTreeMap::new(), 7), "");
    }
}
