//! How many files the process may have open, and who gets them: the log, the snapshots and the other nodes first, and what is
//! left the clients. So none of them takes the place of a segment, and one too many is closed instead of waiting at a door that
//! opens no more.
//!
//! Not here: what happens if there is none left all the same (`quorate-storage` waits), and closing (`listener`).

use quorate_core::model::limits::NODES_MAX;
use quorate_world::process;

use crate::config::Config;
use crate::exit::{ExitCode, Failure};
use crate::listener::Bounds;

/// No node runs with fewer.
const FILES_MIN: u64 = 256;
/// Whoever the rest is for, it is no node for clients with fewer.
const CONNECTIONS_MIN: u64 = 32;
/// The process itself, its ports, snapshots on their way, whoever asks to join, and files that are open for a moment.
const OWN: u64 = 96;
/// Connections with one other node: three classes in either direction.
const OF_A_PEER: u64 = 6;
/// Nodes that may join are not known yet.
const PEERS_MIN: u64 = 8;

/// Raises the limit as far as the machine's owner allows, and divides what there is; refused if it is too little.
pub fn divide(config: &Config) -> Result<Bounds, Failure> {
    let limit = process::raise_open_files();
    let bounds = bounds(limit, config)?;
    tracing::info!(
        limit,
        clients = bounds.clients,
        http = bounds.http,
        "files that may be open, and connections of them"
    );
    Ok(bounds)
}

fn bounds(limit: u64, config: &Config) -> Result<Bounds, Failure> {
    let needed = FILES_MIN.max(reserved(config) + CONNECTIONS_MIN);
    if limit < needed {
        let text = format!(
            "only {limit} files may be open at a time, and this node needs {needed} at least, one more for each client: raise \
             the limit (ulimit -n 20000, or LimitNOFILE= of a service)"
        );
        return Err(Failure::new(ExitCode::Usage, text));
    }
    let left = limit - reserved(config);
    let http = (left / 8).min(Bounds::WIDEST.http);
    Ok(Bounds { clients: (left - http).min(Bounds::WIDEST.clients), http })
}

/// What clients do not get.
fn reserved(config: &Config) -> u64 {
    let segments = config.storage.wal_bytes_target.div_ceil(config.storage.segment_bytes.max(1));
    // A snapshot, and the one that takes its place.
    let snapshots = 2 * u64::from(config.groups);
    let peers = (config.peers.len() as u64).clamp(PEERS_MIN, NODES_MAX as u64);
    OWN + segments + snapshots + OF_A_PEER * peers
}

#[cfg(test)]
mod tests {
    use super::*;

    fn divided(limit: u64) -> Result<Bounds, String> {
        bounds(limit, &Config::from_toml("").expect("all has a default")).map_err(|failure| failure.to_string())
    }

    #[test]
    fn clients_get_what_is_left() {
        // 96, 16 segments, 8 groups, 8 peers.
        assert_eq!(reserved(&Config::from_toml("").expect("all has a default")), 176);
        assert_eq!(divided(1_024), Ok(Bounds { clients: 742, http: 106 }));
        assert_eq!(divided(256), Ok(Bounds { clients: 70, http: 10 }));
        assert_eq!(divided(40_000), Ok(Bounds::WIDEST));
        assert_eq!(divided(u64::MAX), Ok(Bounds::WIDEST));
        let many = Config::from_toml("groups = 300").expect("a legal configuration");
        assert!(bounds(760, &many).is_err() && bounds(1_024, &many).is_ok());
    }

    #[test]
    fn too_few_are_refused_with_what_to_do() {
        for limit in [0, 64, 255] {
            let refused = divided(limit).expect_err("too few");
            assert!(refused.starts_with(&format!("only {limit} files")) && refused.contains("ulimit -n"), "{refused}");
        }
    }
}
