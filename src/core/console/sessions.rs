//! Transactions: which are wanted, in which order, what is shown of one, and why it does not come to its end.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::model::{BranchId, BranchStatus, BranchType, GlobalStatus, GroupId, TransactionId, Xid};
use crate::txn::{Branch, Session, Transactions, status};

/// Which transactions are wanted; what is not said fits all. Texts fit where they occur, as in Seata's file and raft mode.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct SessionFilter {
    /// A part of the XID.
    pub xid: Option<String>,
    /// A part of the application id.
    pub application: Option<String>,
    /// A part of the transaction's name.
    pub name: Option<String>,
    /// Exactly this status.
    pub status: Option<GlobalStatus>,
    /// Begun at this wall time or later, ms since 1970.
    pub begun_from_ms: Option<u64>,
    /// Begun at this wall time or before.
    pub begun_until_ms: Option<u64>,
    /// Not decided, with a branch that registered at least so long ago, by the group's clock, and of which its RM never
    /// said how phase one went: its RM may be gone. The time-out of the transaction decides what becomes of it.
    pub unreported_for_ms: Option<u64>,
}

/// Where a transaction stands in the list: by its begin, then by its id.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct SessionKey {
    /// Wall time of its begin.
    pub begun_wall_ms: u64,
    /// Which.
    pub transaction: TransactionId,
}

/// What is shown of a transaction.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SessionRow {
    /// The group that has it.
    pub group: GroupId,
    /// Its XID's parts.
    pub xid: Xid,
    /// Application id of its TM.
    pub application: String,
    /// Transaction service group of its TM.
    pub service_group: String,
    /// Its name.
    pub name: String,
    /// As requested.
    pub timeout_ms: i32,
    /// Wall time of its begin.
    pub begun_wall_ms: u64,
    /// Since its begin, by the group's clock.
    pub age_ms: u64,
    /// Where it stands; Deleting, if an operator has it deleted.
    pub status: GlobalStatus,
    /// Its branches, in order of registration.
    pub branches: Vec<BranchRow>,
    /// Branches for which the answer had no room.
    pub branches_left_out: u32,
    /// What its driver has met of late: branches that were asked in vain. Lost with the leader.
    pub troubles: Vec<(BranchId, Trouble)>,
}

/// What is shown of a branch.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct BranchRow {
    /// Which.
    pub branch: BranchId,
    /// AT, TCC, ..
    pub kind: BranchType,
    /// Resource id.
    pub resource: String,
    /// As last reported.
    pub status: BranchStatus,
    /// `application:ip:port` of the channel that registered it.
    pub client: String,
    /// Given back to the RM in phase two.
    pub application_data: String,
    /// Rows that it names.
    pub rows: u32,
    /// Since its registration, by the group's clock; nothing: nobody knows.
    pub age_ms: Option<u64>,
}

/// A branch that phase two has asked in vain.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Trouble {
    /// How often, by this leader.
    pub attempts: u32,
    /// What came last.
    pub last: LastAnswer,
}

/// What came of asking a branch.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum LastAnswer {
    /// Its RM said so.
    Status(BranchStatus),
    /// No RM for its resource is connected: it is parked until one comes.
    NoChannel,
    /// Its RM was asked, and there was no answer in time.
    Silent,
    /// Its RM had so much to do that it was not asked.
    Busy,
}

/// Why a transaction does not come to its end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stuck {
    /// An operator has stopped it.
    Stopped,
    /// It failed for good, and is an operator's; the branch that said so, if one did.
    Failed(Option<BranchId>),
    /// A branch was stopped (STOP_RETRY).
    BranchStopped(BranchId),
    /// No RM for the branch's resource is connected.
    Parked(BranchId, Trouble),
    /// The branch is asked again and again.
    Retrying(BranchId, Trouble),
}

impl SessionFilter {
    /// Whether it is wanted, at this reading of its group's clock.
    pub fn fits(&self, session: &Session, clock_ms: u64) -> bool {
        let has = |text: &str, part: &Option<String>| part.as_ref().is_none_or(|part| text.contains(part.as_str()));
        self.status.is_none_or(|status| session.shown_status() == status)
            && self.begun_from_ms.is_none_or(|from_ms| session.begun_wall_ms >= from_ms)
            && self.begun_until_ms.is_none_or(|until_ms| session.begun_wall_ms <= until_ms)
            && self.unreported_for_ms.is_none_or(|for_ms| is_unreported_for(session, clock_ms, for_ms))
            && has(&session.application, &self.application)
            && has(&session.name, &self.name)
            && (self.xid.is_none() || has(&session.xid().to_string(), &self.xid))
    }
}

fn is_unreported_for(session: &Session, clock_ms: u64, for_ms: u64) -> bool {
    let is_old = |branch: &Branch| branch.is_unreported() && branch_age_ms(session, branch, clock_ms) >= for_ms;
    session.status == GlobalStatus::Begin && session.branches.values().any(is_old)
}

/// That of its transaction where nobody knows.
fn branch_age_ms(session: &Session, branch: &Branch, clock_ms: u64) -> u64 {
    clock_ms.saturating_sub(session.registered_ms(branch))
}

/// Branches of undecided transactions of which no RM has said anything yet, by age: the first number counts all, the
/// others those that are older than [`UNREPORTED_AGES_S`], to a second. Looks at no session.
pub fn unreported(state: &Transactions) -> [u64; 1 + UNREPORTED_AGES_S.len()] {
    let mut counts = [state.unreported(); 1 + UNREPORTED_AGES_S.len()];
    for (count, age_s) in counts[1..].iter_mut().zip(UNREPORTED_AGES_S) {
        *count = state.unreported_older_than(age_s);
    }
    counts
}

/// Ages that [`unreported`] tells apart, seconds.
pub const UNREPORTED_AGES_S: [u64; 3] = [10, 60, 600];

fn age_ms(session: &Session, clock_ms: u64) -> u64 {
    session.age_ms(clock_ms)
}

impl SessionKey {
    /// The place of a session.
    pub fn of(session: &Session) -> SessionKey {
        SessionKey { begun_wall_ms: session.begun_wall_ms, transaction: session.transaction }
    }
}

impl SessionRow {
    /// A session at this reading of its group's clock. Its branches are shown as far as `room` bytes go, and the room
    /// shrinks by them.
    pub fn of(session: &Session, group: GroupId, clock_ms: u64, room: &mut usize) -> SessionRow {
        let (mut branches, mut branches_left_out) = (Vec::new(), 0);
        // What an operator has done with is not there any more.
        for branch in session.branches.values().filter(|branch| !branch.fate.is_settled()) {
            if branches_left_out > 0 {
                branches_left_out += 1;
                continue;
            }
            match room.checked_sub(BranchRow::bytes(branch)) {
                Some(left) => {
                    *room = left;
                    branches.push(BranchRow::of(branch, clock_ms));
                }
                None => branches_left_out += 1,
            }
        }
        SessionRow {
            group,
            xid: session.xid(),
            application: session.application.as_ref().into(),
            service_group: session.service_group.as_ref().into(),
            name: session.name.as_ref().into(),
            timeout_ms: session.timeout_ms,
            begun_wall_ms: session.begun_wall_ms,
            age_ms: age_ms(session, clock_ms),
            status: session.shown_status(),
            branches,
            branches_left_out,
            troubles: Vec::new(),
        }
    }

    /// Why it does not come to its end, if something is in its way.
    pub fn stuck(&self) -> Option<Stuck> {
        let with = |wanted: fn(BranchStatus) -> bool| self.branches.iter().find(|branch| wanted(branch.status));
        if status::is_stopped(self.status) {
            return Some(Stuck::Stopped);
        }
        if status::is_failed(self.status) {
            return Some(Stuck::Failed(with(is_final_failure).map(|branch| branch.branch)));
        }
        if !status::is_running(self.status) && self.status != GlobalStatus::Deleting {
            return None;
        }
        let stopped = with(|status| status == BranchStatus::STOP_RETRY);
        if let Some(branch) = stopped.filter(|_| self.status != GlobalStatus::Deleting) {
            return Some(Stuck::BranchStopped(branch.branch));
        }
        let (branch, trouble) = *self.troubles.first()?;
        Some(match trouble.last {
            LastAnswer::NoChannel => Stuck::Parked(branch, trouble),
            LastAnswer::Status(_) | LastAnswer::Silent | LastAnswer::Busy => Stuck::Retrying(branch, trouble),
        })
    }
}

fn is_final_failure(status: BranchStatus) -> bool {
    use BranchStatus::{PhaseTwo_CommitFailed_Unretryable, PhaseTwo_RollbackFailed_Unretryable};
    matches!(status, PhaseTwo_CommitFailed_Unretryable | PhaseTwo_RollbackFailed_Unretryable)
}

impl BranchRow {
    /// A branch at this reading of its group's clock.
    pub fn of(branch: &Branch, clock_ms: u64) -> BranchRow {
        BranchRow {
            branch: branch.branch,
            kind: branch.kind,
            resource: branch.resource.as_ref().into(),
            status: branch.status,
            client: branch.client.as_ref().into(),
            application_data: branch.application_data.as_ref().into(),
            rows: branch.rows,
            age_ms: branch.registered_clock_ms.map(|registered_ms| clock_ms.saturating_sub(registered_ms)),
        }
    }

    /// What it takes in an answer, roughly.
    fn bytes(branch: &Branch) -> usize {
        64 + branch.resource.len() + branch.client.len() + branch.application_data.len()
    }
}

impl core::fmt::Display for LastAnswer {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            LastAnswer::Status(status) => status.fmt(f),
            LastAnswer::NoChannel => f.write_str("no RM for its resource is connected"),
            LastAnswer::Silent => f.write_str("no answer in time"),
            LastAnswer::Busy => f.write_str("its RM has too much to do to be asked"),
        }
    }
}

impl Stuck {
    /// In one word, for a program.
    pub fn reason(&self) -> &'static str {
        match self {
            Stuck::Stopped => "STOPPED",
            Stuck::Failed(_) => "FAILED",
            Stuck::BranchStopped(_) => "BRANCH_STOPPED",
            Stuck::Parked(..) => "NO_CHANNEL",
            Stuck::Retrying(..) => "RETRYING",
        }
    }

    /// The branch that is in the way.
    pub fn branch(&self) -> Option<BranchId> {
        match self {
            Stuck::Stopped => None,
            Stuck::Failed(branch) => *branch,
            Stuck::BranchStopped(branch) | Stuck::Parked(branch, _) | Stuck::Retrying(branch, _) => Some(*branch),
        }
    }

    /// What asking it came to.
    pub fn trouble(&self) -> Option<Trouble> {
        match self {
            Stuck::Parked(_, trouble) | Stuck::Retrying(_, trouble) => Some(*trouble),
            Stuck::Stopped | Stuck::Failed(_) | Stuck::BranchStopped(_) => None,
        }
    }
}
