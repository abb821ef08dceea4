//! What an operator is shown: pages out of all groups of the cluster, whichever node was asked.
//!
//! The node that was asked gathers from the leaders of all groups, over the peer port where they are elsewhere
//! ([`Coordinator::list_sessions`], [`Coordinator::list_locks`]); a leader answers of its group only (`here`). Bounded
//! everywhere: so many groups at a time, so long for each, so many rows and bytes in an answer. A group that does not
//! answer in time is named beside the page. What an operator asks for is done in `operate`.

mod deletion;
mod here;
mod lock;
mod operate;

use std::sync::Arc;

use quorate_core::console::{
    Gathered, Listing, LockFilter, LockKey, LockName, LockRow, Page, SessionFilter, SessionKey, SessionRow, Wish,
};
use quorate_core::model::{BranchId, GroupId, Slot, TransactionId};
use quorate_world::task;
use quorate_world::time::{Duration, Instant, timeout};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

use super::context::{Coordinator, Leader};
use super::message::{Query, Response};
use super::route::Pause;

/// A group has so long to answer.
const GROUP_PATIENCE: Duration = Duration::from_secs(2);
/// All of them together, for one step.
const PATIENCE: Duration = Duration::from_secs(6);
/// Groups asked at a time: what they answer is in memory until it is merged.
const GROUPS_AT_A_TIME: usize = 16;
/// Pages gathered at a time; more wait. Each looks at all that there is, and everybody may ask.
pub(super) const PAGES_AT_A_TIME: usize = 8;
/// Branches on one page, in bytes; shared by the groups that have a part of it.
const BRANCHES_BYTES_MAX: u32 = 4 << 20;

/// What a group's leader is asked for the operator. See [`Query::Console`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum ConsoleAsk {
    /// Which transactions fit, up to this many in order.
    Sessions(SessionFilter, u32),
    /// Show these transactions, with branches of so many bytes; without room, branches are left out.
    ShowSessions(Vec<TransactionId>, u32),
    /// Which row locks fit, up to this many in order.
    Locks(LockFilter, u32),
    /// Show these row locks.
    ShowLocks(Vec<LockKey>),
    /// Whether the transaction has this branch still, for phase two or an operator.
    HasBranch(TransactionId, BranchId),
}

/// What an operator wants done with a transaction. See [`Query::Operate`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct OperateAskV1 {
    /// The transaction.
    pub transaction: TransactionId,
    /// What is to be done.
    pub wish: Wish,
    /// Who wants it, for the log.
    pub by: String,
}

/// What an operator wants done with a row lock. See [`Query::DeleteLock`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct DeleteLockV1 {
    /// Which.
    pub lock: LockName,
    /// Who wants it, for the log.
    pub by: String,
}

/// What it answers. See [`Response::Console`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum ConsoleAnswer {
    /// To [`ConsoleAsk::Sessions`].
    Sessions(Listing<SessionKey>),
    /// To [`ConsoleAsk::ShowSessions`]: those that are still there.
    SessionRows(Vec<SessionRow>),
    /// To [`ConsoleAsk::Locks`].
    Locks(Listing<LockKey>),
    /// To [`ConsoleAsk::ShowLocks`]: those that are still held.
    LockRows(Vec<LockRow>),
    /// To [`ConsoleAsk::HasBranch`].
    HasBranch(bool),
}

impl Coordinator {
    /// A page of the transactions of all groups, by begin, then by id.
    pub async fn list_sessions(self: &Arc<Self>, filter: SessionFilter, page: Page) -> Gathered<SessionRow> {
        // Never closed.
        let _turn = self.pages.acquire().await;
        let asks = self.of_all_groups(&ConsoleAsk::Sessions(filter, page.reach()));
        let (answers, mut unanswered) = self.ask_groups(asks).await;
        let mut listing = Listing::new(page.reach());
        for answer in answers {
            if let ConsoleAnswer::Sessions(part) = answer {
                listing.merge(part);
            }
        }
        let total = listing.total();
        let keys = listing.into_keys();
        let wanted = page.of(&keys).iter().map(|key| key.transaction);
        let rows = self.show_sessions(wanted, BRANCHES_BYTES_MAX, &mut unanswered).await;
        let rows = page.of(&keys).iter().filter_map(|key| rows.get(&key.transaction).cloned()).collect();
        Gathered { rows, total, unanswered: unanswered.into_iter().collect() }
    }

    /// A page of the row locks of all groups, by holder, branch and row.
    pub async fn list_locks(self: &Arc<Self>, filter: LockFilter, page: Page) -> Gathered<LockRow> {
        // Never closed.
        let _turn = self.pages.acquire().await;
        let asks = self.of_all_groups(&ConsoleAsk::Locks(filter, page.reach()));
        let (answers, mut unanswered) = self.ask_groups(asks).await;
        let mut listing = Listing::new(page.reach());
        for answer in answers {
            if let ConsoleAnswer::Locks(part) = answer {
                listing.merge(part);
            }
        }
        let total = listing.total();
        let keys = listing.into_keys();
        let wanted = self.by_group(page.of(&keys).iter().map(|key| (key.slot, *key)));
        let asks = wanted.into_iter().map(|(group, keys)| (group, ConsoleAsk::ShowLocks(keys))).collect();
        let (answers, silent) = self.ask_groups(asks).await;
        unanswered.extend(silent);
        let mut rows: Vec<LockRow> = Vec::new();
        for answer in answers {
            if let ConsoleAnswer::LockRows(part) = answer {
                rows.extend(part);
            }
        }
        rows.sort_by(|one, other| order_of(one).cmp(&order_of(other)));
        let holders: BTreeSet<TransactionId> = rows.iter().map(|row| row.transaction).collect();
        let holders = self.show_sessions(holders.into_iter(), 0, &mut unanswered).await;
        for row in &mut rows {
            row.holder = holders.get(&row.transaction).cloned();
        }
        Gathered { rows, total, unanswered: unanswered.into_iter().collect() }
    }

    /// Branches of undecided transactions led here of which no RM has said anything yet, by age, as
    /// [`quorate_core::console::unreported`] counts them.
    pub fn unreported(&self) -> Vec<u64> {
        let mut counts = Vec::new();
        for tenure in self.led.tenures() {
            let of_group = tenure.replica.read(quorate_core::console::unreported);
            counts.resize(of_group.len(), 0);
            counts.iter_mut().zip(of_group).for_each(|(count, more)| *count += more);
        }
        counts
    }

    async fn show_sessions(
        self: &Arc<Self>,
        wanted: impl Iterator<Item = TransactionId>,
        branches_bytes: u32,
        unanswered: &mut BTreeSet<GroupId>,
    ) -> BTreeMap<TransactionId, SessionRow> {
        let wanted = self.by_group(wanted.map(|transaction| (transaction.slot(), transaction)));
        let room = branches_bytes / (wanted.len() as u32).max(1);
        let asks = wanted.into_iter().map(|(group, of_group)| (group, ConsoleAsk::ShowSessions(of_group, room)));
        let (answers, silent) = self.ask_groups(asks.collect()).await;
        unanswered.extend(silent);
        let mut rows = BTreeMap::new();
        for answer in answers {
            if let ConsoleAnswer::SessionRows(part) = answer {
                rows.extend(part.into_iter().map(|row| (row.xid.transaction, row)));
            }
        }
        rows
    }

    fn of_all_groups(&self, ask: &ConsoleAsk) -> Vec<(GroupId, ConsoleAsk)> {
        self.routing.borrow().groups().map(|(group, _)| (group, ask.clone())).collect()
    }

    fn by_group<K>(&self, keys: impl Iterator<Item = (Slot, K)>) -> BTreeMap<GroupId, Vec<K>> {
        let mut groups: BTreeMap<GroupId, Vec<K>> = BTreeMap::new();
        for (slot, key) in keys {
            if let Some(group) = self.group_of(slot) {
                groups.entry(group).or_default().push(key);
            }
        }
        groups
    }

    /// Asks groups side by side, some at a time. Second: who did not answer.
    async fn ask_groups(self: &Arc<Self>, asks: Vec<(GroupId, ConsoleAsk)>) -> (Vec<ConsoleAnswer>, BTreeSet<GroupId>) {
        let end = Instant::now() + PATIENCE;
        let (mut answers, mut unanswered) = (Vec::new(), BTreeSet::new());
        for some in asks.chunks(GROUPS_AT_A_TIME) {
            let until = end.min(Instant::now() + GROUP_PATIENCE);
            let mut asked = Vec::with_capacity(some.len());
            for (group, ask) in some {
                let (coordinator, group, query) = (self.clone(), *group, Query::Console(ask.clone()));
                asked.push((group, task::spawn(async move { coordinator.ask_group(group, &query, until).await })));
            }
            for (group, answer) in asked {
                match answer.await {
                    Ok(Some(Response::Console(answer))) => answers.push(answer),
                    Ok(Some(_) | None) | Err(_) => _ = unanswered.insert(group),
                }
            }
        }
        (answers, unanswered)
    }

    /// Asks the leader of a group, wherever it is now, until it has answered; nothing: not until then. What was asked may
    /// have been done all the same, and more than once.
    pub(super) async fn ask_group(self: &Arc<Self>, group: GroupId, query: &Query, until: Instant) -> Option<Response> {
        let mut pause = Pause::new();
        loop {
            let changed = self.changed.notified();
            let left = until.saturating_duration_since(Instant::now());
            let answer = match self.leader_of_group(group) {
                Leader::Here(_) => {
                    timeout(left, Box::pin(self.serve_query(self.node, group, query.clone()))).await.ok()
                }
                Leader::There(node, _) => self.ask_there(node, group, query, left).await.ok(),
                Leader::Nobody => None,
            };
            match answer {
                Some(Response::Elsewhere(_)) | None => {}
                Some(answer) => return Some(answer),
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            _ = timeout(left.min(pause.next()), changed).await;
        }
    }
}

/// As [`LockKey`]: rows of a branch are in the order of their places.
fn order_of(row: &LockRow) -> (TransactionId, i64, &quorate_core::model::RowKey) {
    (row.transaction, row.branch.0, &row.row)
}
