//! Swarm testing: which classes of faults a seed has at all, and how much of each.
//!
//! A class that is off matters as much as one that is on: some bugs show only where another fault is absent
//! (simulation notes, section 4: half of the draws are off, a few seeds have nothing, a few one class heavily).

use super::Size;
use quorate_world::sim::Dice;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A class of planned faults.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// A node's process is killed, and started again.
    Kill,
    /// One node, two or all lose power: what was not synced is lost or torn.
    PowerFailure,
    /// A node's process stands still, often longer than a lease.
    Pause,
    /// Machines in two halves.
    Partition,
    /// Nothing passes from one node, or to it.
    OneWay,
    /// The leader of a group alone.
    IsolateLeader,
    /// Messages of a link take long, some very long.
    SlowLinks,
    /// Connections break.
    Resets,
    /// Syncs take long, or the disk stands still.
    SlowDisk,
    /// A clock runs too fast or too slow.
    ClockRate,
    /// A wall clock jumps.
    ClockJump,
    /// A TM dies in the middle of a transaction.
    TmDeath,
    /// An RM dies in phase one or two.
    RmDeath,
    /// An RM answers phase two with "try again", or its business fails.
    Hiccup,
    /// Nodes are killed or lose power while they found the cluster.
    Founding,
    /// A fourth node joins; then nodes are drained and may serve again, and the fourth is removed, or lost and replaced.
    Membership,
    /// Groups are added and removed, and slots move to them and away.
    Slots,
    /// Somebody asks a leader to hand its group over.
    Transfer,
    /// A node is away for so long that the others purge what it lacks.
    LongAbsence,
    /// A bit of a synced sector turns over.
    DiskDamage,
    /// An RM takes longer for phase two than anybody waits.
    SlowRm,
    /// A client asks and asks, and reads nothing.
    SlowReader,
    /// A disk has little room left, or none.
    FullDisk,
}

/// Drawn apart, each by itself, so that the other classes of a seed are what they were before there were these.
const APART: [(Class, &str); 4] = [
    (Class::Membership, "membership"),
    (Class::Slots, "slots"),
    (Class::SlowReader, "slow readers"),
    (Class::FullDisk, "full disks"),
];

impl Class {
    /// All of them.
    pub const ALL: [Class; 23] = [
        Class::Kill,
        Class::PowerFailure,
        Class::Pause,
        Class::Partition,
        Class::OneWay,
        Class::IsolateLeader,
        Class::SlowLinks,
        Class::Resets,
        Class::SlowDisk,
        Class::ClockRate,
        Class::ClockJump,
        Class::TmDeath,
        Class::RmDeath,
        Class::Hiccup,
        Class::Founding,
        Class::Membership,
        Class::Slots,
        Class::Transfer,
        Class::LongAbsence,
        Class::DiskDamage,
        Class::SlowRm,
        Class::SlowReader,
        Class::FullDisk,
    ];

    /// It strikes the business and its clients, and neither nodes nor what lies between.
    pub fn is_of_clients(self) -> bool {
        matches!(self, Class::TmDeath | Class::RmDeath | Class::Hiccup | Class::SlowRm | Class::SlowReader)
    }

    /// As files and tables have it.
    pub fn name(self) -> &'static str {
        match self {
            Class::Kill => "kill",
            Class::PowerFailure => "power_failure",
            Class::Pause => "pause",
            Class::Partition => "partition",
            Class::OneWay => "one_way",
            Class::IsolateLeader => "isolate_leader",
            Class::SlowLinks => "slow_links",
            Class::Resets => "resets",
            Class::SlowDisk => "slow_disk",
            Class::ClockRate => "clock_rate",
            Class::ClockJump => "clock_jump",
            Class::TmDeath => "tm_death",
            Class::RmDeath => "rm_death",
            Class::Hiccup => "hiccup",
            Class::Founding => "founding",
            Class::Membership => "membership",
            Class::Slots => "slots",
            Class::Transfer => "transfer",
            Class::LongAbsence => "long_absence",
            Class::DiskDamage => "disk_damage",
            Class::SlowRm => "slow_rm",
            Class::SlowReader => "slow_reader",
            Class::FullDisk => "full_disk",
        }
    }
}

/// How much of a class.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// None.
    Off,
    /// Now and then.
    Light,
    /// All the time.
    Heavy,
}

/// The level of each class.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Swarm(BTreeMap<Class, Level>);

impl Swarm {
    /// Draws the levels of a seed.
    pub fn draw(seed: u64, size: Size) -> Swarm {
        let mut dice = Dice::new(seed, "swarm");
        let kind = dice.below(100);
        let is_apart = |class: &Class| APART.iter().any(|(apart, _)| apart == class);
        let others: Vec<Class> = Class::ALL.into_iter().filter(|class| !is_apart(class)).collect();
        let only = dice.below(others.len() as u64) as usize;
        let level = |(place, class): (usize, Class), dice: &mut Dice| {
            let drawn = match dice.below(4) {
                0 | 1 => Level::Off,
                2 => Level::Light,
                _ => Level::Heavy,
            };
            let level = match kind {
                0..5 => Level::Off,
                5..15 if place == only => Level::Heavy,
                5..15 => Level::Off,
                _ => drawn,
            };
            (class, level)
        };
        let mut levels: BTreeMap<Class, Level> =
            others.into_iter().enumerate().map(|class| level(class, &mut dice)).collect();
        let alone = usize::MAX;
        for (class, name) in APART {
            if !matches!(class, Class::Membership | Class::Slots) || size.spares > 0 {
                levels.extend([level((alone, class), &mut Dice::new(seed, name))]);
            }
        }
        Swarm(levels)
    }

    /// The level of a class.
    pub fn level(&self, class: Class) -> Level {
        self.0.get(&class).copied().unwrap_or(Level::Off)
    }

    /// The classes that are on.
    pub fn enabled(&self) -> Vec<(Class, Level)> {
        self.0.iter().filter(|(_, level)| **level != Level::Off).map(|(class, level)| (*class, *level)).collect()
    }
}
