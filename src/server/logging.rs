//! The log: lines on stderr, filtered by `log`, formed by `log_format`. Times are UTC.
//!
//! Only the binary sets it up: in the simulation the harness listens instead.

use quorate_server::config::{Config, LogFormat};
use tracing_subscriber::EnvFilter;

/// Starts the log. Refused: a filter that cannot be read.
pub fn start(config: &Config) -> Result<(), String> {
    // openraft tells every step at info, and warns of every heartbeat that a silent node misses, twenty a second; we say once
    // that it is silent. Whoever wants openraft's own words names it (`log = "info,openraft=warn"`).
    let asked = format!("openraft=error,{}", config.log);
    let filter = EnvFilter::try_new(asked).map_err(|error| format!("log = `{}`: {error}", config.log))?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match config.log_format {
        LogFormat::Text => builder.with_ansi(false).init(),
        LogFormat::Json => builder.json().flatten_event(true).init(),
    }
    Ok(())
}
