//! The business that swaps two neighbours in the ring (`bank::ring`): it reads four rows one after another, thinks, and has the RMs of the
//! first three change them, each if it is still as it was read. Nothing is locked while it reads: only the row locks of its branches keep
//! others from what it has read, and whoever comes too late gives up.

use super::business_at;
use super::call::{self, Call};
use crate::bank::ring::{CHANGES, Change, swap};
use crate::plan::ms;
use crate::plan::operations::Operation;
use crate::scene::Scene;
use quorate_world::random;
use quorate_world::time::sleep;

/// Whether all of it is done.
pub(super) async fn rewire(scene: &Scene, operation: &Operation, xid: &str, start: u64) -> bool {
    let Some(changes) = read(scene, start).await else {
        scene.note(&format!("{xid} reads what is no ring at the moment"));
        return false;
    };
    let told = changes.map(|Change { row, from, to }| format!("{row} from {from} to {to}"));
    scene.note(&format!("{xid} is going to turn rows of the ring: {}", told.join(", ")));
    sleep(ms(operation.thinks_ms)).await;
    scene.watch().swaps.insert(operation.op, changes);
    for (number, change) in (0..).zip(changes) {
        let owner = scene.watch().bank.ring.owner(change.row);
        let call = Call { op: operation.op, branch: number, xid: xid.to_owned() };
        if call::ask(business_at(owner), &call).await != Some(true) {
            return false;
        }
    }
    true
}

async fn read(scene: &Scene, start: u64) -> Option<[Change; CHANGES]> {
    let mut rows = [start; CHANGES + 1];
    for place in 1..rows.len() {
        rows[place] = scene.watch().bank.successor(rows[place - 1])?;
        sleep(ms(random::below(5))).await;
    }
    swap(rows)
}
