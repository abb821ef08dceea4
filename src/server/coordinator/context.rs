//! The coordinator itself: what it is given, and what its parts share.

use std::sync::Arc;

use quorate_core::cluster::Routing;
use quorate_core::model::{GroupId, NodeId, Slot};
use quorate_core::phase_two::{Patience, UndoLogDeletion};
use quorate_world::linger::narrow;
use quorate_world::random;
use quorate_world::sync::{Notify, Semaphore};
use quorate_world::time::Duration;
use quorate_world::watch;

use super::access::Access;
use super::channels::Channels;
use super::console::PAGES_AT_A_TIME;
use super::counters::{Counters, Counts};
use super::disk_room::{DiskGate, DiskRoom};
use super::driver::Asked;
use super::holders::Holders;
use super::homes::Homes;
use super::in_hand::{NODE_BYTES_MIN, NODE_BYTES_NARROW, Room};
use super::led::Led;
use super::memory::Memory;
use super::meters::Meters;
use super::nodes::Nodes;
use super::outbox::Outbox;
use super::outboxes::{OUTBOXES_BYTES_NARROW, Outboxes};
use super::relays::{self, Relays};
use super::seldom::Seldom;
use super::tenure::Tenure;
use super::turns::{self, Bounds};

/// What a coordinator needs to know of its node.
pub struct CoordinatorContext {
    /// This node.
    pub node: NodeId,
    /// `address:port` that goes into XIDs.
    pub advertise: String,
    /// What registrations are told as the server's version; below 2.6.0, since later ones promise more (protocol, 3.1).
    pub version: String,
    /// The routing table, as applied here.
    pub routing: watch::Receiver<Routing>,
    /// The way to the other nodes.
    pub nodes: Arc<dyn Nodes>,
    /// State of all groups here together; beyond it begins are refused (design, section 9, item 7).
    pub memory_budget_bytes: u64,
    /// All requests in hand together; without room connections are not read. As much may be on its way to clients.
    pub requests_bytes_max: u64,
    /// Who may register.
    pub access: Access,
    /// How long phase two waits for what may never come.
    pub patience: Patience,
    /// When RMs are asked to delete old undo logs.
    pub undo_logs: UndoLogDeletion,
    /// Whether the requests of a merged frame may be answered as they are done, in batch results.
    pub batch_results: bool,
    /// So long after the last connection of a TM's process its open transactions are rolled back; nothing: never.
    pub lost_tm_after: Option<Duration>,
    /// Whether transactions are counted as Seata's metrics count them.
    pub seata_meters: bool,
}

/// The coordinator of a node. One per process, shared by everybody.
pub struct Coordinator {
    pub(super) node: NodeId,
    pub(super) advertise: String,
    pub(super) version: String,
    pub(super) routing: watch::Receiver<Routing>,
    pub(super) nodes: Arc<dyn Nodes>,
    pub(super) memory: Memory,
    pub(super) disk: DiskGate,
    /// For the requests of all connections.
    pub(super) room: Room,
    /// What is on its way over them.
    pub(super) outboxes: Arc<Outboxes>,
    pub(super) access: Access,
    pub(super) patience: Patience,
    pub(super) undo_logs: UndoLogDeletion,
    pub(super) batch_results: bool,
    pub(super) lost_tm_after: Option<Duration>,
    pub(super) channels: Channels,
    pub(super) counters: Counters,
    pub(super) meters: Meters,
    pub(super) led: Led,
    pub(super) holders: Holders,
    pub(super) homes: Homes,
    /// Phase-two requests that wait for an answer, from any connection.
    pub(super) asked: Asked,
    /// How many of them may be out at a time.
    pub(super) turns: Semaphore,
    /// And through other nodes.
    pub(super) relays: Relays,
    /// Of the console: so many are gathered at a time.
    pub(super) pages: Semaphore,
    /// Whether a conflict over a row is written to the log.
    pub(super) conflict_told: Seldom,
    /// Rings when a leader was elected, lost or heard of: parked requests look again.
    pub(super) changed: Notify,
    /// Drawn at the start of the process.
    pub(super) start: u64,
}

impl Coordinator {
    /// A coordinator without groups and channels.
    pub fn new(context: CoordinatorContext) -> Arc<Coordinator> {
        Coordinator::relaying(context, relays::bounds())
    }

    /// As [`Coordinator::new`], and other nodes are asked so much at a time to ask their RMs.
    pub(super) fn relaying(context: CoordinatorContext, relays: Bounds) -> Arc<Coordinator> {
        let CoordinatorContext {
            node,
            advertise,
            version,
            routing,
            nodes,
            memory_budget_bytes,
            requests_bytes_max,
            access,
            patience,
            undo_logs,
            batch_results,
            lost_tm_after,
            seata_meters,
        } = context;
        let requests_bytes_max = usize::try_from(requests_bytes_max).unwrap_or(usize::MAX).max(NODE_BYTES_MIN);
        Arc::new(Coordinator {
            node,
            advertise,
            version,
            routing,
            nodes,
            memory: Memory::new(memory_budget_bytes),
            disk: DiskGate::new(),
            room: Room::new(narrow("requests_of_a_node", requests_bytes_max, NODE_BYTES_NARROW)),
            outboxes: Outboxes::new(narrow("outboxes_of_a_node", requests_bytes_max, OUTBOXES_BYTES_NARROW)),
            access,
            patience,
            undo_logs,
            batch_results,
            lost_tm_after,
            channels: Channels::new(),
            counters: Counters::default(),
            meters: Meters::new(seata_meters),
            led: Led::default(),
            holders: Holders::default(),
            homes: Homes::default(),
            asked: Asked::new(node, random::u64()),
            turns: turns::of_node(),
            relays: Relays::new(relays),
            pages: Semaphore::new(PAGES_AT_A_TIME),
            conflict_told: Seldom::default(),
            changed: Notify::new(),
            start: random::u64(),
        })
    }

    /// What was counted so far.
    pub fn counts(&self) -> Counts {
        self.counters.snapshot()
    }

    /// Connections of clients, and how many of them are RMs.
    pub fn channel_count(&self) -> (usize, usize) {
        self.channels.count()
    }

    /// How much room the disk of this node has.
    pub fn note_disk_room(&self, room: DiskRoom) {
        self.disk.note(room);
    }

    /// What the groups here hold in memory, roughly.
    pub fn state_bytes(&self) -> u64 {
        self.memory.bytes()
    }

    /// What the requests weigh that are not answered yet, roughly.
    pub fn requests_bytes(&self) -> usize {
        self.room.bytes_taken()
    }

    /// What is on its way to clients, over all their connections.
    pub fn answers_bytes(&self) -> usize {
        self.outboxes.bytes()
    }

    /// The way out of a connection that has just come.
    pub fn outbox(&self) -> Arc<Outbox> {
        self.outboxes.open()
    }

    /// Which RM is where.
    pub fn channels(&self) -> &Channels {
        &self.channels
    }

    /// The group that owns a slot, as far as this node knows.
    pub(super) fn group_of(&self, slot: Slot) -> Option<GroupId> {
        self.routing.borrow().group_of(slot)
    }

    /// Where the leader of a slot's group is.
    pub(super) fn leader_of(&self, slot: Slot) -> Leader {
        match self.group_of(slot) {
            Some(group) => self.leader_of_group(group),
            None => Leader::Nobody,
        }
    }

    /// Where the leader of a group is.
    pub(super) fn leader_of_group(&self, group: GroupId) -> Leader {
        if let Some(tenure) = self.led.tenure(group) {
            return Leader::Here(tenure);
        }
        match self.led.whom_to_ask(group, || self.routing.borrow().replicas(group)) {
            Some(node) if node != self.node => Leader::There(node, group),
            Some(_) | None => Leader::Nobody,
        }
    }
}

/// Who leads a group.
pub(super) enum Leader {
    /// This node.
    Here(Arc<Tenure>),
    /// That node, as far as this one knows.
    There(NodeId, GroupId),
    /// Nobody that this node knows of, or this node, but its tenure has not begun.
    Nobody,
}
