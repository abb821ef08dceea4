//! What would be left if the power failed now: a node's disk as it is for certain, recovered by the real storage on a
//! machine that nobody else uses.
//!
//! Looked at when a node has just been told that something is durable, or has just answered, now and then: a disk that has
//! not got it yet is found out without any power failure. What was found goes to the oracles.

use crate::ghost::Ghost;
use crate::ghost::told::Told;
use crate::scene::Scene;
use crate::seen::Seen;
use quorate_core::model::{GroupId, LogId, LogIndex, NodeId, Term};
use quorate_core::txn::Transactions;
use quorate_raft::events;
use quorate_storage::{LogState, Storage, StorageOptions};
use quorate_world::disk::NodeDisk;
use quorate_world::net::{IpAddr, Ipv4Addr};
use quorate_world::sim::{self, Dice, DiskImage, Ending, Machine};
use quorate_world::sync::Notify;
use quorate_world::task;
use quorate_world::time::{Duration, sleep};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How often disks are looked at for each reason, about.
const LOOKS_FOR_APPENDS: u32 = 16;
const LOOKS_FOR_VOTES: u32 = 24;
const LOOKS_FOR_SNAPSHOTS: u32 = 16;
const LOOKS_FOR_ANSWERS: u32 = 5;
/// Looks that wait for the machine.
const WAITING_MAX: usize = 12;

/// The same sizes as in `cluster`.
const SEGMENT_BYTES: u32 = 1 << 20;
const WAL_BYTES_TARGET: u64 = 8 << 20;

/// Why a disk is looked at.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Reason {
    Appended,
    Voted,
    Snapshot,
    Answered,
}

impl Reason {
    fn of(seen: &Seen) -> Option<(NodeId, Reason)> {
        match seen {
            Seen::Appended { node, .. } => Some((*node, Reason::Appended)),
            Seen::Voted { node, .. } => Some((*node, Reason::Voted)),
            Seen::Snapshot { node, .. } => Some((*node, Reason::Snapshot)),
            Seen::Answered { node, .. } => Some((*node, Reason::Answered)),
            _ => None,
        }
    }

    fn looks(self) -> u32 {
        match self {
            Reason::Appended => LOOKS_FOR_APPENDS,
            Reason::Voted => LOOKS_FOR_VOTES,
            Reason::Snapshot => LOOKS_FOR_SNAPSHOTS,
            Reason::Answered => LOOKS_FOR_ANSWERS,
        }
    }
}

/// What storage found on a disk, group by group.
pub type Found = BTreeMap<GroupId, Replica>;

/// One replica, as a start finds it.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Replica {
    /// Vote, marks and end of the log.
    pub log: LogState,
    /// The first readable entry of each term.
    pub term_starts: Vec<LogId>,
    /// The last entry in the newest snapshot, which is whole,
    pub snapshot: Option<LogId>,
    /// and the hash of the state in it; none in the group of the cluster itself, which has no model.
    pub snapshot_hash: Option<u64>,
}

/// The model's state right after the entry that a snapshot was made of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Modelled {
    /// Of this group.
    pub group: GroupId,
    /// The entry.
    pub last: LogId,
    /// See [`events::state_hash`].
    pub state_hash: u64,
}

impl Modelled {
    /// None if the model is elsewhere by now.
    fn of(seen: &Seen, ghost: &Ghost) -> Option<Modelled> {
        let Seen::Snapshot { group, last: Some(last), .. } = seen else { return None };
        let found = ghost.groups.get(group).filter(|found| found.at == Some(*last))?;
        Some(Modelled { group: *group, last: *last, state_hash: events::state_hash(&found.model) })
    }
}

impl Replica {
    /// The term of an entry that is in the log.
    pub fn term_at(&self, index: LogIndex) -> Option<Term> {
        let last = self.log.last.filter(|last| index <= last.index)?;
        let before = self.log.purged.filter(|purged| purged.index >= index);
        let start = self.term_starts.iter().rev().find(|start| start.index <= index);
        // Right at the purge the log says it itself; the end of the log may be that too.
        let said = [Some(last), self.log.purged].into_iter().flatten().find(|said| said.index == index);
        said.or(start.filter(|_| before.is_none()).copied()).map(|at| at.term)
    }

    /// Whether it is all of the log up to an entry, as a log or as a snapshot.
    pub fn has(&self, entry: LogId) -> bool {
        let covered = self.snapshot.is_some_and(|last| last.index >= entry.index);
        covered || self.term_at(entry.index) == Some(entry.term)
    }
}

enum Task {
    /// What this node was told of.
    Node(NodeId, BTreeMap<GroupId, Told>, Option<Modelled>, DiskImage),
    /// Who has this entry.
    Everybody(GroupId, LogId, Vec<(NodeId, DiskImage)>),
}

struct Agenda {
    waiting: VecDeque<Task>,
    busy: bool,
    next: BTreeMap<Reason, Duration>,
    dice: Dice,
}

/// See the page.
pub struct Remains {
    scene: Arc<Scene>,
    agenda: Mutex<Agenda>,
    bell: Notify,
}

impl Remains {
    /// Of the nodes of this world. Begins to look.
    pub fn begin(scene: &Arc<Scene>) -> Arc<Remains> {
        let dice = Dice::new(scene.plan.options.schedule, "looks at disks");
        let agenda = Agenda { waiting: VecDeque::new(), busy: false, next: BTreeMap::new(), dice };
        let remains = Arc::new(Remains { scene: scene.clone(), agenda: Mutex::new(agenda), bell: Notify::new() });
        let slot = Arc::<Mutex<Option<Result<Found, String>>>>::default();
        let written = slot.clone();
        let machine = sim::add_machine("remains", IpAddr::V4(Ipv4Addr::new(10, 0, 9, 1)), move || {
            let slot = written.clone();
            async move {
                let found = recover().await;
                *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(found);
                0
            }
        });
        let working = remains.clone();
        task::spawn(async move { working.work(machine, &slot).await });
        remains
    }

    fn agenda(&self) -> MutexGuard<'_, Agenda> {
        self.agenda.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something was seen: a reason to look?
    pub fn consider(&self, seen: &Seen) {
        let Some((node, reason)) = Reason::of(seen) else { return };
        if self.scene.damaged().is_some() {
            return; // what is left of a damaged disk is another promise
        }
        if reason == Reason::Answered && self.scene.lost_a_disk() {
            return; // an entry may have been answered on the strength of that disk
        }
        let agenda = &mut *self.agenda();
        let due = agenda.next.get(&reason).is_none_or(|next| *next <= sim::now());
        if !due || agenda.waiting.len() >= WAITING_MAX {
            return;
        }
        let mean = Duration::from_millis(self.scene.plan.options.safety_ms) / reason.looks();
        let pause = agenda.dice.exponential(mean.as_nanos() as u64);
        agenda.next.insert(reason, sim::now() + Duration::from_nanos(pause));
        let places = self.scene.places();
        let task = match seen {
            Seen::Answered { group, log_id, .. } => {
                let images = places.iter().map(|(node, machine)| (*node, machine.disk().surviving())).collect();
                Task::Everybody(*group, *log_id, images)
            }
            _ => {
                let Some(image) = places.get(&node).map(|machine| machine.disk().surviving()) else { return };
                let ghost = &self.scene.watch().ghost;
                Task::Node(node, ghost.told_to(node), Modelled::of(seen, ghost), image)
            }
        };
        agenda.waiting.push_back(task);
        self.bell.notify_one();
    }

    /// Waits until all that was to be looked at has been.
    pub async fn finish(&self) {
        loop {
            {
                let agenda = self.agenda();
                if agenda.waiting.is_empty() && !agenda.busy {
                    return;
                }
            }
            sleep(Duration::from_millis(20)).await;
        }
    }

    async fn work(&self, machine: Machine, slot: &Mutex<Option<Result<Found, String>>>) {
        loop {
            let task = {
                let mut agenda = self.agenda();
                let task = agenda.waiting.pop_front();
                agenda.busy = task.is_some();
                task
            };
            match task {
                None => self.bell.notified().await,
                Some(Task::Node(node, told, model, image)) => {
                    let found = look(machine, slot, image).await;
                    self.scene.saw(Seen::Remains { node, told, model, found });
                }
                Some(Task::Everybody(group, log_id, images)) => {
                    // A group has as many replicas as there were founders, wherever they are; more of them only while it moves.
                    let (mut holders, nodes) = (BTreeSet::new(), self.scene.plan.options.nodes as usize);
                    for (node, image) in images {
                        let found = look(machine, slot, image).await;
                        if found.is_ok_and(|found| found.get(&group).is_some_and(|replica| replica.has(log_id))) {
                            holders.insert(node);
                        }
                    }
                    self.scene.saw(Seen::Holders { group, log_id, holders, nodes });
                }
            }
        }
    }
}

async fn look(
    machine: Machine,
    slot: &Mutex<Option<Result<Found, String>>>,
    image: DiskImage,
) -> Result<Found, String> {
    machine.disk().put(image);
    machine.start();
    let ending = machine.ended().await;
    let found = slot.lock().unwrap_or_else(PoisonError::into_inner).take();
    match (ending, found) {
        (Ending::Returned, Some(found)) => found,
        (ending, _) => Err(format!("storage cannot start: {ending:?}")),
    }
}

/// With those that are added in a run.
const GROUPS_EVER: u32 = 64;

/// What a start of a node does first, and no more.
async fn recover() -> Result<Found, String> {
    let root = NodeDisk::open_root("data").map_err(|error| error.to_string())?;
    let options = StorageOptions {
        segment_bytes: SEGMENT_BYTES,
        wal_bytes_target: WAL_BYTES_TARGET,
        ..StorageOptions::default()
    };
    let (storage, recovered) = Storage::open(root, options).await.map_err(|error| error.to_string())?;
    let mut found = Found::new();
    if recovered.is_none() {
        return Ok(found);
    }
    // A group that has moved away is not opened again, and its vote is still there.
    for group in (0..=GROUPS_EVER).map(GroupId) {
        let log = storage.group(group);
        if log.state() == LogState::default() {
            continue;
        }
        let snapshot = storage.snapshots(group).current().await.map_err(|error| error.to_string())?;
        let snapshot_hash = match &snapshot {
            Some(file) if group != GroupId::META => {
                let records = file.load().await.map_err(|error| error.to_string())?;
                Some(events::state_hash(&Transactions::load(records).map_err(|error| format!("a snapshot: {error}"))?))
            }
            Some(_) | None => None,
        };
        let snapshot = snapshot.and_then(|file| file.meta().last);
        found.insert(group, Replica { log: log.state(), term_starts: log.term_starts(), snapshot, snapshot_hash });
    }
    Ok(found)
}
