//! One phase-two request: the best way to an RM, the request, the wait for its answer.
//!
//! The channel may be on another node; that node then asks as if it were the driver, under an id of its own.

use std::sync::Arc;

use quorate_core::model::{BranchId, BranchStatus, GroupId, NodeId, TransactionId, Xid};
use quorate_world::select::{Either2, select2};
use quorate_world::time::{Duration, timeout};

use super::super::channel::Channel;
use super::super::channels::Place;
use super::super::context::{Coordinator, Leader};
use super::super::events;
use super::super::message::{DoneV1, PassOnV1, Query, RelayV1, Response, Untold, Way};
use super::super::nodes;
use super::super::tenure::Tenure;
use super::asked::{self, Answer, done};
use super::view;
use crate::peer::CallError;

/// An RM answers within this time, or it counts as silent (protocol, section 5.5). What it says later counts all the same.
const ANSWER_PATIENCE: Duration = Duration::from_secs(15);
/// One that was silent is given twice the time each time it is asked again, up to this: it may have much to do.
const ANSWER_PATIENCE_MAX: Duration = Duration::from_secs(60);
/// Waiting for one's turn on a channel, at most.
const TURN_PATIENCE: Duration = Duration::from_secs(15);
/// A relayed request has both, and the way there and back.
const RELAY_PATIENCE: Duration = Duration::from_secs(32);

impl Coordinator {
    /// Asks the RM that is best for this branch, wherever it is connected. `attempts`: how often it was asked before.
    pub(in super::super) async fn reach_rm(&self, request: &RelayV1, attempts: u32) -> Result<BranchStatus, Untold> {
        if self.asked.heard_late(request.branch, request.way) {
            quorate_core::sometimes!("branch_had_answered_late_and_is_not_asked_again");
            return Ok(done(request.way));
        }
        match self.channels.best(&request.resource, &request.client, request.any_application()) {
            Some(Place::Here(channel)) => self.ask_rm(&channel, request, attempts).await,
            Some(Place::There(node)) => {
                quorate_core::sometimes!("phase_two_goes_through_another_node");
                self.counters.phase_two_relayed.one();
                let mut late = self.asked.enter(request.branch, request.way, None);
                match select2(&mut late.answer, self.relay(node, request)).await {
                    Either2::First(status) => {
                        quorate_core::sometimes!("late_answer_came_before_the_relayed_one");
                        status.map_err(|_| Untold::Silent)
                    }
                    Either2::Second(told) => told,
                }
            }
            None => Err(Untold::NoChannel),
        }
    }

    async fn relay(&self, node: NodeId, request: &RelayV1) -> Result<BranchStatus, Untold> {
        let query = Query::Relay(request.clone());
        match nodes::ask(&*self.nodes, node, GroupId::META, &query, RELAY_PATIENCE).await {
            Ok(Response::Told(status)) => Ok(status),
            Ok(Response::Untold(untold)) => {
                quorate_core::sometimes!("relay_met_nobody");
                Err(untold)
            }
            Ok(_) | Err(CallError::TimedOut | CallError::Full | CallError::Refused(_)) => {
                quorate_core::sometimes!("relay_was_not_answered_in_time");
                Err(Untold::Silent)
            }
            Err(CallError::Unreachable | CallError::Broken) => {
                // Its RMs are of no use until it announces them again; another way may be open.
                quorate_core::sometimes!("relay_broke_with_its_node");
                self.channels.forget(node);
                Err(Untold::Silent)
            }
        }
    }

    /// Asks over a channel of this node, or waits for the answer to what was asked before over it.
    pub(in super::super) async fn ask_rm(
        &self,
        channel: &Arc<Channel>,
        request: &RelayV1,
        attempts: u32,
    ) -> Result<BranchStatus, Untold> {
        let open = if channel.may_keep_silent() { ANSWER_PATIENCE } else { asked::OPEN };
        if let Some((mut place, left)) = self.asked.join(request.branch, request.way, channel.id, open) {
            quorate_core::sometimes!("branch_is_being_asked_already");
            self.counters.phase_two_joined.one();
            return self.await_answer(&mut place, answer_patience(attempts).min(left)).await;
        }
        let Ok(Ok(_turn)) = timeout(TURN_PATIENCE, channel.phase_two.acquire()).await else {
            quorate_core::sometimes!("channel_had_no_turn_for_a_branch");
            return Err(Untold::Silent);
        };
        let mut place = self.asked.enter(request.branch, request.way, Some(channel.id));
        quorate_world::tap!(events::PhaseTwoSent {
            node: self.node,
            transaction: request.transaction,
            branch: request.branch,
            way: request.way,
        });
        self.counters.phase_two_sent.one();
        // Entered first: the connection may be lost between the two.
        if !channel.request(place.id, &request.message()) {
            quorate_core::sometimes!("channel_was_gone_before_the_request");
            place.withdraw();
            return Err(Untold::NoChannel);
        }
        self.await_answer(&mut place, answer_patience(attempts)).await
    }

    async fn await_answer(&self, place: &mut asked::Place<'_>, patience: Duration) -> Result<BranchStatus, Untold> {
        match timeout(patience, &mut place.answer).await {
            Ok(Ok(status)) => {
                self.counters.phase_two_answered.one();
                Ok(status)
            }
            Ok(Err(_)) => {
                quorate_core::sometimes!("connection_lost_under_a_phase_two_request");
                self.counters.phase_two_silent.one();
                Err(Untold::Silent)
            }
            Err(_) => {
                quorate_core::sometimes!("rm_is_silent_in_phase_two");
                self.counters.phase_two_silent.one();
                Err(Untold::Silent)
            }
        }
    }

    /// An RM's answer has come in over any connection.
    pub(in super::super) fn phase_two_answer(&self, id: i32, xid: &str, branch: BranchId, status: BranchStatus) {
        let asker = match self.asked.answered(id, branch, status) {
            Answer::Taken => return,
            Answer::Unknown => None,
            Answer::Of(residue) => self.pass_on(residue, PassOnV1 { id, branch, status }),
        };
        match Xid::parse(xid) {
            Ok(xid) => self.late(asker, xid.transaction, branch, status),
            Err(_) if asker.is_some() => {}
            Err(_) => self.counters.answers_unknown.one(),
        }
    }

    /// To the node that asked, if there is one.
    fn pass_on(&self, residue: u64, answer: PassOnV1) -> Option<NodeId> {
        let asker = self.routing.borrow().nodes().map(|node| node.id).find(|node| node.0 % 64 == residue)?;
        quorate_core::sometimes!("answer_is_passed_on_to_the_node_that_asked");
        self.counters.answers_passed_on.one();
        nodes::tell(&*self.nodes, asker, GroupId::META, &Query::PassOn(answer));
        Some(asker)
    }

    /// An answer that nobody here waits for, or that `asker` gets: if it says that the branch is done, it is news for
    /// whoever leads today.
    pub(in super::super) fn late(
        &self,
        asker: Option<NodeId>,
        transaction: TransactionId,
        branch: BranchId,
        status: BranchStatus,
    ) {
        let way = [Way::Commit, Way::Rollback].into_iter().find(|way| done(*way) == status);
        let told = match (way, self.leader_of(transaction.slot())) {
            (_, Leader::There(leader, _)) if Some(leader) == asker => true,
            (Some(way), Leader::Here(tenure)) => {
                self.hear_done(&tenure, DoneV1 { transaction, branch, way });
                true
            }
            (Some(way), Leader::There(node, group)) => {
                quorate_core::sometimes!("late_answer_is_told_to_the_leader");
                nodes::tell(&*self.nodes, node, group, &Query::Done(DoneV1 { transaction, branch, way }));
                true
            }
            (None, _) | (_, Leader::Nobody) => asker.is_some(),
        };
        if !told {
            quorate_core::sometimes!("answer_means_nothing_to_anybody");
            self.counters.answers_unknown.one();
        }
    }

    /// A branch is done, says its RM. That counts if it was decided so; what is not there any more has ended.
    pub(in super::super) fn hear_done(&self, tenure: &Tenure, done: DoneV1) {
        let DoneV1 { transaction, branch, way } = done;
        let is_decided_so = tenure.replica.read(|state| {
            let session = state.session(transaction)?;
            Some(view::way(session, branch) == Some(way) && session.branches.contains_key(&branch))
        });
        if is_decided_so == Some(true) {
            quorate_core::sometimes!("late_answer_counts");
            self.counters.answers_late.one();
            self.asked.late(branch, way);
        }
    }
}

fn answer_patience(attempts: u32) -> Duration {
    ANSWER_PATIENCE.saturating_mul(2u32.saturating_pow(attempts)).min(ANSWER_PATIENCE_MAX)
}
