//! The fuzz targets' bodies over their corpora, and over a fixed number of spoiled copies of them: what every machine
//! can run, with or without a fuzzer.
#![allow(clippy::disallowed_methods)] // reads files of the repository, not of a node

use std::fs;
use std::path::PathBuf;

use quorate_core::model::Term;
use quorate_core::txn::{Branch, Transactions};

#[path = "../fuzz/bodies/operations.rs"]
mod operations;
#[path = "../fuzz/bodies/packed.rs"]
mod packed;
#[path = "../fuzz/bodies/stored.rs"]
mod stored;
#[path = "../fuzz/bodies/wire.rs"]
mod wire;

/// Spoiled copies of each seed.
const SPOILED: u64 = 40;

#[test]
fn frames() {
    run("frames", wire::frames);
}

#[test]
fn messages() {
    run("messages", wire::messages);
}

#[test]
fn packed_bodies() {
    run("packed", packed::packed);
}

#[test]
fn commands() {
    run("commands", stored::commands);
}

#[test]
fn snapshots() {
    run("snapshots", stored::snapshots);
}

#[test]
fn operation_sequences() {
    run("operations", operations::operations);
}

/// A test of the test: the seeds reach what the model is there for.
#[test]
fn operations_reach_every_kind_of_status() {
    use quorate_core::model::GlobalStatus::*;
    use quorate_core::txn::Fate;
    let seeds = seeds("operations");
    let states: Vec<_> = seeds.iter().map(|seed| operations::state_after(seed)).collect();
    let statuses: Vec<_> = states.iter().flat_map(|state| state.sessions().map(|session| session.status)).collect();
    for status in [
        Begin,
        AsyncCommitting,
        Committing,
        CommitRetrying,
        CommitFailed,
        CommitRetryTimeout,
        Rollbacking,
        RollbackRetrying,
        RollbackFailed,
        RollbackRetryTimeout,
        TimeoutRollbacking,
        StopCommitOrCommitRetry,
        StopRollbackOrRollbackRetry,
        TimeoutRollbackRetrying,
    ] {
        assert!(statuses.contains(&status), "{status} is never reached");
    }
    let open = || states.iter().flat_map(|state| state.sessions());
    assert!(open().any(|session| session.is_deleted()), "no transaction is being deleted");
    let fates: Vec<_> = open().flat_map(|session| session.branches.values().map(|branch| branch.fate)).collect();
    for fate in [Fate::Kept, Fate::CleanUp, Fate::CleanedUp, Fate::Dropped] {
        assert!(fates.contains(&fate), "{fate:?} is never reached");
    }
    assert!(states.iter().any(|state| state.counts().tombstones > 0 && state.counts().row_locks > 0));
}

/// As above: locks whose transaction or whose home is another group's, Sagas, XA, named requests, a second leader.
#[test]
fn operations_reach_what_lies_in_two_groups() {
    use quorate_core::model::BranchType::{SAGA, XA};
    let states: Vec<_> = seeds("operations").iter().map(|seed| operations::state_after(seed)).collect();
    let any = |is_there: fn(&Transactions) -> bool| states.iter().any(is_there);
    assert!(any(|state| state.locks().any(|lock| state.owns(lock.transaction.slot()).is_none())), "of another group");
    let branch_there = |is_there: fn(&Transactions, &Branch) -> bool| {
        states.iter().any(|state| state.sessions().any(|of| of.branches.values().any(|branch| is_there(state, branch))))
    };
    let is_away = |state: &Transactions, branch: &Branch| branch.lock_slot().is_some_and(|at| state.owns(at).is_none());
    assert!(branch_there(is_away), "no branch locks rows of another group");
    assert!(branch_there(|_, branch| branch.kind == XA) && branch_there(|_, branch| branch.kind == SAGA));
    assert!(branch_there(|_, branch| branch.request.is_some()), "no request is named");
    let is_orphan = |state: &Transactions| {
        let listed = |at, branch| state.session(at).is_none_or(|of| of.branches.contains_key(branch));
        state.locks().any(|lock| lock.branches.iter().any(|branch| !listed(lock.transaction, branch)))
    };
    assert!(any(is_orphan), "no hold is left of a branch that never joined");
    assert!(any(|state| state.tenure() > Term(2)), "one leader only");
}

fn run(target: &str, body: fn(&[u8])) {
    let seeds = seeds(target);
    for (number, seed) in seeds.iter().enumerate() {
        body(seed);
        let mut chance = Chance(number as u64 + 1);
        for _ in 0..SPOILED {
            let other = &seeds[chance.below(seeds.len())];
            body(&spoiled(seed, other, &mut chance));
        }
    }
}

fn seeds(target: &str) -> Vec<Vec<u8>> {
    let folder: PathBuf = [env!("CARGO_MANIFEST_DIR"), "fuzz", "corpus", target].iter().collect();
    let mut paths: Vec<PathBuf> = fs::read_dir(folder)
        .expect("the corpus is in the repository")
        .map(|entry| entry.expect("a readable folder").path())
        .collect();
    paths.sort();
    assert!(paths.len() > 20, "{target} has a corpus");
    paths.iter().map(|path| fs::read(path).expect("a readable file")).collect()
}

/// A copy with one to four changes of the kinds a fuzzer makes.
fn spoiled(seed: &[u8], other: &[u8], chance: &mut Chance) -> Vec<u8> {
    let mut bytes = seed.to_vec();
    for _ in 0..=chance.below(4) {
        let at = chance.below(bytes.len());
        match (bytes.get_mut(at), chance.below(6)) {
            (Some(byte), 0) => *byte = chance.below(256) as u8,
            (Some(byte), 1) => *byte ^= 1 << chance.below(8),
            (Some(byte), 2) => *byte = [0, 1, 0x7f, 0x80, 0xff][chance.below(5)],
            (_, 3) => bytes.truncate(at),
            (_, 4) => bytes.insert(at, chance.below(256) as u8),
            _ => {
                let from = chance.below(other.len());
                bytes.splice(at..at, other[from..].iter().copied());
            }
        }
    }
    bytes
}

/// The same numbers every time (xorshift64).
struct Chance(u64);

impl Chance {
    /// Below `bound`, or 0.
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % bound.max(1)
    }
}
