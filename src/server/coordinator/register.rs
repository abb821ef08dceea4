//! BranchRegister: rules 5 to 9 of the lock protocol, in their order.
//!
//! With the lock home in the transaction's own group, one command does both halves. Otherwise the two halves run side by side,
//! or locks first if the transaction was refused a moment ago. The RM is told "success" when both are applied and the
//! transaction is still undecided, "no" when the branch is given up, and nothing while its fate is open.
//!
//! A register whose fate is open is tried again under the next leader. An AT branch that nobody works on is committed and
//! rolled back in vain, and the steps of a Saga are asked as one. But phase two of a TCC branch calls the business, so a second
//! one of them would make it happen twice, and one of XA that its database has not heard of holds up a rollback: there the
//! request has a name, which stands in the list with its branch, and the next leader that meets it answers with that one.

mod half;
mod refusal;

use std::sync::Arc;

use quorate_core::model::{BranchId, BranchType, ExceptionCode, Fence, hash, lock_key};
use quorate_core::txn::command::{AcquireLocksV1, BranchV1, RegisterBranchOnceV1, ReleaseLocksV1};
use quorate_core::txn::{Command, Conflict, ReleaseScope, Session, Transactions, bounds};
use quorate_world::select::{Either2, select2};
use quorate_world::time::{Instant, sleep_until};
use std::pin::pin;

use super::ask::{Failure, RegisterAsk, Reply};
use super::context::Coordinator;
use super::events;
use super::locks::Locks;
use super::planted;
use super::request::not_there;
use super::tenure::{Lost, Tenure};
use half::{Half, register_half, registration};
use refusal::{decided, not_active};

/// What the applied state says of a register before anything is proposed.
enum Look {
    /// Register it under this fence. The lock home is this group (true), or another.
    Go(Fence, bool),
    /// The request has registered this branch before.
    Before(BranchId),
    /// A row is held by somebody else. The lock home is this group.
    Conflict(Conflict),
    /// The transaction takes no branch.
    Refuse(Failure),
}

impl Look {
    fn conflict(self) -> Option<Conflict> {
        match self {
            Look::Conflict(conflict) => Some(conflict),
            Look::Go(..) | Look::Before(_) | Look::Refuse(_) => None,
        }
    }
}

impl RegisterAsk {
    /// Whether a second branch in place of one whose fate is open does no harm.
    pub(super) fn may_be_repeated(&self) -> bool {
        match self.kind {
            BranchType::AT | BranchType::SAGA => true,
            BranchType::TCC | BranchType::XA | BranchType::SAGA_ANNOTATION => {
                quorate_world::bug!("tcc_registered_again")
            }
        }
    }
}

impl Coordinator {
    /// Registers a branch and takes its locks.
    pub(super) async fn register(
        self: &Arc<Self>,
        tenure: &Arc<Tenure>,
        ask: &RegisterAsk,
        request: Option<u64>,
        until: Instant,
    ) -> Result<Reply, Lost> {
        if quorate_world::bug!("resource_names_the_request")
            && let Some(branch) = planted::same_resource(tenure, ask)
        {
            return Ok(Reply::Registered(branch));
        }
        loop {
            let (fence, home_here) = match self.look(tenure, ask, request)? {
                Look::Go(fence, home_here) => (fence, home_here),
                Look::Before(branch) => {
                    // Whoever does not know of a decision does not lead any more.
                    tenure.confirm().await?;
                    return self.acknowledge_again(tenure, ask, branch);
                }
                Look::Conflict(_) if quorate_world::bug!("conflict_is_waited_out") => {
                    sleep_until(until).await;
                    return Err(Lost);
                }
                Look::Conflict(conflict) => {
                    let look = || self.look(tenure, ask, request).map(Look::conflict);
                    let slot = hash::lock_slot(&ask.resource);
                    let Some(refused) = self.refused_early(tenure, slot, conflict, look).await? else { continue };
                    quorate_core::sometimes!("conflict_seen_before_the_log");
                    return Ok(self.conflict(tenure, ask, &refused).await);
                }
                // A no must be true, so the leader makes sure that it leads; what it says then is said by the log.
                Look::Refuse(_) => {
                    tenure.confirm().await?;
                    match self.look(tenure, ask, request)? {
                        Look::Refuse(failure) => {
                            quorate_core::sometimes!("register_refused_before_the_log");
                            return Ok(failure.into());
                        }
                        Look::Go(..) | Look::Before(_) | Look::Conflict(_) => {
                            quorate_core::sometimes!("refusal_of_a_register_was_old_news");
                            continue;
                        }
                    }
                }
            };
            // What is there already costs nothing more.
            if let Err(full) = self.memory.register(tenure.group) {
                quorate_core::sometimes!("register_refused_for_memory");
                return Ok(full.into());
            }
            if let Err(full) = self.disk.register() {
                quorate_core::sometimes!("register_refused_for_the_disk");
                return Ok(full.into());
            }
            let branch = tenure.mint(ask.transaction).await?;
            let answer = match ask.locks && !home_here {
                true => self.register_apart(tenure, ask, branch, fence, until).await?,
                false => self.register_whole(tenure, ask, request, (branch, fence)).await?,
            };
            if let Some(reply) = answer {
                return Ok(reply);
            }
        }
    }

    /// Looks at the applied state: does the transaction take branches, are the rows free as far as this group knows?
    fn look(&self, tenure: &Tenure, ask: &RegisterAsk, request: Option<u64>) -> Result<Look, Lost> {
        let lock_slot = hash::lock_slot(&ask.resource);
        // Parsed before the state is held, and only where the rows are likely to be; apply checks in any case.
        let home = self.group_of(lock_slot).filter(|_| ask.locks);
        let likely_here = home == Some(tenure.group);
        let rows = likely_here.then(|| lock_key::parse(&ask.lock_keys).unwrap_or_default());
        let clock_ms = tenure.clock_ms().unwrap_or(0);
        let (look, name) = tenure.replica.read(|transactions: &Transactions| {
            let Some(epoch) = transactions.owns(ask.transaction.slot()) else { return Err(Lost) };
            let fence = Fence { epoch, tenure: tenure.term };
            let session = match transactions.session(ask.transaction) {
                Some(session) => session,
                None => {
                    let standing = transactions.standing(ask.transaction);
                    return Ok((Look::Refuse(not_there(ask.transaction, standing)), None));
                }
            };
            if !session.takes(ask.kind) {
                return Ok((Look::Refuse(not_active(session.status)), None));
            }
            if let Some(before) = request.and_then(|request| session.registered_by(request)) {
                return Ok((Look::Before(before), None));
            }
            if let Err(refusal) = bounds::has_room(session, rows_at_most(ask, session)) {
                return Ok((Look::Refuse(Failure::new(ExceptionCode::FailedToAddBranch, refusal.to_string())), None));
            }
            let home_here = transactions.owns(lock_slot).is_some();
            let rows = rows.as_ref().filter(|_| home_here);
            let conflict = rows.and_then(|rows| transactions.conflict(ask.transaction, &ask.resource, rows, clock_ms));
            Ok((conflict.map_or(Look::Go(fence, home_here), Look::Conflict), Some(session.name.clone())))
        })?;
        if let (Some(home), Some(name)) = (home, name) {
            self.homes.note(&name, home);
        }
        Ok(look)
    }

    /// One command: no locks at all, or their home is here (rule 6). Nothing: begin again.
    async fn register_whole(
        self: &Arc<Self>,
        tenure: &Arc<Tenure>,
        ask: &RegisterAsk,
        request: Option<u64>,
        (branch, fence): (BranchId, Fence),
    ) -> Result<Option<Reply>, Lost> {
        let register = registration(ask, branch, fence, ask.locks);
        let command = match request {
            Some(request) => Command::RegisterBranchOnce(RegisterBranchOnceV1 { register, request }),
            None => Command::RegisterBranch(register),
        };
        let half = register_half(tenure, ask.transaction, branch, command).await.inspect_err(|_| {
            // Never in the queue, or the leadership is gone and pending with it; a busy queue is asked again.
            quorate_core::sometimes!("register_did_not_get_into_the_queue");
            tenure.give_up(branch);
        })?;
        match half {
            Half::Registered => self.acknowledge(tenure, ask, branch).map(Some),
            Half::Before(before) => {
                tenure.forget(branch);
                self.acknowledge_again(tenure, ask, before).map(Some)
            }
            Half::Conflict(conflict) => {
                tenure.forget(branch);
                let refused = self.refused(tenure, hash::lock_slot(&ask.resource), conflict);
                Ok(Some(self.conflict(tenure, ask, &refused).await))
            }
            Half::Again => {
                quorate_core::sometimes!("register_begins_again");
                tenure.forget(branch);
                Ok(None)
            }
            Half::Refused(failure) => {
                tenure.forget(branch);
                Ok(Some(failure.into()))
            }
            Half::Unknown => {
                quorate_core::sometimes!("register_of_open_fate_is_repeated");
                tenure.give_up(branch);
                Err(Lost)
            }
        }
    }

    /// Two halves in two groups (rules 5 and 7). Nothing: begin again.
    async fn register_apart(
        self: &Arc<Self>,
        tenure: &Arc<Tenure>,
        ask: &RegisterAsk,
        branch: BranchId,
        fence: Fence,
        until: Instant,
    ) -> Result<Option<Reply>, Lost> {
        let locks = AcquireLocksV1 {
            transaction: ask.transaction,
            branch,
            fence,
            resource: ask.resource.clone(),
            lock_keys: match quorate_world::bug!("only_the_first_row_is_locked") {
                true => ask.lock_keys.split(',').next().unwrap_or_default().to_owned(),
                false => ask.lock_keys.clone(),
            },
        };
        let register = Command::RegisterBranch(registration(ask, branch, fence, false));
        if tenure.is_contended(ask.transaction) {
            quorate_core::sometimes!("lock_home_asked_first_after_a_refusal");
            let acquired = self.acquire(&locks, until).await;
            if acquired != Some(Locks::Acquired) {
                // Nothing was proposed: the branch needs no removal (rule 9).
                quorate_core::sometimes!("contended_branch_was_refused_without_an_entry");
                self.let_go(tenure, ask, branch, acquired.as_ref());
                tenure.forget(branch);
                return Ok(self.refusal(tenure, ask, acquired).await);
            }
            let half = register_half(tenure, ask.transaction, branch, register)
                .await
                .inspect_err(|_| self.abandon(tenure, ask, branch))?;
            return self.both(tenure, ask, branch, half, acquired).await;
        }
        let half = pin!(register_half(tenure, ask.transaction, branch, register));
        let mut half = half;
        let mut acquire = pin!(self.acquire(&locks, until));
        let (half, acquired) = match select2(half.as_mut(), acquire.as_mut()).await {
            Either2::First(Ok(Half::Registered)) => (Ok(Half::Registered), acquire.await),
            // Refused: what the lock home says no longer matters.
            Either2::First(other) => {
                quorate_core::sometimes!("register_refused_while_its_locks_were_asked_for");
                (other, None)
            }
            Either2::Second(Some(Locks::Acquired)) if quorate_world::bug!("acknowledged_before_it_is_listed") => {
                return self.acknowledge(tenure, ask, branch).map(Some);
            }
            Either2::Second(acquired) => {
                quorate_core::sometimes!("locks_were_there_before_the_branch");
                (half.await, acquired)
            }
        };
        let half = half.inspect_err(|_| self.abandon(tenure, ask, branch))?;
        self.both(tenure, ask, branch, half, acquired).await
    }

    /// Both halves are known.
    async fn both(
        self: &Arc<Self>,
        tenure: &Arc<Tenure>,
        ask: &RegisterAsk,
        branch: BranchId,
        half: Half,
        acquired: Option<Locks>,
    ) -> Result<Option<Reply>, Lost> {
        match (half, acquired) {
            (Half::Registered, Some(Locks::Acquired)) => {
                if quorate_world::bug!("acknowledged_and_removed") {
                    self.remove(tenure, ask, branch)?;
                }
                self.acknowledge(tenure, ask, branch).map(Some)
            }
            (Half::Registered, Some(Locks::Refused(_))) if quorate_world::bug!("acknowledged_without_locks") => {
                self.acknowledge(tenure, ask, branch).map(Some)
            }
            (Half::Registered, None) if quorate_world::bug!("given_up_and_acknowledged") => {
                self.abandon(tenure, ask, branch);
                self.acknowledge(tenure, ask, branch).map(Some)
            }
            (Half::Registered, acquired) => {
                self.let_go(tenure, ask, branch, acquired.as_ref());
                self.remove(tenure, ask, branch)?;
                Ok(self.refusal(tenure, ask, acquired).await)
            }
            (Half::Again, _) => {
                quorate_core::sometimes!("register_apart_begins_again");
                self.abandon(tenure, ask, branch);
                tenure.forget(branch);
                Ok(None)
            }
            (Half::Refused(failure), _) => {
                quorate_core::sometimes!("refused_branch_lets_its_locks_go");
                self.abandon(tenure, ask, branch);
                if !quorate_world::bug!("audit_keeps_pending_for_ever") {
                    tenure.forget(branch);
                }
                Ok(Some(failure.into()))
            }
            (Half::Unknown, _) => {
                quorate_core::sometimes!("branch_of_open_fate_lets_its_locks_go");
                self.abandon(tenure, ask, branch);
                Err(Lost)
            }
            (Half::Conflict(conflict), _) => panic!("a register without locks met {conflict:?}"),
            (Half::Before(before), _) => panic!("a register without a name met {before}"),
        }
    }

    /// Success, if the transaction is still undecided at this moment (rule 8).
    fn acknowledge(self: &Arc<Self>, tenure: &Arc<Tenure>, ask: &RegisterAsk, branch: BranchId) -> Result<Reply, Lost> {
        if let Some(no) = decided(tenure, ask).filter(|_| !quorate_world::bug!("decision_is_not_looked_at")) {
            // The branch stays in the list, as one that nobody works on (rule 10).
            quorate_core::sometimes!("branch_was_registered_and_then_came_the_decision");
            // Without rows there is nothing to let go; and another try of the same request may have been answered with it.
            if ask.locks {
                self.abandon(tenure, ask, branch);
            }
            tenure.forget(branch);
            return Ok(no);
        }
        if !tenure.acknowledge(branch) {
            quorate_core::sometimes!("branch_was_given_up_before_it_was_acknowledged");
            return Err(Lost);
        }
        Ok(self.registered(tenure, ask, branch))
    }

    /// Success with the branch that the request has registered before, here or under another leader: nobody was told of it.
    /// If the transaction is still undecided, as ever.
    fn acknowledge_again(&self, tenure: &Tenure, ask: &RegisterAsk, branch: BranchId) -> Result<Reply, Lost> {
        if let Some(no) = decided(tenure, ask) {
            return Ok(no);
        }
        // The first try of the request may still be under way.
        if tenure.is_pending(branch) && !tenure.acknowledge(branch) {
            quorate_core::sometimes!("branch_of_the_same_request_was_given_up");
            return Err(Lost);
        }
        quorate_core::sometimes!("register_is_answered_with_the_branch_of_before");
        Ok(self.registered(tenure, ask, branch))
    }

    fn registered(&self, tenure: &Tenure, ask: &RegisterAsk, branch: BranchId) -> Reply {
        quorate_world::tap!(events::BranchAcknowledged {
            node: self.node,
            group: tenure.group,
            tenure: tenure.term,
            transaction: ask.transaction,
            branch,
        });
        Reply::Registered(branch)
    }

    /// The lock home refused, or was not heard: the branch is given up.
    fn let_go(self: &Arc<Self>, tenure: &Arc<Tenure>, ask: &RegisterAsk, branch: BranchId, acquired: Option<&Locks>) {
        match acquired {
            Some(Locks::Refused(_)) => {
                quorate_core::sometimes!("branch_given_up_for_a_conflict");
                tenure.give_up(branch);
                self.tap_given_up(ask, branch);
            }
            Some(Locks::Unable(_)) => {
                quorate_core::sometimes!("branch_given_up_for_locks_never_to_be_had");
                self.abandon(tenure, ask, branch);
            }
            Some(Locks::Acquired) | None => {
                quorate_core::sometimes!("branch_given_up_for_a_silent_lock_home");
                self.abandon(tenure, ask, branch);
            }
        }
    }

    /// What the RM is told then: only what is certain.
    async fn refusal(&self, tenure: &Tenure, ask: &RegisterAsk, acquired: Option<Locks>) -> Option<Reply> {
        match acquired {
            Some(Locks::Refused(refused)) => Some(self.conflict(tenure, ask, &refused).await),
            Some(Locks::Unable(why)) => Some(Failure::new(ExceptionCode::FailedToAddBranch, why).into()),
            Some(Locks::Acquired) | None => {
                let text = format!("the row locks of {} could not be had in time", super::mask::Masked(&ask.resource));
                Some(Failure::new(ExceptionCode::FailedToAddBranch, text).into())
            }
        }
    }

    /// Gives the branch up and lets go of what it may hold, once and without waiting: the audit finds what is left.
    fn abandon(self: &Arc<Self>, tenure: &Tenure, ask: &RegisterAsk, branch: BranchId) {
        tenure.give_up(branch);
        self.tap_given_up(ask, branch);
        if ask.locks {
            self.release_once(ReleaseLocksV1 {
                transaction: ask.transaction,
                slot: hash::lock_slot(&ask.resource),
                scope: ReleaseScope::Branches(vec![branch]),
            });
        }
    }

    fn tap_given_up(&self, ask: &RegisterAsk, branch: BranchId) {
        self.counters.branches_given_up.one();
        quorate_world::tap!(events::BranchGivenUp { node: self.node, transaction: ask.transaction, branch });
    }

    /// Takes a branch out of the list that nobody was told of. Once it is in the queue every decision stands behind it, so
    /// the refusal may be answered (rule 9); it stays pending until it is applied.
    fn remove(&self, tenure: &Arc<Tenure>, ask: &RegisterAsk, branch: BranchId) -> Result<(), Lost> {
        let removal = Command::RemoveBranch(BranchV1 { transaction: ask.transaction, branch });
        let submitted = tenure.submit(removal.clone());
        let queued = submitted.is_ok();
        let tenure = tenure.clone();
        quorate_world::task::spawn(async move {
            let applied = match submitted {
                Ok(submitted) => submitted.outcome().await.is_ok(),
                Err(Lost) => false,
            };
            if !applied {
                quorate_core::sometimes!("removal_of_a_branch_is_insisted_on");
            }
            if applied || tenure.insist(removal).await.is_ok() {
                tenure.forget(branch);
            }
        });
        if queued { Ok(()) } else { Err(Lost) }
    }
}

/// How many rows a branch locks, counted only where that may be too many.
fn rows_at_most(ask: &RegisterAsk, session: &Session) -> usize {
    // A row has a character and a separator at least.
    let bound = ask.lock_keys.len() / 2 + 1;
    match ask.locks {
        true if bounds::has_room(session, bound).is_ok() => bound,
        true => lock_key::parse(&ask.lock_keys).map_or(bound, |rows| rows.len()),
        false => 0,
    }
}
