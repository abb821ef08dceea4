//! Log lines of a run, with the world's time and the machine that wrote them. For reading a failure; not hashed.

use quorate_world::sim;
use std::fmt;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;

struct WorldTime;

impl FormatTime for WorldTime {
    fn format_time(&self, writer: &mut Writer<'_>) -> fmt::Result {
        match sim::here() {
            Some((machine, at)) => write!(writer, "{:12.6} {machine:<5}", at.as_secs_f64()),
            None => write!(writer, "           -      "),
        }
    }
}

/// Lines that pass this filter go to standard error from now on.
pub fn start(filter: &str) {
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(filter))
        .with_timer(WorldTime)
        .with_writer(std::io::stderr)
        .with_ansi(false);
    if subscriber.try_init().is_err() {
        eprintln!("the log was started before");
    }
}
