//! Follows raft: a tenure begins when this node is elected and its `Lead` is applied, and ends with the leadership.

use std::sync::Arc;

use quorate_core::model::{GroupId, Term, TransactionId};
use quorate_core::txn::{Command, IdBlock, Outcome, Session, Transactions};
use quorate_raft::{Leadership, ProposeError, Replica};
use quorate_world::select::select3;
use quorate_world::task;
use quorate_world::time::{Duration, sleep};

use super::context::Coordinator;
use super::planted;
use super::tenure::{Tenure, lead};

/// Before `Lead` is proposed again.
const PAUSE: Duration = Duration::from_millis(20);
/// Whether every unfinished transaction has its driver is looked at this often.
const LOOK_AGAIN: Duration = Duration::from_secs(30);
/// So many are looked at before it is somebody else's turn.
const LOOKED_AT_MAX: usize = 256;

impl Coordinator {
    /// This node has a replica of a data group: follow its leadership from now on.
    pub fn attach(self: &Arc<Self>, group: GroupId, replica: Arc<Replica<Transactions>>) {
        self.led.attach(group, replica.clone());
        let coordinator = self.clone();
        task::spawn(async move { coordinator.follow(group, replica).await });
    }

    /// The replica is closed, or about to be.
    pub fn detach(&self, group: GroupId) {
        self.led.detach(group);
        self.leave(group);
    }

    /// The data groups that this node leads and serves.
    pub fn leads(&self) -> Vec<(GroupId, Term)> {
        self.led.tenures().iter().map(|tenure| (tenure.group, tenure.term)).collect()
    }

    /// Transactions in phase two that are driven from here.
    pub fn drives(&self) -> usize {
        self.led.tenures().iter().map(|tenure| tenure.drives()).sum()
    }

    async fn follow(self: Arc<Self>, group: GroupId, replica: Arc<Replica<Transactions>>) {
        let mut leadership = replica.leadership();
        loop {
            let now = *leadership.borrow_and_update();
            if self.led.replica(group).is_none() {
                break;
            }
            self.adjust(group, &replica, &now).await;
            self.changed.notify_waiters();
            if leadership.changed().await.is_err() {
                break;
            }
            quorate_world::linger!("leadership_is_noticed_late");
        }
        self.leave(group);
    }

    async fn adjust(self: &Arc<Self>, group: GroupId, replica: &Arc<Replica<Transactions>>, now: &Leadership) {
        if let Some(tenure) = self.led.tenure(group) {
            if now.leading && tenure.term == now.term {
                return;
            }
            if now.leading {
                quorate_core::sometimes!("node_leads_on_in_another_term");
            }
            self.leave(group);
        }
        if now.leading {
            self.enter(group, replica, now.term).await;
        }
    }

    /// The first entry of a leader is `Lead`; until it is applied nothing is served (lock protocol, rule 1).
    async fn enter(self: &Arc<Self>, group: GroupId, replica: &Arc<Replica<Transactions>>, term: Term) {
        let block = loop {
            if quorate_world::bug!("lead_is_not_awaited") {
                break IdBlock { first: 0, count: 0 };
            }
            match replica.propose(Command::Lead(lead(term))).await {
                Ok(Outcome::Led(block)) => break block,
                Err(ProposeError::Full) => sleep(PAUSE).await,
                // Another leads by now, or will; raft tells.
                Ok(_)
                | Err(ProposeError::NotLeader { .. })
                | Err(ProposeError::TooLarge)
                | Err(ProposeError::Stopped)
                | Err(ProposeError::Unknown) => {
                    sleep(PAUSE).await;
                    let now = *replica.leadership().borrow();
                    if !now.leading || now.term != term {
                        quorate_core::sometimes!("leadership_lost_before_it_began_to_serve");
                        return;
                    }
                }
            }
        };
        let tenure = Arc::new(Tenure::new(group, term, replica.clone(), block));
        tracing::info!(group = group.0, term = term.0, "leads");
        self.led.begin(tenure.clone());
        if quorate_world::bug!("new_leader_removes_branches") {
            planted::remove_branches(&tenure);
        }
        let coordinator = self.clone();
        task::spawn(coordinator.watch_deadlines(tenure.clone()));
        let coordinator = self.clone();
        task::spawn(coordinator.audit(tenure.clone()));
        let coordinator = self.clone();
        task::spawn(coordinator.drive_all(tenure.clone()));
        if self.patience.unlocks {
            let coordinator = self.clone();
            task::spawn(coordinator.unlock_given_up(tenure));
        }
    }

    /// A new leader goes on with all that is unfinished, at once (semantics, W19), and looks again now and then, as long as
    /// the tenure lasts.
    ///
    /// Again, because whoever proposes a decision starts its driver when he hears the outcome, and may never hear it: raft
    /// tells nobody what became of an entry whose answer it has dropped, and applies it all the same, under this very
    /// leader too. Nothing else but the state knows of such a decision. It keeps those in phase two in an order of their
    /// own, so no look meets any others; and it is looked at in pieces, so that nobody waits for a look.
    async fn drive_all(self: Arc<Self>, tenure: Arc<Tenure>) {
        if quorate_world::bug!("decisions_forgotten_at_failover") {
            return;
        }
        while !tenure.is_over() {
            let mut behind = None;
            while let Some(last) = self.drive_some(&tenure, behind) {
                behind = Some(last);
                task::yield_now().await;
            }
            _ = select3(tenure.ended(), tenure.came.notified(), sleep(LOOK_AGAIN)).await;
        }
    }

    /// A piece of them, those behind this one. The last of the piece.
    fn drive_some(self: &Arc<Self>, tenure: &Arc<Tenure>, behind: Option<TransactionId>) -> Option<TransactionId> {
        let unfinished: Vec<TransactionId> =
            tenure.replica.read(|state| state.unfinished(behind).take(LOOKED_AT_MAX).collect());
        if !unfinished.is_empty() {
            quorate_core::sometimes!("new_leader_found_unfinished_transactions");
        }
        let is_forgotten = |transaction| {
            quorate_world::bug!("deletions_forgotten_at_failover")
                && tenure.replica.read(|state| state.session(transaction).is_some_and(Session::is_deleted))
        };
        for transaction in unfinished.iter().copied().filter(|transaction| !is_forgotten(*transaction)) {
            self.drive(tenure, transaction, None);
        }
        unfinished.last().copied()
    }

    fn leave(&self, group: GroupId) {
        if let Some(tenure) = self.led.end(group) {
            tracing::info!(group = group.0, term = tenure.term.0, "no longer leads");
            tenure.end();
            self.changed.notify_waiters();
        }
    }
}
