//! openraft's own suite for log stores and state machines, on ours.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::Stream;
use openraft::storage::{EntryResponder, RaftStateMachine};
use openraft::testing::log::{StoreBuilder, Suite};
use openraft::{OptionalSend, StorageError};
use quorate_core::model::{GroupId, NodeId};
use quorate_storage::{SnapshotFile, SnapshotStore, Storage, StorageOptions};
use quorate_world::runtime::run_test;

use super::disk;
use super::ledger::Ledger;
use crate::clock::GroupClock;
use crate::life;
use crate::log_store::LogStore;
use crate::options::RaftOptions;
use crate::snapshot::{Snapshot, SnapshotBuilder};
use crate::state_machine::{Growth, Held, StateMachine};
use crate::types::{Consensus, LogId, SnapshotMeta, StoredMembership};

const NODE: NodeId = NodeId(1);
const GROUP: GroupId = GroupId(1);

/// Each store on a disk of its own.
#[derive(Default)]
struct Disks {
    made: AtomicU64,
}

/// Our state machine, with the one thing that the suite leaves to a network: a snapshot of another node is carried over,
/// chunk by chunk, before it is installed.
struct Carrying {
    machine: StateMachine,
    snapshots: SnapshotStore,
}

impl StoreBuilder<Consensus, LogStore, Carrying, Storage> for Disks {
    async fn build(&self) -> Result<(Storage, LogStore, Carrying), StorageError<Consensus>> {
        let disk = disk::scratch(&format!("suite-{}", self.made.fetch_add(1, Ordering::Relaxed) % 4)).await;
        // The suite purges without snapshots.
        let options = StorageOptions { purge_needs_snapshot: false, ..disk::options() };
        let storage = disk::founded_with(&disk, NODE, options).await;
        let growth = Arc::new(Growth::new(&RaftOptions::default()));
        let (held, clock) = (Arc::new(Held::<Ledger>::new(NODE, GROUP)), Arc::new(GroupClock::default()));
        let snapshots = storage.snapshots(GROUP);
        let (_, hold) = life::begin();
        let machine = StateMachine::new((NODE, GROUP), held, clock, growth, (snapshots.clone(), hold.clone()));
        Ok((storage.clone(), LogStore::new(NODE, storage.group(GROUP), hold), Carrying { machine, snapshots }))
    }
}

impl RaftStateMachine<Consensus> for Carrying {
    type SnapshotData = SnapshotFile;
    type SnapshotBuilder = SnapshotBuilder;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), io::Error> {
        self.machine.applied_state().await
    }

    async fn apply<S>(&mut self, entries: S) -> Result<(), io::Error>
    where
        S: Stream<Item = Result<EntryResponder<Consensus>, io::Error>> + Unpin + OptionalSend,
    {
        self.machine.apply(entries).await
    }

    async fn get_snapshot_builder(&mut self) -> SnapshotBuilder {
        self.machine.get_snapshot_builder().await
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, file: SnapshotFile) -> Result<(), io::Error> {
        let mut receiver = self.snapshots.receive().await.map_err(io::Error::other)?;
        for number in 0..file.chunks() {
            let chunk = file.chunk(number).await.map_err(io::Error::other)?;
            receiver.push(chunk).await.map_err(io::Error::other)?;
        }
        let carried = receiver.finish().await.map_err(io::Error::other)?;
        self.machine.install_snapshot(meta, carried).await
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot>, io::Error> {
        self.machine.get_current_snapshot().await
    }
}

#[test]
fn openraft_finds_nothing_wrong() {
    run_test(async {
        let passed = Suite::<Consensus, LogStore, Carrying, Disks, Storage>::test_all(Disks::default()).await;
        passed.expect("the suite");
    });
}
