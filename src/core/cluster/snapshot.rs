//! The meta group's state as tables of records, and back. Equal states give equal bytes.
//!
//! Persisted like commands: tables and records are never renumbered or changed, new ones are added.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use super::command::{GroupV1, MetaBatch, MetaCommand, MetaOutcome, NodeStartedV1, ReshardV1, SetStandingV1, VgroupV1};
use super::member::{ClusterId, DiskId, GroupKey, Node, Standing};
use super::meta::{Meta, node};
use super::migration::{Migration, Phase};
use super::resharding::Reshard;
use super::routing::{GroupRoute, Routing, SlotRoute, Target, VgroupRoute};
use crate::codec::{self, CodecError, Persisted};
use crate::model::{Epoch, GroupId, NodeId, SLOTS, Slot};

/// One record: clock, picture number, cluster.
const HEAD: u16 = 1;
/// A record for each node.
const NODES: u16 = 2;
/// A record for each data group.
const GROUPS: u16 = 3;
/// One record: the owners of all slots.
const SLOT_ROUTES: u16 = 4;
/// A record for each mapped transaction service group; none in snapshots of before.
const VGROUPS: u16 = 5;

/// A record for each node that is not simply serving.
const STANDINGS: u16 = 6;
/// A record for each data group that moves, or has left something behind.
const MOVES: u16 = 7;
/// A record for each node that was a member.
const REMOVED: u16 = 8;

/// One record once there is a cluster: what is wanted of all groups. None in snapshots of before.
const WANTED: u16 = 9;

/// A record for each slot that is on its way.
const MIGRATIONS: u16 = 10;
/// A record for each group that was added since the founding, with those that are no more.
const ADDED: u16 = 11;
/// One record, if more epochs or group numbers were given out than the other tables show. None in snapshots of before.
const GIVEN: u16 = 12;

/// One record, while slots are to be spread otherwise than they are.
const RESHARD: u16 = 13;

/// A meta record is far below it: 4096 slots, or 64 nodes with their addresses.
const RECORD_BYTES_MAX: usize = 4 << 20;

/// See [`HEAD`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct HeadV1 {
    clock_ms: u64,
    picture: u64,
    cluster: Option<ClusterId>,
    birth_ms: u64,
}

/// See [`NODES`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct NodeRecordV1 {
    started: NodeStartedV1,
    silent: bool,
}

/// See [`SLOT_ROUTES`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct SlotRoutesV1 {
    slots: Vec<SlotRoute>,
}

/// See [`MOVES`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct MoveV1 {
    group: GroupId,
    target: Option<Target>,
    former: Vec<NodeId>,
}

/// See [`REMOVED`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct RemovedV1 {
    node: NodeId,
    disk: DiskId,
}

/// See [`WANTED`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct WantedV1 {
    replicas: u32,
}

/// See [`MIGRATIONS`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct MigrationV1 {
    slot: Slot,
    migration: Migration,
}

/// See [`ADDED`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct AddedV1 {
    key: GroupKey,
    group: GroupId,
}

/// See [`GIVEN`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct GivenV1 {
    last_epoch: Epoch,
    last_group: GroupId,
}

/// See [`RESHARD`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct ReshardRecordV1 {
    wish: ReshardV1,
    since: u64,
}

macro_rules! persisted {
    ($($record:ty),+) => {
        $(impl Persisted for $record {
            const BYTES_MAX: usize = RECORD_BYTES_MAX;
        })+
    };
}
persisted!(
    HeadV1,
    NodeRecordV1,
    GroupV1,
    SlotRoutesV1,
    SetStandingV1,
    MoveV1,
    RemovedV1,
    WantedV1,
    MigrationV1,
    AddedV1,
    GivenV1,
    ReshardRecordV1,
    VgroupV1,
    MetaBatch,
    MetaCommand,
    MetaOutcome
);

/// Why a snapshot is no state.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum LoadError {
    /// A record that does not read.
    #[error("a record of table {table} does not read: {error}")]
    Record {
        /// Its table.
        table: u16,
        /// Why.
        error: CodecError,
    },
    /// A table of a newer format.
    #[error("table {0} is unknown")]
    UnknownTable(u16),
    /// A record that must be there once is not, or is there twice.
    #[error("table {0} must have one record")]
    NotOne(u16),
    /// A transaction service group is there twice.
    #[error("a transaction service group is mapped twice")]
    VgroupTwice,
    /// A record about a node or a group that no other record tells of.
    #[error("table {0} speaks of what is not there")]
    Stray(u16),
    /// A slot is on its way twice.
    #[error("slot {0} moves twice")]
    MovesTwice(Slot),
    /// The number of slots is neither 0 nor 4096.
    #[error("{0} slots are not {SLOTS}")]
    Slots(usize),
}

impl Meta {
    /// The state as records, table by table.
    pub fn tables(&self) -> impl Iterator<Item = (u16, Vec<u8>)> + '_ {
        let routing = &self.routing;
        let head = HeadV1 {
            clock_ms: self.clock_ms,
            picture: routing.picture,
            cluster: routing.cluster,
            birth_ms: routing.birth_ms,
        };
        let slots = SlotRoutesV1 { slots: routing.slots.to_vec() };
        let head = core::iter::once_with(move || (HEAD, encode(&head)));
        let nodes = routing.nodes.values().map(|node| (NODES, encode(&record(node))));
        let groups = routing.groups.iter().map(|(group, route)| (GROUPS, encode(&group_record(*group, route))));
        let slots = core::iter::once_with(move || (SLOT_ROUTES, encode(&slots)));
        let vgroups = routing.vgroups().map(|(vgroup, route)| (VGROUPS, encode(&vgroup_record(vgroup, route))));
        head.chain(nodes).chain(groups).chain(slots).chain(vgroups).chain(self.changes())
    }

    /// Tables that are empty in a cluster that stands still.
    fn changes(&self) -> impl Iterator<Item = (u16, Vec<u8>)> + '_ {
        let routing = &self.routing;
        let unusual = routing.nodes.values().filter(|node| node.standing != Standing::Serving);
        let standings = unusual.map(|node| SetStandingV1 { node: node.id, standing: node.standing });
        let restless = routing.groups.iter().filter(|(_, route)| route.target.is_some() || !route.former.is_empty());
        let moves = restless.map(|(group, route)| MoveV1 {
            group: *group,
            target: route.target.clone(),
            former: route.former.clone(),
        });
        let removed = routing.removed.iter().map(|(node, disk)| RemovedV1 { node: *node, disk: *disk });
        let standings = standings.map(|record| (STANDINGS, encode(&record)));
        let moves = moves.map(|record| (MOVES, encode(&record)));
        let wanted = (routing.replicas_wanted > 0).then_some(WantedV1 { replicas: routing.replicas_wanted });
        let removed = removed.map(|record| (REMOVED, encode(&record)));
        let wanted = wanted.map(|record| (WANTED, encode(&record)));
        standings.chain(moves).chain(removed).chain(wanted).chain(self.travels())
    }

    /// Tables that are empty as long as no slot has moved and no group has come.
    fn travels(&self) -> impl Iterator<Item = (u16, Vec<u8>)> + '_ {
        let routing = &self.routing;
        let migrations = routing.migrations().map(|(slot, migration)| MigrationV1 { slot, migration: *migration });
        let added = routing.added.iter().map(|(key, group)| AddedV1 { key: *key, group: *group });
        let given = GivenV1 { last_epoch: routing.last_epoch, last_group: routing.last_group };
        let given = (given != shown(routing)).then_some(given);
        let migrations = migrations.map(|record| (MIGRATIONS, encode(&record)));
        let added = added.map(|record| (ADDED, encode(&record)));
        let wish = routing.reshard().map(|Reshard { strategy, leaving, since }| ReshardRecordV1 {
            wish: ReshardV1 { strategy: strategy.clone(), leaving: leaving.iter().copied().collect() },
            since: *since,
        });
        let given = given.map(|record| (GIVEN, encode(&record)));
        migrations.chain(added).chain(given).chain(wish.map(|record| (RESHARD, encode(&record))))
    }

    /// The state of such records.
    pub fn load(records: impl IntoIterator<Item = (u16, Vec<u8>)>) -> Result<Meta, LoadError> {
        let mut tables = Tables::default();
        for (table, record) in records {
            tables.take(table, &record)?;
        }
        tables.into_meta()
    }
}

/// What was read of a snapshot.
#[derive(Default)]
struct Tables {
    head: Option<HeadV1>,
    slots: Option<SlotRoutesV1>,
    nodes: BTreeMap<NodeId, Node>,
    groups: BTreeMap<GroupId, GroupRoute>,
    vgroups: BTreeMap<String, VgroupRoute>,
    removed: BTreeMap<NodeId, DiskId>,
    wanted: Option<WantedV1>,
    migrations: BTreeMap<Slot, Migration>,
    added: BTreeMap<GroupKey, GroupId>,
    given: Option<GivenV1>,
    reshard: Option<ReshardRecordV1>,
}

impl Tables {
    fn take(&mut self, table: u16, record: &[u8]) -> Result<(), LoadError> {
        match table {
            HEAD => once(table, &mut self.head, decode(table, record)?)?,
            NODES => {
                let NodeRecordV1 { started, silent } = decode(table, record)?;
                self.nodes.insert(started.node, Node { silent, ..node(&started) });
            }
            GROUPS => {
                let GroupV1 { group, label, replicas } = decode(table, record)?;
                self.groups.insert(group, GroupRoute::at(label, replicas));
            }
            SLOT_ROUTES => once(table, &mut self.slots, decode(table, record)?)?,
            VGROUPS => {
                let VgroupV1 { vgroup, cluster, unit } = decode(table, record)?;
                if self.vgroups.insert(vgroup, VgroupRoute { cluster, unit }).is_some() {
                    return Err(LoadError::VgroupTwice);
                }
            }
            STANDINGS => {
                let SetStandingV1 { node, standing } = decode(table, record)?;
                self.nodes.get_mut(&node).ok_or(LoadError::Stray(table))?.standing = standing;
            }
            MOVES => {
                let MoveV1 { group, target, former } = decode(table, record)?;
                let route = self.groups.get_mut(&group).ok_or(LoadError::Stray(table))?;
                (route.target, route.former) = (target, former);
            }
            REMOVED => {
                let RemovedV1 { node, disk } = decode(table, record)?;
                self.removed.insert(node, disk);
            }
            WANTED => once(table, &mut self.wanted, decode(table, record)?)?,
            MIGRATIONS => {
                let MigrationV1 { slot, migration } = decode(table, record)?;
                if self.migrations.insert(slot, migration).is_some() {
                    return Err(LoadError::MovesTwice(slot));
                }
            }
            ADDED => {
                let AddedV1 { key, group } = decode(table, record)?;
                self.added.insert(key, group);
            }
            GIVEN => once(table, &mut self.given, decode(table, record)?)?,
            RESHARD => once(table, &mut self.reshard, decode(table, record)?)?,
            unknown => return Err(LoadError::UnknownTable(unknown)),
        }
        Ok(())
    }

    fn into_meta(self) -> Result<Meta, LoadError> {
        let head = self.head.ok_or(LoadError::NotOne(HEAD))?;
        let slots = self.slots.ok_or(LoadError::NotOne(SLOT_ROUTES))?.slots;
        if !slots.is_empty() && slots.len() != usize::from(SLOTS) {
            return Err(LoadError::Slots(slots.len()));
        }
        let mut routing = Routing {
            picture: head.picture,
            cluster: head.cluster,
            birth_ms: head.birth_ms,
            slots: Arc::new(slots),
            groups: Arc::new(self.groups),
            nodes: Arc::new(self.nodes),
            vgroups: Arc::new(self.vgroups),
            removed: Arc::new(self.removed),
            replicas_wanted: self.wanted.map_or(0, |wanted| wanted.replicas),
            migrations: Arc::new(self.migrations),
            last_epoch: Epoch::default(),
            last_group: GroupId::default(),
            added: Arc::new(self.added),
            reshard: self.reshard.map(|ReshardRecordV1 { wish: ReshardV1 { strategy, leaving }, since }| {
                Arc::new(Reshard { strategy, leaving: leaving.into_iter().collect(), since })
            }),
        };
        if !routing.migrations().all(|(slot, migration)| fits(&routing, slot, migration)) {
            return Err(LoadError::Stray(MIGRATIONS));
        }
        let shown = shown(&routing);
        let given = self.given.unwrap_or(shown);
        if given.last_epoch < shown.last_epoch || given.last_group < shown.last_group {
            return Err(LoadError::Stray(GIVEN));
        }
        (routing.last_epoch, routing.last_group) = (given.last_epoch, given.last_group);
        Ok(Meta { clock_ms: head.clock_ms, routing })
    }
}

/// Whether a migration is about a slot and groups that are there, and the slot is where it can be by now.
fn fits(routing: &Routing, slot: Slot, migration: &Migration) -> bool {
    let Migration { source, target, epoch, phase } = *migration;
    let groups = routing.group(source).is_some() && routing.group(target).is_some();
    let owner = routing.slot(slot);
    groups
        && match phase {
            Phase::Switched => owner == Some(SlotRoute { group: target, epoch }),
            Phase::Started | Phase::Installed | Phase::Aborting => {
                owner.is_some_and(|owner| owner.group == source && owner.epoch < epoch)
            }
        }
}

/// The highest epoch and group number that can be told from the other tables.
fn shown(routing: &Routing) -> GivenV1 {
    let owned = routing.slots.iter().map(|route| route.epoch);
    let moving = routing.migrations.values().map(|migration| migration.epoch);
    let groups = routing.groups.keys().chain(routing.added.values());
    GivenV1 {
        last_epoch: owned.chain(moving).max().unwrap_or_default(),
        last_group: groups.max().copied().unwrap_or_default(),
    }
}

fn once<T>(table: u16, place: &mut Option<T>, value: T) -> Result<(), LoadError> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(LoadError::NotOne(table)),
    }
}

fn record(node: &Node) -> NodeRecordV1 {
    let Node { id, disk, epoch, start, addresses, silent, standing: _ } = node.clone();
    NodeRecordV1 { started: NodeStartedV1 { node: id, disk, epoch, start, addresses }, silent }
}

fn group_record(group: GroupId, route: &GroupRoute) -> GroupV1 {
    GroupV1 { group, label: route.label.clone(), replicas: route.replicas.clone() }
}

fn vgroup_record(vgroup: &str, route: &VgroupRoute) -> VgroupV1 {
    VgroupV1 { vgroup: vgroup.into(), cluster: route.cluster.clone(), unit: route.unit.clone() }
}

fn encode<T: Persisted>(value: &T) -> Vec<u8> {
    // What came in as a command of at most this size is no larger as a record.
    codec::encode(value).expect("a record of the meta state is within its bound")
}

fn decode<T: Persisted>(table: u16, record: &[u8]) -> Result<T, LoadError> {
    codec::decode(record).map_err(|error| LoadError::Record { table, error })
}

#[cfg(test)]
mod tests {
    use super::super::command::{AddGroupV1, AttemptV1, ReplicaV1, SlotTargetV1, StartMigrationsV1};
    use super::super::meta::tests::{commands, founded};
    use super::*;
    use crate::txn::Stamp;
    use alloc::vec;
    use proptest::prelude::*;

    #[test]
    fn an_empty_state_comes_back() {
        assert_eq!(Meta::load(Meta::new().tables()), Ok(Meta::new()));
    }

    #[test]
    fn a_snapshot_of_before_maps_no_service_group() {
        assert!(founded().tables().all(|(table, _)| table != VGROUPS), "nothing is written without one");
        let mut meta = founded();
        let wanted = VgroupV1 { vgroup: "shop".into(), cluster: "default".into(), unit: "u1".into() };
        let commands = vec![MetaCommand::MapVgroup(wanted.clone())];
        meta.apply(&MetaBatch { stamp: Stamp::default(), commands });
        assert_eq!(Meta::load(meta.tables()), Ok(meta.clone()));
        let twice = meta.tables().chain([(VGROUPS, encode(&wanted))]);
        assert_eq!(Meta::load(twice), Err(LoadError::VgroupTwice));
    }

    fn said(commands: Vec<MetaCommand>) -> Meta {
        let mut meta = founded();
        let outcomes = meta.apply(&MetaBatch { stamp: Stamp::default(), commands });
        assert!(!outcomes.iter().any(|outcome| matches!(outcome, MetaOutcome::Refused(_))), "{outcomes:?}");
        meta
    }

    fn start() -> MetaCommand {
        let to = |slot| SlotTargetV1 { slot: Slot(slot), target: GroupId(2) };
        MetaCommand::StartMigrations(StartMigrationsV1 { after: Epoch(1), slots: vec![to(0), to(2)] })
    }

    #[test]
    fn a_snapshot_of_before_moves_no_slot_and_goes_on_counting() {
        let new = |meta: &Meta| meta.tables().filter(|(table, _)| *table >= MIGRATIONS).count();
        assert_eq!(new(&founded()), 0, "nothing is written without one");
        let loaded = Meta::load(founded().tables()).expect("our own records");
        assert_eq!((loaded.routing().last_epoch(), loaded.routing().last_group()), (Epoch(1), GroupId(2)));
        let attempt = AttemptV1 { slot: Slot(2), epoch: Epoch(3) };
        let given_up = [MetaCommand::AbortMigration(attempt), MetaCommand::MigrationUndone(attempt)];
        let meta = said([start()].into_iter().chain(given_up).collect());
        assert_eq!(new(&meta), 2, "one slot moves, and no table shows the epoch of the other attempt");
        assert_eq!(Meta::load(meta.tables()).expect("our own records").routing().last_epoch(), Epoch(3));
    }

    #[test]
    fn a_group_on_its_way_out_and_one_that_is_no_more_come_back() {
        let wish = AddGroupV1 { key: GroupKey([1; 16]), label: String::new(), replicas: vec![NodeId(1)] };
        let gone = ReplicaV1 { group: GroupId(3), node: NodeId(1) };
        let mut commands = vec![MetaCommand::AddGroup(wish), MetaCommand::RemoveGroup(GroupId(3))];
        let going = said(commands.clone());
        assert_eq!(Meta::load(going.tables()), Ok(going.clone()));
        assert!(going.routing().group(GroupId(3)).is_some_and(GroupRoute::is_going));
        commands.push(MetaCommand::ReplicaGone(gone));
        let no_more = said(commands);
        assert_eq!(Meta::load(no_more.tables()), Ok(no_more.clone()));
        assert!(no_more.routing().was_group(GroupId(3)));
    }

    #[test]
    fn migrations_that_cannot_be_are_refused() {
        let meta = said(vec![start()]);
        let with = |slot: u16, change: fn(&mut Migration)| {
            let mut migration = *meta.routing().migration(Slot(0)).expect("started");
            change(&mut migration);
            let record = encode(&MigrationV1 { slot: Slot(slot), migration });
            Meta::load(founded().tables().chain([(MIGRATIONS, record)])).map(|_| ())
        };
        assert_eq!(with(0, |_| {}), Ok(()));
        let stray = Err(LoadError::Stray(MIGRATIONS));
        assert_eq!(with(4096, |_| {}), stray);
        assert_eq!(with(1, |_| {}), stray, "its source does not own it");
        assert_eq!(with(0, |migration| migration.target = GroupId(9)), stray);
        assert_eq!(with(0, |migration| migration.epoch = Epoch(1)), stray);
        assert_eq!(with(0, |migration| migration.phase = Phase::Switched), stray);
        let twice = meta.tables().chain(meta.tables().filter(|(table, _)| *table == MIGRATIONS));
        assert_eq!(Meta::load(twice), Err(LoadError::MovesTwice(Slot(0))));
        let given = encode(&GivenV1 { last_epoch: Epoch(2), last_group: GroupId(2) });
        assert_eq!(Meta::load(meta.tables().chain([(GIVEN, given)])), Err(LoadError::Stray(GIVEN)));
    }

    #[test]
    fn what_is_no_snapshot_is_refused() {
        let records = || founded().tables().collect::<Vec<_>>();
        assert_eq!(Meta::load(vec![]), Err(LoadError::NotOne(HEAD)));
        assert_eq!(Meta::load(records().into_iter().chain(records())), Err(LoadError::NotOne(HEAD)));
        assert_eq!(Meta::load(vec![(90, vec![])]), Err(LoadError::UnknownTable(90)));
        let mut cut = records();
        cut[1].1.pop();
        assert_eq!(Meta::load(cut), Err(LoadError::Record { table: NODES, error: CodecError::Malformed }));
        let few = encode(&SlotRoutesV1 { slots: founded().routing.slots[..7].to_vec() });
        let mut short = records();
        short.iter_mut().find(|(table, _)| *table == SLOT_ROUTES).expect("the slots").1 = few;
        assert_eq!(Meta::load(short), Err(LoadError::Slots(7)));
    }

    proptest! {
        #[test]
        fn every_state_comes_back_and_equal_states_are_equal_bytes(
            commands in proptest::collection::vec(commands(), 0..30),
        ) {
            let mut meta = Meta::new();
            for command in commands {
                let bytes = codec::encode(&command).expect("a small command");
                prop_assert_eq!(codec::decode_canonical::<MetaCommand>(&bytes), Ok(command.clone()));
                meta.apply(&MetaBatch { stamp: Stamp { clock_ms: 3, wall_ms: 4 }, commands: vec![command] });
            }
            let records: Vec<_> = meta.tables().collect();
            let loaded = Meta::load(records.clone()).expect("our own records");
            prop_assert_eq!(&loaded, &meta);
            prop_assert_eq!(loaded.tables().collect::<Vec<_>>(), records);
        }
    }
}
