//! Planned faults: when, for how long, of which class, and a number that decides what it hits when it happens.

use super::Size;
use super::swarm::{Class, Level, Swarm};
use quorate_world::sim::Dice;
use serde::{Deserialize, Serialize};

/// Picks are drawn below this: five digits in a file, where a heavy seed has hundreds of faults.
const PICKS: u64 = 100_000;

/// One fault.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// Its number: names its random stream.
    pub fault: u32,
    /// Of which class.
    pub class: Class,
    /// Counted from when the cluster was ready; for what strikes the founding, from when its nodes started.
    pub from_ms: u64,
    /// How long it goes on; for what happens in a moment, nothing.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub lasts_ms: u64,
    /// Decides what it hits.
    pub pick: u32,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// Mean pause between two faults of a class at a level, and how long one lasts.
struct Habit {
    light_ms: u64,
    heavy_ms: u64,
    lasts_ms: (u64, u64),
}

fn habit(class: Class) -> Option<Habit> {
    let (light_ms, heavy_ms, lasts_ms) = match class {
        Class::Kill => (60_000, 8_000, (50, 15_000)),
        Class::PowerFailure => (90_000, 12_000, (100, 15_000)),
        Class::Pause => (60_000, 10_000, (50, 30_000)),
        Class::Partition => (60_000, 12_000, (200, 40_000)),
        Class::OneWay => (60_000, 12_000, (200, 40_000)),
        Class::IsolateLeader => (60_000, 10_000, (500, 20_000)),
        Class::SlowLinks => (60_000, 15_000, (1_000, 30_000)),
        Class::Resets => (20_000, 2_000, (0, 0)),
        Class::SlowDisk => (60_000, 10_000, (500, 20_000)),
        Class::ClockRate => (90_000, 20_000, (2_000, 60_000)),
        Class::ClockJump => (90_000, 20_000, (0, 0)),
        Class::Membership => (60_000, 15_000, (0, 0)),
        Class::Slots => (60_000, 15_000, (0, 0)),
        Class::Transfer => (40_000, 8_000, (0, 0)),
        Class::LongAbsence => (150_000, 60_000, (20_000, 90_000)),
        Class::DiskDamage => (150_000, 40_000, (2_000, 20_000)),
        Class::SlowReader => (90_000, 30_000, (0, 0)),
        Class::FullDisk => (120_000, 40_000, (2_000, 40_000)),
        Class::TmDeath | Class::RmDeath | Class::Hiccup | Class::Founding | Class::SlowRm => return None,
    };
    Some(Habit { light_ms, heavy_ms, lasts_ms })
}

/// Short ones as often as long ones: each halving of the range is as likely as the next.
fn draw_length(dice: &mut Dice, (least, most): (u64, u64)) -> u64 {
    let halvings = most.checked_div(least).map_or(0, u64::ilog2);
    let top = most >> dice.between(0, u64::from(halvings));
    dice.between((top / 2).max(least), top.max(least))
}

/// Draws the faults of all classes that strike the world; those that belong to a transaction stand there.
pub fn draw(seed: u64, size: Size, swarm: &Swarm) -> Vec<Fault> {
    let mut faults = founding(seed, swarm);
    for class in Class::ALL {
        let Some(habit) = habit(class) else { continue };
        let mean_ms = match swarm.level(class) {
            Level::Off => continue,
            Level::Light => habit.light_ms,
            Level::Heavy => habit.heavy_ms,
        };
        let mut times = Dice::new(seed, &format!("times of {class:?}"));
        let mut at_ms = times.below(mean_ms.min(size.safety_ms / 2));
        while at_ms < size.safety_ms {
            let mut dice = Dice::new(seed, &format!("{class:?} at {at_ms}"));
            let lasts_ms = draw_length(&mut dice, habit.lasts_ms);
            let fault = faults.len() as u32;
            faults.push(Fault { fault, class, from_ms: at_ms, lasts_ms, pick: dice.below(PICKS) as u32 });
            at_ms += 1 + times.exponential(mean_ms * 1_000_000) / 1_000_000;
        }
    }
    faults
}

/// Those that strike nodes while they found the cluster.
fn founding(seed: u64, swarm: &Swarm) -> Vec<Fault> {
    let strikes = match swarm.level(Class::Founding) {
        Level::Off => 0,
        Level::Light => 1,
        Level::Heavy => 4,
    };
    let strike = |fault: u32| {
        let mut dice = Dice::new(seed, &format!("strike {fault} of the founding"));
        let halvings = dice.below(8);
        let from_ms = dice.below(2_000 >> halvings);
        let lasts_ms = dice.between(20, 2_000);
        Fault { fault, class: Class::Founding, from_ms, lasts_ms, pick: dice.below(PICKS) as u32 }
    };
    (0..strikes).map(strike).collect()
}
