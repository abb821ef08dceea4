//! Damaged disks: a bit of a synced sector turns over behind the back of its node (storage notes, section 16).
//!
//! One disk at a time is damaged, so that each group has a quorum of good ones. A node that finds it refuses to run, with the exit code
//! for damage, and nothing else will do: what it read there must reach nobody, which the oracles see. A node that needs
//! nothing of the sector goes on. In the end the bit is turned back, as an operator does who has the disk repaired, unless something
//! else has been written there since.

use crate::chronicle::Kind as About;
use crate::cluster::Cluster;
use crate::plan::ms;
use crate::plan::swarm::Class;
use crate::scene::Scene;
use quorate_world::sim::{Dice, Machine};
use quorate_world::time::{Duration, sleep};
use std::sync::{Mutex, MutexGuard, PoisonError};

const SECTOR_BYTES: usize = 512;

/// What was done to a disk, to be taken back.
struct Damage {
    machine: Machine,
    path: String,
    at: u64,
    bit: u8,
    /// The sector, once the bit was turned.
    sector: Vec<u8>,
}

/// The damage that there is.
#[derive(Default)]
pub struct DiskDamage(Mutex<Option<Damage>>);

impl DiskDamage {
    fn held(&self) -> MutexGuard<'_, Option<Damage>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Damages the disk of some node, has it start over, and repairs it after this time. Where a disk is damaged already, or
    /// nothing is written yet, it waits.
    pub async fn strike(&self, scene: &Scene, cluster: &Cluster, dice: &mut Dice, lasts: Duration) {
        let damage = loop {
            let machine = cluster.machines[dice.below(cluster.machines.len() as u64) as usize];
            if !machine.is_paused() && scene.damage(Some(machine)) {
                match pick(machine, dice) {
                    Some(damage) => break damage,
                    None => _ = scene.damage(None),
                }
            }
            sleep(ms(500)).await;
        };
        let machine = damage.machine;
        // A half of them turns over under the running node.
        if dice.below(2) == 0 {
            machine.kill();
        }
        if machine.disk().flip_bit(&damage.path, damage.at, damage.bit).is_ok() {
            scene.strikes(Class::DiskDamage, lasts);
            let text = format!("has a bit turned over in {} at {}", damage.path, damage.at);
            scene.tell(About::Fault, &[machine.name()], lasts, &text);
        }
        *self.held() = Some(damage);
        sleep(lasts / 2).await;
        machine.kill();
        cluster.start(machine);
        sleep(lasts / 2).await;
        self.repair(scene);
        cluster.start(machine);
    }

    /// Takes the damage back, if there is any. Its node is down then.
    pub fn repair(&self, scene: &Scene) {
        let Some(damage) = self.held().take() else { return };
        damage.machine.kill();
        let disk = damage.machine.disk();
        // A dead segment lives on under another name, and what is wrong with it goes along.
        let names = disk.files().into_iter().map(|(path, _)| path);
        let same =
            |path: &String| sector_of(damage.machine, path, damage.at).is_some_and(|found| found == damage.sector);
        for path in names.filter(same) {
            // The file is there: its sector was just read.
            let _ = disk.flip_bit(&path, damage.at, damage.bit);
        }
        scene.damage(None);
    }
}

/// A bit of a sector that is written, in the log or a snapshot of this machine. Not while anything is unsynced: what a power failure
/// puts in its place would have the bit turned over too, and nobody would turn it back.
fn pick(machine: Machine, dice: &mut Dice) -> Option<Damage> {
    if machine.disk().unsynced_bytes() > 0 {
        return None;
    }
    let files = machine.disk().files();
    let is_ours = |path: &str| (path.contains("/wal/") && !path.contains("spare")) || path.contains("/snap/");
    let files: Vec<String> =
        files.into_iter().filter(|(path, bytes)| is_ours(path) && *bytes > 0).map(|(path, _)| path).collect();
    let path = files.get(dice.below(files.len() as u64) as usize)?.clone();
    let bytes = machine.disk().read(&path).ok()?;
    let written = bytes.chunks(SECTOR_BYTES).enumerate().filter(|(_, sector)| sector.iter().any(|byte| *byte != 0));
    let written: Vec<usize> = written.map(|(number, _)| number).collect();
    let sector = *written.get(dice.below(written.len() as u64) as usize)?;
    let start = sector * SECTOR_BYTES;
    let end = bytes.len().min(start + SECTOR_BYTES);
    let at = dice.between(start as u64, end as u64 - 1);
    let bit = dice.below(8) as u8;
    let mut sector = bytes[start..end].to_vec();
    sector[at as usize - start] ^= 1 << bit;
    Some(Damage { machine, path, at, bit, sector })
}

/// The sector around this byte.
fn sector_of(machine: Machine, path: &str, at: u64) -> Option<Vec<u8>> {
    let bytes = machine.disk().read(path).ok()?;
    let start = at as usize / SECTOR_BYTES * SECTOR_BYTES;
    Some(bytes.get(start..bytes.len().min(start + SECTOR_BYTES))?.to_vec())
}
