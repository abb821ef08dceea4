//! From a request to the leader of its group, and the wait for one.
//!
//! Only the leader of the slot's group answers. Everybody else forwards once, and while there is no leader, or none that can
//! be reached, the request parks: it is tried again when something changes, at the latest after a short pause. When the
//! client's patience ends there is no answer; a guessed status would be worse (design, section 4; semantics, W1).

use core::future::pending;
use core::pin::pin;
use std::sync::Arc;

use quorate_core::model::{GlobalStatus, GroupId, NodeId};
use quorate_core::txn::answer;
use quorate_world::select::{Either2, Either3, select2, select3};
use quorate_world::time::{Duration, Instant, sleep, timeout};

use super::ask::{Ask, Failure, Reply};
use super::context::{Coordinator, Leader};
use super::in_hand::Held;
use super::merged::UNKNOWN_WHETHER_DONE;
use super::message::{ForwardV1, Query, Response};
use super::nodes;
use super::planted;
use super::tenure::{Lost, Tenure};
use crate::peer::CallError;

/// First pause of a parked request, doubled up to the longest one.
const PAUSE_MIN: Duration = Duration::from_millis(20);
const PAUSE_MAX: Duration = Duration::from_millis(320);
/// Whether a decision that another node was asked for is in the log here is looked at this often.
const DECIDED_LOOK: Duration = Duration::from_millis(250);

/// How long to wait before the next try.
pub(super) struct Pause(Duration);

impl Pause {
    /// The shortest.
    pub fn new() -> Pause {
        Pause(PAUSE_MIN)
    }

    /// This one; the next is longer.
    pub fn next(&mut self) -> Duration {
        let pause = self.0;
        self.0 = (pause * 2).min(PAUSE_MAX);
        pause
    }
}

/// What a client is told who is refused at a later try, when an earlier one had no answer: a begin may have begun. All else that is
/// tried again finds what was done before.
fn after_a_silence(ask: &Ask, reply: Reply) -> Reply {
    match (ask, reply) {
        (Ask::Begin(_), Reply::Failed(failure)) => {
            quorate_core::sometimes!("begin_is_refused_after_a_silence");
            let text = format!("{UNKNOWN_WHETHER_DONE}; refused when it was tried again: {}", failure.text);
            Reply::Failed(Failure { text, ..failure })
        }
        (_, reply) => reply,
    }
}

impl Coordinator {
    /// The answer of the group's leader, wherever it is; nothing: none until then. `held` may be given back before.
    pub(super) async fn answer(self: &Arc<Self>, ask: &Ask, until: Instant, held: &Held) -> Option<Reply> {
        let mut pause = Pause::new();
        let (mut hinted, mut may_be_done) = (true, false);
        loop {
            let changed = self.changed.notified();
            let leader = self.leader_for(ask, hinted);
            let is_asked = !matches!(leader, Leader::Nobody);
            let reply = match leader {
                Leader::Here(tenure) => self.serve_ask(&tenure, ask, until, held).await.ok(),
                _ if quorate_world::bug!("status_from_any_replica") && planted::standing(self, ask).is_some() => {
                    planted::standing(self, ask)
                }
                Leader::There(node, group) => match self.forward(node, group, ask, until, held).await {
                    None if quorate_world::bug!("silent_leader_is_answered_for") => planted::standing(self, ask),
                    reply => reply,
                },
                Leader::Nobody if quorate_world::bug!("parked_answered_unknown") => {
                    Some(Reply::Standing(answer::UNKNOWN))
                }
                Leader::Nobody => {
                    quorate_core::sometimes!("request_parked_without_a_leader");
                    None
                }
            };
            if let Some(reply) = reply {
                return Some(if may_be_done { after_a_silence(ask, reply) } else { reply });
            }
            may_be_done |= is_asked;
            // What did not do once is not tried again because a hint says so.
            hinted = false;
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                quorate_core::sometimes!("parked_request_lost_its_patience");
                return None;
            }
            self.counters.parked.one();
            _ = timeout(left.min(pause.next()), changed).await;
        }
    }

    fn leader_for(&self, ask: &Ask, hinted: bool) -> Leader {
        match (ask, ask.slot()) {
            (Ask::Begin(begin), _) => self.place_for_begin(Some(begin).filter(|_| hinted)),
            (_, Some(slot)) => self.leader_of(slot),
            (_, None) => Leader::Nobody,
        }
    }

    /// Serves a request in a group led here. `Lost`: it isn't, or no longer.
    pub(super) async fn serve_ask(
        self: &Arc<Self>,
        tenure: &Arc<Tenure>,
        ask: &Ask,
        until: Instant,
        held: &Held,
    ) -> Result<Reply, Lost> {
        match ask {
            Ask::Begin(begin) => self.begin(tenure, begin).await,
            Ask::Commit(transaction) => self.commit(tenure, *transaction, until, held).await,
            Ask::Rollback(transaction) => self.rollback(tenure, *transaction, until, held).await,
            Ask::Status(transaction) => self.status(tenure, *transaction).await,
            Ask::Report(transaction, status) => self.report(tenure, *transaction, *status).await,
            // By far the largest of these futures: the tasks of all other requests stay small without it.
            Ask::Register(register) => Box::pin(self.register(tenure, register, None, until)).await,
            Ask::RegisterOnce(once) => Box::pin(self.register(tenure, &once.register, Some(once.request), until)).await,
            Ask::ReportBranch(report) => self.report_branch(tenure, report).await,
            Ask::LockQuery(query) => self.lock_query(tenure, query).await,
        }
    }

    async fn forward(&self, node: NodeId, group: GroupId, ask: &Ask, until: Instant, held: &Held) -> Option<Reply> {
        let patience = until.saturating_duration_since(Instant::now());
        let query = Query::Forward(ForwardV1 { ask: ask.clone(), patience_ms: patience.as_millis() as u32 });
        self.counters.forwarded.one();
        let mut asked = pin!(self.ask_there(node, group, &query, patience));
        let mut succeeded = pin!(self.succeeded(group, node));
        let answer = match select3(asked.as_mut(), succeeded.as_mut(), self.seen_decided(group, ask)).await {
            Either3::First(answer) => Some(answer),
            Either3::Second(()) => {
                quorate_core::sometimes!("forwarded_request_is_left_for_the_next_leader");
                None
            }
            Either3::Third(()) => {
                quorate_core::sometimes!("forwarded_decision_was_seen_in_the_log_first");
                held.give_back();
                match select2(asked, succeeded).await {
                    Either2::First(answer) => Some(answer),
                    Either2::Second(()) => None,
                }
            }
        };
        match answer? {
            Ok(Response::Reply(reply)) => Some(reply),
            Ok(Response::Elsewhere(_)) => {
                quorate_core::sometimes!("forwarded_request_was_sent_back");
                None
            }
            Err(CallError::Unreachable | CallError::Full) => {
                quorate_core::sometimes!("leader_could_not_be_reached");
                None
            }
            // Asked, and not heard: it may have been done.
            Ok(_) | Err(CallError::Broken | CallError::TimedOut | CallError::Refused(_)) => {
                quorate_core::sometimes!("forwarded_request_was_not_answered");
                None
            }
        }
    }

    /// Waits until another node is known to lead the group. One that stands still answers nothing, and its successor will:
    /// every request may be asked twice.
    pub(super) async fn succeeded(&self, group: GroupId, node: NodeId) {
        loop {
            let changed = select2(self.changed.notified(), self.led.hinted());
            if self.led.leader(group).is_some_and(|leader| leader != node) {
                return;
            }
            _ = changed.await;
        }
    }

    /// Asks the node that is taken for a group's leader, and learns from its answer, or from none, where to ask next.
    pub(super) async fn ask_there(
        &self,
        node: NodeId,
        group: GroupId,
        query: &Query,
        patience: Duration,
    ) -> Result<Response, CallError> {
        let answer = nodes::ask(&*self.nodes, node, group, query, patience).await;
        match &answer {
            Ok(Response::Elsewhere(leader)) => self.led.told(group, *leader),
            Ok(_) => {}
            Err(_) => self.led.missed(group, node),
        }
        answer
    }

    /// Waits until a decision that a leader elsewhere was asked for stands in this node's copy of the group, if it has one, and
    /// the transaction is in phase two.
    async fn seen_decided(&self, group: GroupId, ask: &Ask) {
        let (Ask::Commit(transaction) | Ask::Rollback(transaction), Some(replica)) = (ask, self.led.replica(group))
        else {
            return pending().await;
        };
        let standing = || replica.read(|state| state.session(*transaction).map(|session| session.status));
        // Nearly always the answer is there before the first look.
        loop {
            sleep(DECIDED_LOOK).await;
            if standing().is_some_and(|status| status != GlobalStatus::Begin) {
                return;
            }
        }
    }

    /// Another node forwards a request. Served here or sent back, never passed on.
    pub(super) async fn serve_forwarded(self: &Arc<Self>, group: GroupId, forward: ForwardV1) -> Response {
        let until = Instant::now() + Duration::from_millis(u64::from(forward.patience_ms));
        let Some(tenure) = self.led.tenure(group) else {
            quorate_core::sometimes!("request_forwarded_to_one_that_does_not_lead");
            return self.elsewhere(group);
        };
        self.counters.served_for_others.one();
        match self.serve_ask(&tenure, &forward.ask, until, &Held::default()).await {
            Ok(reply) => Response::Reply(reply),
            Err(Lost) => {
                quorate_core::sometimes!("leader_lost_under_a_forwarded_request");
                Response::Elsewhere(self.led.leader(group).filter(|leader| *leader != self.node))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::ask::BeginAsk;
    use super::*;
    use quorate_core::model::{BranchId, ExceptionCode, TransactionId};

    #[test]
    fn a_begin_that_may_have_begun_is_refused_in_other_words() {
        let begin = Ask::Begin(BeginAsk {
            address: "h:1".to_owned(),
            application: "shop".to_owned(),
            service_group: "group".to_owned(),
            name: "buy".to_owned(),
            timeout_ms: 1_000,
        });
        let full = || Reply::Failed(Failure::new(ExceptionCode::BeginFailed, "the server is full"));
        let Reply::Failed(Failure { code, text, .. }) = after_a_silence(&begin, full()) else { panic!("refused") };
        assert_eq!(code, ExceptionCode::BeginFailed);
        assert!(text.starts_with(UNKNOWN_WHETHER_DONE) && text.ends_with("the server is full"), "{text}");
        let begun = Reply::Begun(TransactionId(7));
        assert_eq!(after_a_silence(&begin, begun.clone()), begun);
        assert_eq!(after_a_silence(&Ask::Commit(TransactionId(7)), full()), full());
        let registered = Reply::Registered(BranchId(8));
        assert_eq!(after_a_silence(&Ask::Commit(TransactionId(7)), registered.clone()), registered);
    }
}
