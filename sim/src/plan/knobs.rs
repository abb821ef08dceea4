//! Settings that a seed may draw small, strict or unusual, and the table of all keys of the configuration: which of them are drawn.
//!
//! A half of the seeds has none of these, so that the rest of such a seed is what it was before there were any.

use super::draw_of;
use super::swarm::{Class, Level, Swarm};
use quorate_server::config::Config;
use quorate_world::sim::Dice;
use serde::{Deserialize, Serialize};

/// What is left out is as a node has it when nobody sets it.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Knobs {
    /// What transactions may take in memory before begins are refused: far below what a configuration may say. 0: as usual.
    #[serde(skip_serializing_if = "is_usual")]
    pub budget_bytes: u64,
    /// A half of the bounds that nobody can set are so narrow that they are met: turns of phase two, relays, requests in hand,
    /// what waits for clients, proposals, and when a snapshot is due.
    #[serde(skip_serializing_if = "is_usual")]
    pub narrow: bool,
    /// Nodes ask for access keys.
    #[serde(skip_serializing_if = "is_usual")]
    pub access_keys: bool,
    /// The operator, if there is one, deletes by force too, and row locks.
    #[serde(skip_serializing_if = "is_usual")]
    pub forces: bool,
    /// Bytes of one entry; 0: as usual.
    #[serde(skip_serializing_if = "is_usual")]
    pub batch_bytes_max: u64,
    /// With less room on a disk no transaction begins; 0: as usual.
    #[serde(skip_serializing_if = "is_usual")]
    pub free_bytes_low: u64,
    /// Above it the log is carried on; 0: as usual here, which is little.
    #[serde(skip_serializing_if = "is_usual")]
    pub wal_bytes_target: u64,
    /// Slots go to groups by their number.
    #[serde(skip_serializing_if = "is_usual")]
    pub modulo: bool,
    /// Transactions are counted as Seata counts them.
    #[serde(skip_serializing_if = "is_usual")]
    pub seata_meters: bool,
    /// How far a client's clock may be from a node's when it registers, s; 0: as usual.
    #[serde(skip_serializing_if = "is_usual")]
    pub window_s: u64,
}

fn is_usual<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// The one access key, and its secret.
pub const ACCESS_KEY: (&str, &str) = ("bank", "secret of the bank");
/// Longer than all jumps of a clock in a run together.
const WINDOW_S_MAX: u64 = 86_400;

impl Knobs {
    /// Draws those of a seed.
    pub fn draw(seed: u64, swarm: &Swarm) -> Knobs {
        if Dice::new(seed, "does any knob stand elsewhere").below(2) == 0 {
            return Knobs::default();
        }
        let clocks_jump = swarm.level(Class::ClockJump) != Level::Off;
        let access_keys = draw_of(seed, "access keys", &[false, false, true]);
        Knobs {
            budget_bytes: draw_of(seed, "memory", &[0, 0, 0, 12_000, 40_000]),
            narrow: draw_of(seed, "narrow bounds", &[false, true]),
            access_keys,
            forces: draw_of(seed, "force", &[false, true, true]),
            batch_bytes_max: draw_of(seed, "bytes of an entry", &[0, 0, 1 << 10, 8 << 10]),
            free_bytes_low: draw_of(seed, "free bytes", &[0, 0, 4 << 20, 1]),
            wal_bytes_target: draw_of(seed, "bytes of the log", &[0, 0, 4 << 20]),
            modulo: draw_of(seed, "sharding", &[false, false, true]),
            seata_meters: draw_of(seed, "Seata's meters", &[false, true]),
            // Who is told that his clock is wrong never gets in, and nothing of his would end.
            window_s: if access_keys && clocks_jump { WINDOW_S_MAX } else { 0 },
        }
    }

    /// Whether all is as usual.
    pub fn is_usual(&self) -> bool {
        *self == Knobs::default()
    }

    /// The lines of a configuration's file, tables last; `storage` stands there already and gets its own.
    pub fn tables(&self) -> String {
        let mut text = String::new();
        if self.access_keys {
            let (key, secret) = ACCESS_KEY;
            text += &format!("[auth]\naccess_keys = \"{key}={secret}\"\n");
            text += &given("window_s", self.window_s);
        }
        if self.modulo {
            text += "[sharding]\nstrategy = \"modulo\"\n";
        }
        if self.seata_meters {
            text += "[metrics]\nseata = true\n";
        }
        text
    }

    /// More lines of the table `raft`.
    pub fn of_raft(&self) -> String {
        given("batch_bytes_max", self.batch_bytes_max)
    }

    /// The table `storage`, whose files are as small as may be.
    pub fn storage(&self) -> String {
        let wal_bytes_target = if self.wal_bytes_target == 0 { 8 << 20 } else { self.wal_bytes_target };
        let low = given("free_bytes_low", self.free_bytes_low);
        format!("[storage]\nsegment_bytes = \"1MiB\"\nwal_bytes_target = {wal_bytes_target}\n{low}")
    }

    /// What no file may say.
    pub fn set(&self, config: &mut Config) {
        if self.budget_bytes > 0 {
            config.memory_budget_bytes = self.budget_bytes;
        }
    }
}

fn given(key: &str, value: u64) -> String {
    if value == 0 { String::new() } else { format!("{key} = {value}\n") }
}
