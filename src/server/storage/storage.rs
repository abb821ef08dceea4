//! Opening a data folder: lock, identity, recovery, and the threads that then work on it.

use crate::error::{Damage, StorageError, Tried};
use crate::group_log::GroupLog;
use crate::identity::{self, Identity, Standing};
use crate::limits::{FIRST_SEGMENT_BYTES, QUEUE_BYTES_MAX};
use crate::node::{Node, StorageOptions};
use crate::recovery::{self, Recovered, Recovery, Tail};
use crate::sector::BatchNumber;
use crate::segment::{self, SegmentNumber};
use crate::snapshot::{self, Known, SnapshotStore};
use crate::spare::{self, Preparer};
use crate::stats::Figures;
use crate::writer::Writer;
use quorate_core::model::GroupId;
use quorate_world::disk::{Disk, NodeDisk};
use quorate_world::sync::oneshot;
use quorate_world::task::{JoinHandle, spawn_owned_thread};
use quorate_world::time::Instant;
use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

pub(crate) const LOCK: &str = "LOCK";

/// The data folder of a node, opened. Clones are handles to the same; when the last one and the last
/// [`GroupLog`] are gone, what is queued is written and the threads end.
#[derive(Clone)]
pub struct Storage {
    handle: Arc<Handle>,
}

/// How much room the device has left (what happens then is the caller's business).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Space {
    /// Enough.
    Ample,
    /// New transactions should be refused, snapshots and purges forced.
    Low,
    /// A spare segment cannot be made: only what ends transactions should pass.
    Critical,
    /// Appends wait. Nothing is acknowledged, nothing is lost; it goes on when space returns.
    Full,
}

/// Closes the queue when nobody is left to use it.
pub(crate) struct Handle {
    pub node: Arc<Node>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.node.queue.close();
    }
}

impl Storage {
    /// Locks the folder and, if it is founded, recovers it. A folder that is not founded has no groups before
    /// [`Storage::found`].
    pub async fn open(disk: NodeDisk, options: StorageOptions) -> Result<(Storage, Option<Recovered>), StorageError> {
        options.check().map_err(StorageError::Refused)?;
        let pooled = disk.pooled();
        let lock = match pooled.lock(LOCK).await {
            Ok(lock) => lock,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Err(StorageError::InUse),
            Err(source) => return Err(StorageError::Io { what: "lock the data folder".to_owned(), source }),
        };
        for folder in [segment::FOLDER, snapshot::FOLDER] {
            pooled.make_folder(folder).await.tried("make a folder")?;
        }
        let standing = identity::load(&pooled).await?;
        if let (Standing::Founded(Identity { node, .. }), Some(asked)) = (&standing, options.node)
            && *node != asked
        {
            return Err(StorageError::OtherNode { node: *node, asked });
        }
        let node = Arc::new(Node::new(disk, options, lock));
        let storage = Storage { handle: Arc::new(Handle { node, writer: Mutex::new(None) }) };
        match standing {
            Standing::Founded(identity) => {
                storage.node().set_identity(identity);
                let recovered = storage.start(false).await.map_err(|error| error.of_node(identity.node))?;
                return Ok((storage, Some(recovered)));
            }
            Standing::Unfinished => {
                quorate_core::sometimes!("founding_of_a_disk_was_cut_off");
                identity::undo(&pooled, &[segment::FOLDER, snapshot::FOLDER]).await?;
            }
            Standing::Blank => storage.refuse_orphans().await?,
        }
        Ok((storage, None))
    }

    fn node(&self) -> &Arc<Node> {
        &self.handle.node
    }

    /// Segments whose owner is unknown are somebody's memory: they are not to be forgotten by starting over.
    async fn refuse_orphans(&self) -> Result<(), StorageError> {
        let names = self.node().pooled.list(segment::FOLDER).await.tried("list the wal folder")?;
        match names.first() {
            None => Ok(()),
            Some(name) => Err(StorageError::Refused(format!("the data folder has {name}, but no IDENTITY"))),
        }
    }

    /// Makes an empty folder the disk of a node; durable on return. Once in its life.
    pub async fn found(&self, identity: Identity) -> Result<(), StorageError> {
        assert!(self.identity().is_none(), "a disk is founded once");
        identity::prepare(&self.node().pooled, &identity).await?;
        self.node().set_identity(identity);
        self.start(true).await?;
        identity::finish(&self.node().pooled).await
    }

    /// Starts the writer and waits until it has recovered and the new epoch is durable.
    async fn start(&self, fresh: bool) -> Result<Recovered, StorageError> {
        let (ready, waiting) = oneshot::channel();
        let log = run_log(self.node().clone(), fresh, ready);
        let writer = spawn_owned_thread("wal", log).tried("start the thread of the log")?;
        *self.handle.writer.lock().unwrap_or_else(PoisonError::into_inner) = Some(writer);
        match waiting.await {
            Ok(recovered) => recovered,
            Err(_) => panic!("the thread of the log ended without a word"),
        }
    }

    /// Whose disk it is, if it is founded.
    pub fn identity(&self) -> Option<Identity> {
        self.node().found_identity()
    }

    /// The number of this start, durable before anybody hears of it; 0 before the founding.
    pub fn epoch(&self) -> u64 {
        self.node().epoch()
    }

    /// The groups that have anything here, in order.
    pub fn groups(&self) -> Vec<GroupId> {
        let groups = self.node().groups();
        let there = groups.values().filter(|group| {
            let marks = group.view().durable.marks();
            !marks.removed && marks != Default::default()
        });
        there.map(|group| group.id).collect()
    }

    /// The log of a group; an empty one if it is new here.
    pub fn group(&self, group: GroupId) -> GroupLog {
        assert!(self.identity().is_some(), "groups live on a founded disk");
        GroupLog::new(self.node().group(group), self.handle.clone())
    }

    /// The snapshots of a group.
    pub fn snapshots(&self, group: GroupId) -> SnapshotStore {
        SnapshotStore::new(group, self.node().clone())
    }

    /// Largest payload of an entry.
    pub fn payload_bytes_max(&self) -> usize {
        self.node().options.payload_bytes_max()
    }

    /// Bytes that wait for the disk.
    pub fn queued_bytes(&self) -> usize {
        self.node().queue.bytes()
    }

    /// Whether so much waits for the disk that new work should be refused.
    pub fn is_behind(&self) -> bool {
        self.queued_bytes() > QUEUE_BYTES_MAX / 2
    }

    /// Whether appends wait: the device is full and no spare is left, or there is no file descriptor to go on with. Nothing is
    /// acknowledged, nothing is lost; it goes on when space or a descriptor returns.
    pub fn is_waiting(&self) -> bool {
        self.node().spares.is_full() == (true, true) || self.node().descriptors.are_missing()
    }

    /// How much room the device has left for the log.
    pub async fn space(&self) -> Result<Space, StorageError> {
        match self.node().spares.is_full() {
            (true, true) => return Ok(Space::Full),
            (true, false) => return Ok(Space::Critical),
            (false, _) => {}
        }
        let free_bytes = self.node().pooled.free_bytes().await.tried("ask for the free space")?;
        Ok(if free_bytes < self.node().options.free_bytes_low { Space::Low } else { Space::Ample })
    }

    /// Figures for metrics.
    pub fn figures(&self) -> Figures {
        let node = self.node();
        Figures {
            queued_bytes: node.queue.bytes(),
            cached_bytes: node.cached_bytes.load(std::sync::atomic::Ordering::Relaxed),
            spares: node.spares.ready(),
            is_waiting: self.is_waiting(),
            ..node.stats.read()
        }
    }

    /// Writes what is queued, ends the writer and waits for it. Later calls on this storage never become durable.
    pub async fn close(&self) {
        self.node().queue.close();
        let writer = self.handle.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(writer) = writer {
            // An aborted writer has nothing left to say.
            let _ = writer.await;
        }
    }
}

/// The whole life of the thread of the log.
async fn run_log(node: Arc<Node>, fresh: bool, ready: oneshot::Sender<Result<Recovered, StorageError>>) {
    let begun = if fresh { begin_fresh(node).await } else { begin_recovered(node).await };
    let (writer, helper, recovered) = match begun {
        Ok(begun) => begun,
        Err(error) => {
            // Nobody waits any more only if the start itself was dropped.
            let _ = ready.send(Err(error));
            return;
        }
    };
    let helper = match spawn_owned_thread("wal-spare", helper.run()).tried("start the thread of the spares") {
        Ok(helper) => helper,
        Err(error) => {
            let _ = ready.send(Err(error));
            return;
        }
    };
    let _ = ready.send(Ok(recovered));
    writer.run().await;
    let _ = helper.await;
}

fn preparer_of(node: &Node) -> Preparer {
    Preparer {
        disk: node.disk.clone(),
        spares: node.spares.clone(),
        files: node.files.clone(),
        descriptors: node.descriptors.clone(),
        segment_bytes: node.options.segment_bytes,
    }
}

/// A small first segment, so that an empty folder serves at once.
async fn begin_fresh(node: Arc<Node>) -> Result<(Writer, Preparer, Recovered), StorageError> {
    let began = Instant::now();
    let disk = node.disk.clone();
    disk.sync_folder("").await.tried("sync the data folder")?;
    node.set_epoch(1);
    let mut writer = Writer::new(node.clone(), disk, SegmentNumber(1), BatchNumber(1));
    rotate_at_start(&mut writer).await?;
    let elapsed_ms = began.elapsed().as_millis() as u64;
    let recovered = Recovered { segments: 0, entries: 0, groups: 0, tail: Tail::Clean, epoch: 1, elapsed_ms };
    Ok((writer, preparer_of(&node), recovered))
}

async fn begin_recovered(node: Arc<Node>) -> Result<(Writer, Preparer, Recovered), StorageError> {
    let began = Instant::now();
    let disk = node.disk.clone();
    let found = recovery::recover(&disk, &node.identity().disk, node.options.segment_bytes).await?;
    let snapshots = snapshot::tidy(&node.pooled).await?;
    check_purges(&node, &found, &snapshots)?;
    *node.snapshots() = snapshots;
    let epoch = found.epoch + 1;
    let (segments, entries, tail, groups) = (found.sealed.len(), found.entries, found.tail, found.groups.len());
    let mut writer = take_over(&node, found, epoch).await?;
    rotate_at_start(&mut writer).await?;
    writer.reclaim_at_start().await?;
    for path in core::mem::take(&mut writer.rubbish) {
        disk.remove(&path).await.tried("remove an unfinished spare")?;
    }
    let elapsed_ms = began.elapsed().as_millis() as u64;
    if let Tail::Torn { .. } = tail {
        tracing::warn!("storage: the last batch was torn: its sync never finished, nobody was told; {tail}");
    }
    tracing::info!(
        "storage: recovered segments={segments} entries={entries} groups={groups} {tail} epoch={epoch} elapsed_ms={elapsed_ms}"
    );
    Ok((writer, preparer_of(&node), Recovered { segments, entries, groups, tail, epoch, elapsed_ms }))
}

/// Gives the node and a writer what was found.
async fn take_over(node: &Arc<Node>, found: Recovery, epoch: u64) -> Result<Writer, StorageError> {
    node.set_epoch(epoch);
    node.set_groups(found.groups);
    for segment in found.sealed.keys() {
        node.files.open(*segment).await?;
    }
    node.spares.found(found.spares);
    node.spares.retire(found.dead);
    for path in &found.rubbish {
        if let segment::Name::Spare(number) =
            segment::Name::parse(path.trim_start_matches("wal/").trim_end_matches(".tmp"))
        {
            node.spares.number_above(number);
        }
    }
    let mut writer = Writer::new(node.clone(), node.disk.clone(), found.newest.next(), found.expected.next());
    (writer.live, writer.sealed, writer.rubbish) = (found.live, found.sealed, found.rubbish);
    Ok(writer)
}

/// A start does not wait for a full spare: a small segment is enough.
async fn rotate_at_start(writer: &mut Writer) -> Result<(), StorageError> {
    let spare = match writer.node.spares.take_ready() {
        Some(spare) => spare,
        None => {
            let spare = writer.node.spares.fresh_number();
            let bytes = FIRST_SEGMENT_BYTES.min(writer.node.options.segment_bytes);
            let made = spare::prepare(&writer.disk, &writer.node.descriptors, spare, bytes, None).await?;
            assert!(made, "only a closed shelf interrupts");
            spare
        }
    };
    writer.rotate_into(spare).await
}

/// What was purged must be in a snapshot.
fn check_purges(node: &Node, found: &Recovery, snapshots: &BTreeMap<GroupId, Known>) -> Result<(), StorageError> {
    if !node.options.purge_needs_snapshot {
        return Ok(());
    }
    for (id, group) in &found.groups {
        let Some(purged) = group.marks().purged else { continue };
        let covered = snapshots.get(id).is_some_and(|known| known.last.index >= purged.index);
        if !covered {
            quorate_core::sometimes!("start_refused_for_a_purge_without_snapshot");
            let what = format!("group {id} is purged up to {}, but no snapshot goes that far", purged.index);
            return Err(Damage::new(found.newest.path(), 0, what).into());
        }
    }
    Ok(())
}
