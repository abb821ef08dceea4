//! openraft's state machine over a group's [`Machine`], type-erased, in memory behind a lock.
//!
//! The lock is held while one entry is applied or one reader looks, never across an await. Snapshots are built from a clone
//! beside apply. A replica that cannot apply an entry stops the process, with group, index and reason: it must not go on
//! voting for what it cannot follow.

use std::any::Any;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use bytes::Bytes;
use futures_util::{Stream, TryStreamExt};
use openraft::storage::{EntryResponder, RaftStateMachine};
use openraft::{EntryPayload, OptionalSend};
use quorate_core::codec::{self, CodecError};
use quorate_core::model::{self, GroupId, NodeId};
use quorate_world::sync::Notify;
use quorate_world::{bug, linger, process, tap};

use crate::clock::GroupClock;
use crate::entry::{self, EntryBody};
use crate::events;
use crate::life::Hold;
use crate::machine::Machine;
use crate::options::RaftOptions;
use crate::snapshot::{self, Snapshot, SnapshotBuilder};
use crate::types::{self, Consensus, Entry, LogId, Reply, SnapshotMeta, StoredMembership};
use quorate_storage::{SnapshotFile, SnapshotStore};

/// The exit code of a replica that cannot apply: a bug, or a log written by a newer binary.
const EXIT_CANNOT_APPLY: i32 = 70;

/// The applied state of a group.
pub(crate) struct Held<M> {
    node: NodeId,
    group: GroupId,
    machine: RwLock<M>,
}

/// [`Held`] without its type, so that openraft is compiled once for all machines.
pub(crate) trait AnyMachine: Send + Sync + 'static {
    /// Applies the batch of an entry. The outcomes are given back if somebody waits for them.
    fn apply(&self, at: model::LogId, commands: &[u8], wanted: bool) -> Result<Reply, CodecError>;
    /// The state as it is, for a snapshot.
    fn frozen(&self) -> Box<dyn Frozen>;
    /// Replaces the state.
    fn load(&self, records: Vec<(u16, Vec<u8>)>) -> Result<(), String>;
    /// The group clock of the applied state.
    fn clock_ms(&self) -> u64;
}

/// A state that changes no more.
pub(crate) trait Frozen: Send + Sync {
    /// Its records.
    fn tables(&self) -> Box<dyn Iterator<Item = (u16, Vec<u8>)> + Send + '_>;
}

impl<M: Machine> Frozen for M {
    fn tables(&self) -> Box<dyn Iterator<Item = (u16, Vec<u8>)> + Send + '_> {
        Box::new(Machine::tables(self))
    }
}

impl<M: Machine> Held<M> {
    pub fn new(node: NodeId, group: GroupId) -> Held<M> {
        Held { node, group, machine: RwLock::new(M::new()) }
    }

    /// Looks at the applied state.
    pub fn read<R>(&self, look: impl FnOnce(&M) -> R) -> R {
        look(&self.machine.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl<M: Machine> AnyMachine for Held<M> {
    fn apply(&self, at: model::LogId, commands: &[u8], wanted: bool) -> Result<Reply, CodecError> {
        let batch = codec::decode::<M::Batch>(commands)?;
        if bug!("applied_twice") && self.node == NodeId(2) && at.index.0.is_multiple_of(16) {
            self.machine.write().unwrap_or_else(PoisonError::into_inner).apply(&batch);
        }
        let outcomes = self.machine.write().unwrap_or_else(PoisonError::into_inner).apply(&batch);
        tap!(events::Outcomes {
            node: self.node,
            group: self.group,
            log_id: at,
            outcomes_hash: events::outcomes_hash::<M>(&outcomes),
        });
        tap!(events::Batched::<M> { node: self.node, group: self.group, log_id: at, batch });
        Ok(Reply(wanted.then(|| Box::new(outcomes) as Box<dyn Any + Send + Sync>)))
    }

    fn frozen(&self) -> Box<dyn Frozen> {
        Box::new(self.read(M::clone))
    }

    fn load(&self, records: Vec<(u16, Vec<u8>)>) -> Result<(), String> {
        let loaded = M::load(records)?;
        *self.machine.write().unwrap_or_else(PoisonError::into_inner) = loaded;
        Ok(())
    }

    fn clock_ms(&self) -> u64 {
        self.read(M::clock_ms)
    }
}

/// How much log lies between the newest snapshot and the applied state.
pub(crate) struct Growth {
    entries: AtomicU64,
    log_bytes: AtomicU64,
    snapshot_bytes: AtomicU64,
    asked: AtomicBool,
    entries_max: u64,
    log_bytes_max: u64,
    /// A snapshot is due.
    pub due: Notify,
    /// A build is over.
    pub built: Notify,
}

impl Growth {
    pub fn new(options: &RaftOptions) -> Growth {
        Growth {
            entries: AtomicU64::new(0),
            log_bytes: AtomicU64::new(0),
            snapshot_bytes: AtomicU64::new(0),
            asked: AtomicBool::new(false),
            entries_max: options.snapshot_entries,
            log_bytes_max: options.snapshot_log_bytes,
            due: Notify::new(),
            built: Notify::new(),
        }
    }

    /// Whether anything was applied since the last snapshot.
    pub fn any(&self) -> bool {
        self.entries.load(Ordering::Relaxed) > 0
    }

    fn add(&self, bytes: usize) {
        let entries = self.entries.fetch_add(1, Ordering::Relaxed) + 1;
        let log_bytes = self.log_bytes.fetch_add(bytes as u64, Ordering::Relaxed) + bytes as u64;
        // Never more often than the snapshot is large, so that snapshots at most double what is written.
        let log_bytes_max = self.log_bytes_max.max(self.snapshot_bytes.load(Ordering::Relaxed));
        if (entries >= self.entries_max || log_bytes >= log_bytes_max) && !self.asked.swap(true, Ordering::Relaxed) {
            match entries >= self.entries_max {
                true => quorate_core::sometimes!("snapshot_is_due_by_entries"),
                false => quorate_core::sometimes!("snapshot_is_due_by_bytes_of_log"),
            }
            self.due.notify_one();
        }
    }

    /// A snapshot of the state as it is begins, or has replaced it.
    pub fn begin_anew(&self) {
        self.entries.store(0, Ordering::Relaxed);
        self.log_bytes.store(0, Ordering::Relaxed);
        self.asked.store(false, Ordering::Relaxed);
    }

    pub fn note_snapshot(&self, bytes: u64) {
        self.snapshot_bytes.store(bytes, Ordering::Relaxed);
    }
}

/// Where the applied state stands in the log.
#[derive(Clone, Default)]
struct Position {
    applied: Option<LogId>,
    members: StoredMembership,
}

/// One group's state, as openraft wants it. A clone is a handle to the same state.
#[derive(Clone)]
pub(crate) struct StateMachine {
    node: NodeId,
    group: GroupId,
    machine: Arc<dyn AnyMachine>,
    clock: Arc<GroupClock>,
    growth: Arc<Growth>,
    snapshots: SnapshotStore,
    hold: Hold,
    position: Arc<Mutex<Position>>,
}

impl StateMachine {
    pub fn new(
        (node, group): (NodeId, GroupId),
        machine: Arc<dyn AnyMachine>,
        clock: Arc<GroupClock>,
        growth: Arc<Growth>,
        (snapshots, hold): (SnapshotStore, Hold),
    ) -> StateMachine {
        StateMachine { node, group, machine, clock, growth, snapshots, hold, position: Arc::default() }
    }

    fn position(&self) -> MutexGuard<'_, Position> {
        self.position.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn apply_entry(&self, entry: Entry, wanted: bool) -> Reply {
        let at = types::our_log_id(&entry.log_id);
        let (reply, bytes) = match entry.payload {
            EntryPayload::Blank => (Reply(None), entry::blank()),
            EntryPayload::Normal(payload) => (self.apply_commands(at, &payload.0, wanted), payload.0),
            EntryPayload::Membership(members) => {
                let ids = |nodes: &mut dyn Iterator<Item = u64>| nodes.map(NodeId).collect();
                tap!(events::MembersApplied {
                    node: self.node,
                    group: self.group,
                    log_id: at,
                    voters: members.get_joint_config().iter().map(|half| ids(&mut half.iter().copied())).collect(),
                    learners: ids(&mut members.learner_ids()),
                });
                self.position().members = StoredMembership::new(Some(entry.log_id), members);
                (Reply(None), Bytes::new())
            }
        };
        self.position().applied = Some(entry.log_id);
        self.growth.add(bytes.len());
        let clock_ms = self.machine.clock_ms();
        self.clock.note_applied(clock_ms);
        tap!(events::Applied {
            node: self.node,
            group: self.group,
            log_id: at,
            entry_hash: events::hash(&bytes),
            clock_ms,
        });
        reply
    }

    fn apply_commands(&self, at: model::LogId, payload: &Bytes, wanted: bool) -> Reply {
        let applied = match entry::read(payload) {
            Ok(EntryBody::Commands(commands)) => {
                self.machine.apply(at, &commands, wanted).map_err(|error| error.to_string())
            }
            Ok(EntryBody::Blank | EntryBody::Members(_)) => Err("not commands".to_string()),
            Err(error) => Err(error.to_string()),
        };
        applied.unwrap_or_else(|reason| self.cannot_go_on(&format!("entry {} of term {}", at.index, at.term), &reason))
    }

    fn cannot_go_on(&self, what: &str, reason: &str) -> ! {
        tracing::error!(group = %self.group, what, reason, "this replica cannot apply; the process stops");
        process::exit(EXIT_CANNOT_APPLY)
    }
}

impl RaftStateMachine<Consensus> for StateMachine {
    type SnapshotData = SnapshotFile;
    type SnapshotBuilder = SnapshotBuilder;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), io::Error> {
        let position = self.position().clone();
        Ok((position.applied, position.members))
    }

    async fn apply<S>(&mut self, mut entries: S) -> Result<(), io::Error>
    where
        S: Stream<Item = Result<EntryResponder<Consensus>, io::Error>> + Unpin + OptionalSend,
    {
        while let Some((entry, responder)) = entries.try_next().await? {
            linger!("apply_lags", 100);
            let reply = self.apply_entry(entry, responder.is_some());
            if let Some(responder) = responder {
                responder.send(reply);
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> SnapshotBuilder {
        let mut position = self.position().clone();
        if let Some(applied) = position.applied.as_mut().filter(|_| bug!("snapshot_of_a_later_state")) {
            applied.index = applied.index.saturating_sub(1);
        }
        self.growth.begin_anew();
        SnapshotBuilder {
            node: self.node,
            group: self.group,
            meta: SnapshotMeta { last_log_id: position.applied, last_membership: position.members },
            state: self.machine.frozen(),
            snapshots: self.snapshots.clone(),
            growth: self.growth.clone(),
            hold: self.hold.clone(),
        }
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, file: SnapshotFile) -> Result<(), io::Error> {
        // First durable, then visible: what is applied must be there after a crash. At a restart the file is ours already.
        match self.position().applied {
            None => quorate_core::sometimes!("snapshot_loaded_at_a_start"),
            Some(_) => quorate_core::sometimes!("snapshot_of_a_leader_replaces_the_state"),
        }
        let file = self.snapshots.install(&file).await.map_err(io::Error::other)?;
        let records = file.load().await.map_err(io::Error::other)?;
        if let Err(reason) = self.machine.load(records) {
            self.cannot_go_on("a snapshot", &reason);
        }
        *self.position() = Position { applied: meta.last_log_id, members: meta.last_membership.clone() };
        self.clock.note_applied(self.machine.clock_ms());
        self.growth.begin_anew();
        self.growth.note_snapshot(file.bytes());
        tap!(events::SnapshotInstalled {
            node: self.node,
            group: self.group,
            last: meta.last_log_id.as_ref().map(types::our_log_id),
            state_hash: file.name(),
        });
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot>, io::Error> {
        self.snapshots.current().await.map_err(io::Error::other)?.map(snapshot::of_file).transpose()
    }
}

#[cfg(test)]
mod tests {
    use quorate_core::model::{LogIndex, Term};
    use quorate_core::txn::{Batch, Command, Outcome, Stamp, Transactions};

    use super::*;

    const AT: model::LogId = model::LogId { term: Term(1), index: LogIndex(3) };

    fn held() -> Held<Transactions> {
        Held::new(NodeId(1), GroupId(1))
    }

    #[test]
    fn outcomes_go_to_those_who_wait_only() {
        let tick = Batch { stamp: Stamp { clock_ms: 70, wall_ms: 0 }, commands: vec![Command::Tick, Command::Tick] };
        let bytes = codec::encode(&tick).expect("small");
        let held = held();
        assert!(held.apply(AT, &bytes, false).expect("commands").0.is_none());
        assert_eq!(held.clock_ms(), 70);
        let outcomes: Box<dyn Any> = held.apply(AT, &bytes, true).expect("commands").0.expect("wanted");
        let outcomes = outcomes.downcast::<Vec<Outcome>>().expect("of this machine");
        assert_eq!(*outcomes, [Outcome::Done, Outcome::Done]);
    }

    #[test]
    fn what_is_no_batch_is_an_error_and_changes_nothing() {
        let held = held();
        for bytes in [&[][..], &[9], &[1, 255], &[1, 0, 0, 1, 200]] {
            assert!(held.apply(AT, bytes, true).is_err(), "{bytes:?}");
        }
        assert_eq!(held.clock_ms(), 0);
    }

    #[test]
    fn a_frozen_state_stays_as_it_was() {
        let held = held();
        let frozen = held.frozen();
        let before: Vec<_> = frozen.tables().collect();
        let tick = Batch { stamp: Stamp { clock_ms: 70, wall_ms: 0 }, commands: vec![Command::Tick] };
        held.apply(AT, &codec::encode(&tick).expect("small"), false).expect("commands");
        assert_eq!(frozen.tables().collect::<Vec<_>>(), before);
        held.load(before).expect("its own records");
        assert_eq!(held.clock_ms(), 0);
        assert!(held.load(vec![(u16::MAX, vec![1])]).is_err());
    }

    #[test]
    fn a_snapshot_is_due_by_entries_or_bytes_and_asked_for_once() {
        let options = RaftOptions { snapshot_entries: 3, snapshot_log_bytes: 1_000, ..RaftOptions::default() };
        let growth = Growth::new(&options);
        let due = |growth: &Growth| growth.asked.load(Ordering::Relaxed);
        growth.add(10);
        growth.add(10);
        assert!(growth.any() && !due(&growth));
        growth.add(10);
        assert!(due(&growth));
        growth.begin_anew();
        assert!(!growth.any() && !due(&growth));
        growth.add(1_000);
        assert!(due(&growth));
        // A large snapshot is not written again for little log.
        growth.begin_anew();
        growth.note_snapshot(50_000);
        growth.add(1_000);
        assert!(!due(&growth));
    }
}
