//! What a run came to, as text.

use std::fmt;

use hdrhistogram::Histogram;
use quorate_world::process::Usage;
use quorate_world::time::Duration;

use super::ledger::Counts;

/// What an interval of a run came to, as one line.
pub(super) struct Interval<'a> {
    pub until: Duration,
    pub before: Counts,
    pub after: Counts,
    pub latencies_us: &'a Histogram<u64>,
}

impl fmt::Display for Interval<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Interval { until, before, after, latencies_us } = self;
        let latency_ms = |quantile| latencies_us.value_at_quantile(quantile) as f64 / 1e3;
        write!(
            f,
            "interval until_s={:.1} acknowledged={} finished={} failed={} anew={} p50_ms={:.2} p99_ms={:.2} max_ms={:.2}",
            until.as_secs_f64(),
            after.acknowledged - before.acknowledged,
            after.finished - before.finished,
            after.failed - before.failed,
            after.anew - before.anew,
            latency_ms(0.5),
            latency_ms(0.99),
            latencies_us.max() as f64 / 1e3,
        )
    }
}

/// Counts and usage at both ends of the measured time, and afterwards.
#[derive(Clone, Debug)]
pub struct Report {
    pub(super) measured: Duration,
    pub(super) before: Counts,
    pub(super) after: Counts,
    pub(super) at_end: Counts,
    pub(super) unfinished: usize,
    pub(super) latencies_us: Histogram<u64>,
    pub(super) usage_before: Vec<Usage>,
    pub(super) usage_after: Vec<Usage>,
}

impl Report {
    /// Acknowledged within the measured time.
    pub fn acknowledged(&self) -> u64 {
        self.after.acknowledged - self.before.acknowledged
    }

    /// Finished within the measured time.
    pub fn finished(&self) -> u64 {
        self.after.finished - self.before.finished
    }

    /// User and system time of all server processes within the measured time.
    pub fn server_cpu(&self) -> Duration {
        self.usage_after
            .iter()
            .zip(&self.usage_before)
            .map(|(after, before)| after.cpu.saturating_sub(before.cpu))
            .sum()
    }

    /// Acknowledged transactions per second of server CPU time; nothing without processes to look at.
    pub fn per_cpu_second(&self) -> Option<f64> {
        let cpu = self.server_cpu().as_secs_f64();
        (cpu > 0.0).then(|| self.acknowledged() as f64 / cpu)
    }

    fn latency_ms(&self, quantile: f64) -> f64 {
        self.latencies_us.value_at_quantile(quantile) as f64 / 1e3
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.measured.as_secs_f64();
        let per_second = |count: u64| count as f64 / seconds;
        writeln!(
            f,
            "acknowledged {} ({:.0}/s), finished {} ({:.0}/s), failed {}, lock conflicts {}, in {seconds:.0} s",
            self.acknowledged(),
            per_second(self.acknowledged()),
            self.finished(),
            per_second(self.finished()),
            self.after.failed - self.before.failed,
            self.after.conflicts - self.before.conflicts,
        )?;
        writeln!(
            f,
            "latency ms: p50 {:.2}, p99 {:.2}, p99.9 {:.2}, max {:.2}",
            self.latency_ms(0.5),
            self.latency_ms(0.99),
            self.latency_ms(0.999),
            self.latencies_us.max() as f64 / 1e3,
        )?;
        if let Some(rate) = self.per_cpu_second() {
            let peaks: Vec<String> =
                self.usage_after.iter().map(|usage| format!("{:.0}", usage.resident_bytes_peak as f64 / 1e6)).collect();
            writeln!(
                f,
                "servers: {:.2} s of CPU, {rate:.0} transactions per CPU second, peak memory MB: {}",
                self.server_cpu().as_secs_f64(),
                peaks.join(" "),
            )?;
        }
        write!(
            f,
            "after the end: acknowledged {}, finished {}, failed {}, begun anew {}, unfinished {}, repeated phase-two calls {}",
            self.at_end.acknowledged,
            self.at_end.finished,
            self.at_end.failed,
            self.at_end.anew,
            self.unfinished,
            self.at_end.repeats,
        )
    }
}
