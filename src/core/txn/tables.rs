//! The state as records of a snapshot, and back.
//!
//! Eight tables, written in the order of their numbers, each in the order of its keys: equal states give equal bytes. One
//! more is only read: what a newer one replaced.
//! Rows are not written: a hold names them by its lock keys, as the RM sent them. Locks are never recomputed from
//! branches, which may have lost theirs already (semantics, W7). Nor are the orders beside the state written.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use super::branches::Branches;
use super::fate::Fate;
use super::locks::{Hold, Wanted};
use super::session::{Branch, Session};
use super::slot::{Ownership, SlotState, Tombstone};
use super::state::Transactions;
use crate::codec::{self, CodecError, Persisted};
use crate::model::hash::lock_slot;
use crate::model::{
    BranchId, BranchStatus, BranchType, Epoch, Fence, GlobalStatus, SLOTS, Slot, Term, TransactionId, lock_key,
};

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
        let sessions = || self.slots.values().flat_map(|state| state.sessions());
        let head =
            HeadV1 { clock_ms: self.clock_ms, tenure: self.tenure, counter: self.counter, last_slot: self.last_slot };
        let branches = sessions().flat_map(|session| {
            session.branches.values().map(|branch| record(BRANCH, &branch_record(session.transaction, branch)))
        });
        let fates = sessions().flat_map(fates_of).map(|fate| record(FATE, &fate));
        let requests = sessions().flat_map(requests_of).map(|request| record(REQUEST, &request));
        let tombstones = self.slots.values().flat_map(|state| state.tombstones());
        let holds = self.slots.values().flat_map(|state| state.locks.holds());
        core::iter::once(record(HEAD, &head))
            .chain(self.slots.iter().map(|(slot, state)| record(SLOT, &slot_record(slot, state))))
            .chain(sessions().map(|session| record(SESSION, &session_record(session))))
            .chain(tombstones.map(|(transaction, tombstone)| record(TOMBSTONE, &tomb_record(transaction, tombstone))))
            .chain(holds.map(|(transaction, branch, hold)| record(HOLD, &hold_record(transaction, branch, hold))))
            .chain(branches)
            .chain(fates)
            .chain(requests)
    }

    /// The state of records that [`Transactions::tables`] gave.
    pub fn load(records: impl IntoIterator<Item = (u16, Vec<u8>)>) -> Result<Transactions, LoadError> {
        let mut loader = Loader::default();
        for (table, bytes) in records {
            loader.take(table, &bytes)?;
        }
        loader.finish()
    }
}

/// A state that is being put together.
#[derive(Default)]
struct Loader {
    table: u16,
    head: Option<HeadV1>,
    slots: BTreeMap<Slot, SlotState>,
    sessions: BTreeMap<TransactionId, Session>,
}

impl Loader {
    fn take(&mut self, table: u16, bytes: &[u8]) -> Result<(), LoadError> {
        if table < self.table {
            return Err(LoadError::Inconsistent { table, what: "tables are out of order" });
        }
        self.table = table;
        match table {
            HEAD => self.head(read(table, bytes)?),
            SLOT => self.slot(read(table, bytes)?),
            SESSION => self.session(read(table, bytes)?),
            BRANCH_V1 => self.branch(BranchRecordV2 { branch: read(table, bytes)?, registered_clock_ms: None }),
            BRANCH => self.branch(read(table, bytes)?),
            TOMBSTONE => self.tombstone(read(table, bytes)?),
            HOLD => self.hold(read(table, bytes)?),
            FATE => self.fate(read(table, bytes)?),
            REQUEST => self.request(read(table, bytes)?),
            unknown => Err(LoadError::UnknownTable(unknown)),
        }
    }

    fn head(&mut self, head: HeadV1) -> Result<(), LoadError> {
        match self.head.replace(head) {
            None => Ok(()),
            Some(_) => Err(LoadError::Inconsistent { table: HEAD, what: "two heads" }),
        }
    }

    fn slot(&mut self, record: SlotV1) -> Result<(), LoadError> {
        let SlotV1 { slot, ownership, seen, ids_from } = record;
        let state = SlotState::empty(ownership, seen, ids_from);
        if slot.0 >= SLOTS || self.slots.insert(slot, state).is_some() {
            return Err(LoadError::Inconsistent { table: SLOT, what: "a slot out of range or given twice" });
        }
        Ok(())
    }

    fn session(&mut self, record: SessionV1) -> Result<(), LoadError> {
        let session = Session {
            transaction: record.transaction,
            address: record.address.into(),
            application: record.application.into(),
            service_group: record.service_group.into(),
            name: record.name.into(),
            timeout_ms: record.timeout_ms,
            begun_clock_ms: record.begun_clock_ms,
            begun_wall_ms: record.begun_wall_ms,
            status: record.status,
            branches: Branches::new(),
            rows: 0,
            branch_bytes: 0,
            unreported: Default::default(),
            is_deleted: false,
            cleaning: 0,
        };
        self.home(SESSION, session.transaction)?;
        match self.sessions.insert(session.transaction, session) {
            None => Ok(()),
            Some(_) => Err(LoadError::Inconsistent { table: SESSION, what: "a session given twice" }),
        }
    }

    fn branch(&mut self, record: BranchRecordV2) -> Result<(), LoadError> {
        let BranchRecordV2 { branch: record, registered_clock_ms } = record;
        let missing = LoadError::Inconsistent { table: BRANCH, what: "a branch without session, or given twice" };
        let session = self.sessions.get_mut(&record.transaction).ok_or(missing.clone())?;
        if session.branches.contains_key(&record.branch) {
            return Err(missing);
        }
        let rows = match record.kind {
            BranchType::AT => parse(BRANCH, &record.lock_keys)?.len(),
            BranchType::TCC | BranchType::SAGA | BranchType::XA | BranchType::SAGA_ANNOTATION => 0,
        };
        session.add(Branch {
            branch: record.branch,
            kind: record.kind,
            resource: record.resource.into(),
            lock_keys: record.lock_keys.into(),
            rows: u32::try_from(rows).unwrap_or(u32::MAX),
            application_data: record.application_data.into(),
            client: record.client.into(),
            fence: record.fence,
            status: record.status,
            registered_clock_ms,
            request: None,
            fate: Fate::Kept,
        });
        Ok(())
    }

    fn fate(&mut self, record: FateV1) -> Result<(), LoadError> {
        let FateV1 { transaction, branch, fate } = record;
        let wrong = LoadError::Inconsistent { table: FATE, what: "a fate of nobody, of nothing, or given twice" };
        let session = self.sessions.get_mut(&transaction).ok_or(wrong.clone())?;
        if branch == BranchId::WHOLE {
            let is_new = !core::mem::replace(&mut session.is_deleted, true);
            return if is_new && fate == Fate::CleanUp { Ok(()) } else { Err(wrong) };
        }
        let found = session.branches.get(&branch).ok_or(wrong.clone())?;
        if found.fate != Fate::Kept || fate == Fate::Kept {
            return Err(wrong);
        }
        session.change(branch, |branch| branch.fate = fate);
        Ok(())
    }

    fn request(&mut self, record: RequestV1) -> Result<(), LoadError> {
        let RequestV1 { transaction, branch, request } = record;
        let wrong = LoadError::Inconsistent { table: REQUEST, what: "a request of nobody, or given twice" };
        let session = self.sessions.get_mut(&transaction).ok_or(wrong.clone())?;
        let found = session.branches.get(&branch).ok_or(wrong.clone())?;
        if found.request.is_some() || session.registered_by(request).is_some() {
            return Err(wrong);
        }
        session.change(branch, |branch| branch.request = Some(request));
        Ok(())
    }

    fn tombstone(&mut self, record: TombstoneV1) -> Result<(), LoadError> {
        let TombstoneV1 { transaction, status, ended_clock_ms } = record;
        let is_live = self.sessions.contains_key(&transaction);
        let state = self.home(TOMBSTONE, transaction)?;
        if is_live || state.tombstone(transaction).is_some() {
            return Err(LoadError::Inconsistent { table: TOMBSTONE, what: "a tombstone twice or beside its session" });
        }
        state.bury(transaction, Tombstone { status, ended_clock_ms });
        Ok(())
    }

    fn hold(&mut self, record: HoldV1) -> Result<(), LoadError> {
        let wrong = |what| LoadError::Inconsistent { table: HOLD, what };
        let rows = parse(HOLD, &record.lock_keys)?;
        let wanted = Wanted {
            transaction: record.transaction,
            branch: record.branch,
            fence: record.fence,
            resource: &Arc::from(record.resource.as_str()),
            lock_keys: &Arc::from(record.lock_keys.as_str()),
            rows,
        };
        let slot = self.slots.get_mut(&lock_slot(&record.resource));
        let locks = &mut slot.ok_or(wrong("a hold outside the slots here"))?.locks;
        if wanted.rows.is_empty() || locks.hold(record.transaction, record.branch).is_some() {
            return Err(wrong("a hold without rows, or given twice"));
        }
        locks.allows(&wanted, record.since_ms).map_err(|_| wrong("two transactions hold one row"))?;
        locks.take(wanted, record.since_ms);
        Ok(())
    }

    fn home(&mut self, table: u16, transaction: TransactionId) -> Result<&mut SlotState, LoadError> {
        let state = self.slots.get_mut(&transaction.slot());
        state.ok_or(LoadError::Inconsistent { table, what: "a transaction outside the slots here" })
    }

    fn finish(mut self) -> Result<Transactions, LoadError> {
        let head = self.head.take().ok_or(LoadError::Inconsistent { table: HEAD, what: "no head" })?;
        let mut state = Transactions::new();
        state.clock_ms = head.clock_ms;
        state.tenure = head.tenure;
        state.counter = head.counter;
        state.last_slot = head.last_slot;
        for session in core::mem::take(&mut self.sessions).into_values() {
            self.home(SESSION, session.transaction)?.insert(session);
        }
        self.slots.into_iter().for_each(|(slot, slot_state)| state.put_slot(slot, slot_state));
        Ok(state)
    }
}

fn record<T: Persisted>(table: u16, record: &T) -> (u16, Vec<u8>) {
    let bytes = codec::encode(record);
    (table, bytes.expect("apply lets nothing in that is longer than its record may be"))
}

fn read<T: Persisted>(table: u16, bytes: &[u8]) -> Result<T, LoadError> {
    codec::decode_canonical(bytes).map_err(|error| LoadError::Record { table, error })
}

fn parse(table: u16, lock_keys: &str) -> Result<crate::model::LockKeys, LoadError> {
    lock_key::parse(lock_keys).map_err(|_| LoadError::Inconsistent { table, what: "lock keys beyond their bounds" })
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
