//! The copy of a slot that moves to another group: out of its frozen source, chunk by chunk, into its target (lock protocol,
//! section 7, rules 17 and 18).
//!
//! A copy is the records that a snapshot has of the slot, in their order, cut into chunks. Nothing changes in a frozen slot, so
//! every replica of the source cuts the same chunks at any time, and a target may get them from several leaders. The clocks of
//! two groups differ: a chunk says what its source's clock shows, and what a record says of a time is taken for an age.
//!
//! Not here: who may be given a copy, and when (`apply_slot`).

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use super::apply::SEQUENCE_END;
use super::command::InstallSlotV1;
use super::invariants::{check_session, check_tombstone};
use super::loader::{Loaded, Loader, Times};
use super::outcome::Refusal;
use super::slot::{Ownership, SlotState};
use super::state::Transactions;
use super::tables::{LoadError, rows_of};
use super::views::Counts;
use crate::codec;
use crate::model::{Epoch, Slot, limits};

/// A part of a copy.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ChunkV1 {
    /// What the source's clock shows.
    pub clock_ms: u64,
    /// The source's id counter. It lies above all ids that were dealt for the slot, also above those of the blocks that
    /// leaders had reserved when the slot was frozen.
    pub counter: u64,
    /// Records of the tables of a snapshot, in their order.
    pub rows: Vec<RowV1>,
    /// In the last chunk: how much the whole copy holds.
    pub whole: Option<WholeV1>,
}

/// A record of a snapshot.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RowV1 {
    /// Its table.
    pub table: u16,
    /// Encoded as that table has it.
    pub bytes: Vec<u8>,
}

/// How much a whole copy holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct WholeV1 {
    /// Sessions.
    pub sessions: u64,
    /// Their branches.
    pub branches: u64,
    /// Tombstones.
    pub tombstones: u64,
    /// Branches that hold rows, of transactions of any group.
    pub holds: u64,
    /// The rows.
    pub row_locks: u64,
}

/// A single record of a copy; apply lets nothing in that needs half of it.
const ROW_BYTES_MAX: usize = 8 << 20;
const _: () = assert!(limits::APPLICATION_DATA_BYTES_MAX + limits::LOCK_KEYS_BYTES_MAX < ROW_BYTES_MAX / 2);
const _: () = assert!(limits::COPY_CHUNK_BYTES_MAX < ROW_BYTES_MAX);

impl WholeV1 {
    fn of(counts: Counts) -> WholeV1 {
        let Counts { sessions, branches, tombstones, holds, row_locks, bytes: _ } = counts;
        WholeV1 { sessions, branches, tombstones, holds, row_locks }
    }
}

impl Transactions {
    /// The chunks of a slot that is frozen here for this attempt, in order, at least one: what its target is to install. The
    /// same whichever replica is asked and when, but for the clock and the counter.
    pub fn slot_copy(&self, slot: Slot, attempt: Epoch) -> Result<impl Iterator<Item = InstallSlotV1>, Refusal> {
        self.slot_copy_in(slot, attempt, limits::COPY_CHUNK_BYTES_MAX)
    }

    /// In chunks of so many bytes; a longer record is a chunk alone.
    pub(super) fn slot_copy_in(
        &self,
        slot: Slot,
        attempt: Epoch,
        bytes_max: usize,
    ) -> Result<impl Iterator<Item = InstallSlotV1>, Refusal> {
        let ownership = self.ownership(slot);
        let is_asked = matches!(ownership, Ownership::Frozen { attempt: held, .. } if held == attempt);
        let state = self.slots.get(slot).filter(|_| is_asked).ok_or(Refusal::SlotStands { ownership })?;
        let (clock_ms, counter) = (self.clock_ms, self.counter);
        let mut records = rows_of(move || core::iter::once(state)).peekable();
        let mut next = Some(0_u32);
        Ok(core::iter::from_fn(move || {
            let chunk = next?;
            let (mut rows, mut room) = (Vec::new(), bytes_max);
            while let Some((table, bytes)) = records.next_if(|(_, bytes)| rows.is_empty() || bytes.len() <= room) {
                room = room.saturating_sub(bytes.len());
                rows.push(RowV1 { table, bytes });
            }
            let whole = records.peek().is_none().then(|| WholeV1::of(state.contents()));
            next = chunk.checked_add(1).filter(|_| whole.is_none());
            let bytes = codec::encode(&ChunkV1 { clock_ms, counter, rows, whole });
            let bytes = bytes.expect("apply lets nothing in that is longer than its record may be");
            Some(InstallSlotV1 { slot, epoch: attempt, chunk, bytes })
        }))
    }
}

/// What a chunk has made of a slot.
pub(super) struct Added {
    pub(super) state: SlotState,
    /// No id of the slot is dealt below it.
    pub(super) counter: u64,
    /// Nothing is missing.
    pub(super) is_whole: bool,
}

/// Adds a chunk to what is here of its slot, at this reading of the group clock here. Checks everything that the state relies on:
/// what a source has sent was not put together by this group.
pub(super) fn add_chunk(slot: Slot, before: SlotState, clock_ms: u64, bytes: &[u8]) -> Result<Added, Refusal> {
    let chunk: ChunkV1 = codec::decode_canonical(bytes).map_err(|error| bad(error.to_string()))?;
    if chunk.counter == 0 || chunk.counter > SEQUENCE_END {
        return Err(bad("its counter is none"));
    }
    let mut loader = Loader::of_slot(slot, before, Times::Moved { theirs_ms: chunk.clock_ms, ours_ms: clock_ms });
    for row in &chunk.rows {
        if row.bytes.len() > ROW_BYTES_MAX {
            return Err(bad("a record is too long"));
        }
        loader.take(row.table, &row.bytes).map_err(unread)?;
    }
    let Loaded { mut state, sessions, tombstones } = loader.slot_state().map_err(unread)?;
    for session in sessions.iter().filter_map(|transaction| state.session(*transaction)) {
        check_session(slot, session, chunk.counter).map_err(bad)?;
    }
    for tombstone in &tombstones {
        check_tombstone(tombstone.transaction, tombstone.status, chunk.counter).map_err(bad)?;
    }
    if chunk.whole.is_some_and(|whole| whole != WholeV1::of(state.contents())) {
        return Err(bad("something is missing, or too much"));
    }
    state.ids_from = state.ids_from.max(chunk.counter);
    Ok(Added { state, counter: chunk.counter, is_whole: chunk.whole.is_some() })
}

fn unread(error: LoadError) -> Refusal {
    bad(error.to_string())
}

fn bad(what: impl Into<String>) -> Refusal {
    Refusal::BadCopy { what: what.into() }
}
