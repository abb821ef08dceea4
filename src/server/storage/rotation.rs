//! A new segment: when the newest is full, and at every start.
//!
//! In this order: block 0 and the checkpoint in one write, sync, rename, sync of the folder; only now it is log. The
//! checkpoint that no longer lists a dead segment is durable then, so the helper may take it.
//!
//! With the log above its target, groups that live in the emptiest segment are asked for a snapshot and a purge; what
//! cannot be purged is carried forward right behind a checkpoint, so that no group pins a segment for ever.

use crate::batch;
use crate::checkpoint;
use crate::error::{StorageError, Tried};
use crate::group::{Group, LogRecord};
use crate::index::Place;
use crate::limits::CARRY_BYTES_MAX;
use crate::node::Node;
use crate::read;
use crate::record::{Needed, RECORD_HEAD_BYTES, Record};
use crate::recovery::Sealed;
use crate::segment::{self, Header, SegmentNumber};
use crate::writer::{Newest, Writer};
use quorate_core::model::{GroupId, LogId, LogIndex};
use quorate_world::disk::{Disk, DiskFile, OpenHow};
use std::sync::Arc;

impl Writer {
    /// Seals the newest segment and goes on in a spare.
    pub async fn rotate(&mut self) -> Result<(), StorageError> {
        let spare = self.node.spares.take().await;
        self.rotate_into(spare).await?;
        let files = self.sealed.len() as u64 + 1;
        if files * u64::from(self.node.options.segment_bytes) > self.node.options.wal_bytes_target {
            self.reclaim().await?;
        } else {
            self.node.set_pins(Vec::new());
        }
        Ok(())
    }

    /// Seals the newest segment and goes on in this spare.
    pub async fn rotate_into(&mut self, spare: u64) -> Result<(), StorageError> {
        let path = segment::spare_path(spare);
        let file = self.disk.open(&path, OpenHow::Write).await.tried("open a spare")?;
        let file_bytes = u32::try_from(file.len().await.tried("read a spare")?).expect("a spare has a segment's size");
        if let Some(newest) = self.newest.take() {
            let sealed = Sealed { end_bytes: newest.at_bytes, file_bytes: newest.file_bytes };
            self.sealed.insert(newest.number, sealed);
        }
        let lives = |segment: &SegmentNumber| self.live.share(*segment).entries > 0;
        let dead: Vec<SegmentNumber> = self.sealed.keys().filter(|segment| !lives(segment)).copied().collect();
        let needed = self.sealed.iter().filter(|(segment, _)| lives(segment));
        let needed: Vec<Needed> =
            needed.map(|(segment, sealed)| Needed { segment: *segment, end_bytes: sealed.end_bytes }).collect();
        let header = Header {
            segment: self.next_segment,
            epoch: self.node.epoch(),
            disk: self.node.identity().disk,
            segment_bytes: file_bytes,
            first_batch: self.next,
        };
        if quorate_world::bug!("delete_before_the_checkpoint") {
            self.retire(&dead);
        }
        let bytes = checkpoint::frame(&header, needed, self.node.groups().values());
        let at_bytes = bytes.len() as u64;
        file.write_at(0, bytes).await.tried("write a checkpoint")?;
        file.sync_data().await.tried("sync a checkpoint")?;
        self.disk.rename(&path, &header.segment.path()).await.tried("rename a spare to a segment")?;
        if !quorate_world::bug!("no_folder_sync") {
            self.disk.sync_folder(segment::FOLDER).await.tried("sync the wal folder")?;
        }
        self.node.files.open(header.segment).await?;
        self.newest = Some(Newest { number: header.segment, file, file_bytes, at_bytes });
        (self.next, self.next_segment) = (checkpoint::following(&header), header.segment.next());
        self.retire(&dead);
        Ok(())
    }

    /// Gives segments that no durable checkpoint lists to the helper.
    fn retire(&mut self, dead: &[SegmentNumber]) {
        let gone = dead.iter().filter_map(|segment| Some((*segment, self.sealed.remove(segment)?.file_bytes)));
        let gone: Vec<(SegmentNumber, u32)> = gone.collect();
        self.node.spares.retire(gone);
    }

    /// Frees the emptiest segments, one after the other: asks first for snapshots and purges of what lives in one, and
    /// moves behind the checkpoint what still lives in one that was asked earlier.
    async fn reclaim(&mut self) -> Result<(), StorageError> {
        self.asked.retain(|segment| self.live.share(*segment).entries > 0);
        let victim = self.emptiest(|asked| asked);
        if let Some(next) = self.emptiest(|asked| !asked) {
            self.asked.insert(next);
            self.node.set_pins(pins(&self.node, next));
        }
        match victim {
            Some(victim) => self.carry(victim).await,
            None => Ok(()),
        }
    }

    /// The sealed segment with the fewest live bytes, of those that were asked or of the others.
    fn emptiest(&self, among: impl Fn(bool) -> bool) -> Option<SegmentNumber> {
        let lives = self.sealed.keys().filter(|segment| self.live.share(**segment).entries > 0);
        let candidates = lives.filter(|segment| among(self.asked.contains(segment)));
        candidates.min_by_key(|segment| self.live.share(**segment).bytes).copied()
    }

    async fn carry(&mut self, victim: SegmentNumber) -> Result<(), StorageError> {
        let mut left = CARRY_BYTES_MAX.min(self.node.options.segment_bytes as usize / 4);
        let groups: Vec<Arc<Group>> = self.node.groups().values().cloned().collect();
        let mut moved = 0;
        for group in groups {
            let places = living_in(&group, victim, &mut left);
            let file = self.node.files.get(victim);
            for places in in_batches(&places, self.node.queue.batch_bytes) {
                let mut records = Vec::new();
                read::fetch(&*file, group.id, places, &mut records).await?;
                self.write_carried(&group, &records).await?;
                moved += records.len();
            }
        }
        tracing::info!("storage: carried {moved} entries out of {victim}");
        Ok(())
    }

    async fn write_carried(&mut self, group: &Group, records: &[LogRecord]) -> Result<(), StorageError> {
        let mut stream = Vec::new();
        batch::begin(&mut stream);
        for LogRecord { log_id, payload } in records {
            Record::Carried { log_id: *log_id, payload }.encode(group.id, &mut stream);
        }
        let (segment, base) = self.write_here(&mut stream, records.len() as u32).await?;
        let mut view = group.view();
        for record in batch::records(&stream) {
            let (offset, _, record) = record.expect("our own encoding");
            if let Record::Carried { payload, .. } = &record {
                let place = Place { segment, offset: base + offset as u32, bytes: payload.len() as u32 };
                view.settle(&record, place, &mut self.live).expect("only the writer changes the durable log");
            }
        }
        Ok(())
    }
}

/// Which groups have entries in a segment, and up to which index.
fn pins(node: &Node, segment: SegmentNumber) -> Vec<(GroupId, LogIndex)> {
    let groups = node.groups();
    let pins = groups.values().filter_map(|group| {
        let view = group.view();
        let last = view.durable.places().filter(|(_, place)| place.segment == segment).last();
        last.map(|(index, _)| (group.id, index))
    });
    pins.collect()
}

/// The group's entries in a segment, in the order of their places, as many as `left` bytes allow.
fn living_in(group: &Group, segment: SegmentNumber, left: &mut usize) -> Vec<(LogId, Place)> {
    let view = group.view();
    let mut found = Vec::new();
    for (index, place) in view.durable.places().filter(|(_, place)| place.segment == segment) {
        let bytes = RECORD_HEAD_BYTES + place.bytes as usize;
        if bytes > *left {
            break;
        }
        *left -= bytes;
        let (log_id, place) = view.durable.place(index).expect("just listed");
        found.push((log_id, place));
    }
    found.sort_by_key(|(_, place)| place.offset);
    found
}

/// Cuts into pieces that a batch and a read can hold.
fn in_batches(places: &[(LogId, Place)], bytes_max: usize) -> Vec<&[(LogId, Place)]> {
    let mut pieces = Vec::new();
    let mut start = 0;
    let mut bytes = 0;
    for (i, (_, place)) in places.iter().enumerate() {
        let more = RECORD_HEAD_BYTES + place.bytes as usize;
        let far = (place.offset - places[start].1.offset) as usize > crate::limits::COLD_READ_BYTES;
        if i > start && (bytes + more > bytes_max || far) {
            pieces.push(&places[start..i]);
            (start, bytes) = (i, 0);
        }
        bytes += more;
    }
    if start < places.len() {
        pieces.push(&places[start..]);
    }
    pieces
}
