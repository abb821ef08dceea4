//! The table of all keys. Flags, environment, file, `--help` and the test of `docs/OPERATING.md` all read it.

/// What a key is worth when nobody sets it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unset {
    /// This text, read like any other value.
    Is(&'static str),
    /// It follows from other keys, in these words.
    Follows(&'static str),
}

impl Unset {
    /// For a table or a help text.
    pub const fn text(self) -> &'static str {
        match self {
            Unset::Is(text) | Unset::Follows(text) => text,
        }
    }
}

/// One key.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// In the file; in capitals, behind `QUORATE_` and with `__` for the dot, in the environment.
    pub name: &'static str,
    /// Whether `quorate server` has a flag of this name too.
    pub flag: bool,
    /// Its default.
    pub unset: Unset,
    /// One line of help.
    pub meaning: &'static str,
}

/// Keys that begin with this are names of groups: `groups_at.orders`.
pub const GROUPS_AT: &str = "groups_at.";

const fn flag(name: &'static str, unset: Unset, meaning: &'static str) -> Key {
    Key { name, flag: true, unset, meaning }
}

const fn key(name: &'static str, unset: Unset, meaning: &'static str) -> Key {
    Key { name, flag: false, unset, meaning }
}

use Unset::{Follows, Is};

/// All keys but those under [`GROUPS_AT`].
#[rustfmt::skip] // a table: one key, one line or two
pub const KEYS: &[Key] = &[
    flag("node_id", Follows("1 alone; required with peers; given by the cluster with join"), "Number of this node, 1 to 4294967295"),
    flag("listen", Is("0.0.0.0:8091"), "Where Seata clients connect; HTTP is answered there too"),
    flag("admin_listen", Is("0.0.0.0:7091"), "HTTP: discovery, health, metrics, status"),
    flag("peer_listen", Follows("0.0.0.0:9091; 127.0.0.1:9091 without peers and join"), "Where the other nodes connect"),
    flag("advertise", Follows("listen, if that is one address; else the first non-loopback IPv4 with the port of listen"),
        "HOST:PORT that goes into XIDs and discovery"),
    flag("peers", Follows("none: a cluster of one"), "All founders, this node too: ID=HOST:PEER_PORT,.."),
    flag("join", Follows("none"), "HOST:PEER_PORT of any member of a running cluster; excludes peers"),
    flag("data_dir", Is("./data"), "Folder for all that this node keeps"),
    flag("groups", Is("8"), "Data groups, 1 to 1024; read when the cluster is founded"),
    flag("replicas", Follows("3; 1 with fewer than three founders"), "Replicas of each group: 1, 3 or 5; read when the cluster is founded"),
    flag("workers", Follows("one per core"), "Threads that serve, 1 to 1024; several nodes on one machine are cheaper with fewer each"),
    flag("log", Is("info"), "What is logged to stderr: error, warn, info, debug, trace, or TARGET=LEVEL,..; of openraft errors only, unless it is named"),
    flag("log_format", Is("text"), "text or json"),
    key("cluster.name", Is("default"), "Name of the one group that discovery shows to Seata clients"),
    key("admin.token", Follows("none: changes only from loopback"), "Bearer token that allows changes over HTTP from elsewhere"),
    key("console.user", Follows("none: the console is open"), "Who may use the console's pages; they ask for a token then"),
    key("console.password", Follows("none; required with console.user"), "What he gets tokens for"),
    key("console.secret", Follows("drawn at each start"), "What tokens are signed with, 16 characters or more; nodes with the same one take each other's"),
    key("console.token_validity_ms", Is("1800000"), "How long a token of the console is good for"),
    key("auth.access_keys", Follows("none: every client may register"), "Who may register: ACCESS_KEY=SECRET_KEY,.. as set in the clients"),
    key("auth.window_s", Is("300"), "So far a client's clock may be from this node's when it registers"),
    key("raft.heartbeat_ms", Is("150"), "A leader's heartbeat"),
    key("raft.election_timeout_ms", Is("500"), "An election starts after this to twice this; at least 3 heartbeats. A leader that no quorum has answered for four times this leads no longer"),
    key("raft.hibernate_after_ms", Is("0"), "Experimental, leave it off: a group that was idle for so long sleeps, without heartbeats and elections, until somebody wants something of it, or a node of it falls silent; 0: never"),
    key("raft.snapshot_interval_s", Is("0"), "A snapshot also after so long, if anything was applied; 0: by size only"),
    key("raft.batch_commands_max", Is("512"), "Commands in one proposed entry"),
    key("raft.batch_bytes_max", Is("256KiB"), "Bytes of one proposed entry; a larger command goes alone"),
    key("raft.batches_in_flight_max", Is("4"), "Entries proposed and not yet applied, per group"),
    key("raft.log_entries_kept", Is("1000"), "Entries that stay in a group's log behind its snapshot; a follower further behind gets the snapshot"),
    key("memory.budget_bytes", Is("1GiB"), "Transactions, locks, tombstones; at the budget begins are refused"),
    key("memory.requests_bytes", Is("256MiB"), "Requests of clients that are not answered yet; without room no connection is read. As much may be on its way to clients"),
    key("phase_two.xaer_nota_ms", Is("60000"), "So long beyond its time-out an XA branch unknown to its database is asked again, then taken for done"),
    key("phase_two.commit_retry_ms", Follows("none: never"), "So long after its begin a commit that fails is given up, for an operator"),
    key("phase_two.rollback_retry_ms", Follows("none: never"), "So long after its begin a rollback that fails is given up, for an operator"),
    key("phase_two.rollback_unlock", Is("false"), "true: a rollback that is given up lets its row locks go"),
    key("tm.lost_rollback_ms", Follows("none: never"), "So long after the last connection of a TM's process is gone, its open transactions are rolled back before their time-out; at least 10000"),
    key("clients.batch_results", Is("false"), "true: clients 1.5 to 2.2 get the answers to a merged frame as they are ready, as with Seata's enableTcServerBatchSendResponse; all their servers must do so"),
    key("metrics.seata", Is("false"), "true: the metrics page shows Seata's family seata_transaction too"),
    key("undo_log.delete_period_ms", Is("86400000"), "One resource manager of each resource is asked so often to delete old undo logs; 0: never"),
    key("undo_log.save_days", Is("7"), "Undo logs of so many days are kept then"),
    key("storage.segment_bytes", Is("64MiB"), "Size of one file of the log"),
    key("storage.wal_bytes_target", Is("1GiB"), "Above it what still lives in the emptiest file of the log is carried on, so that the file can go"),
    key("storage.free_bytes_low", Is("1GiB"), "With less room on the disk begins are refused and snapshots made; what has begun is brought to its end"),
    key("sharding.strategy", Is("consistent-hash"), "consistent-hash, modulo or explicit; read when the cluster is founded"),
    key("sharding.table", Follows("none; required with explicit"), "Slot ranges of explicit: 0-1023=1,1024-4095=2"),
];

/// The key of this name.
pub fn find(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.name == name)
}

/// Whether a value must not be shown.
pub fn is_secret(name: &str) -> bool {
    matches!(name, "admin.token" | "auth.access_keys" | "console.password" | "console.secret")
}

/// Whether the file may give a list, in place of its parts with commas.
pub fn is_list(name: &str) -> bool {
    matches!(name, "peers" | "auth.access_keys" | "sharding.table") || name.starts_with(GROUPS_AT)
}

/// Whether any text is a value: there a number of the file, which may not be what was written (`007`), is refused.
pub fn is_text(name: &str) -> bool {
    matches!(name, "data_dir" | "cluster.name" | "admin.token" | "console.user" | "console.password" | "console.secret")
}

/// `--node-id` of `node_id`.
pub fn flag_name(key: &str) -> String {
    key.replace(['_', '.'], "-")
}

/// `QUORATE_RAFT__HEARTBEAT_MS` of `raft.heartbeat_ms`.
pub fn variable_name(key: &str) -> String {
    format!("QUORATE_{}", key.replace('.', "__").to_uppercase())
}

/// `raft.heartbeat_ms` of `QUORATE_RAFT__HEARTBEAT_MS`; nothing of a variable that is not ours.
pub fn key_of_variable(variable: &str) -> Option<String> {
    variable.strip_prefix("QUORATE_").map(|rest| rest.to_lowercase().replace("__", "."))
}

/// Whether a key of this name exists.
pub fn exists(name: &str) -> bool {
    find(name).is_some() || name.strip_prefix(GROUPS_AT).is_some_and(|group| !group.is_empty())
}
