//! The state as records of a snapshot, and back.
//!
//! Eight tables, written in the order of their numbers, each in the order of its keys: equal states give equal bytes. One
//! more is only read: what a newer one replaced.
//! Rows are not written: a hold names them by its lock keys, as the RM sent them. Locks are never recomputed from
//! branches, which may have lost theirs already (semantics, W7). Nor are the orders beside the state written.
//!
//! The copy of a slot that moves consists of the same records (`copy`). `loader` reads them.

use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use super::fate::Fate;
use super::loader::Loader;
use super::locks::Hold;
use super::session::{Branch, Session};
use super::slot::{Ownership, SlotState, Tombstone};
use super::state::Transactions;
use crate::codec::{self, CodecError, Persisted};
use crate::model::{BranchId, BranchStatus, BranchType, Epoch, Fence, GlobalStatus, Slot, Term, TransactionId};

/// Table of the one [`HeadV1`].
pub const HEAD: u16 = 1;
/// Table of [`SlotV1`].
pub const SLOT: u16 = 2;
/// Table of [`SessionV1`].
pub const SESSION: u16 = 3;
/// Table of [`BranchRecordV1`]; not written any more.
pub const BRANCH_V1: u16 = 4;
/// Table of [`TombstoneV1`].
pub const TOMBSTONE: u16 = 5;
/// Table of [`HoldV1`].
pub const HOLD: u16 = 6;
/// Table of [`BranchRecordV2`].
pub const BRANCH: u16 = 7;
/// Table of [`FateV1`].
pub const FATE: u16 = 8;
/// Table of [`RequestV1`].
pub const REQUEST: u16 = 9;
/// Table of [`AgeV1`].
pub const AGE: u16 = 10;

/// What the group has one of.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct HeadV1 {
    /// Group clock.
    pub clock_ms: u64,
    /// Tenure of the last `Lead`.
    pub tenure: Term,
    /// The id counter.
    pub counter: u64,
    /// Where the last Begin went.
    pub last_slot: Slot,
}

/// A slot that is or was here.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SlotV1 {
    /// Its number.
    pub slot: Slot,
    /// How the group stands to it.
    pub ownership: Ownership,
    /// Highest epoch ever owned or closed here.
    pub seen: Epoch,
    /// Branch ids are dealt from here on.
    pub ids_from: u64,
}

/// A session, without its branches.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[allow(missing_docs)] // the fields of `Session`
pub struct SessionV1 {
    pub transaction: TransactionId,
    pub address: String,
    pub application: String,
    pub service_group: String,
    pub name: String,
    pub timeout_ms: i32,
    pub begun_clock_ms: u64,
    pub begun_wall_ms: u64,
    pub status: GlobalStatus,
}

/// A branch of a session, and when it came.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[allow(missing_docs)] // the fields of `Branch`
pub struct BranchRecordV2 {
    pub branch: BranchRecordV1,
    pub registered_clock_ms: Option<u64>,
}

/// A branch of a session.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[allow(missing_docs)] // the fields of `Branch`
pub struct BranchRecordV1 {
    pub transaction: TransactionId,
    pub branch: BranchId,
    pub kind: BranchType,
    pub resource: String,
    pub lock_keys: String,
    pub application_data: String,
    pub client: String,
    pub fence: Fence,
    pub status: BranchStatus,
}

/// What an operator has ordered about a branch; about the whole transaction in the name of [`BranchId::WHOLE`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct FateV1 {
    /// The transaction.
    pub transaction: TransactionId,
    /// The branch.
    pub branch: BranchId,
    /// Never `Kept`; of the whole always `CleanUp`.
    pub fate: Fate,
}

/// The request that registered a branch which may not join twice.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RequestV1 {
    /// The transaction.
    pub transaction: TransactionId,
    /// The branch.
    pub branch: BranchId,
    /// As in [`super::command::RegisterBranchOnceV1`].
    pub request: u64,
}

/// A session that is older than the clock of its group is far.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct AgeV1 {
    /// The transaction.
    pub transaction: TransactionId,
    /// By so much, not zero.
    pub before_ms: u64,
}

/// An ended transaction.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct TombstoneV1 {
    /// Which.
    pub transaction: TransactionId,
    /// Its last status.
    pub status: GlobalStatus,
    /// Group clock at its end.
    pub ended_clock_ms: u64,
}

/// The rows of one branch, of a transaction of any group.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[allow(missing_docs)] // the fields of `Hold`
pub struct HoldV1 {
    pub transaction: TransactionId,
    pub branch: BranchId,
    pub fence: Fence,
    pub resource: String,
    pub lock_keys: String,
    pub since_ms: u64,
}

/// Why records are no state.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum LoadError {
    /// A record that cannot be read.
    #[error("a record of table {table}: {error}")]
    Record {
        /// Its table.
        table: u16,
        /// Why.
        error: CodecError,
    },
    /// A table that this binary does not know.
    #[error("unknown table {0}")]
    UnknownTable(u16),
    /// Records that do not fit together.
    #[error("table {table}: {what}")]
    Inconsistent {
        /// Where it showed.
        table: u16,
        /// What is wrong.
        what: &'static str,
    },
}

impl Transactions {
    /// The state as records, ordered by table, then key.
    pub fn tables(&self) -> impl Iterator<Item = (u16, Vec<u8>)> {
        let head =
            HeadV1 { clock_ms: self.clock_ms, tenure: self.tenure, counter: self.counter, last_slot: self.last_slot };
        core::iter::once(record(HEAD, &head))
            .chain(self.slots.iter().map(|(slot, state)| record(SLOT, &slot_record(slot, state))))
            .chain(rows_of(|| self.slots.values()))
    }

    /// The state of records that [`Transactions::tables`] gave.
    pub fn load(records: impl IntoIterator<Item = (u16, Vec<u8>)>) -> Result<Transactions, LoadError> {
        let mut loader = Loader::new();
        for (table, bytes) in records {
            loader.take(table, &bytes)?;
        }
        loader.state()
    }
}

/// All that these slots hold, ordered by table, then slot by slot, then by key.
pub(super) fn rows_of<'a, S: Iterator<Item = &'a SlotState>>(
    slots: impl Fn() -> S,
) -> impl Iterator<Item = (u16, Vec<u8>)> {
    let sessions = || slots().flat_map(|state| state.sessions());
    let branches = sessions().flat_map(|session| {
        session.branches.values().map(|branch| record(BRANCH, &branch_record(session.transaction, branch)))
    });
    let fates = sessions().flat_map(fates_of).map(|fate| record(FATE, &fate));
    let requests = sessions().flat_map(requests_of).map(|request| record(REQUEST, &request));
    let ages = sessions().filter_map(age_of).map(|age| record(AGE, &age));
    let tombstones = slots().flat_map(|state| state.tombstones());
    let holds = slots().flat_map(|state| state.locks.holds());
    let rows = sessions().map(|session| record(SESSION, &session_record(session)));
    rows.chain(tombstones.map(|(transaction, tombstone)| record(TOMBSTONE, &tomb_record(transaction, tombstone))))
        .chain(holds.map(|(transaction, branch, hold)| record(HOLD, &hold_record(transaction, branch, hold))))
        .chain(branches)
        .chain(fates)
        .chain(requests)
        .chain(ages)
}

fn record<T: Persisted>(table: u16, record: &T) -> (u16, Vec<u8>) {
    let bytes = codec::encode(record);
    (table, bytes.expect("apply lets nothing in that is longer than its record may be"))
}

fn slot_record(slot: Slot, state: &SlotState) -> SlotV1 {
    SlotV1 { slot, ownership: state.ownership(), seen: state.seen, ids_from: state.ids_from }
}

fn session_record(session: &Session) -> SessionV1 {
    SessionV1 {
        transaction: session.transaction,
        address: (*session.address).into(),
        application: (*session.application).into(),
        service_group: (*session.service_group).into(),
        name: (*session.name).into(),
        timeout_ms: session.timeout_ms,
        begun_clock_ms: session.begun_clock_ms,
        begun_wall_ms: session.begun_wall_ms,
        status: session.status,
    }
}

fn branch_record(transaction: TransactionId, branch: &Branch) -> BranchRecordV2 {
    let registered_clock_ms = branch.registered_clock_ms;
    let branch = BranchRecordV1 {
        transaction,
        branch: branch.branch,
        kind: branch.kind,
        resource: (*branch.resource).into(),
        lock_keys: (*branch.lock_keys).into(),
        application_data: (*branch.application_data).into(),
        client: (*branch.client).into(),
        fence: branch.fence,
        status: branch.status,
    };
    BranchRecordV2 { branch, registered_clock_ms }
}

fn fates_of(session: &Session) -> impl Iterator<Item = FateV1> {
    let transaction = session.transaction;
    let whole = session.is_deleted().then_some((BranchId::WHOLE, Fate::CleanUp));
    let branches = session.branches.values().map(|branch| (branch.branch, branch.fate));
    let fates = whole.into_iter().chain(branches).filter(|(_, fate)| *fate != Fate::Kept);
    fates.map(move |(branch, fate)| FateV1 { transaction, branch, fate })
}

fn requests_of(session: &Session) -> impl Iterator<Item = RequestV1> {
    let transaction = session.transaction;
    let named = session.branches.values().filter_map(|branch| Some((branch.branch, branch.request?)));
    named.map(move |(branch, request)| RequestV1 { transaction, branch, request })
}

fn age_of(session: &Session) -> Option<AgeV1> {
    (session.before_ms > 0).then_some(AgeV1 { transaction: session.transaction, before_ms: session.before_ms })
}

fn tomb_record(transaction: TransactionId, tombstone: Tombstone) -> TombstoneV1 {
    TombstoneV1 { transaction, status: tombstone.status, ended_clock_ms: tombstone.ended_clock_ms }
}

fn hold_record(transaction: TransactionId, branch: BranchId, hold: &Hold) -> HoldV1 {
    HoldV1 {
        transaction,
        branch,
        fence: hold.fence,
        resource: (*hold.resource).into(),
        lock_keys: (*hold.lock_keys).into(),
        since_ms: hold.since_ms,
    }
}
