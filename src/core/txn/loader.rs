//! Reads the records of `tables`: those of a snapshot, which are a whole group, and those of a chunk of a copy, which are added
//! to what is here of one slot.
//!
//! A snapshot is what this group has written; it is checked for being whole, not for making sense. What a copy must hold to
//! beside that is in `copy`.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;

use super::branches::Branches;
use super::fate::Fate;
use super::locks::Wanted;
use super::session::{Branch, Session};
use super::slot::{SlotState, Tombstone};
use super::state::Transactions;
use super::tables::{
    AGE, AgeV1, BRANCH, BRANCH_V1, BranchRecordV2, FATE, FateV1, HEAD, HOLD, HeadV1, HoldV1, LoadError, REQUEST,
    RequestV1, SESSION, SLOT, SessionV1, SlotV1, TOMBSTONE, TombstoneV1,
};
use crate::codec::{self, Persisted};
use crate::model::hash::lock_slot;
use crate::model::{BranchId, BranchType, SLOTS, Slot, TransactionId, lock_key};

/// Slots that are being put together.
pub(super) struct Loader {
    table: u16,
    times: Times,
    head: Option<HeadV1>,
    slots: BTreeMap<Slot, SlotState>,
    /// Those that records have named so far: not in their slots until all is read.
    sessions: BTreeMap<TransactionId, Session>,
    /// Those that have come of another group.
    tombstones: Vec<TombstoneV1>,
}

/// How the times in records stand to the clock of the group that reads them.
#[derive(Clone, Copy)]
pub(super) enum Times {
    /// They are of this group.
    Own,
    /// Of another group, whose clock showed `theirs_ms` where the one here shows `ours_ms`.
    Moved {
        /// When the records were written.
        theirs_ms: u64,
        /// When they are read.
        ours_ms: u64,
    },
}

impl Times {
    /// What was then, by the clock here; its age is kept. Also says by how much it is older than the clock here is far.
    fn here(self, then_ms: u64) -> (u64, u64) {
        match self {
            Times::Own => (then_ms, 0),
            Times::Moved { theirs_ms, ours_ms } => {
                let age_ms = theirs_ms.saturating_sub(then_ms);
                (ours_ms.saturating_sub(age_ms), age_ms.saturating_sub(ours_ms))
            }
        }
    }
}

/// A slot that records were added to.
pub(super) struct Loaded {
    pub(super) state: SlotState,
    /// The sessions that were named, as they are now.
    pub(super) sessions: Vec<TransactionId>,
    /// The tombstones that have come.
    pub(super) tombstones: Vec<TombstoneV1>,
}

impl Loader {
    /// Of a whole group.
    pub(super) fn new() -> Loader {
        Loader {
            table: 0,
            times: Times::Own,
            head: None,
            slots: BTreeMap::new(),
            sessions: BTreeMap::new(),
            tombstones: Vec::new(),
        }
    }

    /// Of one slot, in addition to what it has.
    pub(super) fn of_slot(slot: Slot, state: SlotState, times: Times) -> Loader {
        Loader { times, slots: BTreeMap::from([(slot, state)]), ..Loader::new() }
    }

    pub(super) fn take(&mut self, table: u16, bytes: &[u8]) -> Result<(), LoadError> {
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
            AGE => self.age(read(table, bytes)?),
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
        let (begun_clock_ms, before_ms) = self.times.here(record.begun_clock_ms);
        let session = Session {
            transaction: record.transaction,
            address: record.address.into(),
            application: record.application.into(),
            service_group: record.service_group.into(),
            name: record.name.into(),
            timeout_ms: record.timeout_ms,
            begun_clock_ms,
            before_ms,
            begun_wall_ms: record.begun_wall_ms,
            status: record.status,
            branches: Branches::new(),
            rows: 0,
            branch_bytes: 0,
            unreported: Default::default(),
            is_deleted: false,
            cleaning: 0,
        };
        let home = self.home(SESSION, session.transaction)?;
        let is_known = home.session(session.transaction).is_some() || home.tombstone(session.transaction).is_some();
        if is_known {
            return Err(LoadError::Inconsistent { table: SESSION, what: "a session of what is known already" });
        }
        match self.sessions.insert(session.transaction, session) {
            None => Ok(()),
            Some(_) => Err(LoadError::Inconsistent { table: SESSION, what: "a session given twice" }),
        }
    }

    fn branch(&mut self, record: BranchRecordV2) -> Result<(), LoadError> {
        let BranchRecordV2 { branch: record, registered_clock_ms } = record;
        let missing = LoadError::Inconsistent { table: BRANCH, what: "a branch without session, or given twice" };
        let registered_clock_ms = registered_clock_ms.map(|then_ms| self.times.here(then_ms).0);
        let session = self.named(record.transaction).ok_or(missing.clone())?;
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
        let session = self.named(transaction).ok_or(wrong.clone())?;
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
        let session = self.named(transaction).ok_or(wrong.clone())?;
        let found = session.branches.get(&branch).ok_or(wrong.clone())?;
        if found.request.is_some() || session.registered_by(request).is_some() {
            return Err(wrong);
        }
        session.change(branch, |branch| branch.request = Some(request));
        Ok(())
    }

    fn age(&mut self, record: AgeV1) -> Result<(), LoadError> {
        let AgeV1 { transaction, before_ms } = record;
        let wrong = LoadError::Inconsistent { table: AGE, what: "an age of nobody, of nothing, or given twice" };
        // Moved ones may have one by their begin; then it is one more.
        let is_own = matches!(self.times, Times::Own);
        let session = self.named(transaction).ok_or(wrong.clone())?;
        if before_ms == 0 || (is_own && session.before_ms > 0) {
            return Err(wrong);
        }
        session.age_by(before_ms);
        Ok(())
    }

    fn tombstone(&mut self, record: TombstoneV1) -> Result<(), LoadError> {
        let TombstoneV1 { transaction, status, ended_clock_ms } = record;
        // One that is older than the clock here is far stands longer than it must.
        let (ended_clock_ms, _) = self.times.here(ended_clock_ms);
        let is_live = self.sessions.contains_key(&transaction);
        let state = self.home(TOMBSTONE, transaction)?;
        if is_live || state.session(transaction).is_some() || state.tombstone(transaction).is_some() {
            return Err(LoadError::Inconsistent { table: TOMBSTONE, what: "a tombstone twice or beside its session" });
        }
        state.bury(transaction, Tombstone { status, ended_clock_ms });
        if let Times::Moved { .. } = self.times {
            self.tombstones.push(TombstoneV1 { transaction, status, ended_clock_ms });
        }
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
        let (since_ms, _) = self.times.here(record.since_ms);
        let slot = self.slots.get_mut(&lock_slot(&record.resource));
        let locks = &mut slot.ok_or(wrong("a hold outside the slots here"))?.locks;
        if wanted.rows.is_empty() || locks.hold(record.transaction, record.branch).is_some() {
            return Err(wrong("a hold without rows, or given twice"));
        }
        locks.allows(&wanted, since_ms).map_err(|_| wrong("two transactions hold one row"))?;
        locks.take(wanted, since_ms);
        Ok(())
    }

    fn home(&mut self, table: u16, transaction: TransactionId) -> Result<&mut SlotState, LoadError> {
        let state = self.slots.get_mut(&transaction.slot());
        state.ok_or(LoadError::Inconsistent { table, what: "a transaction outside the slots here" })
    }

    /// A session that came before, in these records or in those of before.
    fn named(&mut self, transaction: TransactionId) -> Option<&mut Session> {
        if !self.sessions.contains_key(&transaction) {
            let session = self.slots.get_mut(&transaction.slot())?.remove(transaction)?;
            self.sessions.insert(transaction, session);
        }
        self.sessions.get_mut(&transaction)
    }

    fn put_sessions_in(&mut self) -> Result<Vec<TransactionId>, LoadError> {
        let sessions = core::mem::take(&mut self.sessions);
        let named = sessions.keys().copied().collect();
        for session in sessions.into_values() {
            self.home(SESSION, session.transaction)?.insert(session);
        }
        Ok(named)
    }

    /// The whole group.
    pub(super) fn state(mut self) -> Result<Transactions, LoadError> {
        let head = self.head.take().ok_or(LoadError::Inconsistent { table: HEAD, what: "no head" })?;
        self.put_sessions_in()?;
        let mut state = Transactions::new();
        state.clock_ms = head.clock_ms;
        state.tenure = head.tenure;
        state.counter = head.counter;
        state.last_slot = head.last_slot;
        self.slots.into_iter().for_each(|(slot, slot_state)| state.put_slot(slot, slot_state));
        Ok(state)
    }

    /// The one slot of [`Loader::of_slot`].
    pub(super) fn slot_state(mut self) -> Result<Loaded, LoadError> {
        if self.head.is_some() || self.slots.len() != 1 {
            return Err(LoadError::Inconsistent { table: SLOT, what: "more than what one slot holds" });
        }
        let sessions = self.put_sessions_in()?;
        let (_, state) = self.slots.pop_first().ok_or(LoadError::Inconsistent { table: SLOT, what: "no slot" })?;
        Ok(Loaded { state, sessions, tombstones: self.tombstones })
    }
}

fn read<T: Persisted>(table: u16, bytes: &[u8]) -> Result<T, LoadError> {
    codec::decode_canonical(bytes).map_err(|error| LoadError::Record { table, error })
}

fn parse(table: u16, lock_keys: &str) -> Result<crate::model::LockKeys, LoadError> {
    lock_key::parse(lock_keys).map_err(|_| LoadError::Inconsistent { table, what: "lock keys beyond their bounds" })
}
