//! A configuration as the text of a file that means the same. `quorate check-config` prints it.

use super::values::show_size;
use super::{Config, LogFormat, Sharding, keys};
use quorate_core::model::{GroupId, NodeId};
use std::collections::BTreeMap;
use std::fmt::Write;

impl Config {
    /// TOML, one key a line. The admin token, the access keys and the console's user are left out.
    pub fn to_toml(&self) -> String {
        let mut text = String::new();
        for (key, value) in self.values() {
            // Writing to a String cannot fail.
            let _ = match value {
                Shown::Number(number) => writeln!(text, "{key} = {number}"),
                Shown::Text(value) => writeln!(text, "{key} = {}", quoted(&value)),
            };
        }
        text
    }

    fn values(&self) -> BTreeMap<String, Shown> {
        let mut values = BTreeMap::new();
        let mut put = |key: &str, value: Shown| values.insert(key.to_owned(), value);
        put("listen", text(self.listen));
        put("admin_listen", text(self.admin_listen));
        put("peer_listen", text(self.peer_listen));
        put("data_dir", text(&self.data_dir));
        put("groups", Shown::Number(self.groups.into()));
        put("replicas", Shown::Number(self.replicas.into()));
        put("log", text(&self.log));
        let log_format = match self.log_format {
            LogFormat::Text => "text",
            LogFormat::Json => "json",
        };
        put("log_format", text(log_format));
        put("cluster.name", text(&self.cluster_name));
        put("raft.heartbeat_ms", Shown::Number(self.raft.heartbeat_ms));
        put("raft.election_timeout_ms", Shown::Number(self.raft.election_timeout_ms));
        put("raft.hibernate_after_ms", Shown::Number(self.raft.hibernate_after_ms));
        put("raft.snapshot_interval_s", Shown::Number(self.raft.snapshot_interval_s));
        put("raft.batch_commands_max", Shown::Number(self.raft.batch_commands_max.into()));
        put("raft.batch_bytes_max", text(show_size(self.raft.batch_bytes_max)));
        put("raft.batches_in_flight_max", Shown::Number(self.raft.batches_in_flight_max.into()));
        put("raft.log_entries_kept", Shown::Number(self.raft.log_entries_kept));
        put("memory.budget_bytes", text(show_size(self.memory_budget_bytes)));
        put("memory.requests_bytes", text(show_size(self.requests_bytes_max)));
        put("auth.window_s", Shown::Number(self.access_window_s));
        put("storage.free_bytes_low", text(show_size(self.storage.free_bytes_low)));
        put("storage.segment_bytes", text(show_size(self.storage.segment_bytes)));
        put("storage.wal_bytes_target", text(show_size(self.storage.wal_bytes_target)));
        put("phase_two.xaer_nota_ms", Shown::Number(self.patience.xaer_nota_ms));
        put("phase_two.rollback_unlock", text(self.patience.unlocks));
        put("clients.batch_results", text(self.batch_results));
        put("metrics.seata", text(self.seata_meters));
        put("undo_log.delete_period_ms", Shown::Number(self.undo_logs.period_ms));
        put("undo_log.save_days", Shown::Number(self.undo_logs.save_days as u64));
        if let Some(workers) = self.workers {
            put("workers", Shown::Number(workers as u64));
        }
        let retry_ms = [
            ("tm.lost_rollback_ms", self.lost_tm_rollback_ms),
            ("phase_two.commit_retry_ms", self.patience.commit_retry_ms),
            ("phase_two.rollback_retry_ms", self.patience.rollback_retry_ms),
        ];
        for (key, retry_ms) in retry_ms {
            values.extend(retry_ms.map(|retry_ms| (key.to_owned(), Shown::Number(retry_ms))));
        }
        self.identity_values(&mut values);
        self.placement_values(&mut values);
        values
    }

    fn identity_values(&self, values: &mut BTreeMap<String, Shown>) {
        values.extend(self.node_id.map(|node| ("node_id".to_owned(), Shown::Number(node.0))));
        values.extend(self.advertise.iter().map(|address| ("advertise".to_owned(), text(address))));
        values.extend(self.join.iter().map(|address| ("join".to_owned(), text(address))));
        if !self.peers.is_empty() {
            let peers: Vec<String> = self.peers.iter().map(|(node, address)| format!("{node}={address}")).collect();
            values.insert("peers".to_owned(), text(peers.join(",")));
        }
    }

    fn placement_values(&self, values: &mut BTreeMap<String, Shown>) {
        let strategy = match &self.sharding {
            Sharding::ConsistentHash => "consistent-hash",
            Sharding::Modulo => "modulo",
            Sharding::Explicit(table) => {
                values.insert("sharding.table".to_owned(), text(ranges(table)));
                "explicit"
            }
        };
        values.insert("sharding.strategy".to_owned(), text(strategy));
        for group in &self.groups_at {
            let address = |node: &NodeId| self.peers.get(node).cloned().unwrap_or_default();
            let places: Vec<String> = group.replicas.iter().map(address).collect();
            values.insert(format!("{}{}", keys::GROUPS_AT, quoted(&group.name)), text(places.join(",")));
        }
    }
}

enum Shown {
    Number(u64),
    Text(String),
}

fn text(value: impl ToString) -> Shown {
    Shown::Text(value.to_string())
}

fn quoted(value: &str) -> String {
    format!("\"{}\"", value.escape_default())
}

fn ranges(table: &[GroupId]) -> String {
    let mut parts: Vec<String> = Vec::new();
    let mut first = 0;
    for run in table.chunk_by(|left, right| left == right) {
        let last = first + run.len() - 1;
        parts.extend(run.first().map(|group| format!("{first}-{last}={group}")));
        first = last + 1;
    }
    parts.join(",")
}
