//! Planned transactions: who begins one, what its branches do, how it ends, and who dies in the middle of it.

use super::Size;
use super::branch_line::BranchLine;
use super::swarm::{Class, Level, Swarm};
use crate::bank::ring::CHANGES;
use quorate_world::sim::Dice;
use serde::{Deserialize, Serialize};

/// Rows and accounts of a resource: few, so that transactions meet.
pub const ROWS: u64 = 5;

/// One global transaction.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Operation {
    /// Its number: names its random stream.
    pub op: u32,
    /// Index of the TM that begins it.
    pub tm: u32,
    /// Counted from when the cluster was ready.
    pub at_ms: u64,
    /// As the TM says in Begin.
    #[serde(default = "usual_timeout_ms", skip_serializing_if = "is_usual_timeout")]
    pub timeout_ms: i32,
    /// What it does, in this order; of a Saga, what is done beside its steps when they are through.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub branches: Vec<PlannedBranch>,
    /// It is a Saga.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub saga: Option<PlannedSaga>,
    /// It swaps the two neighbours behind this row of the ring. Each of its branches changes a row that it finds only then, wherever
    /// that is, and says nothing of it here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ring: Option<u64>,
    /// The business commits if all its branches succeed; else it rolls back whatever they say.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub commit: bool,
    /// How long the business thinks before it ends the transaction.
    #[serde(default, skip_serializing_if = "is_nothing")]
    pub thinks_ms: u64,
    /// How long after the begin its TM asks how it stands.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub asks_ms: Vec<u64>,
    /// Where its TM dies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tm_death: Option<TmDeath>,
}

/// A Saga, as its engine meets it.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlannedSaga {
    /// Account and what is added, step by step.
    pub steps: Vec<(u64, i64)>,
    /// This step's business refuses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fails_at: Option<usize>,
    /// Its engine rather goes on when its time is up.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub goes_on: bool,
    /// When it fails, its engine says so and leaves the rest to the coordinator.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub undoes_later: bool,
    /// So many phase-two calls are answered "try again" first.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub retries: u32,
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

fn is_nothing(number: &u64) -> bool {
    *number == 0
}

fn yes() -> bool {
    true
}

fn is_yes(flag: &bool) -> bool {
    *flag
}

/// What a transaction has that does not say how long it has.
fn usual_timeout_ms() -> i32 {
    60_000
}

fn is_usual_timeout(timeout_ms: &i32) -> bool {
    *timeout_ms == usual_timeout_ms()
}

/// One branch.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(try_from = "BranchLine", into = "BranchLine")]
pub struct PlannedBranch {
    /// Index of the RM that is called.
    pub rm: u32,
    /// What it does there.
    pub work: Work,
    /// Its business fails after the registration.
    pub fails: bool,
    /// Having failed and said so, its business tries once more, in a branch of its own.
    pub tries_again: bool,
    /// Its RM asks whether the rows of an AT branch are free, before it has them and after.
    pub asks_rows: bool,
    /// An AT branch in a local transaction of the business, which must not wait for one that rolls back.
    pub holds_on: bool,
    /// What its RM says of phase one beside that.
    pub word: Option<Word>,
    /// So many phase-two calls are answered "try again" first,
    pub retries: u32,
    /// and then so many with "never"; a commit of AT branches none.
    pub refuses: u32,
    /// So long its RM takes for phase two when it is first asked.
    pub slow_ms: u64,
    /// Where its RM dies.
    pub rm_death: Option<RmDeath>,
}

/// What a branch does.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Work {
    /// Changes rows of a table: row and what is added.
    At(Vec<(u64, i64)>),
    /// Changes an account: account and what is added.
    Tcc(u64, i64),
    /// The same in an XA database.
    Xa(u64, i64),
    /// The same at once, for good unless it is compensated: a step of an annotated Saga.
    Step(u64, i64),
}

/// What an RM may say of phase one.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Word {
    /// A failure is one of the preparation.
    PrepareFailed,
    /// An XA branch has only read: its database keeps nothing.
    ReadOnly,
    /// It is done, and not to be asked again and again in phase two before an operator says so.
    StopRetry,
}

/// Where a TM dies.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TmDeath {
    /// It has begun a transaction.
    AfterBegin,
    /// All branches are done.
    BeforeEnd,
    /// The commit or rollback is on its way.
    AfterEndSent,
}

/// Where an RM dies.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RmDeath {
    /// The branch is registered.
    BeforeLocalCommit,
    /// Its change is in the table, nobody was told.
    AfterLocalCommit,
    /// Phase two was asked for.
    BeforePhaseTwo,
    /// Phase two is in the table, the answer has not left.
    BeforeAnswer,
}

impl Operation {
    /// What it adds to the world's money: nothing.
    pub fn delta(&self) -> i64 {
        let steps = self.saga.iter().flat_map(|saga| saga.steps.iter().map(|(_, delta)| *delta));
        self.branches.iter().map(PlannedBranch::delta).chain(steps).sum()
    }
}

impl PlannedBranch {
    /// What it adds to the world's money.
    pub fn delta(&self) -> i64 {
        match &self.work {
            Work::At(rows) => rows.iter().map(|(_, delta)| delta).sum(),
            Work::Tcc(_, delta) | Work::Xa(_, delta) | Work::Step(_, delta) => *delta,
        }
    }

    /// It moves no money.
    pub fn is_read_only(&self) -> bool {
        self.word == Some(Word::ReadOnly)
    }

    /// Somebody has to see to it before its transaction can end.
    pub fn needs_operator(&self) -> bool {
        self.refuses > 0 || self.word == Some(Word::StopRetry)
    }
}

/// Draws a transaction.
pub fn draw(seed: u64, size: Size, number: u32, swarm: &Swarm) -> Operation {
    let mut dice = Dice::new(seed, &format!("operation {number}"));
    let at_ms = dice.below(size.safety_ms);
    let count = 1 + dice.below(4) as usize;
    let mut branches: Vec<PlannedBranch> = (0..count).map(|_| draw_branch(&mut dice, size, swarm)).collect();
    for (place, branch) in branches.iter_mut().enumerate() {
        let dice = |what: &str| Dice::new(seed, &format!("{what} branch {place} of operation {number}"));
        draw_words(&mut dice("words about"), swarm, branch);
        // A quarter of what would be TCC has no confirm.
        if let (Work::Tcc(account, delta), 0) = (&branch.work, dice("kind of").below(4)) {
            branch.work = Work::Step(*account, *delta);
        }
    }
    balance(&mut branches);
    let deaths = chance(swarm.level(Class::TmDeath), 20_000, 150_000);
    let saga = dice.happens(200_000).then(|| draw_saga(&mut dice, swarm));
    // A quarter of the Sagas has branches of other kinds beside its steps.
    if saga.is_some() && Dice::new(seed, &format!("is operation {number} mixed")).below(4) > 0 {
        branches.clear();
    }
    Operation {
        op: number,
        tm: dice.below(u64::from(size.tms)) as u32,
        at_ms,
        timeout_ms: [3_000, 10_000, 30_000, 60_000][dice.below(4) as usize],
        commit: !dice.happens(150_000),
        thinks_ms: if dice.happens(100_000) { dice.below(8_000) } else { dice.below(20) },
        tm_death: dice.happens(deaths).then(|| draw_tm_death(&mut dice)),
        asks_ms: draw_asks(seed, number),
        branches,
        saga,
        ring: None,
    }
}

/// Where there is a ring of so many rows, a quarter of the transactions that are no Sagas is about it.
pub fn draw_ring(seed: u64, size: Size, swarm: &Swarm, rows: u64, operation: &mut Operation) {
    let number = operation.op;
    let mut dice = Dice::new(seed, &format!("is operation {number} about the ring"));
    if rows == 0 || operation.saga.is_some() || dice.below(4) > 0 {
        return;
    }
    operation.ring = Some(dice.below(rows));
    let draw = |place: usize| {
        let dice = |what: &str| Dice::new(seed, &format!("{what} branch {place} of operation {number}, in the ring"));
        let mut branch = PlannedBranch { work: Work::At(Vec::new()), ..draw_branch(&mut dice("what is"), size, swarm) };
        draw_words(&mut dice("words about"), swarm, &mut branch);
        branch
    };
    operation.branches = (0..CHANGES).map(draw).collect();
}

fn draw_saga(dice: &mut Dice, swarm: &Swarm) -> PlannedSaga {
    let mut steps: Vec<(u64, i64)> =
        (0..dice.below(4)).map(|_| (dice.below(ROWS), dice.between(0, 200) as i64 - 100)).collect();
    let sum: i64 = steps.iter().map(|(_, delta)| delta).sum();
    steps.push((dice.below(ROWS), -sum));
    let hiccups = chance(swarm.level(Class::Hiccup), 50_000, 400_000);
    PlannedSaga {
        fails_at: dice.happens(300_000).then(|| dice.below(steps.len() as u64) as usize),
        goes_on: dice.happens(500_000),
        undoes_later: dice.happens(500_000),
        retries: if dice.happens(hiccups) { dice.between(1, 4) as u32 } else { 0 },
        steps,
    }
}

/// A half of all transactions is asked about: short after the begin as often as long after.
fn draw_asks(seed: u64, number: u32) -> Vec<u64> {
    let mut dice = Dice::new(seed, &format!("questions about operation {number}"));
    let count = if dice.below(2) == 0 { 0 } else { dice.between(1, 6) };
    let mut draw = || {
        let halvings = dice.below(10);
        dice.below(40_000 >> halvings)
    };
    (0..count).map(|_| draw()).collect()
}

fn draw_branch(dice: &mut Dice, size: Size, swarm: &Swarm) -> PlannedBranch {
    let kind = dice.below(100);
    let work = if kind < 50 {
        let first = dice.below(ROWS);
        let mut rows = vec![(first, dice.between(0, 200) as i64 - 100)];
        if dice.happens(300_000) {
            rows.push(((first + 1 + dice.below(ROWS - 1)) % ROWS, dice.between(0, 200) as i64 - 100));
        }
        Work::At(rows)
    } else {
        let (account, delta) = (dice.below(ROWS), dice.between(0, 200) as i64 - 100);
        if kind < 80 { Work::Tcc(account, delta) } else { Work::Xa(account, delta) }
    };
    let deaths = chance(swarm.level(Class::RmDeath), 10_000, 80_000);
    let hiccups = chance(swarm.level(Class::Hiccup), 20_000, 150_000);
    let slow = chance(swarm.level(Class::SlowRm), 20_000, 150_000);
    PlannedBranch {
        slow_ms: if dice.happens(slow) { dice.between(500, 40_000) } else { 0 },
        rm: dice.below(u64::from(size.rms)) as u32,
        work,
        fails: dice.happens(hiccups / 2),
        tries_again: false,
        asks_rows: false,
        holds_on: false,
        word: None,
        refuses: 0,
        retries: if dice.happens(hiccups) { dice.between(1, 4) as u32 } else { 0 },
        rm_death: dice.happens(deaths).then(|| draw_rm_death(dice)),
    }
}

/// What RMs say. What keeps a transaction, and maybe its rows, until an operator comes, is rare.
fn draw_words(dice: &mut Dice, swarm: &Swarm, branch: &mut PlannedBranch) {
    let seldom = chance(swarm.level(Class::Hiccup), 4_000, 20_000);
    if matches!(branch.work, Work::At(_)) {
        (branch.asks_rows, branch.holds_on) = (dice.happens(250_000), dice.happens(300_000));
    }
    match &mut branch.work {
        _ if branch.fails => {
            branch.tries_again = dice.happens(500_000);
            branch.word = dice.happens(500_000).then_some(Word::PrepareFailed);
            return;
        }
        Work::Xa(_, delta) if dice.happens(150_000) => {
            (branch.word, *delta) = (Some(Word::ReadOnly), 0);
            return;
        }
        Work::At(_) | Work::Tcc(..) | Work::Xa(..) | Work::Step(..) => {}
    }
    branch.refuses = if dice.happens(seldom) { dice.between(1, 2) as u32 } else { 0 };
    branch.word = dice.happens(seldom / 2).then_some(Word::StopRetry);
}

/// The last branch that moves money takes what the others gave.
pub fn balance(branches: &mut [PlannedBranch]) {
    let sum: i64 = branches.iter().map(PlannedBranch::delta).sum();
    match branches.iter_mut().rev().find(|branch| !branch.is_read_only()).map(|branch| &mut branch.work) {
        Some(Work::At(rows)) => {
            if let Some((_, delta)) = rows.last_mut() {
                *delta -= sum;
            }
        }
        Some(Work::Tcc(_, delta) | Work::Xa(_, delta) | Work::Step(_, delta)) => *delta -= sum,
        None => {}
    }
}

fn chance(level: Level, light_per_million: u32, heavy_per_million: u32) -> u32 {
    match level {
        Level::Off => 0,
        Level::Light => light_per_million,
        Level::Heavy => heavy_per_million,
    }
}

fn draw_tm_death(dice: &mut Dice) -> TmDeath {
    [TmDeath::AfterBegin, TmDeath::BeforeEnd, TmDeath::AfterEndSent][dice.below(3) as usize]
}

fn draw_rm_death(dice: &mut Dice) -> RmDeath {
    let places =
        [RmDeath::BeforeLocalCommit, RmDeath::AfterLocalCommit, RmDeath::BeforePhaseTwo, RmDeath::BeforeAnswer];
    places[dice.below(4) as usize]
}
