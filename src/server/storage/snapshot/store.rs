//! The snapshots of one group: which one is current, and how a new one takes its place.

use super::file::SnapshotFile;
use super::format::{self, SnapshotMeta};
use super::receiver::SnapshotReceiver;
use super::writer::{self, BuildTurn, SnapshotWriter};
use super::{FOLDER, SnapshotError};
use crate::error::{StorageError, Tried, or_stop};
use crate::node::Node;
use quorate_core::model::{GroupId, LogId};
use quorate_world::disk::{Disk, PooledDisk};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A durable snapshot: by its name, and opened once somebody has asked.
#[derive(Clone)]
pub(crate) struct Known {
    /// By its name; an empty log's snapshot has the default.
    pub last: LogId,
    pub file: Option<SnapshotFile>,
}

/// Removes what a crash has left, and finds the newest snapshot of each group.
pub(crate) async fn tidy(disk: &PooledDisk) -> Result<BTreeMap<GroupId, Known>, StorageError> {
    disk.sync_folder(FOLDER).await.tried("sync the snap folder")?;
    let mut newest: BTreeMap<GroupId, Known> = BTreeMap::new();
    let mut gone = Vec::new();
    for name in disk.list(FOLDER).await.tried("list the snap folder")? {
        let path = format!("{FOLDER}/{name}");
        if name.ends_with(".tmp") {
            quorate_core::sometimes!("start_found_an_unfinished_snapshot");
            gone.push(path);
            continue;
        }
        let Some((group, last)) = format::parse_file_name(&name) else {
            tracing::warn!("storage: {path} is not ours, left alone");
            continue;
        };
        match newest.get_mut(&group) {
            Some(known) if known.last.index >= last.index => gone.push(path),
            Some(known) => {
                quorate_core::sometimes!("start_found_two_snapshots_of_a_group");
                gone.push(path_of(group, known.last));
                known.last = last;
            }
            None => {
                newest.insert(group, Known { last, file: None });
            }
        }
    }
    for path in &gone {
        disk.remove(path).await.tried("remove an old snapshot")?;
    }
    Ok(newest)
}

pub(crate) fn path_of(group: GroupId, last: LogId) -> String {
    format!("{FOLDER}/{}", format::file_name(group, Some(last)))
}

/// The snapshots of one group.
#[derive(Clone)]
pub struct SnapshotStore {
    group: GroupId,
    node: Arc<Node>,
}

impl SnapshotStore {
    pub(crate) fn new(group: GroupId, node: Arc<Node>) -> SnapshotStore {
        SnapshotStore { group, node }
    }

    /// The newest durable snapshot, verified whole when it is asked for first after a start.
    pub async fn current(&self) -> Result<Option<SnapshotFile>, StorageError> {
        let known = self.node.snapshots().get(&self.group).cloned();
        let Some(Known { last, file }) = known else { return Ok(None) };
        if let Some(file) = file {
            return Ok(Some(file));
        }
        let identity = self.node.identity();
        let path = path_of(self.group, last);
        let (node, whose) = (&self.node, (identity.cluster, self.group));
        let opened = SnapshotFile::open(&node.pooled, &node.descriptors, path.clone(), whose, None).await;
        let file = opened.map_err(|error| {
            quorate_core::sometimes!("snapshot_on_the_disk_is_damaged");
            error.of_node(identity.node)
        })?;
        if file.meta().last.unwrap_or_default() != last {
            let damage = crate::error::Damage::new(path, 0, "the snapshot is of another log id than its name says");
            return Err(StorageError::from(damage).of_node(identity.node));
        }
        if let Some(known) = self.node.snapshots().get_mut(&self.group).filter(|known| known.last == last) {
            known.file = Some(file.clone());
        }
        Ok(Some(file))
    }

    /// Waits for the turn to build a snapshot: one is built at a time on a node.
    pub async fn turn(&self) -> BuildTurn {
        BuildTurn { _permit: self.node.building.clone().acquire_owned().await.expect("never closed") }
    }

    /// Begins a snapshot of the state machine.
    pub async fn writer(&self, turn: BuildTurn, meta: SnapshotMeta) -> Result<SnapshotWriter, SnapshotError> {
        SnapshotWriter::begin(self.node.clone(), self.group, meta, turn).await
    }

    /// Writes a whole snapshot: the records of each table in order, the tables in order.
    pub async fn write(
        &self,
        meta: SnapshotMeta,
        records: impl IntoIterator<Item = (u16, Vec<u8>)>,
    ) -> Result<SnapshotFile, SnapshotError> {
        let mut writer = self.writer(self.turn().await, meta).await?;
        for (table, record) in records {
            writer.record(table, &record).await?;
        }
        writer.finish().await
    }

    /// Begins to receive a snapshot from a peer. A node receives few at a time: this waits for its turn.
    pub async fn receive(&self) -> Result<SnapshotReceiver, SnapshotError> {
        let turn = self.node.receiving.clone().acquire_owned().await.expect("never closed");
        SnapshotReceiver::begin(self.node.clone(), self.group, turn).await
    }

    /// Makes a received snapshot the current one; durable on return. What was queued before for the log is durable
    /// then, too. The current one itself is left as it is. Refused if the group was removed since its first chunk came.
    pub async fn install(&self, file: &SnapshotFile) -> Result<SnapshotFile, SnapshotError> {
        let current = self.node.snapshots().get(&self.group).and_then(|known| known.file.clone());
        if let Some(current) = current.filter(|current| current.is_same(file)) {
            return Ok(current);
        }
        self.node.flush(&self.node.group(self.group)).await;
        or_stop(settle(&self.node, self.group, file).await).ok_or(SnapshotError::Removed)
    }

    /// Removes the group's snapshot, when the group goes; durable on return. Remove the log first. One that is taking its
    /// place right now does so before, and goes with it; one that was begun before takes its place no more.
    pub async fn remove(&self) {
        let _turn = self.node.settling.lock().await;
        self.node.group(self.group).note_removal();
        writer::remove_abandoned(&self.node).await;
        let known = self.node.snapshots().remove(&self.group);
        if let Some(known) = known {
            let disk = &self.node.pooled;
            or_stop(disk.remove(&path_of(self.group, known.last)).await.tried("remove a snapshot"));
            or_stop(sync_folder(&self.node).await);
        }
    }
}

async fn sync_folder(node: &Node) -> Result<(), StorageError> {
    node.descriptors.wait_for("sync the snap folder", || node.pooled.sync_folder(FOLDER)).await
}

/// Gives a synced file its name; the older one goes afterwards. If a newer one has come meanwhile, that one stays; none if
/// the group was removed meanwhile.
pub(crate) async fn settle(
    node: &Node,
    group: GroupId,
    file: &SnapshotFile,
) -> Result<Option<SnapshotFile>, StorageError> {
    let _turn = node.settling.lock().await;
    let removals = node.group(group).removals();
    if file.removals().is_some_and(|before| before != removals) {
        file.settle();
        node.pooled.remove(file.path()).await.tried("remove a snapshot of a removed group")?;
        return Ok(None);
    }
    let last = file.meta().last.unwrap_or_default();
    let older = node.snapshots().get(&group).cloned();
    if let Some(Known { last: there, file: Some(newer) }) = &older
        && there.index > last.index
    {
        quorate_core::sometimes!("newer_snapshot_came_meanwhile");
        file.settle();
        node.pooled.remove(file.path()).await.tried("remove an outdated snapshot")?;
        return Ok(Some(newer.clone()));
    }
    let path = path_of(group, last);
    file.settle();
    node.pooled.rename(file.path(), &path).await.tried("rename a snapshot")?;
    if !quorate_world::bug!("snapshot_name_not_synced") {
        sync_folder(node).await?;
    }
    let settled = file.renamed(path.clone());
    node.snapshots().insert(group, Known { last, file: Some(settled.clone()) });
    if let Some(older) = older.map(|known| path_of(group, known.last)).filter(|older| *older != path) {
        node.pooled.remove(&older).await.tried("remove an older snapshot")?;
    }
    Ok(Some(settled))
}
