//! The state of one group, and how to read it.
//!
//! A clone shares everything below the slots, so that a snapshot is written beside apply. The group's own orders
//! (deadlines, tombstones, unfinished work) hold one head per slot: they stay as small as the number of slots.

use alloc::collections::BTreeSet;
use alloc::sync::Arc;
use alloc::vec::Vec;

use super::command::BEGINS_IN_A_SLOT;
use super::outcome::{Conflict, Refusal};
use super::session::Session;
use super::slot::{Heads, Ownership, SlotState};
use super::slots::Slots;
use super::status::Direction;
use super::unreported::Unreported;
use super::views::{Counts, HeldRow, HoldView, LockView};
use crate::model::hash::lock_slot;
use crate::model::{BranchId, Epoch, Fence, GlobalStatus, LockKeys, RowKey, SLOTS, Slot, Term, TransactionId};

/// The replicated state of a data group. Changed by `apply` only.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Transactions {
    pub(super) clock_ms: u64,
    pub(super) tenure: Term,
    /// The next sequence number for an id; 0 until founded.
    pub(super) counter: u64,
    /// Where the last Begin went.
    pub(super) last_slot: Slot,
    pub(super) slots: Slots,
    due: BTreeSet<(u64, TransactionId)>,
    ended: BTreeSet<(u64, TransactionId)>,
    busy: BTreeSet<Slot>,
    counts: Counts,
    unreported: Unreported,
}

impl Default for Transactions {
    fn default() -> Transactions {
        Transactions::new()
    }
}

impl Transactions {
    /// Of a group that owns nothing and was not founded.
    pub fn new() -> Transactions {
        Transactions {
            clock_ms: 0,
            tenure: Term(0),
            counter: 0,
            last_slot: Slot(SLOTS - 1),
            slots: Slots::default(),
            due: BTreeSet::new(),
            ended: BTreeSet::new(),
            busy: BTreeSet::new(),
            counts: Counts::default(),
            unreported: Unreported::default(),
        }
    }

    /// Milliseconds that have passed while the group had a leader, as far as entries said so.
    pub fn clock_ms(&self) -> u64 {
        self.clock_ms
    }

    /// Term of the leader whose `Lead` was applied last.
    pub fn tenure(&self) -> Term {
        self.tenure
    }

    /// Whether `Found` was applied.
    pub fn is_founded(&self) -> bool {
        self.counter > 0
    }

    /// The epoch of a slot that is active here.
    pub fn owns(&self, slot: Slot) -> Option<Epoch> {
        self.slots.get(slot)?.active()
    }

    /// How the group stands to a slot.
    pub fn ownership(&self, slot: Slot) -> Ownership {
        self.slots.get(slot).map_or(Ownership::None, |state| state.ownership())
    }

    /// All slots that are active here, ascending.
    pub fn slots(&self) -> impl Iterator<Item = (Slot, Epoch)> {
        self.slots.iter().filter_map(|(slot, state)| Some((slot, state.active()?)))
    }

    /// Slots that an attempt to move them has left neither here nor there, ascending.
    pub fn unsettled(&self) -> impl Iterator<Item = Slot> {
        let moves = |ownership| match ownership {
            Ownership::None | Ownership::Active(_) => false,
            Ownership::Passive(_) | Ownership::Frozen { .. } | Ownership::Installing { .. } => true,
        };
        self.slots.iter().filter(move |(_, state)| moves(state.ownership())).map(|(slot, _)| slot)
    }

    /// The fence under which this tenure deals branch ids of a slot.
    pub fn fence(&self, slot: Slot) -> Option<Fence> {
        Some(Fence { epoch: self.owns(slot)?, tenure: self.tenure })
    }

    /// The first sequence number that may be dealt for a branch of this slot (lock protocol, rule 2).
    pub fn ids_from(&self, slot: Slot) -> u64 {
        self.slots.get(slot).map_or(0, |state| state.ids_from)
    }

    /// What is known of a slot that is active here. Nobody is told anything of another: while it moves, and after, its owner
    /// may know better.
    fn served(&self, slot: Slot) -> Option<&SlotState> {
        self.slots.get(slot).filter(|state| state.is_active())
    }

    fn all_served(&self) -> impl Iterator<Item = (Slot, &SlotState)> {
        self.slots.iter().filter(|(_, state)| state.is_active())
    }

    /// A session that has not ended. Speaks, as all that follow, for slots that are active here only: nothing does not mean that
    /// there is none, unless the slot is owned.
    pub fn session(&self, transaction: TransactionId) -> Option<&Session> {
        self.served(transaction.slot())?.session(transaction)
    }

    /// The status that an ended transaction had.
    pub fn tombstone(&self, transaction: TransactionId) -> Option<GlobalStatus> {
        self.served(transaction.slot())?.tombstone(transaction).map(|tombstone| tombstone.status)
    }

    /// The status of a transaction, ended or not.
    pub fn standing(&self, transaction: TransactionId) -> Option<GlobalStatus> {
        let live = self.session(transaction).map(|session| session.status);
        live.or_else(|| self.tombstone(transaction))
    }

    /// All sessions, slot by slot, then by id.
    pub fn sessions(&self) -> impl Iterator<Item = &Session> {
        self.all_served().flat_map(|(_, state)| state.sessions())
    }

    /// The sessions of one slot, by id.
    pub fn sessions_in(&self, slot: Slot) -> impl Iterator<Item = &Session> {
        self.served(slot).into_iter().flat_map(|state| state.sessions())
    }

    /// Decided, not ended, not failed for good, or being deleted; slot by slot, then by id. Those behind this one, for
    /// whoever takes them in pieces; all, if it is none.
    pub fn unfinished(&self, behind: Option<TransactionId>) -> impl Iterator<Item = TransactionId> {
        let first = behind.map_or(Slot(0), |last| last.slot());
        let busy = self.busy.range(first..).filter_map(|slot| Some((*slot, self.slots.get(*slot)?)));
        busy.flat_map(move |(slot, state)| state.unfinished(behind.filter(|last| last.slot() == slot)))
    }

    /// The earliest deadline of a session in Begin, by the group clock.
    pub fn next_due(&self) -> Option<(u64, TransactionId)> {
        self.due.first().copied()
    }

    /// Sessions in Begin whose time is up at this reading of the group clock, earliest first; of each slot only the
    /// first, so ask again once these are decided.
    pub fn due_until(&self, clock_ms: u64) -> impl Iterator<Item = TransactionId> {
        self.due.range(..=(clock_ms, TransactionId(i64::MAX))).map(|(_, transaction)| *transaction)
    }

    /// Whether a deadline, a tombstone or the patience of phase two waits for the clock, so that a quiet leader should stamp
    /// an entry now and then.
    pub fn awaits_clock(&self) -> bool {
        !self.due.is_empty() || !self.ended.is_empty() || !self.busy.is_empty()
    }

    /// The first of these rows that another transaction than `asker` holds. The leader's clock says for how long: in a quiet
    /// group the applied one stands still.
    pub fn conflict(&self, asker: TransactionId, resource: &str, rows: &LockKeys, clock_ms: u64) -> Option<Conflict> {
        let clock_ms = clock_ms.max(self.clock_ms);
        self.served(lock_slot(resource))?.locks.conflict(asker, resource, rows, clock_ms)
    }

    /// What a transaction holds in one lock slot.
    pub fn holds_of(&self, slot: Slot, transaction: TransactionId) -> impl Iterator<Item = HoldView<'_>> {
        let state = self.served(slot);
        state.into_iter().flat_map(move |state| state.locks.holds_of(transaction)).map(move |(branch, hold)| {
            view(slot, transaction, branch, hold) // of any group's transaction
        })
    }

    /// Holds of at least this age by the leader's clock, for the audit (lock protocol, rule 14).
    pub fn holds_older_than(&self, age_ms: u64, clock_ms: u64) -> impl Iterator<Item = HoldView<'_>> {
        let until_ms = clock_ms.max(self.clock_ms).checked_sub(age_ms);
        self.all_served().flat_map(move |(slot, state)| {
            let holds = until_ms.map(|until_ms| state.locks.holds_until(until_ms));
            holds.into_iter().flatten().map(move |(transaction, branch, hold)| view(slot, transaction, branch, hold))
        })
    }

    /// All rows held, by resource, then row. Sorts them: for an operator's eyes.
    pub fn locks(&self) -> impl Iterator<Item = LockView<'_>> {
        let rows = self.all_served().flat_map(|(_, state)| state.locks.rows());
        let mut views: Vec<LockView<'_>> = rows
            .map(|(resource, row, holder)| LockView {
                resource,
                row,
                transaction: holder.owner,
                branches: holder.through.branches(),
            })
            .collect();
        views.sort_unstable();
        views.into_iter()
    }

    /// The rows held in one lock slot: each once.
    pub fn rows_in(&self, slot: Slot) -> impl Iterator<Item = HeldRow<'_>> {
        self.served(slot).into_iter().flat_map(move |state| {
            state.locks.holds().flat_map(move |(transaction, branch, hold)| {
                let rows = (0..)
                    .zip(&hold.rows)
                    .map(move |(place, row)| row_view(slot, transaction, branch, hold, place, row));
                rows.filter(move |held| state.locks.first_branch(held.resource, held.row) == Some(branch))
            })
        })
    }

    /// The row at a place among those of a branch.
    pub fn held_row(
        &self,
        slot: Slot,
        transaction: TransactionId,
        branch: BranchId,
        place: u32,
    ) -> Option<HeldRow<'_>> {
        let hold = self.served(slot)?.locks.hold(transaction, branch)?;
        let row = hold.rows.get(place as usize)?;
        Some(row_view(slot, transaction, branch, hold, place, row))
    }

    /// Who holds a row, and through which branches, each with the fence it was minted under.
    pub fn holder(&self, resource: &str, row: &RowKey) -> Option<(TransactionId, Vec<(BranchId, Fence)>)> {
        let locks = &self.served(lock_slot(resource))?.locks;
        let holder = locks.holder(resource, row)?;
        let hold = |branch: &BranchId| Some((*branch, locks.hold(holder.owner, *branch)?.fence));
        Some((holder.owner, holder.through.branches().iter().filter_map(hold).collect()))
    }

    /// Whether a branch that this hold belongs to is gone for ever (lock protocol, rule 14). `is_pending`: the asked
    /// leader still waits for one of its halves. To be asked of a leader whose own `Lead` is applied here.
    pub fn is_gone(
        &self,
        transaction: TransactionId,
        branch: BranchId,
        fence: Fence,
        is_pending: bool,
    ) -> Result<bool, Refusal> {
        let (state, epoch) = self.active(transaction.slot())?;
        let own = Fence { epoch, tenure: self.tenure };
        if fence > own && !bug!("audit_ignores_the_fence") {
            return Ok(false); // minted later than I lead: not mine to judge
        }
        let Some(session) = state.session(transaction) else { return Ok(true) };
        let is_listed = session.branches.contains_key(&branch);
        Ok(match session.direction() {
            _ if is_pending && bug!("audit_keeps_pending_for_ever") => false,
            Some(Direction::Commit) => true,
            Some(Direction::Rollback) if bug!("audit_frees_what_rolls_back") => true,
            // One that an operator has done with holds nothing rightfully either.
            Some(Direction::Rollback) => session.branches.get(&branch).is_none_or(|branch| branch.fate.is_settled()),
            None if fence == own => !is_listed && !is_pending,
            None => !is_listed,
        })
    }

    /// How much there is in the slots that are active here, and how many bytes in all.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Branches of undecided transactions of which no RM has said anything yet.
    pub fn unreported(&self) -> u64 {
        self.unreported.total()
    }

    /// Of those, the ones of at least this age; the second of their registration must be over. Takes as long as the age has
    /// seconds, however many there are.
    pub fn unreported_older_than(&self, age_s: u64) -> u64 {
        self.unreported.older_than(age_s, self.clock_ms)
    }

    /// The state of a slot that is active here.
    pub(super) fn active(&self, slot: Slot) -> Result<(&SlotState, Epoch), Refusal> {
        let state = self.slots.get(slot).ok_or(Refusal::NotOwner { epoch: Epoch(0) })?;
        match state.active() {
            Some(epoch) => Ok((state, epoch)),
            None => Err(Refusal::NotOwner { epoch: state.seen }),
        }
    }

    /// Changes the state of a slot, which copies it if a snapshot shares it, and keeps the group's orders in step.
    pub(super) fn change(&mut self, slot: Slot, change: impl FnOnce(&mut SlotState)) {
        let Some(shared) = self.slots.get_mut(slot) else { return };
        let (before, counted) = (shared.heads(), shared.counts());
        let changing = Arc::make_mut(shared);
        change(changing);
        changing.take_changed().for_each(|changed| self.unreported.exchange(changed));
        self.keep_in_step(slot, before, counted);
    }

    /// A slot comes into being here with what it brings, in the place of what was here of it and not active.
    pub(super) fn put_slot(&mut self, slot: Slot, mut brought: SlotState) {
        let of = |state: &SlotState| (state.heads(), state.counts());
        let (before, counted) = self.slots.get(slot).map(of).unwrap_or_default();
        brought.take_changed().for_each(|changed| self.unreported.exchange(changed));
        self.slots.insert(slot, brought);
        self.keep_in_step(slot, before, counted);
    }

    fn keep_in_step(&mut self, slot: Slot, before: Heads, counted: Counts) {
        let Some(state) = self.slots.get(slot) else { return };
        let after = state.heads();
        self.counts.exchange(counted, state.counts());
        exchange(&mut self.due, before.due, after.due);
        exchange(&mut self.ended, before.ended, after.ended);
        match (before.is_busy, after.is_busy) {
            (false, true) => _ = self.busy.insert(slot),
            (true, false) => _ = self.busy.remove(&slot),
            (true, true) | (false, false) => {}
        }
    }

    /// The tombstone that was set first.
    pub(super) fn oldest_tombstone(&self) -> Option<(u64, TransactionId)> {
        self.ended.first().copied()
    }

    /// The slot of the last Begin while its run lasts, then the next one. Counted by ids, blocks of branch ids included: a run
    /// may be shorter.
    pub(super) fn near_slot(&self) -> Option<Slot> {
        let goes_on = !self.counter.is_multiple_of(BEGINS_IN_A_SLOT) && self.owns(self.last_slot).is_some();
        if goes_on { Some(self.last_slot) } else { self.next_slot() }
    }

    /// The next active slot after the one that the last Begin went to.
    pub(super) fn next_slot(&self) -> Option<Slot> {
        let active = |(slot, state): (Slot, &SlotState)| state.active().map(|_| slot);
        let after = self.slots.from(Slot(self.last_slot.0.saturating_add(1))).find_map(active);
        after.or_else(|| self.slots.iter().find_map(active))
    }
}

fn view(slot: Slot, transaction: TransactionId, branch: BranchId, hold: &super::locks::Hold) -> HoldView<'_> {
    HoldView {
        slot,
        transaction,
        branch,
        fence: hold.fence,
        resource: &hold.resource,
        rows: hold.rows.len() as u64,
        since_ms: hold.since_ms,
    }
}

fn row_view<'a>(
    slot: Slot,
    transaction: TransactionId,
    branch: BranchId,
    hold: &'a super::locks::Hold,
    place: u32,
    row: &'a RowKey,
) -> HeldRow<'a> {
    HeldRow { slot, transaction, branch, place, resource: &hold.resource, row, since_ms: hold.since_ms }
}

fn exchange<T: Ord>(order: &mut BTreeSet<T>, before: Option<T>, after: Option<T>) {
    if before != after {
        before.map(|before| order.remove(&before));
        after.map(|after| order.insert(after));
    }
}
