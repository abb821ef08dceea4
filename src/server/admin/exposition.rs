//! The metrics page: Prometheus' text format, written line by line.
//!
//! Our own, because it is this small, and because counting is then a plain atomic wherever it happens. Names are
//! `quorate_<noun>_<unit>[_total]`, labels say group, node and kind, never an XID or a resource. Seata's own family is the
//! exception (`seata`).

use core::fmt::{Display, Write};

/// The page being written.
#[derive(Debug, Default)]
pub struct Exposition {
    text: String,
}

/// One name on the page; samples follow.
#[derive(Debug)]
pub struct Family<'a> {
    page: &'a mut Exposition,
    name: &'a str,
}

impl Exposition {
    /// An empty page.
    pub fn new() -> Exposition {
        Exposition::default()
    }

    /// Something that only rises.
    pub fn counter<'a>(&'a mut self, name: &'a str, help: &str) -> Family<'a> {
        assert!(name.ends_with("_total"), "the counter {name} must end in _total");
        self.own(name, "counter", help)
    }

    /// Something that rises and falls.
    pub fn gauge<'a>(&'a mut self, name: &'a str, help: &str) -> Family<'a> {
        assert!(!name.ends_with("_total"), "the gauge {name} must not end in _total");
        self.own(name, "gauge", help)
    }

    /// Times in buckets: `below_us[n]` took less than 2^n microseconds, the last bucket whatever was left.
    pub fn times(&mut self, name: &str, help: &str, below_us: &[u64], total_us: u64) {
        assert!(name.ends_with("_seconds"), "the times {name} must end in _seconds");
        let seconds = |us: u64| us as f64 / 1e6;
        self.own(name, "histogram", help);
        let mut sum = 0;
        for (power, count) in below_us.iter().enumerate() {
            sum += count;
            let is_last = power + 1 == below_us.len();
            let bound = if is_last { "+Inf".to_owned() } else { seconds(1 << power).to_string() };
            let _ = writeln!(self.text, "{name}_bucket{{le=\"{bound}\"}} {sum}");
        }
        let _ = writeln!(self.text, "{name}_sum {}\n{name}_count {sum}", seconds(total_us));
    }

    /// What another's dashboards know by this name, of whatever type.
    pub fn untyped<'a>(&'a mut self, name: &'a str, help: &str) -> Family<'a> {
        assert!(!name.starts_with("quorate_"), "the metric {name} is ours and has a type");
        self.family(name, "untyped", help)
    }

    fn own<'a>(&'a mut self, name: &'a str, kind: &str, help: &str) -> Family<'a> {
        assert!(name.starts_with("quorate_"), "the metric {name} must begin with quorate_");
        self.family(name, kind, help)
    }

    fn family<'a>(&'a mut self, name: &'a str, kind: &str, help: &str) -> Family<'a> {
        // Writing to a String cannot fail.
        let _ = writeln!(self.text, "# HELP {name} {}\n# TYPE {name} {kind}", escaped(help, false));
        Family { page: self, name }
    }

    /// The whole page.
    pub fn into_text(self) -> String {
        self.text
    }
}

impl Family<'_> {
    /// A sample without labels.
    pub fn value(self, value: u64) {
        self.sample(&[], value);
    }

    /// A sample; the labels in the order given.
    pub fn sample(self, labels: &[(&str, &str)], value: u64) -> Self {
        self.line(labels, value)
    }

    /// A sample with a point in it.
    pub fn decimal(self, labels: &[(&str, &str)], value: f64) -> Self {
        self.line(labels, value)
    }

    fn line(self, labels: &[(&str, &str)], value: impl Display) -> Self {
        let text = &mut self.page.text;
        text.push_str(self.name);
        for (at, (label, content)) in labels.iter().enumerate() {
            let open = if at == 0 { '{' } else { ',' };
            let _ = write!(text, "{open}{label}=\"{}\"", escaped(content, true));
        }
        let close = if labels.is_empty() { "" } else { "}" };
        let _ = writeln!(text, "{close} {value}");
        self
    }
}

fn escaped(content: &str, quotes: bool) -> String {
    let content = content.replace('\\', "\\\\").replace('\n', "\\n");
    if quotes { content.replace('"', "\\\"") } else { content }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page() {
        let mut page = Exposition::new();
        page.gauge("quorate_connections_open", "Now").value(3);
        page.counter("quorate_frames_total", "By \\ kind")
            .sample(&[("kind", "in")], 7)
            .sample(&[("kind", "o\"u\nt"), ("node", "1")], 9);
        assert_eq!(
            page.into_text(),
            "# HELP quorate_connections_open Now\n# TYPE quorate_connections_open gauge\nquorate_connections_open 3\n\
             # HELP quorate_frames_total By \\\\ kind\n# TYPE quorate_frames_total counter\n\
             quorate_frames_total{kind=\"in\"} 7\nquorate_frames_total{kind=\"o\\\"u\\nt\",node=\"1\"} 9\n"
        );
    }

    #[test]
    fn times_add_up() {
        let mut page = Exposition::new();
        page.times("quorate_sync_seconds", "Syncs", &[1, 0, 2, 4], 2_500_000);
        assert_eq!(
            page.into_text(),
            "# HELP quorate_sync_seconds Syncs\n# TYPE quorate_sync_seconds histogram\n\
             quorate_sync_seconds_bucket{le=\"0.000001\"} 1\nquorate_sync_seconds_bucket{le=\"0.000002\"} 1\n\
             quorate_sync_seconds_bucket{le=\"0.000004\"} 3\nquorate_sync_seconds_bucket{le=\"+Inf\"} 7\n\
             quorate_sync_seconds_sum 2.5\nquorate_sync_seconds_count 7\n"
        );
    }

    #[test]
    #[should_panic(expected = "must end in _total")]
    fn a_counter_is_called_one() {
        Exposition::new().counter("quorate_frames", "");
    }
}
