//! From commands to log entries: one proposer per group takes everything that waits and makes one entry of it.
//!
//! There is no timer and no artificial delay: a batch is what arrived while the last ones were on their way. At most a
//! few entries are in flight, so that the queue, not raft, is where commands meet; and a large one travels alone, for what
//! an entry costs hardly depends on what is in it, and behind a large one the next large one gathers. Nothing is spawned
//! per command or per batch: the outcomes go from where the entry is applied straight to those who wait.
//!
//! The order of the queue is the order of the log: whoever puts a command behind another may rely on it (lock protocol,
//! rule 9). So an entry that raft refused although nobody else leads yet (its lease had run out, or it was handing over)
//! is tried again here before any later one, for as long as this node leads; and the next entry is made only when raft
//! is known to have taken the last one: a question behind it in raft's own queue, the *fence*, tells.
//!
//! Who waits for an entry that is on its way when the leadership is lost is told at once that its fate is unknown. Not here:
//! how long a caller waits for a leader.

use std::any::Any;
use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll};

use bytes::Bytes;
use openraft::RaftState;
use openraft::errors::{ClientWriteError, Fatal, ForwardReason, ForwardToLeader};
use openraft::raft::ClientWriteResult;
use quorate_core::model::{GroupId, NodeId};
use quorate_core::txn::Stamp;
use quorate_world::select::{Either3, select2, select3};
use quorate_world::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use quorate_world::time::{Duration, sleep};
use quorate_world::{bug, tap, watch};

use crate::clock::GroupClock;
use crate::entry;
use crate::events;
use crate::hibernation::Hibernation;
use crate::machine::Machine;
use crate::options::RaftOptions;
use crate::replica::{Leadership, ProposeError};
use crate::types::{self, Answer, Consensus, Payload, Raft};

/// An entry takes a place in flight for so many of its commands.
const COMMANDS_PER_PLACE: usize = 2;

/// A command in the queue and whom to tell.
struct Waiting<M: Machine> {
    command: M::Command,
    bytes: usize,
    caller: Caller<M>,
}

type Caller<M> = oneshot::Sender<Result<<M as Machine>::Outcome, ProposeError>>;

/// Those who wait for one entry, until they are told.
struct Callers<M: Machine>(Mutex<Option<Vec<Caller<M>>>>);

impl<M: Machine> Callers<M> {
    fn new(callers: Vec<Caller<M>>) -> Arc<Callers<M>> {
        Arc::new(Callers(Mutex::new(Some(callers))))
    }

    /// To tell them; nothing: they have been.
    fn take(&self) -> Option<Vec<Caller<M>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn are_told(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_none()
    }

    fn tell(&self, error: &ProposeError) {
        answer_all::<M>(self.take().unwrap_or_default(), error);
    }
}

/// An entry ready to be proposed. Its places among those in flight are free again when it is gone.
struct Batch<M: Machine> {
    entry: Bytes,
    callers: Arc<Callers<M>>,
    places: OwnedSemaphorePermit,
}

/// The outcome of a command that waits for its turn or is on its way.
pub struct Pending<O>(oneshot::Receiver<Result<O, ProposeError>>);

impl<O> Future for Pending<O> {
    type Output = Result<O, ProposeError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        // Dropped unheard: raft has stopped, with or without the command in its log.
        Pin::new(&mut self.0).poll(context).map(|answer| answer.unwrap_or(Err(ProposeError::Unknown)))
    }
}

/// The callers' end of a group's queue.
pub(crate) struct Proposals<M: Machine> {
    queue: mpsc::Sender<Waiting<M>>,
    waiting_bytes: Arc<AtomicUsize>,
    waiting_bytes_max: usize,
}

impl<M: Machine> Proposals<M> {
    /// Puts a command into the queue.
    pub fn submit(&self, command: M::Command) -> Result<Pending<M::Outcome>, ProposeError> {
        let bytes = M::command_bytes(&command);
        let before = self.waiting_bytes.fetch_add(bytes, Ordering::AcqRel);
        // One command always fits, however large.
        let refused = if before > 0 && before + bytes > self.waiting_bytes_max {
            quorate_core::sometimes!("queue_of_proposals_is_full_by_bytes");
            Some(ProposeError::Full)
        } else {
            let (caller, answer) = oneshot::channel();
            match self.queue.try_send(Waiting { command, bytes, caller }) {
                Ok(()) => return Ok(Pending(answer)),
                Err(mpsc::error::TrySendError::Full(_)) => {
                    quorate_core::sometimes!("queue_of_proposals_is_full");
                    Some(ProposeError::Full)
                }
                Err(mpsc::error::TrySendError::Closed(_)) => Some(ProposeError::Stopped),
            }
        };
        self.waiting_bytes.fetch_sub(bytes, Ordering::AcqRel);
        Err(refused.unwrap_or(ProposeError::Stopped))
    }

    /// How many commands wait for their turn.
    pub fn waiting(&self) -> usize {
        self.queue.max_capacity() - self.queue.capacity()
    }
}

/// The other end: the task that makes entries.
pub(crate) struct Proposer<M: Machine> {
    node: NodeId,
    group: GroupId,
    raft: Raft,
    clock: Arc<GroupClock>,
    leadership: watch::Receiver<Leadership>,
    hibernation: Arc<Hibernation>,
    options: RaftOptions,
    /// What the log takes.
    entry_bytes_max: usize,
    queue: mpsc::Receiver<Waiting<M>>,
    waiting_bytes: Arc<AtomicUsize>,
    /// Taken from the queue, and too large for the batch of that moment.
    left_over: Option<Waiting<M>>,
    /// Places among the entries in flight.
    places: Arc<Semaphore>,
    /// Who waits for them, in order; those of entries that are gone are, too.
    on_their_way: VecDeque<Weak<Callers<M>>>,
    /// A batch that is to be tried again comes back here, before its fence falls.
    again: (mpsc::Sender<Batch<M>>, mpsc::Receiver<Batch<M>>),
    /// Falls when raft has taken or refused the last batch.
    fence: Option<oneshot::Receiver<()>>,
}

/// What a proposer needs to know of its replica.
pub(crate) struct ProposerContext {
    pub node: NodeId,
    pub group: GroupId,
    pub raft: Raft,
    pub clock: Arc<GroupClock>,
    pub leadership: watch::Receiver<Leadership>,
    pub hibernation: Arc<Hibernation>,
    pub options: RaftOptions,
    /// What the log takes.
    pub entry_bytes_max: usize,
}

/// Makes a group's queue: the callers' end and the task.
pub(crate) fn queue<M: Machine>(context: ProposerContext) -> (Proposals<M>, Proposer<M>) {
    let ProposerContext { node, group, raft, clock, leadership, hibernation, options, entry_bytes_max } = context;
    let (sender, queue) = mpsc::channel(options.proposals_waiting_max);
    let waiting_bytes = Arc::new(AtomicUsize::new(0));
    let proposals = Proposals {
        queue: sender,
        waiting_bytes: waiting_bytes.clone(),
        waiting_bytes_max: options.proposals_waiting_bytes_max,
    };
    let proposer = Proposer {
        node,
        group,
        raft,
        clock,
        leadership,
        hibernation,
        queue,
        waiting_bytes,
        left_over: None,
        places: Arc::new(Semaphore::new(options.batches_in_flight_max)),
        on_their_way: VecDeque::new(),
        again: mpsc::channel(1),
        fence: None,
        entry_bytes_max,
        // What commands take together is estimated.
        options: RaftOptions { batch_bytes_max: options.batch_bytes_max.min(entry_bytes_max / 2), ..options },
    };
    (proposals, proposer)
}

impl<M: Machine> Proposer<M> {
    /// Runs until the callers' end is gone.
    pub async fn run(mut self) {
        loop {
            let leadership = *self.leadership.borrow_and_update();
            if !leadership.leading {
                self.refuse_waiting(leadership.leader);
                self.leave_those_on_their_way();
            }
            let ready = ready(&self.places, &mut self.queue, self.left_over.is_some(), leadership.leading);
            match select3(self.again.1.recv(), self.leadership.changed(), ready).await {
                Either3::First(Some(batch)) => self.try_again(batch).await,
                Either3::First(None) => unreachable!("this task holds a sender"),
                Either3::Second(Ok(())) => {}
                Either3::Second(Err(watch::Closed)) | Either3::Third(Ready::Closed) => return,
                Either3::Third(Ready::Refuse(waiting)) => self.refuse(waiting, leadership.leader),
                Either3::Third(Ready::Batch(place, first)) => self.propose_waiting(place, first).await,
            }
        }
    }

    async fn propose_waiting(&mut self, place: OwnedSemaphorePermit, first: Option<Waiting<M>>) {
        self.left_over = first.or(self.left_over.take());
        if let Some(fence) = self.fence.take() {
            // An error: raft has stopped, and the next call will say so.
            let _ = fence.await;
        }
        if let Ok(refused) = self.again.1.try_recv() {
            return self.try_again(refused).await;
        }
        self.hibernation.rouse().await;
        let Some(first) = self.left_over.take() else { return };
        let (commands, callers) = self.gather(first);
        let places = self.widen(place, commands.len());
        let Some(stamp) = self.clock.stamp() else {
            quorate_core::sometimes!("leadership_lost_before_the_stamp");
            let leader = self.leadership.borrow().leader;
            answer_all::<M>(callers, &ProposeError::NotLeader { leader });
            return;
        };
        let bad_clock = bug!("group_clock_is_the_wall_clock");
        let stamp = if bad_clock { Stamp { clock_ms: stamp.wall_ms, ..stamp } } else { stamp };
        match entry::commands(&M::batch(stamp, commands)) {
            Ok(entry) if entry.len() <= self.entry_bytes_max => {
                self.propose(Batch { entry, callers: Callers::new(callers), places }).await
            }
            // Several commands fit by their estimate, so this is one.
            Ok(entry) => {
                quorate_core::sometimes!("command_is_larger_than_an_entry");
                let (bytes, bytes_max) = (entry.len(), self.entry_bytes_max);
                tracing::warn!(group = %self.group, bytes, bytes_max, "a command is larger than an entry may be");
                answer_all::<M>(callers, &ProposeError::TooLarge);
            }
            Err(error) => {
                tracing::error!(group = %self.group, %error, "a command does not fit into an entry");
                answer_all::<M>(callers, &ProposeError::TooLarge);
            }
        }
    }

    /// `first` and all that waits behind it and fits.
    fn gather(&mut self, first: Waiting<M>) -> (Vec<M::Command>, Vec<Caller<M>>) {
        let ahead = self.queue.len().min(self.options.batch_commands_max);
        let (mut commands, mut callers) = (Vec::with_capacity(ahead + 1), Vec::with_capacity(ahead + 1));
        let mut bytes = 0;
        let mut next = Some(first);
        while let Some(waiting) = next.take() {
            if bytes > 0 && bytes + waiting.bytes > self.options.batch_bytes_max {
                quorate_core::sometimes!("entry_is_full_by_bytes");
                self.left_over = Some(waiting);
                break;
            }
            bytes += waiting.bytes;
            commands.push(waiting.command);
            callers.push(waiting.caller);
            if commands.len() < self.options.batch_commands_max {
                next = self.queue.try_recv().ok();
            }
        }
        if commands.len() > 1 {
            quorate_core::sometimes!("commands_share_an_entry");
        }
        self.waiting_bytes.fetch_sub(bytes, Ordering::AcqRel);
        (commands, callers)
    }

    /// More places for an entry of so many commands, as far as they are free.
    fn widen(&self, mut place: OwnedSemaphorePermit, commands: usize) -> OwnedSemaphorePermit {
        let more = (commands.div_ceil(COMMANDS_PER_PLACE) - 1).min(self.places.available_permits());
        // Nobody else takes any.
        if let Ok(places) = self.places.clone().try_acquire_many_owned(more as u32) {
            place.merge(places);
        }
        place
    }

    async fn propose(&mut self, batch: Batch<M>) {
        let (node, group, again) = (self.node, self.group, self.again.0.clone());
        while self.on_their_way.front().is_some_and(|callers| callers.strong_count() == 0) {
            self.on_their_way.pop_front();
        }
        let callers = Arc::downgrade(&batch.callers);
        if self.on_their_way.back().is_none_or(|last| !last.ptr_eq(&callers)) {
            self.on_their_way.push_back(callers);
        }
        let alone = batch.places.num_permits() == self.options.batches_in_flight_max;
        let payload = Payload(batch.entry.clone());
        let answer = Answer(Box::new(move |result| finish(node, group, batch, result, &again)));
        let (fell, fence) = oneshot::channel();
        let asked = async {
            self.raft.client_write_ff(payload, Some(answer)).await?;
            if alone {
                // The next one waits for a place, and so until this one is applied or refused.
                return Ok(None);
            }
            // Raft takes one thing after the other: this one runs when it has looked at the entry.
            let fall = move |_: &RaftState<Consensus>| {
                let _ = fell.send(());
            };
            self.raft.external_request(fall).await?;
            Ok::<_, Fatal<Consensus>>(Some(fence))
        };
        // On an error the answer was dropped, and with it the callers' channels: they read `Unknown`.
        match asked.await {
            Ok(fence) => self.fence = fence,
            Err(fatal) => tracing::warn!(group = %self.group, %fatal, "raft has stopped"),
        }
    }

    /// Raft did not take it, but nobody else leads yet. A heartbeat renews the lease if a quorum is there.
    async fn try_again(&mut self, batch: Batch<M>) {
        let leadership = *self.leadership.borrow();
        if !leadership.leading {
            quorate_core::sometimes!("leadership_lost_while_an_entry_waited_to_be_tried_again");
            let leader = leadership.leader.filter(|leader| *leader != self.node);
            return batch.callers.tell(&ProposeError::NotLeader { leader });
        }
        // While something waits the group does not sleep: a leader that has tried to hand over in vain takes nothing more, and only an
        // election ends that.
        self.hibernation.stir();
        if let Err(fatal) = self.raft.trigger().heartbeat().await {
            tracing::warn!(group = %self.group, %fatal, "raft has stopped");
        }
        let pause = Duration::from_millis(self.options.heartbeat_ms.div_ceil(8));
        select2(self.leadership.changed(), sleep(pause)).await;
        self.propose(batch).await;
    }

    fn refuse_waiting(&mut self, leader: Option<NodeId>) {
        while let Some(waiting) = self.left_over.take().or_else(|| self.queue.try_recv().ok()) {
            self.refuse(waiting, leader);
        }
    }

    fn leave_those_on_their_way(&mut self) {
        for callers in self.on_their_way.drain(..).filter_map(|callers| callers.upgrade()) {
            quorate_core::sometimes!("leadership_was_lost_under_an_entry");
            callers.tell(&ProposeError::Unknown);
        }
    }

    fn refuse(&self, waiting: Waiting<M>, leader: Option<NodeId>) {
        quorate_core::sometimes!("command_in_the_queue_when_leadership_was_lost");
        self.waiting_bytes.fetch_sub(waiting.bytes, Ordering::AcqRel);
        answer::<M>(waiting.caller, Err(ProposeError::NotLeader { leader }));
    }
}

enum Ready<M: Machine> {
    /// A place is free; the first command, unless one is left over.
    Batch(OwnedSemaphorePermit, Option<Waiting<M>>),
    /// A command for a node that does not lead: no entry, so no place is needed.
    Refuse(Waiting<M>),
    Closed,
}

/// Waits for something to propose and a place for it. Dropping it loses nothing: a command leaves the queue at the end only.
async fn ready<M: Machine>(
    places: &Arc<Semaphore>,
    queue: &mut mpsc::Receiver<Waiting<M>>,
    left_over: bool,
    leading: bool,
) -> Ready<M> {
    if !leading {
        return queue.recv().await.map_or(Ready::Closed, Ready::Refuse);
    }
    let Ok(place) = places.clone().acquire_owned().await else { return Ready::Closed };
    if left_over {
        return Ready::Batch(place, None);
    }
    match queue.recv().await {
        Some(first) => Ready::Batch(place, Some(first)),
        None => Ready::Closed,
    }
}

/// Tells the callers of a batch what became of it. Runs where the entry was applied or refused.
fn finish<M: Machine>(
    node: NodeId,
    group: GroupId,
    batch: Batch<M>,
    result: ClientWriteResult<Consensus>,
    again: &mpsc::Sender<Batch<M>>,
) {
    match result {
        Ok(written) => {
            let Some(callers) = batch.callers.take() else { return };
            let commands = callers.len();
            tap!(events::Answered { node, group, log_id: types::our_log_id(&written.log_id), commands });
            let outcomes: Box<dyn Any> = written.data.0.expect("an entry with commands has outcomes");
            let outcomes = outcomes.downcast::<Vec<M::Outcome>>().expect("this group's machine gave them");
            assert_eq!(outcomes.len(), commands, "an outcome for each command");
            for (caller, outcome) in callers.into_iter().zip(*outcomes) {
                answer::<M>(caller, Ok(outcome));
            }
        }
        Err(ClientWriteError::ForwardToLeader(forward)) => refused(node, batch, forward, again),
        Err(ClientWriteError::LogEntryDiscarded(forward)) if bug!("unknown_told_as_refused") => {
            let leader = forward.leader_id.map(NodeId);
            batch.callers.tell(&ProposeError::NotLeader { leader });
        }
        // It was in our log and is no longer: another leader may have it, and commit it.
        Err(ClientWriteError::LogEntryDiscarded(_)) => {
            quorate_core::sometimes!("entry_was_discarded_on_its_way");
            batch.callers.tell(&ProposeError::Unknown);
        }
        Err(error @ (ClientWriteError::ChangeMembershipError(_) | ClientWriteError::PreconditionFailed(_))) => {
            unreachable!("a batch of commands changes no members and has no precondition: {error}")
        }
    }
}

/// The entry was not written.
fn refused<M: Machine>(
    node: NodeId,
    batch: Batch<M>,
    forward: ForwardToLeader<Consensus>,
    again: &mpsc::Sender<Batch<M>>,
) {
    match forward.reason {
        ForwardReason::LeaseExpired | ForwardReason::LeadershipTransfer => {
            match forward.reason {
                ForwardReason::LeadershipTransfer => quorate_core::sometimes!("entry_refused_during_a_transfer"),
                _ => quorate_core::sometimes!("entry_refused_without_a_lease"),
            }
            // There is room: none is proposed before the last one is taken. If the proposer is gone, the callers read
            // `Unknown`. Those who were told that already may be led elsewhere by now: it does not come behind them.
            if !batch.callers.are_told() {
                drop(again.try_send(batch));
            }
        }
        ForwardReason::NotLeader => {
            quorate_core::sometimes!("entry_refused_by_one_that_no_longer_leads");
            let leader = forward.leader_id.map(NodeId).filter(|leader| *leader != node);
            batch.callers.tell(&ProposeError::NotLeader { leader });
        }
    }
}

fn answer_all<M: Machine>(callers: Vec<Caller<M>>, error: &ProposeError) {
    for caller in callers {
        answer::<M>(caller, Err(error.clone()));
    }
}

/// A caller that waits no longer is not a fault.
fn answer<M: Machine>(caller: Caller<M>, result: Result<M::Outcome, ProposeError>) {
    drop(caller.send(result));
}
