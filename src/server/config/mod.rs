//! What an operator can set, checked as a whole before anything is opened.
//!
//! Flags win over the environment, the environment over the file (`layers`). An unknown key and a bad value are errors
//! that name the key as it was written and the nearest right one (`error`). Seata's own multi-raft names are read too
//! (`seata`). The table of keys is `keys`; `docs/OPERATING.md` lists the same and a test compares them.
//!
//! Not here: reading files and variables; `main` does and hands the texts over. So a configuration in the simulation is
//! made by the same code from a text.

pub mod advertise;
mod check;
mod error;
pub mod keys;
mod layers;
mod seata;
mod show;
#[cfg(test)]
mod tests;
mod values;

pub use error::ConfigError;
pub use layers::{FILE_VARIABLE, Sources, VARIABLES};

use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use layers::Settings;
use quorate_core::model::limits::DATA_GROUPS_MAX;
use quorate_core::model::{GroupId, NodeId};
use quorate_core::phase_two::{Patience, UndoLogDeletion};
use std::collections::BTreeMap;

/// The whole configuration of `quorate server`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Config {
    /// If it was given; [`Config::founds_as`] says what holds otherwise.
    pub node_id: Option<NodeId>,
    /// Seata TCP, and HTTP by protocol detection.
    pub listen: SocketAddr,
    /// HTTP.
    pub admin_listen: SocketAddr,
    /// Between nodes.
    pub peer_listen: SocketAddr,
    /// In XIDs and discovery, if it was set; [`advertise`] says what holds otherwise.
    pub advertise: Option<String>,
    /// All founders and their peer addresses; empty for a cluster of one and for a node that joins.
    pub peers: BTreeMap<NodeId, String>,
    /// A member to join at.
    pub join: Option<String>,
    /// Everything that this node keeps.
    pub data_dir: String,
    /// Data groups at founding.
    pub groups: u32,
    /// Replicas of each group at founding.
    pub replicas: u32,
    /// Label and replicas of groups 1.. at founding, preferred leader first; empty: placement decides.
    pub groups_at: Vec<GroupAt>,
    /// How slots go to groups at founding.
    pub sharding: Sharding,
    /// The filter of the log.
    pub log: String,
    /// Its form.
    pub log_format: LogFormat,
    /// What discovery calls the one group it shows.
    pub cluster_name: String,
    /// Who may change something over HTTP from beyond loopback.
    pub admin_token: Option<String>,
    /// Who may use the console; nothing: everybody.
    pub console: Option<ConsoleConfig>,
    /// Secret keys by access key; none: every client may register.
    pub access_keys: BTreeMap<String, String>,
    /// How far a client's clock may be from this node's.
    pub access_window_s: u64,
    /// Raft.
    pub raft: RaftConfig,
    /// At the budget begins are refused.
    pub memory_budget_bytes: u64,
    /// Requests that are not answered yet.
    pub requests_bytes_max: u64,
    /// How long phase two waits for what may never come.
    pub patience: Patience,
    /// When RMs are asked to delete old undo logs.
    pub undo_logs: UndoLogDeletion,
    /// Whether merged requests may be answered with batch results.
    pub batch_results: bool,
    /// So long after the last connection of a TM's process its open transactions are rolled back, ms; nothing: never.
    pub lost_tm_rollback_ms: Option<u64>,
    /// Whether transactions are counted as Seata's metrics count them.
    pub seata_meters: bool,
    /// Threads that serve; nothing: one per core.
    pub workers: Option<usize>,
    /// The log on disk.
    pub storage: StorageConfig,
    /// Variables of the environment that begin like ours and were passed over, as those of a Kubernetes service.
    pub passed_over: Vec<String>,
}

/// A group with a name and chosen places.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GroupAt {
    /// Its label.
    pub name: String,
    /// Its replicas, preferred leader first.
    pub replicas: Vec<NodeId>,
}

/// How the slots are divided at founding.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Sharding {
    /// The ring.
    ConsistentHash,
    /// Slot modulo number of groups.
    Modulo,
    /// One group per slot, as written.
    Explicit(Vec<GroupId>),
}

/// How log lines look.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One object a line.
    Json,
}

/// The keys under `console.`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConsoleConfig {
    /// The one user.
    pub user: String,
    /// His password.
    pub password: String,
    /// What tokens are signed with; nothing: each start draws its own.
    pub secret: Option<String>,
    /// How long they are good for.
    pub token_validity_ms: u64,
}

/// The keys under `raft.`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RaftConfig {
    /// A leader's heartbeat.
    pub heartbeat_ms: u64,
    /// The least time without a heartbeat before an election; the most is twice this.
    pub election_timeout_ms: u64,
    /// 0: idle groups go on as others do.
    pub hibernate_after_ms: u64,
    /// 0: by size only.
    pub snapshot_interval_s: u64,
    /// Commands in one proposed entry.
    pub batch_commands_max: u32,
    /// Bytes of one proposed entry.
    pub batch_bytes_max: u64,
    /// Proposed and not yet applied, per group.
    pub batches_in_flight_max: u32,
    /// Entries that stay in the log behind a snapshot.
    pub log_entries_kept: u64,
}

/// The keys under `storage.`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StorageConfig {
    /// One file of the log.
    pub segment_bytes: u64,
    /// All of them, roughly.
    pub wal_bytes_target: u64,
    /// With less room on the disk no transaction begins.
    pub free_bytes_low: u64,
}

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

impl Config {
    /// Reads, defaults and checks.
    pub fn load(sources: &Sources) -> Result<Config, ConfigError> {
        let settings = Settings::gather(sources)?;
        let config = Config::read(&settings)?;
        check::together(&config, &settings)?;
        Ok(config)
    }

    /// From the text of a file alone.
    pub fn from_toml(text: &str) -> Result<Config, ConfigError> {
        Config::load(&Sources { file: Some(("the configuration".to_owned(), text.to_owned())), ..Sources::default() })
    }

    fn read(settings: &Settings) -> Result<Config, ConfigError> {
        let peers = settings.read("peers", values::founders)?.unwrap_or_default();
        let join = settings.read("join", values::host_and_port)?;
        let alone = peers.is_empty() && join.is_none();
        let groups_at = read_groups_at(settings, &peers)?;
        let peer_ip = if alone { Ipv4Addr::LOCALHOST } else { Ipv4Addr::UNSPECIFIED };
        let founding_replicas = if peers.len() < 3 { 1 } else { 3 };
        Ok(Config {
            node_id: settings.read("node_id", values::node_id)?,
            listen: settings.require("listen", values::listen_address)?,
            admin_listen: settings.require("admin_listen", values::listen_address)?,
            peer_listen: settings
                .read("peer_listen", values::listen_address)?
                .unwrap_or(SocketAddr::new(IpAddr::V4(peer_ip), 9091)),
            advertise: settings.read("advertise", advertise::advertised_address)?,
            data_dir: settings.require("data_dir", non_empty)?,
            groups: read_groups(settings, groups_at.len())?,
            replicas: settings.read("replicas", replicas)?.unwrap_or(founding_replicas),
            groups_at,
            sharding: read_sharding(settings)?,
            log: settings.require("log", values::log_filter)?,
            log_format: settings.require("log_format", |text| values::choice(text, &LOG_FORMATS))?,
            cluster_name: settings.require("cluster.name", non_empty)?,
            admin_token: settings.read("admin.token", non_empty)?,
            console: read_console(settings)?,
            access_keys: settings.read("auth.access_keys", values::access_keys)?.unwrap_or_default(),
            access_window_s: settings.require("auth.window_s", |text| values::number(text, 1..=86_400))?,
            raft: read_raft(settings)?,
            memory_budget_bytes: settings
                .require("memory.budget_bytes", |text| values::size(text, 16 * MIB..=1024 * GIB))?,
            requests_bytes_max: settings
                .require("memory.requests_bytes", |text| values::size(text, 64 * MIB..=1024 * GIB))?,
            patience: read_patience(settings)?,
            undo_logs: read_undo_logs(settings)?,
            batch_results: settings.require("clients.batch_results", |text| values::choice(text, &YES_NO))?,
            lost_tm_rollback_ms: settings
                .read("tm.lost_rollback_ms", |text| values::number(text, LOST_ROLLBACK_MS_MIN..=31_536_000_000))?,
            seata_meters: settings.require("metrics.seata", |text| values::choice(text, &YES_NO))?,
            workers: settings.read("workers", |text| values::number(text, 1..=1_024))?.map(|workers| workers as usize),
            storage: StorageConfig {
                segment_bytes: settings.require("storage.segment_bytes", |text| values::size(text, MIB..=GIB))?,
                wal_bytes_target: settings
                    .require("storage.wal_bytes_target", |text| values::size(text, 4 * MIB..=1024 * GIB))?,
                free_bytes_low: settings
                    .require("storage.free_bytes_low", |text| values::size(text, 0..=1024 * GIB))?,
            },
            peers,
            join,
            passed_over: settings.passed_over().to_vec(),
        })
    }

    /// The number of a node that founds, or helps to: given, or 1 for a cluster of one. Nothing while joining: the cluster
    /// gives it.
    pub fn founds_as(&self) -> Option<NodeId> {
        let is_alone = self.peers.is_empty() && self.join.is_none();
        self.node_id.or(is_alone.then_some(NodeId(1)))
    }

    /// What is allowed and probably not meant; one line each, logged at start.
    pub fn warnings(&self) -> Vec<String> {
        let passed_over = (!self.passed_over.is_empty())
            .then(|| format!("{}: of a Kubernetes service, and no key; passed over", self.passed_over.join(", ")));
        advertise::warnings(self).into_iter().chain(passed_over).collect()
    }
}

const LOG_FORMATS: [(&str, LogFormat); 2] = [("text", LogFormat::Text), ("json", LogFormat::Json)];

fn read_raft(settings: &Settings) -> Result<RaftConfig, ConfigError> {
    Ok(RaftConfig {
        heartbeat_ms: settings.require("raft.heartbeat_ms", |text| values::number(text, 10..=60_000))?,
        election_timeout_ms: settings.require("raft.election_timeout_ms", |text| values::number(text, 30..=600_000))?,
        hibernate_after_ms: settings.require("raft.hibernate_after_ms", |text| values::number(text, 0..=86_400_000))?,
        snapshot_interval_s: settings
            .require("raft.snapshot_interval_s", |text| values::number(text, 0..=31_536_000))?,
        batch_commands_max: settings.require("raft.batch_commands_max", |text| values::number(text, 1..=65_536))?
            as u32,
        batch_bytes_max: settings.require("raft.batch_bytes_max", |text| values::size(text, KIB..=12 * MIB))?,
        batches_in_flight_max: settings.require("raft.batches_in_flight_max", |text| values::number(text, 1..=1_024))?
            as u32,
        log_entries_kept: settings.require("raft.log_entries_kept", |text| values::number(text, 0..=100_000_000))?,
    })
}

fn read_patience(settings: &Settings) -> Result<Patience, ConfigError> {
    let ms = |text: &str| values::number(text, 0..=31_536_000_000);
    Ok(Patience {
        xaer_nota_ms: settings.require("phase_two.xaer_nota_ms", ms)?,
        commit_retry_ms: settings.read("phase_two.commit_retry_ms", ms)?,
        rollback_retry_ms: settings.read("phase_two.rollback_retry_ms", ms)?,
        unlocks: settings.require("phase_two.rollback_unlock", |text| values::choice(text, &YES_NO))?,
    })
}

fn read_undo_logs(settings: &Settings) -> Result<UndoLogDeletion, ConfigError> {
    let period_ms = settings.require("undo_log.delete_period_ms", |text| values::number(text, 0..=31_536_000_000))?;
    let save_days = settings.require("undo_log.save_days", |text| values::number(text, 0..=i16::MAX as u64))?;
    Ok(UndoLogDeletion { period_ms, save_days: save_days as i16 })
}

fn read_console(settings: &Settings) -> Result<Option<ConsoleConfig>, ConfigError> {
    let user = settings.read("console.user", non_empty)?;
    let password = settings.read("console.password", non_empty)?;
    let secret = settings.read("console.secret", values::secret)?;
    let token_validity_ms =
        settings.require("console.token_validity_ms", |text| values::number(text, 1_000..=31_536_000_000))?;
    let alone = |given: &str, missing: &str| {
        let given = settings.named(given);
        Err(ConfigError::Together(format!("{given} is there without {missing}; set both, or neither")))
    };
    match (user, password, secret) {
        (Some(user), Some(password), secret) => Ok(Some(ConsoleConfig { user, password, secret, token_validity_ms })),
        (Some(_), None, _) => alone("console.user", "console.password"),
        (None, Some(_), _) => alone("console.password", "console.user"),
        (None, None, Some(_)) => alone("console.secret", "console.user"),
        (None, None, None) => Ok(None),
    }
}

/// Longer than a stop takes: a node that goes closes its connections first.
const LOST_ROLLBACK_MS_MIN: u64 = 10_000;

const YES_NO: [(&str, bool); 2] = [("true", true), ("false", false)];

/// Named groups say how many there are; then `groups` may only say the same.
fn read_groups(settings: &Settings, named: usize) -> Result<u32, ConfigError> {
    let groups = settings.require("groups", |text| values::number(text, 1..=u64::from(DATA_GROUPS_MAX)))? as u32;
    match settings.given("groups") {
        Some(_) => Ok(groups),
        None if named > 0 => Ok(named as u32),
        None if settings.single_group_asked().is_some() => Ok(1),
        None => Ok(groups),
    }
}

fn read_sharding(settings: &Settings) -> Result<Sharding, ConfigError> {
    let words = [("consistent-hash", 0), ("modulo", 1), ("explicit", 2)];
    let strategy = settings.require("sharding.strategy", |text| values::choice(text, &words))?;
    let table = settings.read("sharding.table", values::slot_table)?;
    match (strategy, table) {
        (2, Some(table)) => Ok(Sharding::Explicit(table)),
        (2, None) => Err(ConfigError::Together("sharding.strategy explicit needs sharding.table".to_owned())),
        (_, Some(_)) => Err(ConfigError::Together(format!(
            "{} is read with sharding.strategy = explicit only; set that, or remove the table",
            settings.named("sharding.table")
        ))),
        (1, None) => Ok(Sharding::Modulo),
        (_, None) => Ok(Sharding::ConsistentHash),
    }
}

fn read_groups_at(settings: &Settings, peers: &BTreeMap<NodeId, String>) -> Result<Vec<GroupAt>, ConfigError> {
    let mut groups_at = Vec::new();
    for name in settings.group_names() {
        let key = format!("{}{name}", keys::GROUPS_AT);
        let places = |text: &str| values::addresses(text)?.iter().map(|address| founder_at(peers, address)).collect();
        let replicas: Vec<NodeId> = settings.require(&key, places)?;
        groups_at.push(GroupAt { name: name.to_owned(), replicas });
    }
    Ok(groups_at)
}

fn founder_at(peers: &BTreeMap<NodeId, String>, address: &str) -> values::Parsed<NodeId> {
    if let Some((node, _)) = peers.iter().find(|(_, known)| *known == address) {
        return Ok(*node);
    }
    let near = error::nearest(address, peers.values().map(String::as_str));
    let near = near.map(|address| format!("; did you mean {address}?")).unwrap_or_default();
    Err(format!("{address} is not among the peers{near}"))
}

fn replicas(text: &str) -> values::Parsed<u32> {
    values::choice(text, &[("1", 1), ("3", 3), ("5", 5)])
}

fn non_empty(text: &str) -> values::Parsed<String> {
    if text.trim().is_empty() {
        Err("empty; leave the key out for its default".to_owned())
    } else {
        Ok(text.to_owned())
    }
}
