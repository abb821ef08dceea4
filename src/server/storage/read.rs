//! Reading entries back from the disk: a lagging follower, a start, entries that are moved.
//!
//! Every sector is verified, and each record's group and log id. Neighbours come with one read.

use crate::error::{Damage, StorageError, Tried};
use crate::files::Files;
use crate::group::{Group, LogRecord, Source};
use crate::index::Place;
use crate::limits::COLD_READ_BYTES;
use crate::record::{self, RECORD_HEAD_BYTES, Record};
use crate::sector::{self, DATA_BYTES, SECTOR_BYTES, Sector};
use bytes::Bytes;
use quorate_core::model::{GroupId, LogId, LogIndex};
use quorate_world::disk::{DiskFile, PooledFile};
use std::ops::Range;
use std::sync::Arc;

/// An entry, and where it lies.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted {
    pub group: GroupId,
    pub log_id: LogId,
    pub place: Place,
}

/// The entries of `range` that the group has: at least one, then as many as stay within `bytes_max`.
pub(crate) async fn read(
    group: &Group,
    files: &Files,
    range: Range<LogIndex>,
    bytes_max: usize,
) -> Result<Vec<LogRecord>, StorageError> {
    // Files are taken under the group's lock, while the places prove that their segments live.
    let found: Vec<(Source, Option<Arc<PooledFile>>)> = {
        let view = group.view();
        let found = view.find(range, bytes_max).into_iter().map(|source| match source {
            Source::Cold(log_id, place) => (Source::Cold(log_id, place), Some(files.get(place.segment))),
            Source::Here(record) => (Source::Here(record), None),
        });
        found.collect()
    };
    let mut records = Vec::with_capacity(found.len());
    let mut cold: Vec<Wanted> = Vec::new();
    let mut cold_file: Option<Arc<PooledFile>> = None;
    for (source, file) in found {
        let joins = match &source {
            Source::Cold(_, place) => cold.last().is_none_or(|last| is_neighbour(cold[0].place, last.place, *place)),
            Source::Here(_) => cold.is_empty(),
        };
        if !joins && let Some(file) = cold_file.take() {
            fetch(&*file, &core::mem::take(&mut cold), &mut records).await?;
        }
        match source {
            Source::Here(record) => records.push(record),
            Source::Cold(log_id, place) => {
                cold.push(Wanted { group: group.id, log_id, place });
                cold_file = file;
            }
        }
    }
    if let Some(file) = cold_file {
        fetch(&*file, &cold, &mut records).await?;
    }
    Ok(records)
}

/// Whether `next` is worth the same read as the places from `first` to `last`.
fn is_neighbour(first: Place, last: Place, next: Place) -> bool {
    let gap_bytes_max = (64 * SECTOR_BYTES) as u32;
    next.segment == last.segment
        && next.offset > last.offset
        && next.offset - last.offset - last.bytes <= gap_bytes_max
        && (next.offset + next.bytes - first.offset) as usize <= COLD_READ_BYTES
}

/// Reads entries that lie in one file in ascending order, with one read.
pub(crate) async fn fetch(
    file: &impl DiskFile,
    wanted: &[Wanted],
    into: &mut Vec<LogRecord>,
) -> Result<(), StorageError> {
    let (Some(first), Some(last)) = (wanted.first(), wanted.last()) else { return Ok(()) };
    let (first, last) = (first.place, last.place);
    quorate_core::sometimes!("entry_is_read_from_the_disk");
    let path = first.segment.path();
    let from = first.offset as usize / DATA_BYTES;
    let upto = (last.offset as usize + RECORD_HEAD_BYTES + last.bytes as usize).div_ceil(DATA_BYTES);
    let raw = vec![0; (upto - from) * SECTOR_BYTES];
    let raw = file.read_at((from * SECTOR_BYTES) as u64, raw).await.tried("read entries")?;
    let mut stream = Vec::with_capacity((upto - from) * DATA_BYTES);
    for (i, one) in raw.chunks_exact(SECTOR_BYTES).enumerate() {
        let position = from + i;
        if !matches!(sector::classify(one, position as u32), Sector::Numbered(_)) {
            quorate_core::sometimes!("entry_on_the_disk_is_damaged");
            return Err(Damage::new(path, (position * SECTOR_BYTES) as u64, "a sector is damaged").into());
        }
        stream.extend_from_slice(sector::data(one));
    }
    let stream = Bytes::from(stream);
    for Wanted { group, log_id, place } in wanted {
        let start = place.offset as usize - from * DATA_BYTES;
        let bytes = stream.slice(start..start + RECORD_HEAD_BYTES + place.bytes as usize);
        if !is_entry(&bytes, *group, *log_id) {
            let offset = (place.offset as usize / DATA_BYTES * SECTOR_BYTES) as u64;
            let what = format!("entry {} of group {group} is not where it was written", log_id.index);
            return Err(Damage::new(path, offset, what).into());
        }
        into.push(LogRecord { log_id: *log_id, payload: bytes.slice(RECORD_HEAD_BYTES..) });
    }
    Ok(())
}

fn is_entry(bytes: &[u8], group: GroupId, expected: LogId) -> bool {
    match record::decode(bytes) {
        Ok((found, Record::Entry { log_id, .. } | Record::Carried { log_id, .. }, taken)) => {
            found == group && log_id == expected && taken == bytes.len()
        }
        Ok(_) | Err(_) => false,
    }
}
