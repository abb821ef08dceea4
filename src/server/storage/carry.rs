//! Moving entries forward: what lives in an old segment is written again behind a checkpoint, so that the segment dies.
//!
//! For entries that nobody can purge: the uncommitted tail of a group without a quorum, a replica that catches up. One
//! rotation moves a quarter of a segment at most, so that moving never becomes all that the log does.

use crate::batch;
use crate::error::StorageError;
use crate::group::LogRecord;
use crate::index::Place;
use crate::limits::{CARRY_BYTES_MAX, COLD_READ_BYTES};
use crate::read::{self, Wanted};
use crate::record::{RECORD_HEAD_BYTES, Record};
use crate::sector::SECTOR_BYTES;
use crate::segment::SegmentNumber;
use crate::writer::Writer;

impl Writer {
    /// What one rotation may move.
    pub fn carry_bytes_max(&self) -> usize {
        CARRY_BYTES_MAX.min(self.newest.as_ref().map_or(0, |newest| newest.file_bytes as usize / 4))
    }

    /// Moves what lives in `victim` into the newest segment, as much as is left.
    pub async fn carry(&mut self, victim: SegmentNumber, left_bytes: &mut usize) -> Result<(), StorageError> {
        let wanted = self.living_in(victim, left_bytes);
        let file = self.node.files.get(victim);
        let mut moved = 0;
        for piece in in_batches(&wanted, self.node.queue.batch_bytes) {
            let mut records = Vec::with_capacity(piece.len());
            read::fetch(&*file, piece, &mut records).await?;
            self.write_carried(piece, &records).await?;
            moved += records.len();
        }
        tracing::info!("storage: carried {moved} entries out of {victim}");
        Ok(())
    }

    /// Entries of all groups in a segment, in the order of their places, as many as `left_bytes` allows.
    fn living_in(&self, segment: SegmentNumber, left_bytes: &mut usize) -> Vec<Wanted> {
        let mut found = Vec::new();
        for group in self.node.groups().values() {
            let view = group.view();
            for (index, place) in view.durable.places().filter(|(_, place)| place.segment == segment) {
                let (log_id, place) = (view.durable.place(index).expect("just listed").0, place);
                found.push(Wanted { group: group.id, log_id, place });
            }
        }
        found.sort_by_key(|wanted| wanted.place.offset);
        let fits = found.iter().take_while(|wanted| {
            // Each batch is rounded up to a block; a few small entries must not count as nothing.
            let bytes = (RECORD_HEAD_BYTES + wanted.place.bytes as usize).max(SECTOR_BYTES);
            let left = left_bytes.checked_sub(bytes);
            *left_bytes = left.unwrap_or(*left_bytes);
            left.is_some()
        });
        let fits = fits.count();
        found.truncate(fits);
        found
    }

    async fn write_carried(&mut self, wanted: &[Wanted], records: &[LogRecord]) -> Result<(), StorageError> {
        let mut stream = Vec::new();
        batch::begin(&mut stream);
        for (Wanted { group, .. }, LogRecord { log_id, payload }) in wanted.iter().zip(records) {
            Record::Carried { log_id: *log_id, payload }.encode(*group, &mut stream);
        }
        let (segment, base) = self.write_here(&mut stream, records.len() as u32).await?;
        for record in batch::records(&stream) {
            let (offset, group, record) = record.expect("our own encoding");
            let Record::Carried { payload, .. } = &record else { unreachable!("only carried ones were written") };
            let place = Place { segment, offset: base + offset as u32, bytes: payload.len() as u32 };
            let group = self.node.group(group);
            // Only the writer changes the durable log, so the entry is still where it was.
            group.view().settle(&record, place, &mut self.live).expect("a live entry is replaced");
        }
        Ok(())
    }
}

/// Cuts into pieces that one batch and one read can hold.
fn in_batches(wanted: &[Wanted], bytes_max: usize) -> Vec<&[Wanted]> {
    let mut pieces = Vec::new();
    let (mut start, mut bytes) = (0, 0);
    for (i, Wanted { place, .. }) in wanted.iter().enumerate() {
        let more = RECORD_HEAD_BYTES + place.bytes as usize;
        let far = (place.offset - wanted[start].place.offset) as usize > COLD_READ_BYTES;
        if i > start && (bytes + more > bytes_max || far) {
            pieces.push(&wanted[start..i]);
            (start, bytes) = (i, 0);
        }
        bytes += more;
    }
    if start < wanted.len() {
        pieces.push(&wanted[start..]);
    }
    pieces
}
