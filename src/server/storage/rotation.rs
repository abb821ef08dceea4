//! A new segment: when the newest is full, and at every start.
//!
//! In this order: block 0 and the checkpoint in one write, sync, rename, sync of the folder; only now it is log. The
//! checkpoint that no longer lists a dead segment is durable then, so the helper may take it.
//!
//! With the log above its target, the emptiest segment is marked: until the next rotation its groups may purge what lives there.
//! What they do not is carried forward (`carry`), so that no group pins a segment for ever.

use crate::checkpoint;
use crate::error::{StorageError, Tried};
use crate::record::Needed;
use crate::recovery::Sealed;
use crate::segment::{self, Header, SegmentNumber};
use crate::writer::{Newest, Writer};
use quorate_world::disk::{Disk, DiskFile, OpenHow};

impl Writer {
    /// Seals the newest segment and goes on in a spare.
    pub async fn rotate(&mut self) -> Result<(), StorageError> {
        let spare = self.node.spares.take().await;
        self.rotate_into(spare).await?;
        quorate_core::sometimes!("log_goes_on_in_a_new_segment");
        match self.excess() {
            0 => {}
            segments => self.reclaim(segments).await?,
        }
        Ok(())
    }

    /// Seals the newest segment and goes on in this spare.
    pub async fn rotate_into(&mut self, spare: u64) -> Result<(), StorageError> {
        let path = segment::spare_path(spare);
        let (disk, descriptors) = (self.disk.clone(), self.node.descriptors.clone());
        let file = descriptors.wait_for("open a spare", || disk.open(&path, OpenHow::Write)).await?;
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
        if !quorate_world::bug!("checkpoint_not_synced") {
            file.sync_data().await.tried("sync a checkpoint")?;
        }
        self.disk.rename(&path, &header.segment.path()).await.tried("rename a spare to a segment")?;
        if !quorate_world::bug!("no_folder_sync") {
            descriptors.wait_for("sync the wal folder", || disk.sync_folder(segment::FOLDER)).await?;
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

    /// Segments above the target.
    fn excess(&self) -> usize {
        let target = self.node.options.wal_bytes_target / u64::from(self.node.options.segment_bytes);
        (self.sealed.len() + 1).saturating_sub(target as usize)
    }

    /// A start waits for nobody: what it finds above the target is moved at once, so that a node which starts over
    /// and over does not pile up segments.
    pub async fn reclaim_at_start(&mut self) -> Result<(), StorageError> {
        self.marked = self.sealed.keys().copied().collect();
        match self.excess() {
            0 => Ok(()),
            segments => self.reclaim(segments).await,
        }
    }

    /// Frees some of the emptiest segments: marks one first, and moves behind the checkpoint what still lives in one that was
    /// marked earlier.
    async fn reclaim(&mut self, segments: usize) -> Result<(), StorageError> {
        self.marked.retain(|segment| self.live.share(*segment).entries > 0);
        let mut left_bytes = self.carry_bytes_max();
        for _ in 0..segments {
            let Some(victim) = self.emptiest(|marked| marked) else { break };
            quorate_core::sometimes!("entries_are_carried_forward");
            self.carry(victim, &mut left_bytes).await?;
            if self.live.share(victim).entries > 0 {
                break;
            }
        }
        for _ in 0..segments {
            let Some(next) = self.emptiest(|marked| !marked) else { break };
            quorate_core::sometimes!("segment_is_marked_to_be_emptied");
            self.marked.insert(next);
        }
        Ok(())
    }

    /// The sealed segment with the fewest live bytes, of those that are marked or of the others.
    fn emptiest(&self, among: impl Fn(bool) -> bool) -> Option<SegmentNumber> {
        let lives = self.sealed.keys().filter(|segment| self.live.share(**segment).entries > 0);
        let candidates = lives.filter(|segment| among(self.marked.contains(segment)));
        candidates.min_by_key(|segment| self.live.share(**segment).bytes).copied()
    }
}
