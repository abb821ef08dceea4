//! What a new segment begins with: its header, which older segments count, and every group's marks.
//!
//! The checkpoint tells what is written, not what is queued: it reads the durable index of each group only.

use crate::batch;
use crate::group::Group;
use crate::record::{Needed, Record};
use crate::sector::{self, BatchNumber};
use crate::segment::{FIRST_BATCH_SECTOR, Header};
use bytes::{Bytes, BytesMut};
use quorate_core::model::GroupId;
use std::sync::Arc;

/// Block 0 and the first batch, as they are written with one write.
pub(crate) fn frame<'a>(header: &Header, needed: Vec<Needed>, groups: impl Iterator<Item = &'a Arc<Group>>) -> Bytes {
    let mut stream = Vec::new();
    batch::begin(&mut stream);
    Record::Base(needed).encode(GroupId::META, &mut stream);
    let mut records = 1;
    for group in groups {
        let marks = group.view().durable.marks();
        Record::State(marks).encode(group.id, &mut stream);
        records += 1;
    }
    let sectors = batch::seal(&mut stream, records, header.segment, header.epoch);
    let mut out = BytesMut::new();
    header.frame(&mut out);
    sector::frame(&stream, sectors, FIRST_BATCH_SECTOR, header.first_batch, &mut out);
    assert!(out.len() <= header.segment_bytes as usize / 2, "a checkpoint leaves room for batches");
    out.freeze()
}

/// The number of the batch behind a checkpoint.
pub(crate) fn following(header: &Header) -> BatchNumber {
    header.first_batch.next()
}
