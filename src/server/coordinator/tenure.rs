//! What this node knows only while it leads a group: the volatile half of the lock protocol (section 1 there).
//!
//! A tenure begins when the leader's own `Lead` is applied (rule 1) and ends with the leadership; nothing of it outlives it,
//! and a new leader starts from the replicated state. Whoever finds it over answers nothing and routes anew.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use quorate_core::console::Trouble;
use quorate_core::model::{BranchId, GroupId, Slot, Term, TransactionId, limits};
use quorate_core::txn::command::LeadV1;
use quorate_core::txn::{Command, IdBlock, Outcome, Refusal, Transactions};
use quorate_raft::{ProposeError, Replica};
use quorate_world::linger::tight;
use quorate_world::select::select2;
use quorate_world::sync::{Notify, oneshot};
use quorate_world::task::{self, JoinHandle};
use quorate_world::time::{Duration, Instant, sleep};
use quorate_world::watch;

use super::dealer::Dealer;
use super::drives::{Drives, Nudge, Waiter};
use super::guard::locked;

/// For so long after a refusal the lock home is asked first (rule 7).
const CONTENDED: Duration = Duration::from_secs(1);
/// Remembered refusals; beyond that the oldest are forgotten, which costs two log entries at the next conflict.
const REFUSALS_MAX: usize = 65_536;
/// Hints about transactions that roll back; beyond that the oldest are forgotten, and a waiter waits in vain.
const ROLLING_BACK_MAX: usize = 65_536;
/// Life of such a hint. The driver repeats it with each attempt.
const ROLLING_BACK: Duration = Duration::from_secs(120);
/// Its locks are looked at once in this time at most.
const SUSPECTED: Duration = Duration::from_secs(1);
/// Before the log is asked again.
const PAUSE: Duration = Duration::from_millis(20);

/// The leadership is gone, or was never here: route anew.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Lost;

/// One leadership of one group.
pub struct Tenure {
    /// The group.
    pub group: GroupId,
    /// Its raft term.
    pub term: Term,
    /// This node's member of the group.
    pub replica: Arc<Replica<Transactions>>,
    /// Rings when a deadline earlier than all others may have come up.
    pub deadlines: Notify,
    /// Rings when slots have come: nobody drives what is unfinished in them yet.
    pub came: Notify,
    next_due_ms: AtomicU64,
    memory: Mutex<Memory>,
    reserved: Notify,
    decided: Notify,
    suspicion: Notify,
    over: watch::Sender<bool>,
}

#[derive(Default)]
struct Memory {
    dealer: Dealer,
    pending: BTreeMap<BranchId, Pending>,
    /// How many pending branches a transaction has.
    registering: BTreeMap<TransactionId, u32>,
    deciding: BTreeSet<TransactionId>,
    refused: Recent,
    rolling_back: Recent,
    suspects: BTreeSet<(TransactionId, Slot)>,
    suspected: Recent,
    drives: Drives<JoinHandle<()>>,
    over: bool,
}

/// A branch that nobody was told of yet (rules 5 to 9).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Pending {
    transaction: TransactionId,
    /// Given up, and its proposal may still be applied: it must not be forgotten (rule 9).
    given_up: bool,
}

/// What came of the wish for a branch id.
enum Dealt {
    Id(BranchId),
    /// The blocks are used up.
    None,
    /// A decision is on its way.
    Later,
}

/// A command in the queue of the log.
pub enum Submitted {
    /// On its way.
    Pending(quorate_raft::Pending<Outcome>),
    /// It fits into no entry.
    TooLarge,
}

impl Submitted {
    /// What applying it came to. `Lost`: it may or may not be applied later.
    pub async fn outcome(self) -> Result<Outcome, Lost> {
        match self {
            Submitted::Pending(pending) => pending.await.map_err(|_| Lost),
            Submitted::TooLarge => Ok(Outcome::Refused(Refusal::Limit { limit: "it fits into no log entry".into() })),
        }
    }
}

/// What a leader proposes first, and whenever it runs short of branch ids (rules 1 and 2).
pub fn lead(tenure: Term) -> LeadV1 {
    LeadV1 { tenure, block: tight(limits::BRANCH_ID_BLOCK, 16) }
}

/// Transactions that something happened to a short while ago.
#[derive(Default)]
struct Recent {
    when: BTreeMap<TransactionId, Instant>,
    order: VecDeque<(Instant, TransactionId)>,
}

impl Tenure {
    /// A tenure whose `Lead` was applied with this outcome.
    pub fn new(group: GroupId, term: Term, replica: Arc<Replica<Transactions>>, block: IdBlock) -> Tenure {
        let memory = Memory { dealer: Dealer::new(block), ..Memory::default() };
        Tenure {
            group,
            term,
            replica,
            deadlines: Notify::new(),
            came: Notify::new(),
            next_due_ms: AtomicU64::new(u64::MAX),
            memory: Mutex::new(memory),
            reserved: Notify::new(),
            decided: Notify::new(),
            suspicion: Notify::new(),
            over: watch::channel(false).0,
        }
    }

    /// The group clock, as this leader goes on with it.
    pub fn clock_ms(&self) -> Result<u64, Lost> {
        match self.replica.clock_ms() {
            Some((term, clock_ms)) if term == self.term => Ok(clock_ms),
            Some(_) | None => Err(Lost),
        }
    }

    /// Puts a command into the queue of the log now; its outcome comes later, also if nobody waits for it. Nothing any more
    /// once this tenure is over, though the next one may be of the same term.
    pub fn submit(&self, command: Command) -> Result<Submitted, Lost> {
        if self.is_over() {
            return Err(Lost);
        }
        match self.replica.submit(command) {
            Ok(pending) => Ok(Submitted::Pending(pending)),
            Err(ProposeError::TooLarge) => Ok(Submitted::TooLarge),
            Err(
                ProposeError::Full | ProposeError::NotLeader { .. } | ProposeError::Stopped | ProposeError::Unknown,
            ) => Err(Lost),
        }
    }

    /// Puts a command through the log. `Lost`: it may or may not be applied later; or too much is waiting just now.
    pub async fn propose(&self, command: Command) -> Result<Outcome, Lost> {
        self.submit(command)?.outcome().await
    }

    /// As [`Tenure::propose`], for what must be done as long as this tenure lasts: does not give up on a full queue.
    pub async fn insist(&self, command: Command) -> Result<Outcome, Lost> {
        loop {
            match self.propose(command.clone()).await {
                Ok(outcome) => return Ok(outcome),
                Err(Lost) if self.is_over() => return Err(Lost),
                Err(Lost) => {
                    quorate_core::sometimes!("command_is_proposed_again_and_again");
                    _ = select2(sleep(PAUSE), self.ended()).await;
                }
            }
        }
    }

    /// Makes sure that this node leads and has applied everything that was ever answered.
    pub async fn confirm(&self) -> Result<(), Lost> {
        self.replica.confirm().await.map_err(|_| Lost)
    }

    /// Deals a branch id and enters it into pending, in one step (rule 5), but not while a transaction without branches is
    /// being decided and ended in one go. Reserves the next block in time (rule 2).
    pub async fn mint(self: &Arc<Self>, transaction: TransactionId) -> Result<BranchId, Lost> {
        loop {
            let (reserved, decided) = (self.reserved.notified(), self.decided.notified());
            let (dealt, reserve) = {
                let mut memory = locked(&self.memory);
                match memory.over {
                    true => return Err(Lost),
                    false if memory.deciding.contains(&transaction) => (Dealt::Later, false),
                    false => (memory.deal(transaction), memory.dealer.should_reserve()),
                }
            };
            match (dealt, reserve) {
                (Dealt::Id(branch), false) => return Ok(branch),
                (Dealt::Id(branch), true) => {
                    quorate_core::sometimes!("next_branch_ids_reserved_in_time");
                    let tenure = self.clone();
                    task::spawn(async move { _ = tenure.reserve().await });
                    return Ok(branch);
                }
                (Dealt::None, true) => {
                    quorate_core::sometimes!("branch_ids_ran_out");
                    self.reserve().await?;
                }
                (Dealt::None, false) => reserved.await,
                (Dealt::Later, _) => {
                    quorate_core::sometimes!("register_waits_for_the_decision_on_an_empty_transaction");
                    decided.await;
                }
            }
        }
    }

    async fn reserve(&self) -> Result<(), Lost> {
        let outcome = self.insist(Command::Lead(lead(self.term))).await;
        locked(&self.memory).dealer.reserved(match outcome {
            Ok(Outcome::Led(block)) => Some(block),
            _ => None,
        });
        self.reserved.notify_waiters();
        outcome.map(|_| ())
    }

    /// The slot was taken over after the present blocks were reserved: no id of theirs is good for it.
    pub fn drop_blocks(&self) {
        locked(&self.memory).dealer.drop_blocks();
    }

    /// The branch is told to its RM: from now on nobody gives it up (rule 8). False: it was given up before.
    pub fn acknowledge(&self, branch: BranchId) -> bool {
        let mut memory = locked(&self.memory);
        match memory.pending.get(&branch) {
            Some(pending) if !pending.given_up || quorate_world::bug!("given_up_and_acknowledged") => {
                memory.leave(branch)
            }
            Some(_) | None => false,
        }
    }

    /// The branch will never be told to anybody (rule 9).
    pub fn give_up(&self, branch: BranchId) {
        if let Some(pending) = locked(&self.memory).pending.get_mut(&branch) {
            pending.given_up = true;
        }
    }

    /// The outcome of its proposal is known: the branch may be forgotten.
    pub fn forget(&self, branch: BranchId) {
        locked(&self.memory).leave(branch);
    }

    /// Is its fate open (rule 14)?
    pub fn is_pending(&self, branch: BranchId) -> bool {
        locked(&self.memory).pending.contains_key(&branch)
    }

    /// A decision on a transaction without branches is about to be proposed together with its end. False: a branch is on
    /// its way, or another decision. Registers wait meanwhile.
    pub fn begin_deciding_empty(&self, transaction: TransactionId) -> bool {
        let mut memory = locked(&self.memory);
        !memory.registering.contains_key(&transaction) && memory.deciding.insert(transaction)
    }

    /// That decision is applied, or will never be.
    pub fn end_deciding_empty(&self, transaction: TransactionId) {
        locked(&self.memory).deciding.remove(&transaction);
        self.decided.notify_waiters();
    }

    /// A lock home has refused this transaction.
    pub fn note_refusal(&self, transaction: TransactionId) {
        locked(&self.memory).refused.note(transaction, CONTENDED, REFUSALS_MAX);
    }

    /// Was it refused within the last second?
    pub fn is_contended(&self, transaction: TransactionId) -> bool {
        locked(&self.memory).refused.has(transaction, CONTENDED)
    }

    /// A hint: this transaction is rolling back.
    pub fn note_rolling_back(&self, transaction: TransactionId) {
        locked(&self.memory).rolling_back.note(transaction, ROLLING_BACK, ROLLING_BACK_MAX);
    }

    /// Has somebody said so lately?
    pub fn is_rolling_back(&self, transaction: TransactionId) -> bool {
        locked(&self.memory).rolling_back.has(transaction, ROLLING_BACK)
    }

    /// A lock of this transaction, in this lock slot, stands in somebody's way.
    pub fn suspect(&self, transaction: TransactionId, slot: Slot) {
        let mut memory = locked(&self.memory);
        // At most once a second per transaction (rule 14).
        if memory.suspected.has(transaction, SUSPECTED) {
            quorate_core::sometimes!("suspect_was_looked_at_a_moment_ago");
            return;
        }
        memory.suspected.note(transaction, SUSPECTED, REFUSALS_MAX);
        memory.suspects.insert((transaction, slot));
        drop(memory);
        self.suspicion.notify_one();
    }

    /// Waits for a suspicion.
    pub async fn suspected(&self) {
        self.suspicion.notified().await;
    }

    /// All suspects since the last time.
    pub fn take_suspects(&self) -> Vec<(TransactionId, Slot)> {
        std::mem::take(&mut locked(&self.memory).suspects).into_iter().collect()
    }

    /// A session with this deadline has begun.
    pub fn note_deadline(&self, due_ms: u64) {
        if due_ms < self.next_due_ms.load(Ordering::Acquire) {
            quorate_core::sometimes!("earlier_deadline_wakes_the_timer");
            self.deadlines.notify_one();
        }
    }

    /// The timer sleeps until this deadline; earlier ones wake it.
    pub fn sleeps_until(&self, due_ms: u64) {
        self.next_due_ms.store(due_ms, Ordering::Release);
    }

    /// Starts the driver of a transaction, unless it has one or the tenure is over, and lets `waiter` wait for what it
    /// has to wait for. `start` spawns it; it must call [`Tenure::driven`] at its end.
    pub fn drive(&self, transaction: TransactionId, waiter: Option<Waiter>, start: impl FnOnce() -> JoinHandle<()>) {
        let mut memory = locked(&self.memory);
        if !memory.over {
            memory.drives.start(transaction, waiter, start);
        }
    }

    /// Those who wait for a transaction in phase two may be answered.
    pub fn answer_waiters(&self, transaction: TransactionId) {
        locked(&self.memory).drives.answer(transaction);
    }

    /// The driver of a transaction has ended.
    pub fn driven(&self, transaction: TransactionId) {
        locked(&self.memory).drives.remove(transaction);
    }

    /// What came of asking a branch of a transaction in phase two: trouble, or none any more.
    pub fn note_trouble(&self, transaction: TransactionId, branch: BranchId, trouble: Option<Trouble>) {
        locked(&self.memory).drives.note(transaction, branch, trouble);
    }

    /// Branches of a transaction that were asked in vain of late.
    pub fn troubles(&self, transaction: TransactionId) -> Vec<(BranchId, Trouble)> {
        locked(&self.memory).drives.troubles(transaction)
    }

    /// Tells an operator when next something comes of asking a branch, or the driver ends; nothing: there is none.
    pub fn news(&self, transaction: TransactionId) -> Option<oneshot::Receiver<()>> {
        locked(&self.memory).drives.news(transaction)
    }

    /// Rings when an operator wants the driver of a transaction to look again, however long it meant to rest.
    pub fn nudge(&self, transaction: TransactionId) -> Arc<Nudge> {
        locked(&self.memory).drives.nudge(transaction)
    }

    /// How often that has rung.
    pub fn nudges(&self, transaction: TransactionId) -> u64 {
        locked(&self.memory).drives.nudges(transaction)
    }

    /// How many drivers are at work.
    pub fn drives(&self) -> usize {
        locked(&self.memory).drives.count()
    }

    /// Is it over?
    pub fn is_over(&self) -> bool {
        *self.over.borrow()
    }

    /// Waits for its end.
    pub async fn ended(&self) {
        _ = self.over.subscribe().wait_until(|over| *over).await;
    }

    /// Ends it: everything volatile goes, whoever waits routes anew.
    pub fn end(&self) {
        let drives = {
            let mut memory = locked(&self.memory);
            memory.over = true;
            if !memory.pending.is_empty() {
                quorate_core::sometimes!("tenure_ends_with_branches_pending");
            }
            if memory.drives.count() > 0 {
                quorate_core::sometimes!("tenure_ends_with_drivers_at_work");
            }
            memory.pending.clear();
            memory.registering.clear();
            memory.deciding.clear();
            std::mem::take(&mut memory.drives)
        };
        self.over.send(true);
        drives.into_tasks().for_each(|task| task.abort());
        self.reserved.notify_waiters();
        self.decided.notify_waiters();
        self.deadlines.notify_one();
        self.suspicion.notify_one();
    }
}

impl Memory {
    fn deal(&mut self, transaction: TransactionId) -> Dealt {
        let Some(branch) = self.dealer.deal(transaction.slot()) else { return Dealt::None };
        self.pending.insert(branch, Pending { transaction, given_up: false });
        *self.registering.entry(transaction).or_default() += 1;
        Dealt::Id(branch)
    }

    fn leave(&mut self, branch: BranchId) -> bool {
        let Some(Pending { transaction, .. }) = self.pending.remove(&branch) else { return false };
        if let Some(count) = self.registering.get_mut(&transaction) {
            *count -= 1;
            if *count == 0 {
                self.registering.remove(&transaction);
            }
        }
        true
    }
}

impl Recent {
    fn note(&mut self, transaction: TransactionId, life: Duration, count_max: usize) {
        let now = Instant::now();
        self.when.insert(transaction, now);
        self.order.push_back((now, transaction));
        while let Some((when, oldest)) = self.order.front().copied() {
            if now - when < life && self.order.len() <= count_max {
                break;
            }
            self.order.pop_front();
            // Noted again since: a later element of `order` speaks for it.
            if self.when.get(&oldest) == Some(&when) {
                self.when.remove(&oldest);
            }
        }
    }

    fn has(&self, transaction: TransactionId, life: Duration) -> bool {
        self.when.get(&transaction).is_some_and(|when| when.elapsed() < life)
    }
}
