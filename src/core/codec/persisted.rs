//! Every type of this crate that is stored or sent between nodes, and how long it may get.
//!
//! Rules for such a type (storage, section 12); `tests/golden/` holds the bytes of each variant, and a test fails when
//! one of them changes:
//!
//! 1. Variants are added at the end; never moved, never removed.
//! 2. Structs never change. New fields are a `BeginV2` in a new variant.
//! 3. No `usize`, float, hash map, `char`, borrowed data or shape-changing serde attribute. Equal values, equal bytes.

use super::Persisted;
use crate::model::limits;
use crate::txn::copy::ChunkV1;
use crate::txn::tables::{
    AgeV1, BranchRecordV1, BranchRecordV2, FateV1, HeadV1, HoldV1, RequestV1, SessionV1, SlotV1, TombstoneV1,
};
use crate::txn::{Batch, Command, Outcome};

/// A single command is bounded by the limits of one request (`model::limits`) far below this.
const COMMAND_BYTES_MAX: usize = 12 << 20;

impl Persisted for Command {
    const BYTES_MAX: usize = COMMAND_BYTES_MAX;
}
impl Persisted for Batch {
    const BYTES_MAX: usize = COMMAND_BYTES_MAX;
}
impl Persisted for Outcome {
    const BYTES_MAX: usize = 1 << 20;
}

/// Records of a snapshot: application data and lock keys are the longest part of one.
const RECORD_BYTES_MAX: usize = 12 << 20;
const _: () = assert!(limits::APPLICATION_DATA_BYTES_MAX + limits::LOCK_KEYS_BYTES_MAX < RECORD_BYTES_MAX / 2);

impl Persisted for HeadV1 {
    const BYTES_MAX: usize = RECORD_BYTES_MAX;
}
impl Persisted for SlotV1 {
    const BYTES_MAX: usize = RECORD_BYTES_MAX;
}
impl Persisted for SessionV1 {
    const BYTES_MAX: usize = RECORD_BYTES_MAX;
}
impl Persisted for BranchRecordV1 {
    const BYTES_MAX: usize = RECORD_BYTES_MAX;
}
impl Persisted for BranchRecordV2 {
    const BYTES_MAX: usize = RECORD_BYTES_MAX;
}
impl Persisted for FateV1 {
    const BYTES_MAX: usize = RECORD_BYTES_MAX;
}
impl Persisted for RequestV1 {
    const BYTES_MAX: usize = RECORD_BYTES_MAX;
}
impl Persisted for TombstoneV1 {
    const BYTES_MAX: usize = RECORD_BYTES_MAX;
}
impl Persisted for HoldV1 {
    const BYTES_MAX: usize = RECORD_BYTES_MAX;
}
impl Persisted for AgeV1 {
    const BYTES_MAX: usize = RECORD_BYTES_MAX;
}

/// Travels in a command.
impl Persisted for ChunkV1 {
    const BYTES_MAX: usize = COMMAND_BYTES_MAX;
}
