//! The plan of a run: everything that is going to happen by intention, drawn from the seed before the world begins.
//!
//! Plain data, one line per item in an artefact. Every item has a random stream of its own, named by its number, so that
//! taking an item out leaves the others as they are. What happens by chance while the world runs (latencies, the order
//! of tasks) is the world's, not the plan's.

mod branch_line;
pub mod faults;
pub mod knobs;
pub mod operations;
pub mod speech;
pub mod swarm;

use crate::plan::faults::Fault;
use crate::plan::knobs::Knobs;
use crate::plan::operations::{Operation, PlannedBranch};
use crate::plan::speech::Speaks;
use crate::plan::swarm::{Class, Level, Swarm};
use quorate_core::phase_two::Patience;
use quorate_world::sim::{Dice, DiskSpeed, Latency, LinkState};
use quorate_world::time::Duration;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The coordinator nodes of every world that a seed draws.
pub const NODES: u32 = 3;

/// The data groups of the largest world.
pub const GROUPS_MAX: u32 = 8;

/// How large a world is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Size {
    /// As `--world` says it.
    pub name: &'static str,
    /// How long faults and transactions go on.
    pub safety_ms: u64,
    /// Global transactions.
    pub operations: u32,
    /// Data groups: a seed draws from 2 up to this.
    pub groups_max: u32,
    /// Machines that begin transactions.
    pub tms: u32,
    /// Machines that own resources; even.
    pub rms: u32,
    /// Nodes that may join.
    pub spares: u32,
}

/// The reference world, a smaller one for planted bugs and for a first look, and one whose nodes come and go.
pub const SIZES: [Size; 3] = [
    Size { name: "R1", safety_ms: 300_000, operations: 200, groups_max: GROUPS_MAX, tms: 4, rms: 6, spares: 0 },
    Size { name: "R0", safety_ms: 60_000, operations: 60, groups_max: 4, tms: 2, rms: 4, spares: 0 },
    Size { name: "R2", safety_ms: 300_000, operations: 200, groups_max: GROUPS_MAX, tms: 4, rms: 6, spares: 1 },
];

impl Size {
    /// The world of this name.
    pub fn named(name: &str) -> Option<Size> {
        SIZES.into_iter().find(|size| size.name == name)
    }
}

/// What a run is made of beside its items.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Options {
    /// Names all streams of chance that are not the plan's: latencies, disks, clocks, the order of tasks.
    pub schedule: u64,
    /// How long faults and transactions go on.
    pub safety_ms: u64,
    /// Coordinator nodes that found the cluster.
    pub nodes: u32,
    /// Coordinator nodes that may join it.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub spares: u32,
    /// Machines that begin transactions.
    pub tms: u32,
    /// Machines that own resources; even.
    pub rms: u32,
    /// Somebody has a hand in phase two, over HTTP.
    pub operator: bool,
    /// Data groups.
    pub groups: u32,
    /// A leader shows itself this often; the election time-out follows.
    pub heartbeat_ms: u64,
    /// A group that was idle for so long sleeps; 0: never.
    #[serde(default, skip_serializing_if = "usual::is_nothing")]
    pub hibernate_ms: u64,
    /// Seconds between snapshots; 0: by size only.
    pub snapshot_interval_s: u64,
    /// Entries that stay in a log behind its snapshot.
    #[serde(default = "usual::log_entries_kept", skip_serializing_if = "usual::is_log_entries_kept")]
    pub log_entries_kept: u64,
    /// Commands in one entry.
    #[serde(default = "usual::batch_commands_max", skip_serializing_if = "usual::is_batch_commands_max")]
    pub batch_commands_max: u32,
    /// Entries proposed and not yet applied.
    #[serde(default = "usual::batches_in_flight_max", skip_serializing_if = "usual::is_batches_in_flight_max")]
    pub batches_in_flight_max: u32,
    /// What a lost TM left open is rolled back after so long; 0: when its time is up.
    #[serde(default, skip_serializing_if = "usual::is_nothing")]
    pub lost_tm_ms: u64,
    /// RMs are asked to delete old undo logs this often; 0: not in the time of a run.
    #[serde(default, skip_serializing_if = "usual::is_nothing")]
    pub undo_logs_ms: u64,
    /// So many in a million passes of the places where the code may take its time do.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub linger_per_million: u32,
    /// An XA branch that its database does not know is asked so long beyond its time-out.
    #[serde(default = "usual::xaer_nota_ms", skip_serializing_if = "usual::is_xaer_nota_ms")]
    pub xaer_nota_ms: u64,
    /// A commit that fails is given up so long after its begin; 0: never.
    #[serde(default, skip_serializing_if = "usual::is_nothing")]
    pub commit_retry_ms: u64,
    /// A rollback too,
    #[serde(default, skip_serializing_if = "usual::is_nothing")]
    pub rollback_retry_ms: u64,
    /// and then it lets its row locks go.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unlocks: bool,
    /// How the first TMs speak, and the first RMs; the others as usual.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tm_speech: Vec<Speaks>,
    /// See above.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rm_speech: Vec<Speaks>,
    /// The nodes answer merged frames of clients 1.5 to 2.2 in batches.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub batch_results: bool,
    /// Rows of the ring across the AT databases; 0: there is none.
    #[serde(default, skip_serializing_if = "usual::is_nothing")]
    pub ring: u64,
    /// What stands elsewhere than usual beside that.
    #[serde(default, skip_serializing_if = "Knobs::is_usual")]
    pub knobs: Knobs,
    /// Messages between machines: shortest way and mean on top.
    pub link_us: (u64, u64),
    /// A sync of a disk: shortest and mean on top.
    pub sync_us: (u64, u64),
    /// Clocks run wrong by up to this.
    pub clock_ppm_max: u32,
    /// Wall clocks are apart by up to this.
    pub wall_skew_ms_max: u64,
    /// Classes of faults that are on.
    pub swarm: Vec<(Class, Level)>,
}

/// All that is planned.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Plan {
    /// The seed it was drawn from.
    pub seed: u64,
    /// The world that it was drawn for.
    pub world: String,
    /// Of what kind.
    pub options: Options,
    /// Transactions, by number.
    pub operations: Vec<Operation>,
    /// Faults, by number.
    pub faults: Vec<Fault>,
}

impl Plan {
    /// Draws a plan.
    pub fn draw(seed: u64, size: Size) -> Plan {
        let swarm = Swarm::draw(seed, size);
        let options = draw_options(seed, size, &swarm);
        let mut operations: Vec<Operation> =
            (0..size.operations).map(|number| operations::draw(seed, size, number, &swarm)).collect();
        // In crowds, or each by itself.
        let crowd_ms = draw_of(seed, "crowds", &[1, 1, 2_000, 10_000]);
        operations.iter_mut().for_each(|operation| operation.at_ms -= operation.at_ms % crowd_ms);
        operations.iter_mut().for_each(|operation| operations::draw_ring(seed, size, &swarm, options.ring, operation));
        Plan { seed, world: size.name.to_owned(), operations, faults: faults::draw(seed, size, &swarm), options }
    }

    /// The transaction of this number.
    pub fn operation(&self, op: u32) -> Option<&Operation> {
        let place = self.operations.binary_search_by_key(&op, |operation| operation.op).ok()?;
        self.operations.get(place)
    }

    /// Something will not end before an operator sees to it: then there is one, if only when the faults are over.
    pub fn needs_operator(&self) -> bool {
        let branches = self.operations.iter().flat_map(|operation| &operation.branches);
        let gives_up = self.options.commit_retry_ms > 0 || self.options.rollback_retry_ms > 0;
        self.options.operator || gives_up || branches.into_iter().any(PlannedBranch::needs_operator)
    }

    /// How often each class of faults is planned, those that belong to a transaction among them.
    pub fn planned(&self) -> BTreeMap<Class, u64> {
        let mut planned: BTreeMap<Class, u64> = BTreeMap::new();
        for fault in &self.faults {
            *planned.entry(fault.class).or_default() += 1;
        }
        for operation in &self.operations {
            *planned.entry(Class::TmDeath).or_default() += u64::from(operation.tm_death.is_some());
            for branch in &operation.branches {
                *planned.entry(Class::RmDeath).or_default() += u64::from(branch.rm_death.is_some());
                let hiccups = u64::from(branch.retries) + u64::from(branch.fails) + u64::from(branch.needs_operator());
                *planned.entry(Class::Hiccup).or_default() += hiccups;
                *planned.entry(Class::SlowRm).or_default() += u64::from(branch.slow_ms > 0);
            }
        }
        planned
    }
}

/// Settings as a node has them if nothing is set: what files leave out, and files of earlier builds never had.
mod usual {
    pub fn log_entries_kept() -> u64 {
        1_000
    }

    pub fn is_log_entries_kept(kept: &u64) -> bool {
        *kept == log_entries_kept()
    }

    pub fn batch_commands_max() -> u32 {
        512
    }

    pub fn is_batch_commands_max(max: &u32) -> bool {
        *max == batch_commands_max()
    }

    pub fn batches_in_flight_max() -> u32 {
        4
    }

    pub fn is_batches_in_flight_max(max: &u32) -> bool {
        *max == batches_in_flight_max()
    }

    pub fn xaer_nota_ms() -> u64 {
        60_000
    }

    pub fn is_xaer_nota_ms(ms: &u64) -> bool {
        *ms == xaer_nota_ms()
    }

    pub fn is_nothing(ms: &u64) -> bool {
        *ms == 0
    }
}

/// Of these, each as often as the next.
fn draw_of<T: Copy>(seed: u64, what: &str, choice: &[T]) -> T {
    choice[Dice::new(seed, what).below(choice.len() as u64) as usize]
}

fn draw_options(seed: u64, size: Size, swarm: &Swarm) -> Options {
    let mut dice = Dice::new(seed, "options");
    let clocks = swarm.level(Class::ClockRate);
    let rollback_retry_ms = draw_of(seed, "time for rollbacks", &[0, 0, 0, 15_000]);
    let unlocks = draw_of(seed, "unlocks", &[false, false, true]);
    // What was let go and not put back others build on, rightly, and it is no ring any more.
    let knobs = Knobs::draw(seed, swarm);
    let may_have_ring = (rollback_retry_ms == 0 || !unlocks) && !knobs.forces;
    Options {
        schedule: seed,
        safety_ms: size.safety_ms,
        nodes: NODES,
        spares: if swarm.level(Class::Membership) == Level::Off { 0 } else { size.spares },
        tms: size.tms,
        rms: size.rms,
        operator: Dice::new(seed, "is there an operator").below(3) == 0,
        groups: dice.between(2, u64::from(size.groups_max)) as u32,
        heartbeat_ms: [150, 300, 600][Dice::new(seed, "heartbeats").below(3) as usize],
        // Off in fresh seeds until followers ask a leader under which they sleep whether it sleeps too (R1 97020).
        hibernate_ms: 0,
        snapshot_interval_s: [0, 3, 10, 30][dice.below(4) as usize],
        log_entries_kept: draw_of(seed, "entries kept", &[1_000, 1_000, 50, 5, 0]),
        batch_commands_max: draw_of(seed, "commands of an entry", &[512, 512, 1, 3]),
        batches_in_flight_max: draw_of(seed, "entries in flight", &[4, 4, 1, 16]),
        lost_tm_ms: draw_of(seed, "lost TMs", &[0, 0, 0, 10_000]),
        undo_logs_ms: draw_of(seed, "undo logs", &[0, 0, 0, 15_000]),
        linger_per_million: draw_of(seed, "lingering", &[0, 0, 10_000, 100_000]),
        xaer_nota_ms: draw_of(seed, "time for the unknown", &[60_000, 60_000, 45_000, 100_000]),
        commit_retry_ms: draw_of(seed, "time for commits", &[0, 0, 0, 20_000]),
        rollback_retry_ms,
        unlocks,
        tm_speech: draw_speech(seed, "tm", size.tms),
        rm_speech: draw_speech(seed, "rm", size.rms),
        batch_results: draw_of(seed, "batch results", &[false, true]),
        ring: draw_of(seed, "ring", &[0, 2 * u64::from(size.rms)]) * u64::from(may_have_ring),
        knobs,
        link_us: (dice.between(30, 300), dice.between(20, 400)),
        sync_us: (dice.between(50, 500), dice.between(50, 2_000)),
        clock_ppm_max: match clocks {
            Level::Off => 0,
            Level::Light => 100,
            Level::Heavy => 20_000,
        },
        wall_skew_ms_max: match clocks {
            Level::Off => 0,
            Level::Light => 200,
            Level::Heavy => 10_000,
        },
        swarm: swarm.enabled(),
    }
}

/// In a third of the seeds all speak as usual; in the others a quarter of the clients does.
fn draw_speech(seed: u64, kind: &str, count: u32) -> Vec<Speaks> {
    if Dice::new(seed, "does anybody speak in a way of his own").below(3) == 0 {
        return Vec::new();
    }
    let client = |number: u32| {
        let client = format!("{kind}{number}");
        let usual = Dice::new(seed, &format!("is {client} a usual client")).below(4) == 0;
        if usual { Speaks::default() } else { Speaks::draw(seed, &client, kind == "tm") }
    };
    (1..=count).map(client).collect()
}

impl Options {
    /// How TM `number` speaks, from 1.
    pub fn tm_speaks(&self, number: u32) -> Speaks {
        self.tm_speech.get(number as usize - 1).cloned().unwrap_or_default()
    }

    /// How RM `number` speaks, from 1.
    pub fn rm_speaks(&self, number: u32) -> Speaks {
        self.rm_speech.get(number as usize - 1).cloned().unwrap_or_default()
    }

    /// How much of a class.
    pub fn level(&self, class: Class) -> Level {
        self.swarm.iter().find(|(known, _)| *known == class).map_or(Level::Off, |(_, level)| *level)
    }

    /// How long phase two waits.
    pub fn patience(&self) -> Patience {
        let given = |ms: u64| Some(ms).filter(|ms| *ms > 0);
        Patience {
            xaer_nota_ms: self.xaer_nota_ms,
            commit_retry_ms: given(self.commit_retry_ms),
            rollback_retry_ms: given(self.rollback_retry_ms),
            unlocks: self.unlocks,
        }
    }

    /// How links are when nothing is wrong with them.
    pub fn link(&self) -> LinkState {
        LinkState { latency: Latency::micros(self.link_us.0, self.link_us.1), ..LinkState::CALM }
    }

    /// How disks are when nothing is wrong with them.
    pub fn disk(&self) -> DiskSpeed {
        DiskSpeed { sync: Latency::micros(self.sync_us.0, self.sync_us.1), ..DiskSpeed::CALM }
    }
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// A number of milliseconds.
pub fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_is_a_plan() {
        let [world, small, _] = SIZES;
        assert_eq!(Plan::draw(7, world), Plan::draw(7, world));
        assert_ne!(Plan::draw(7, world).operations, Plan::draw(8, world).operations);
        assert_eq!(Plan::draw(7, world).operations.len(), 200);
        assert_eq!(Plan::draw(7, small).operations.len(), 60);
    }

    #[test]
    fn every_class_is_off_and_heavy_in_some_seeds() {
        let swarms: Vec<Swarm> = (0..200).map(|seed| Swarm::draw(seed, SIZES[2])).collect();
        for class in Class::ALL {
            for level in [Level::Off, Level::Light, Level::Heavy] {
                assert!(swarms.iter().any(|swarm| swarm.level(class) == level), "{class:?} never {level:?}");
            }
        }
        assert!(swarms.iter().any(|swarm| swarm.enabled().is_empty()), "no seed without faults");
        assert!(swarms.iter().any(|swarm| swarm.enabled().len() == 1), "no seed with one class");
    }

    #[test]
    fn money_moves_and_none_is_made() {
        for seed in 0..20 {
            for operation in Plan::draw(seed, SIZES[0]).operations {
                assert_eq!(operation.delta(), 0, "{operation:?}");
            }
        }
    }
}
