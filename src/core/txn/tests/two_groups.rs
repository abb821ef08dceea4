//! Two groups and slots that move between them at any time, while ordinary commands go on: oracles LK2, E1 and E2.
//!
//! The meta group of this test allots the attempts and says which step may be sent. Each may come late, twice, or not for long, and
//! what was sent once may come again at any later time. What the slots must hold is kept beside: an ordinary command changes
//! it by what it has made of its transaction, and nothing else ever does. So whatever a move loses, doubles or changes shows.

use alloc::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use proptest::sample::Index;

use super::migration::{chunks, newcomer};
use super::moves::transaction_of;
use super::properties::Ghost;
use super::slot::SlotState;
use super::wishes::{Move, moves};
use super::*;
use crate::model::{GlobalStatus, limits};

/// One record, a few, all; by the attempt.
const CHUNK_BYTES: [usize; 3] = [1, 150, 1 << 20];
/// What is sent of a migration comes again at most so long after.
const SENT_MAX: usize = 64;
/// How far the clocks of the groups are ahead of time.
const AHEAD_MS: [u64; 2] = [1_000_000, 3];

/// What the next turn is about.
#[derive(Clone, Debug)]
struct Turn {
    kind: u8,
    slot: Index,
    pick: Index,
}

fn turns() -> impl Strategy<Value = Vec<Turn>> {
    let one = (0u8..32, any::<Index>(), any::<Index>());
    proptest::collection::vec(one.prop_map(|(kind, slot, pick)| Turn { kind, slot, pick }), 100..250)
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    Copying,
    Switched,
    Aborted,
}

/// One attempt, as the meta group knows it.
#[derive(Debug)]
struct Attempt {
    epoch: Epoch,
    source: usize,
    phase: Phase,
    /// Outcomes of the last two steps are known.
    is_told: [bool; 2],
}

impl Attempt {
    fn target(&self) -> usize {
        1 - self.source
    }
}

/// What a slot must hold, however often it has moved.
#[derive(Default)]
struct Model {
    sessions: BTreeMap<TransactionId, Session>,
    /// With the time of the begin.
    begun_ms: BTreeMap<TransactionId, u64>,
    /// With the time of the end.
    tombstones: BTreeMap<TransactionId, (GlobalStatus, u64)>,
    holds: BTreeMap<(Slot, TransactionId, BranchId), (Fence, String, String)>,
    dealt: BTreeSet<BranchId>,
}

struct World {
    now_ms: u64,
    groups: [Transactions; 2],
    /// Ids that the leader of each may deal.
    blocks: [IdBlock; 2],
    owners: BTreeMap<Slot, usize>,
    attempts: BTreeMap<Slot, Attempt>,
    last_epoch: u64,
    sent: Vec<(usize, Command)>,
    ghost: Ghost,
    model: Model,
    seen: Seen,
}

/// What has happened, so that nothing is checked in vain.
#[derive(Default)]
struct Seen {
    completed: u64,
    aborted: u64,
    busy: u64,
    late: BTreeSet<&'static str>,
}

impl Seen {
    /// A step of a migration that came late, or twice, or too early.
    fn note(&mut self, command: &Command, outcome: &Outcome, is_again: bool) {
        let kind = match (command, outcome) {
            (Command::FreezeSlot(_), Outcome::Refused(Refusal::AttemptOver { .. })) => {
                "freeze of an attempt that is over"
            }
            (Command::InstallSlot(_), Outcome::Refused(Refusal::AttemptOver { .. })) => {
                "chunk of an attempt that is over"
            }
            (Command::InstallSlot(_), Outcome::Refused(Refusal::ChunkExpected { .. })) => "chunk too early",
            (Command::ActivateSlot(_), Outcome::Slot(_)) if is_again => "activate again",
            (Command::DropSlot(_), Outcome::Slot(_)) if is_again => "drop again",
            (_, Outcome::Refused(Refusal::SlotStands { .. })) => "step of another stand",
            _ => return,
        };
        self.late.insert(kind);
    }
}

impl World {
    fn founded() -> World {
        let mut groups = [Transactions::new(), newcomer(AHEAD_MS[1])];
        groups[0].apply(&batch(AHEAD_MS[0], vec![found(), lead(1)]));
        let block = IdBlock { first: FIRST_SEQUENCE, count: 100 };
        World {
            now_ms: 0,
            groups,
            blocks: [block, block],
            owners: slots().into_iter().map(|slot| (slot, 0)).collect(),
            attempts: BTreeMap::new(),
            last_epoch: EPOCH.0,
            sent: Vec::new(),
            ghost: Ghost::default(),
            model: Model::default(),
            seen: Seen::default(),
        }
    }

    fn apply(&mut self, group: usize, command: &Command) -> Outcome {
        let before = self.groups[group].clone();
        let clock_ms = self.now_ms + AHEAD_MS[group];
        let outcome = one(&mut self.groups[group], clock_ms, command.clone());
        if matches!(outcome, Outcome::Refused(_)) {
            let mut untouched = before;
            one(&mut untouched, clock_ms, Command::Tick);
            assert_eq!(self.groups[group], untouched, "refused {command:?}, yet changed");
        }
        if let Outcome::Led(block) = outcome {
            self.blocks[group] = block;
        }
        outcome
    }

    /// Whoever has the slot active.
    fn active(&self, slot: Slot) -> Option<usize> {
        let owners: Vec<usize> = (0..2).filter(|group| self.groups[*group].owns(slot).is_some()).collect();
        assert!(owners.len() < 2, "LK2: {slot} is active in both");
        owners.first().copied()
    }

    /// A branch id that the leader of a group deals for a slot.
    fn deal(&mut self, group: usize, slot: Slot) -> BranchId {
        let block = self.blocks[group];
        if block.count == 0 || block.first < self.groups[group].ids_from(slot) {
            let tenure = self.groups[group].tenure();
            self.apply(group, &Command::Lead(LeadV1 { tenure, block: 50 }));
        }
        let block = &mut self.blocks[group];
        let dealt = BranchId::mint(block.first, slot).expect("a small sequence");
        (block.first, block.count) = (block.first + 1, block.count - 1);
        assert!(self.model.dealt.insert(dealt), "{dealt} was dealt twice");
        dealt
    }

    /// An ordinary command, and whom it is sent to.
    fn ordinary(&mut self, wish: &Move, is_astray: bool) -> (usize, Command) {
        let mut command = self.ghost.command(&self.groups[0], wish);
        let mut home = 0;
        if let Some(transaction) = transaction_of(&command) {
            home = self.active(transaction.slot()).unwrap_or(0);
            if home == 1 {
                command = self.ghost.command(&self.groups[1], wish);
            }
        }
        let fresh = FIRST_SEQUENCE + self.ghost.dealt;
        let place = match &mut command {
            Command::RegisterBranch(RegisterBranchV1 { branch, fence, .. })
            | Command::RegisterBranchOnce(RegisterBranchOnceV1 {
                register: RegisterBranchV1 { branch, fence, .. },
                ..
            })
            | Command::AcquireLocks(AcquireLocksV1 { branch, fence, .. }) => Some((branch, fence)),
            _ => None,
        };
        if let Some((branch, fence)) = place {
            let slot = branch.slot();
            if let Some(epoch) = self.groups[home].owns(slot) {
                fence.epoch = epoch;
                if branch.sequence() == fresh {
                    *branch = self.deal(home, slot);
                }
            }
        }
        let owner = match &command {
            Command::AcquireLocks(acquire) => self.active(lock_slot(&acquire.resource)).unwrap_or(home),
            Command::ReleaseLocks(release) => self.active(release.slot).unwrap_or(home),
            _ => home,
        };
        (if is_astray { 1 - owner } else { owner }, command)
    }

    fn request(&mut self, wish: &Move, is_astray: bool) {
        let (group, command) = self.ordinary(wish, is_astray);
        self.ask(group, &command);
    }

    fn ask(&mut self, group: usize, command: &Command) {
        let outcome = self.apply(group, command);
        if let Outcome::Begun(transaction) = outcome {
            assert!(self.model.begun_ms.insert(transaction, self.now_ms).is_none(), "{transaction} was minted twice");
            self.ghost.transactions.push(transaction);
        }
        let touched = match outcome {
            Outcome::Begun(transaction) => Some(transaction),
            _ => transaction_of(command),
        };
        if let Some(transaction) = touched.filter(|_| !matches!(outcome, Outcome::Refused(_))) {
            self.learn(group, transaction);
        }
    }

    /// The model follows what an ordinary command has made of its transaction.
    fn learn(&mut self, group: usize, transaction: TransactionId) {
        let (state, model, now_ms) = (&self.groups[group], &mut self.model, self.now_ms);
        if state.owns(transaction.slot()).is_some() {
            let had = model.sessions.remove(&transaction).is_some();
            match (state.session(transaction), state.tombstone(transaction)) {
                (Some(session), None) => _ = model.sessions.insert(transaction, timeless(session)),
                (None, Some(status)) if had => _ = model.tombstones.insert(transaction, (status, now_ms)),
                (None, _) => {}
                (Some(_), Some(_)) => panic!("{transaction} lives and has ended"),
            }
        }
        model.holds.retain(|(slot, holder, _), _| *holder != transaction || state.owns(*slot).is_none());
        for (slot, _) in state.slots() {
            let held = state.slots.get(slot).expect("owned").locks.holds_of(transaction);
            for (branch, hold) in held {
                let told = (hold.fence, (*hold.resource).into(), (*hold.lock_keys).into());
                model.holds.insert((slot, transaction, branch), told);
            }
        }
    }

    /// A step of a migration, which may come again.
    fn send(&mut self, group: usize, command: Command) -> Outcome {
        let outcome = self.apply(group, &command);
        self.seen.note(&command, &outcome, false);
        if self.sent.len() == SENT_MAX {
            self.sent.remove(0);
        }
        self.sent.push((group, command));
        outcome
    }

    fn start(&mut self, slot: Slot) {
        if self.attempts.contains_key(&slot) {
            return;
        }
        self.last_epoch += 1;
        let attempt = Attempt {
            epoch: Epoch(self.last_epoch),
            source: self.owners[&slot],
            phase: Phase::Copying,
            is_told: [false; 2],
        };
        self.attempts.insert(slot, attempt);
    }

    /// The next step that is due of an attempt; `is_hasty`: the one after it, or another chunk than the next.
    fn advance(&mut self, slot: Slot, pick: usize, is_hasty: bool) {
        let Some(attempt) = self.attempts.get(&slot) else { return };
        let (epoch, source, target) = (attempt.epoch, attempt.source, attempt.target());
        let step = SlotStepV1 { slot, epoch };
        match attempt.phase {
            Phase::Copying => {
                let is_frozen = matches!(self.groups[source].ownership(slot), Ownership::Frozen { attempt, .. } if attempt == epoch);
                if !is_frozen {
                    _ = self.send(source, Command::FreezeSlot(step));
                    return;
                }
                let copy = chunks(&self.groups[source], slot, epoch, CHUNK_BYTES[epoch.0 as usize % 3]);
                let next = match self.groups[target].ownership(slot) {
                    Ownership::Installing { attempt, chunks } if attempt == epoch => chunks as usize,
                    Ownership::Passive(held) if held == epoch && !is_hasty => {
                        // The outcome is known: the point of no return.
                        self.attempts.get_mut(&slot).expect("here").phase = Phase::Switched;
                        self.owners.insert(slot, target);
                        return;
                    }
                    _ => 0,
                };
                let until = if is_hasty { next + 1 } else { next + 1 + pick % 3 };
                for number in next..until.min(copy.len()) {
                    let number = if is_hasty { pick % copy.len() } else { number };
                    _ = self.send(target, copy[number].clone());
                }
            }
            Phase::Switched => {
                self.conclude(slot, pick, [(target, Command::ActivateSlot(step)), (source, Command::DropSlot(step))])
            }
            Phase::Aborted => {
                self.conclude(slot, pick, [(source, Command::UnfreezeSlot(step)), (target, Command::DiscardSlot(step))])
            }
        }
    }

    /// One of the last two steps.
    fn conclude(&mut self, slot: Slot, pick: usize, steps: [(usize, Command); 2]) {
        let open: Vec<usize> = (0..2).filter(|step| !self.attempts[&slot].is_told[*step]).collect();
        let which = open[pick % open.len()];
        let (group, command) = steps[which].clone();
        let outcome = self.send(group, command);
        assert!(matches!(outcome, Outcome::Slot(_)), "{outcome:?}");
        if pick.is_multiple_of(3) {
            return; // its outcome is lost
        }
        let attempt = self.attempts.get_mut(&slot).expect("here");
        attempt.is_told[which] = true;
        if attempt.is_told == [true; 2] {
            match attempt.phase {
                Phase::Aborted => self.seen.aborted += 1,
                Phase::Copying | Phase::Switched => {
                    self.seen.completed += 1;
                    let moving = |transaction: &TransactionId| transaction.slot() == slot;
                    self.seen.busy += u64::from(self.model.sessions.keys().any(moving));
                }
            }
            self.attempts.remove(&slot);
        }
    }

    fn abort(&mut self, slot: Slot) {
        if let Some(attempt) = self.attempts.get_mut(&slot).filter(|attempt| attempt.phase == Phase::Copying) {
            attempt.phase = Phase::Aborted;
        }
    }

    /// Something that was sent comes again.
    fn again(&mut self, pick: &Index) {
        if self.sent.is_empty() {
            return;
        }
        let (group, command) = self.sent[pick.index(self.sent.len())].clone();
        let outcome = self.apply(group, &command);
        self.seen.note(&command, &outcome, true);
    }

    fn turn(&mut self, turn: &Turn, wish: &Move) {
        self.now_ms += wish.passes_ms;
        let all = slots();
        let slot = all[turn.slot.index(all.len())];
        let pick = turn.pick.index(1 << 16);
        match turn.kind {
            0..2 => self.start(slot),
            2..9 => self.advance(slot, pick, turn.kind == 2),
            9 => self.abort(slot),
            10..13 => self.again(&turn.pick),
            13 => {
                let group = &mut self.groups[pick % 2];
                *group = Transactions::load(group.tables()).expect("its own records");
            }
            14 => self.ask(pick % 2, &begin(60_000)),
            kind => self.request(wish, kind == 15),
        }
    }

    /// What each group holds of each slot is what the slot must hold, if it may be asked for it yet or still.
    fn compare(&mut self) {
        let now_ms = self.now_ms;
        self.groups.iter().for_each(recount);
        self.model.tombstones.retain(|transaction, (_, ended_ms)| {
            let is_old = now_ms - *ended_ms >= limits::TOMBSTONE_LIFE_MS;
            let stands = self.groups.iter().any(|state| state.tombstone(*transaction).is_some());
            let is_served = self.groups.iter().any(|state| state.owns(transaction.slot()).is_some());
            !is_old || stands || !is_served
        });
        for slot in slots() {
            let active = self.active(slot);
            let attempt = self.attempts.get(&slot);
            if attempt.is_none() {
                assert_eq!(active, Some(self.owners[&slot]), "{slot} rests");
            }
            for (group, state) in self.groups.iter().enumerate() {
                let must_hold = match state.ownership(slot) {
                    Ownership::Active(_) => true,
                    Ownership::Frozen { .. } => active.is_none(),
                    Ownership::Passive(epoch) => {
                        attempt.is_some_and(|attempt| attempt.epoch == epoch && attempt.phase != Phase::Aborted)
                    }
                    Ownership::None | Ownership::Installing { .. } => false,
                };
                if must_hold {
                    let state = self.groups[group].slots.get(slot).expect("it stands to it");
                    self.model.compare(slot, state, now_ms, now_ms + AHEAD_MS[group]);
                }
            }
        }
    }

    /// The slow way.
    fn check(&self) {
        for (group, state) in self.groups.iter().enumerate() {
            state.check_invariants().unwrap_or_else(|what| panic!("group {group}: {what}"));
        }
    }

    /// No more faults: every attempt comes to its end.
    fn come_to_rest(&mut self) {
        for slot in slots() {
            for pick in 0..10_000 {
                if !self.attempts.contains_key(&slot) {
                    break;
                }
                self.advance(slot, pick, false);
            }
            assert!(!self.attempts.contains_key(&slot), "{slot} never comes to rest: {:?}", self.attempts);
        }
        self.compare();
        self.check();
        for slot in slots() {
            assert_eq!(self.active(slot), Some(self.owners[&slot]));
        }
    }
}

impl Model {
    fn compare(&self, slot: Slot, state: &SlotState, now_ms: u64, clock_ms: u64) {
        let sessions: Vec<Session> = state.sessions().map(timeless).collect();
        let expected = self.sessions.values().filter(|session| session.transaction.slot() == slot);
        assert_eq!(sessions.iter().collect::<Vec<_>>(), expected.collect::<Vec<_>>(), "E2: sessions of {slot}");
        for session in state.sessions() {
            let lived_ms = now_ms - self.begun_ms[&session.transaction];
            // Its clock may stand while it moves, but it never leaps.
            assert!(session.age_ms(clock_ms) <= lived_ms, "{} is {lived_ms} ms old", session.transaction);
        }
        let tombstones: Vec<_> = state.tombstones().map(|(transaction, of)| (transaction, of.status)).collect();
        let expected = self.tombstones.iter().filter(|(transaction, _)| transaction.slot() == slot);
        let expected: Vec<_> = expected.map(|(transaction, (status, _))| (*transaction, *status)).collect();
        assert_eq!(tombstones, expected, "E2: tombstones of {slot}");
        let holds: BTreeMap<_, _> = state
            .locks
            .holds()
            .map(|(transaction, branch, hold)| {
                let told = (hold.fence, String::from(&*hold.resource), String::from(&*hold.lock_keys));
                ((slot, transaction, branch), told)
            })
            .collect();
        let expected = self.holds.iter().filter(|((of, ..), _)| *of == slot);
        assert_eq!(holds.iter().collect::<Vec<_>>(), expected.collect::<Vec<_>>(), "E2: holds of {slot}");
    }
}

/// A session without its times, and what follows from them.
fn timeless(session: &Session) -> Session {
    let mut session = Session { begun_clock_ms: 0, before_ms: 0, ..session.clone() };
    let ids: Vec<BranchId> = session.branches.keys().copied().collect();
    for id in ids {
        session.branches.get_mut(&id).expect("listed").registered_clock_ms = None;
    }
    session.unreported = Default::default();
    session
}

/// Every count once more, from what is there.
fn recount(state: &Transactions) {
    let active = || state.slots.iter().filter(|(slot, _)| state.owns(*slot).is_some()).map(|(_, state)| state);
    let sessions = || active().flat_map(|state| state.sessions());
    let counts = state.counts();
    assert_eq!(counts.sessions, sessions().count() as u64);
    assert_eq!(counts.branches, sessions().map(|session| session.branches.len() as u64).sum::<u64>());
    assert_eq!(counts.tombstones, active().map(|state| state.tombstones().count() as u64).sum::<u64>());
    assert_eq!(counts.holds, active().map(|state| state.locks.holds().count() as u64).sum::<u64>());
    assert_eq!(counts.row_locks, active().map(|state| state.locks.rows().count() as u64).sum::<u64>());
    assert_eq!(counts.bytes, state.slots.iter().map(|(_, state)| state.contents().bytes).sum::<u64>());
    // The bound of a group counts on it: in a snapshot nothing is larger than in memory, but for what each slot has.
    let records: u64 = state.tables().map(|(_, record)| record.len() as u64 + 10).sum();
    assert!(records <= counts.bytes + 64 * (state.slots.iter().count() as u64 + 1), "{records}, {}", counts.bytes);
    let open = || sessions().filter(|session| session.status == GlobalStatus::Begin);
    let unreported = open().flat_map(|session| session.branches.values()).filter(|branch| branch.is_unreported());
    assert_eq!(state.unreported(), unreported.count() as u64);
    assert_eq!(state.next_due().map(|(due_ms, _)| due_ms), open().map(Session::due_ms).min());
    let unfinished = sessions().filter(|session| session.is_unfinished()).map(|session| session.transaction);
    assert!(state.unfinished(None).eq(unfinished));
}

fn run(turns: &[Turn], moves: &[Move]) -> Seen {
    let mut world = World::founded();
    (0..8).for_each(|_| world.ask(0, &begin(60_000)));
    for (number, (turn, wish)) in turns.iter().zip(moves.iter().cycle()).enumerate() {
        world.turn(turn, wish);
        world.compare();
        if number.is_multiple_of(8) {
            world.check();
        }
    }
    world.come_to_rest();
    world.seen
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn slots_that_move_lose_nothing_and_have_one_owner(turns in turns(), moves in moves(160)) {
        run(&turns, &moves);
    }
}

#[test]
fn the_turns_meet_what_may_happen_to_a_migration() {
    // A test of the test.
    use proptest::strategy::ValueTree;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let (mut completed, mut aborted, mut busy, mut late) = (0, 0, 0, BTreeSet::new());
    for _ in 0..20 {
        let turns = turns().new_tree(&mut runner).expect("no filter").current();
        let moves = moves(160).new_tree(&mut runner).expect("no filter").current();
        let seen = run(&turns, &moves);
        (completed, aborted, busy) = (completed + seen.completed, aborted + seen.aborted, busy + seen.busy);
        late.extend(seen.late);
    }
    assert!(completed > 20 && aborted > 10 && busy > 20, "{completed} completed, {aborted} aborted, {busy} busy");
    assert_eq!(late.len(), 6, "{late:?}");
}
