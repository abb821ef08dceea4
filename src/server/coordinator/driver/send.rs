//! One phase-two request: the best way to an RM, the request, the wait for its answer.
//!
//! The channel may be on another node; that node then asks as if it were the driver, under an id of its own.

use std::sync::Arc;

use quorate_core::model::{BranchId, BranchStatus, GroupId, NodeId, TransactionId, Xid};
use quorate_world::select::{Either2, select2};
use quorate_world::sync::{Semaphore, oneshot};
use quorate_world::time::{Duration, Instant, timeout};

use super::super::channel::Channel;
use super::super::channels::{Place, Process};
use super::super::context::{Coordinator, Leader};
use super::super::events;
use super::super::message::{DoneV1, PassOnV1, Query, RelayAgainV1, RelayV1, Response, Untold, Way};
use super::super::tenure::Tenure;
use super::super::turns::{Turn, Turns, Whose};
use super::super::{nodes, relays};
use super::asked::{self, Answer, done};
use super::view;
use crate::peer::CallError;

/// An RM answers within this time, or it counts as silent (protocol, section 5.5). What it says later counts all the same.
const ANSWER_PATIENCE: Duration = Duration::from_secs(15);
/// One that was silent is given twice the time each time it is asked again, up to this: it may have much to do.
const ANSWER_PATIENCE_MAX: Duration = Duration::from_secs(60);
/// A driver waits for its turn for so long at most, and then goes to the end of the queue: those of other nodes as our own,
/// which have waited for a turn of theirs before.
const TURN_PATIENCE: Duration = Duration::from_secs(15);
/// A relayed request has its turn to wait for, its answer, and the way there and back, which may take so long.
const WAY_PATIENCE: Duration = Duration::from_secs(2);

/// Where one waits for one's turn.
struct Queue<'a> {
    turns: &'a Turns,
    /// Of which resource, and of which process.
    whose: Whose<'a>,
    /// How many at once.
    count: usize,
    /// Those of the node.
    node: &'a Semaphore,
}

impl Coordinator {
    /// Asks the RM that is best for this branch, wherever it is connected. `silences`: how often it has not answered.
    /// `is_wanted`: whether it is still to be asked when its turn has come. `sent`: when it was, or whoever it joined.
    pub(in super::super) async fn reach_rm(
        &self,
        request: &RelayV1,
        silences: u32,
        is_wanted: impl Fn() -> bool,
        sent: &mut Option<Instant>,
    ) -> Result<BranchStatus, Untold> {
        if self.asked.heard_late(request.branch, request.way) {
            quorate_core::sometimes!("branch_had_answered_late_and_is_not_asked_again");
            return Ok(done(request.way));
        }
        match self.channels.best(&request.resource, &request.client, request.any_application()) {
            Some(Place::Here(channel)) => self.ask_in_turn(&channel, request, silences, is_wanted, sent).await,
            Some(Place::There(node, process)) => {
                self.relay_in_turn((node, &process), request, silences, is_wanted, sent).await
            }
            None => Err(Untold::NoChannel),
        }
    }

    /// Asks through another node when it is one's turn to trouble that, and a process behind it.
    async fn relay_in_turn(
        &self,
        (node, process): (NodeId, &Process),
        request: &RelayV1,
        silences: u32,
        is_wanted: impl Fn() -> bool,
        sent: &mut Option<Instant>,
    ) -> Result<BranchStatus, Untold> {
        let way = self.relays.way(node);
        let (resource, count) = (relays::whose(request), relays::turns_of(request));
        let whose = Whose { resource: &resource, process: Some(process) };
        let queue = Queue { turns: &way, whose, count, node: &self.relays.all };
        let Some(turn) = self.turn(queue, request, is_wanted).await? else { return Ok(done(request.way)) };
        quorate_core::sometimes!("phase_two_goes_through_another_node");
        self.counters.phase_two_relayed.one();
        let asked = Instant::now();
        *sent = Some(asked);
        let mut late = self.asked.enter(request.branch, request.way, None);
        let told = match select2(&mut late.answer, self.relay(node, request, silences)).await {
            Either2::First(status) => {
                quorate_core::sometimes!("late_answer_came_before_the_relayed_one");
                status.map_err(|_| Untold::Silent)
            }
            Either2::Second(told) => told,
        };
        match told {
            Ok(_) => turn.answered(asked.elapsed()),
            Err(Untold::Silent) => turn.silent(),
            Err(Untold::Busy) => turn.busy(),
            Err(Untold::NoChannel | Untold::Lost) => drop(turn),
        }
        told
    }

    async fn relay(&self, node: NodeId, request: &RelayV1, silences: u32) -> Result<BranchStatus, Untold> {
        let patience = TURN_PATIENCE + answer_patience(silences) + WAY_PATIENCE;
        let first = Query::Relay(request.clone());
        let query = match silences {
            0 => first.clone(),
            _ => Query::RelayAgain(RelayAgainV1 { relay: request.clone(), silences }),
        };
        let mut answer = nodes::ask(&*self.nodes, node, GroupId::META, &query, patience).await;
        if silences > 0 && matches!(answer, Err(CallError::Refused(_))) {
            // Its build is of before such questions: it has not heard what was asked.
            answer = nodes::ask(&*self.nodes, node, GroupId::META, &first, patience).await;
        }
        match answer {
            Ok(Response::Told(status)) => Ok(status),
            Ok(Response::Untold(untold)) => {
                quorate_core::sometimes!("relay_met_nobody");
                Err(untold)
            }
            Err(CallError::Full) => {
                quorate_core::sometimes!("relay_found_its_node_busy");
                Err(Untold::Busy)
            }
            Ok(_) | Err(CallError::TimedOut | CallError::Refused(_)) => {
                quorate_core::sometimes!("relay_was_not_answered_in_time");
                Err(Untold::Silent)
            }
            Err(CallError::Unreachable | CallError::Broken) => {
                // Its RMs are of no use until it announces them again; another way may be open.
                quorate_core::sometimes!("relay_broke_with_its_node");
                self.channels.forget(node);
                Err(Untold::Lost)
            }
        }
    }

    /// Another node's driver asks over a channel of this one. What has changed while the question waited for its turn is
    /// known here only where this node has a copy of the transaction's group.
    pub(in super::super) async fn ask_for_another(
        &self,
        channel: &Arc<Channel>,
        request: &RelayV1,
        silences: u32,
    ) -> Result<BranchStatus, Untold> {
        let replica = || self.led.replica(self.group_of(request.transaction.slot())?);
        let is_wanted = || {
            let is_void = replica().is_some_and(|replica| replica.read(|state| view::is_void(state, request)));
            if is_void {
                quorate_core::sometimes!("relayed_question_is_void_when_its_turn_comes");
            }
            !is_void
        };
        self.ask_in_turn(channel, request, silences, is_wanted, &mut None).await
    }

    /// Asks over a channel of this node when it is one's turn, or waits for the answer to what was asked before over it.
    async fn ask_in_turn(
        &self,
        channel: &Channel,
        request: &RelayV1,
        silences: u32,
        is_wanted: impl Fn() -> bool,
        sent: &mut Option<Instant>,
    ) -> Result<BranchStatus, Untold> {
        if let Some((mut place, left)) = self.asked_already(channel, request) {
            *sent = Some(Instant::now());
            return self.await_answer(&mut place, answer_patience(silences).min(left)).await;
        }
        let whose = Whose::from(request.resource.as_str());
        let queue = Queue { turns: &channel.turns, whose, count: 1, node: &self.turns };
        let Some(turn) = self.turn(queue, request, is_wanted).await? else { return Ok(done(request.way)) };
        // Somebody else may have asked meanwhile: who waits with him needs no turn.
        if let Some((mut place, left)) = self.asked_already(channel, request) {
            drop(turn);
            *sent = Some(Instant::now());
            return self.await_answer(&mut place, answer_patience(silences).min(left)).await;
        }
        *sent = Some(Instant::now());
        self.ask_rm(channel, request, silences, turn).await
    }

    /// One's turn. Nothing: the branch is done, as was heard meanwhile.
    async fn turn<'a>(
        &self,
        Queue { turns, whose, count, node }: Queue<'a>,
        request: &RelayV1,
        is_wanted: impl Fn() -> bool,
    ) -> Result<Option<Turn<'a>>, Untold> {
        if let Some(turn) = turns.try_take(whose, count, node) {
            return Ok(Some(turn));
        }
        quorate_core::sometimes!("branch_waits_for_its_turn");
        let rest = self.asked.rest(request.branch);
        let heard = rest.heard();
        let turn = timeout(TURN_PATIENCE, turns.take(whose, count, node));
        let turn = select2(heard, turn).await;
        if self.asked.heard_late(request.branch, request.way) {
            quorate_core::sometimes!("branch_answered_before_its_turn");
            return Ok(None);
        }
        match turn {
            Either2::Second(Ok(turn)) if is_wanted() => Ok(Some(turn)),
            Either2::First(()) | Either2::Second(_) => {
                quorate_core::sometimes!("rm_had_no_turn_for_a_branch");
                Err(Untold::Busy)
            }
        }
    }

    /// A place at the question that is out for the same over the same channel.
    fn asked_already(&self, channel: &Channel, request: &RelayV1) -> Option<(asked::Place<'_>, Duration)> {
        let open = if channel.may_keep_silent() { ANSWER_PATIENCE } else { asked::OPEN };
        let joined = self.asked.join(request.branch, request.way, channel.id, open)?;
        quorate_core::sometimes!("branch_is_being_asked_already");
        self.counters.phase_two_joined.one();
        Some(joined)
    }

    async fn ask_rm(
        &self,
        channel: &Channel,
        request: &RelayV1,
        silences: u32,
        turn: Turn<'_>,
    ) -> Result<BranchStatus, Untold> {
        let asked = Instant::now();
        let mut place = self.asked.enter(request.branch, request.way, Some(channel.id));
        quorate_world::tap!(events::PhaseTwoSent {
            node: self.node,
            transaction: request.transaction,
            branch: request.branch,
            way: request.way,
        });
        self.counters.phase_two_sent.one();
        let (transaction, branch) = (request.transaction.0, request.branch.0);
        tracing::debug!(transaction, branch, way = ?request.way, client = %channel.peer, "a branch is asked");
        // Entered first: the connection may be lost between the two.
        if !channel.request(place.id, &request.message()) {
            quorate_core::sometimes!("channel_was_gone_before_the_request");
            place.withdraw();
            return Err(Untold::NoChannel);
        }
        // A turn is for those who answer: whoever takes longer is waited for without.
        match timeout(ANSWER_PATIENCE, &mut place.answer).await {
            Ok(answer) => {
                turn.answered(asked.elapsed());
                self.told(answer)
            }
            Err(_) => {
                turn.silent();
                self.await_answer(&mut place, answer_patience(silences) - ANSWER_PATIENCE).await
            }
        }
    }

    async fn await_answer(&self, place: &mut asked::Place<'_>, patience: Duration) -> Result<BranchStatus, Untold> {
        match timeout(patience, &mut place.answer).await {
            Ok(answer) => self.told(answer),
            Err(_) => {
                quorate_core::sometimes!("rm_is_silent_in_phase_two");
                self.counters.phase_two_silent.one();
                Err(Untold::Silent)
            }
        }
    }

    fn told(&self, answer: Result<BranchStatus, oneshot::error::RecvError>) -> Result<BranchStatus, Untold> {
        match answer {
            Ok(status) => {
                self.counters.phase_two_answered.one();
                Ok(status)
            }
            Err(_) => {
                quorate_core::sometimes!("connection_lost_under_a_phase_two_request");
                self.counters.phase_two_silent.one();
                Err(Untold::Lost)
            }
        }
    }

    /// An RM's answer has come in over any connection.
    pub(in super::super) fn phase_two_answer(&self, id: i32, xid: &str, branch: BranchId, status: BranchStatus) {
        let asker = match self.asked.answered(id, branch, status) {
            Answer::Taken => return,
            Answer::Foreign => {
                quorate_core::sometimes!("answer_to_nothing_that_a_server_asked");
                return self.counters.answers_unknown.one();
            }
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

fn answer_patience(silences: u32) -> Duration {
    ANSWER_PATIENCE.saturating_mul(2u32.saturating_pow(silences)).min(ANSWER_PATIENCE_MAX)
}
