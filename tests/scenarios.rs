//! Stories about the transaction state machine alone, told as texts in `tests/scenarios/`.
//!
//! A story is blocks of commands, `----`, the expected lines, and an empty line; `#` starts a comment. Transactions and
//! branches are numbered from 1 in the order in which they came. The group owns the lock slots of `stock`, `bank` and
//! `pay`, and not that of `far`; tenure 1 leads it. After every command the invariants of the state are checked.
//!
//! What each command does stands beside it in [`Story::run`].
#![allow(clippy::disallowed_methods)] // it reads its stories

use std::collections::BTreeMap;
use std::fmt::Write;

use quorate_core::model::hash::lock_slot;
use quorate_core::model::{
    BranchId, BranchStatus, BranchType, Epoch, Fence, GlobalStatus, RowKey, Slot, Term, TransactionId, lock_key,
};
use quorate_core::phase_two::{self, Patience, Reply, Run, Step, Verdict};
use quorate_core::txn::command::*;
use quorate_core::txn::{Batch, Fate, Outcome, Refusal, Transactions, answer};

const EPOCH: Epoch = Epoch(1);

struct Story {
    state: Transactions,
    clock_ms: u64,
    transactions: Vec<TransactionId>,
    /// With what each was dealt for.
    branches: Vec<(BranchId, RegisterBranchV1)>,
    next_sequence: u64,
    runs: BTreeMap<TransactionId, Run>,
    patience: Patience,
}

/// The words of a command: `xid=1 rm=stock apart`.
struct Words<'a>(Vec<&'a str>);

impl<'a> Words<'a> {
    fn get(&self, key: &str) -> Option<&'a str> {
        self.0.iter().find_map(|word| word.strip_prefix(key)?.strip_prefix('='))
    }

    fn has(&self, word: &str) -> bool {
        self.0.contains(&word)
    }

    fn number(&self, key: &str) -> Option<usize> {
        self.get(key).map(|number| number.parse().unwrap_or_else(|_| panic!("{key}={number} is no number")))
    }

    /// `5s`, `250ms`.
    fn duration_ms(&self, text: &str) -> i64 {
        let (number, unit_ms) = match text.strip_suffix("ms") {
            Some(number) => (number, 1),
            None => (text.strip_suffix('s').unwrap_or_else(|| panic!("{text} has no unit")), 1_000),
        };
        number.parse::<i64>().unwrap_or_else(|_| panic!("{text} is no duration")) * unit_ms
    }

    /// The first word that names a branch status.
    fn branch_status(&self) -> Option<BranchStatus> {
        BranchStatus::ALL.iter().copied().find(|status| self.has(status.name()))
    }
}

impl Story {
    fn new() -> Story {
        let mut slots: Vec<Slot> = ["stock", "bank", "pay"].into_iter().map(lock_slot).collect();
        slots.sort_unstable();
        let mut state = Transactions::new();
        let found = Command::Found(FoundV1 { slots, epoch: EPOCH, sequence: 1_000 });
        let lead = Command::Lead(LeadV1 { tenure: Term(1), block: 1_000 });
        state.apply(&Batch { stamp: Stamp::default(), commands: vec![found, lead] });
        Story {
            state,
            clock_ms: 0,
            transactions: Vec::new(),
            branches: Vec::new(),
            next_sequence: 1_000,
            runs: BTreeMap::new(),
            patience: Patience::DEFAULT,
        }
    }

    fn run(&mut self, line: &str) -> String {
        let mut words = line.split_whitespace();
        let verb = words.next().expect("a line that is not empty");
        let words = Words(words.collect());
        match verb {
            // begin [timeout=60s] [name=buy]
            "begin" => self.begin(&words),
            // register xid= rm= [rows=t:1,t:2] [kind=TCC] [tenure=1] [apart] [again=<branch>]; apart: locks elsewhere
            "register" => self.register(&words),
            // acquire xid= branch=  (of a branch registered apart), or acquire xid= rm= rows=  (a new one)
            "acquire" => self.acquire(&words),
            "give-up" => self.propose(Command::RemoveBranch(self.branch_of(&words))),
            // release xid= rm= [branch=1,2]
            "release" => self.release(&words),
            // report xid= branch= STATUS [data=]
            "report" => self.report(&words),
            "commit" => self.decide(&words, Decision::Commit),
            "rollback" => self.decide(&words, Decision::Rollback),
            "timeout" => self.decide(&words, Decision::TimeoutRollback),
            "retry" => self.propose(Command::Retry(self.name(&words))),
            "detach" => self.propose(Command::Detach(self.name(&words))),
            "end" => self.propose(Command::End(self.name(&words))),
            "forget" => self.propose(Command::Forget(self.name(&words))),
            // fail xid= branch= STATUS
            "fail" => {
                let BranchV1 { transaction, branch } = self.branch_of(&words);
                let status = words.branch_status().expect("a branch status");
                self.propose(Command::Fail(FailV1 { transaction, branch, status }))
            }
            // say xid= STATUS [asked=STATUS]: the engine of a Saga says so, asked in that status
            "say" => {
                let status =
                    |wanted: &dyn Fn(&str) -> bool| GlobalStatus::ALL.iter().copied().find(|s| wanted(s.name()));
                let asked = words.get("asked").and_then(|asked| status(&|name| name == asked));
                let status = status(&|name| words.has(name)).expect("a status");
                self.propose(Command::Report(ReportV1 { transaction: self.transaction(&words), status, asked }))
            }
            // given-up xid= after=1s
            "given-up" => {
                let after_ms = words.duration_ms(words.get("after").expect("after=")).unsigned_abs();
                self.propose(Command::GiveUp(GiveUpV1 { transaction: self.transaction(&words), after_ms }))
            }
            // operate xid= stop|start|reopen|delete|force-delete|clean-up, or with branch= stop-branch|start-branch|
            // clean-up-branch|drop-branch
            "operate" => {
                let branch = words.get("branch").map_or(BranchId::WHOLE, |_| self.branch_of(&words).branch);
                let operations = [
                    ("stop-branch", Operation::StopBranch(branch)),
                    ("start-branch", Operation::StartBranch(branch)),
                    ("clean-up-branch", Operation::CleanUpBranch(branch)),
                    ("drop-branch", Operation::DropBranch(branch)),
                    ("clean-up", Operation::CleanUp),
                    ("stop", Operation::Stop),
                    ("start", Operation::Start),
                    ("reopen", Operation::Reopen),
                    ("delete", Operation::Delete),
                    ("force-delete", Operation::ForceDelete),
                ];
                let named = operations.into_iter().find(|(name, _)| words.has(name));
                let (_, operation) = named.expect("an operation");
                self.propose(Command::Operate(OperateV1 { transaction: self.transaction(&words), operation }))
            }
            // cleaned-up xid= branch=: its RM has cleaned up
            "cleaned-up" => {
                let branch = self.branch_of(&words);
                self.propose(Command::CleanedUp(branch))
            }
            // patience [commit=5s] [rollback=5s]: of phase two, from here on
            "patience" => {
                let ms = |key| words.get(key).map(|text| words.duration_ms(text).unsigned_abs());
                let (commit_retry_ms, rollback_retry_ms) = (ms("commit"), ms("rollback"));
                self.patience = Patience { commit_retry_ms, rollback_retry_ms, ..Patience::DEFAULT };
                "ok".into()
            }
            // lead tenure=
            "lead" => self.lead(&words),
            // wait 5s: the clock goes on
            "wait" => {
                self.clock_ms += words.duration_ms(words.0[0]).unsigned_abs();
                self.propose(Command::Tick)
            }
            // next xid= [deposed]: the next step of phase two; a new leader begins anew
            "next" => self.next(&words),
            // told xid= branch= [STATUS]: the branch was asked and said so, or nobody answered
            "told" => self.told(&words),
            // wake xid= branch=: its back-off is over
            "wake" => {
                let BranchV1 { transaction, branch } = self.branch_of(&words);
                self.runs.entry(transaction).or_insert_with(|| Run::new(self.patience)).wake(branch);
                "ok".into()
            }
            "show" => self.show(&words),
            "answers" => self.answers(&words),
            // audit xid= branch= [tenure=] [pending]
            "audit" => self.audit(&words),
            "locks" => self.locks(),
            "counts" => self.counts(),
            // snapshot: the state is written, and read back in its own place
            "snapshot" => {
                let loaded = Transactions::load(self.state.tables()).expect("its own records");
                assert!(loaded == self.state, "a snapshot lost something");
                self.state = loaded;
                "ok".into()
            }
            unknown => panic!("no such command: {unknown}"),
        }
    }

    fn apply(&mut self, command: Command) -> Outcome {
        let stamp = Stamp { clock_ms: self.clock_ms, wall_ms: 0 };
        let outcome = self.state.apply(&Batch { stamp, commands: vec![command] }).pop().expect("one outcome");
        self.state.check_invariants().unwrap_or_else(|what| panic!("{what}"));
        outcome
    }

    fn propose(&mut self, command: Command) -> String {
        let outcome = self.apply(command);
        self.told_outcome(&outcome)
    }

    fn told_outcome(&self, outcome: &Outcome) -> String {
        match outcome {
            Outcome::Done => "ok".into(),
            Outcome::Led(_) => "led".into(),
            Outcome::Begun(_) => format!("xid={}", self.transactions.len()),
            Outcome::Registered => format!("branch={}", self.branches.len()),
            Outcome::Decided(status) => format!("decided {status}"),
            Outcome::Standing(status) => format!("stands {status}"),
            Outcome::Now(status) => format!("now {status}"),
            Outcome::Acquired => "acquired".into(),
            Outcome::Released => "released".into(),
            Outcome::RegisteredBefore(_) => "branch of before".into(),
            Outcome::Slot(ownership) => format!("slot {ownership}"),
            Outcome::Refused(refusal) => format!("refused {}", self.told_refusal(refusal)),
        }
    }

    fn told_refusal(&self, refusal: &Refusal) -> String {
        match refusal {
            Refusal::Conflict(conflict) => {
                let holder = self.number_of(conflict.holder);
                format!("LockKeyConflict row={} holder={holder} held={}ms", conflict.row, conflict.held_ms)
            }
            other => other.to_string(),
        }
    }

    fn begin(&mut self, words: &Words<'_>) -> String {
        let timeout_ms = words.duration_ms(words.get("timeout").unwrap_or("60s"));
        let outcome = self.apply(Command::Begin(BeginV1 {
            address: "10.0.0.1:8091".into(),
            application: words.get("tm").unwrap_or("shop").into(),
            service_group: "default_tx_group".into(),
            name: words.get("name").unwrap_or("buy").into(),
            timeout_ms: i32::try_from(timeout_ms).expect("32 bits"),
        }));
        if let Outcome::Begun(transaction) = outcome {
            self.transactions.push(transaction);
        }
        self.told_outcome(&outcome)
    }

    /// A register as the leader of tenure 1 would deal it, with a new branch id.
    fn dealt(&mut self, words: &Words<'_>) -> RegisterBranchV1 {
        let transaction = self.transaction(words);
        let resource = words.get("rm").expect("rm=");
        let kind = words.get("kind").unwrap_or("AT");
        let kind = BranchType::ALL.iter().copied().find(|other| other.name() == kind).expect("a branch type");
        let branch = BranchId::mint(self.next_sequence, transaction.slot()).expect("a small sequence");
        self.next_sequence += 1;
        RegisterBranchV1 {
            transaction,
            branch,
            fence: fence(words),
            kind,
            resource: resource.into(),
            lock_keys: words.get("rows").unwrap_or("").replace(',', ";"),
            application_data: words.get("data").unwrap_or("").into(),
            client: "shop:10.0.0.2:5000".into(),
            with_locks: self.state.owns(lock_slot(resource)).is_some() && !words.has("apart"),
        }
    }

    fn register(&mut self, words: &Words<'_>) -> String {
        let command = match words.number("again") {
            Some(number) => self.branches[number - 1].1.clone(),
            None => self.dealt(words),
        };
        let (branch, again) = (command.branch, words.number("again"));
        let outcome = self.apply(Command::RegisterBranch(command.clone()));
        match (&outcome, again) {
            (Outcome::Registered, Some(number)) => format!("branch={number}"),
            (Outcome::Registered, None) => {
                self.branches.push((branch, command));
                self.told_outcome(&outcome)
            }
            (_, _) => self.told_outcome(&outcome),
        }
    }

    fn acquire(&mut self, words: &Words<'_>) -> String {
        let number = words.number("branch").unwrap_or_else(|| {
            let dealt = self.dealt(words);
            self.branches.push((dealt.branch, dealt));
            self.branches.len()
        });
        let of = self.branches[number - 1].1.clone();
        let outcome = self.propose(Command::AcquireLocks(AcquireLocksV1 {
            transaction: of.transaction,
            branch: of.branch,
            fence: of.fence,
            resource: of.resource,
            lock_keys: of.lock_keys,
        }));
        if words.number("branch").is_some() { outcome } else { format!("branch={number} {outcome}") }
    }

    fn release(&mut self, words: &Words<'_>) -> String {
        let numbers = words.get("branch").map(|numbers| numbers.split(',').map(|n| n.parse::<usize>()));
        let scope = match numbers {
            Some(numbers) => {
                ReleaseScope::Branches(numbers.map(|number| self.branches[number.expect("a number") - 1].0).collect())
            }
            None => ReleaseScope::All,
        };
        let transaction = self.transaction(words);
        let slot = lock_slot(words.get("rm").expect("rm="));
        self.propose(Command::ReleaseLocks(ReleaseLocksV1 { transaction, slot, scope }))
    }

    fn report(&mut self, words: &Words<'_>) -> String {
        let BranchV1 { transaction, branch } = self.branch_of(words);
        let status = words.branch_status().expect("a branch status");
        let application_data = words.get("data").unwrap_or("").into();
        self.propose(Command::ReportBranch(ReportBranchV1 { transaction, branch, status, application_data }))
    }

    fn decide(&mut self, words: &Words<'_>, decision: Decision) -> String {
        self.propose(Command::Decide(DecideV1 { transaction: self.transaction(words), decision }))
    }

    fn lead(&mut self, words: &Words<'_>) -> String {
        let tenure = Term(words.number("tenure").expect("tenure=") as u64);
        let outcome = self.apply(Command::Lead(LeadV1 { tenure, block: 1_000 }));
        if let Outcome::Led(block) = outcome {
            self.next_sequence = block.first;
        }
        self.told_outcome(&outcome)
    }

    fn next(&mut self, words: &Words<'_>) -> String {
        let transaction = self.transaction(words);
        if words.has("deposed") {
            self.runs.remove(&transaction);
        }
        let Some(session) = self.state.session(transaction) else { return "no session".into() };
        let run = self.runs.entry(transaction).or_insert_with(|| Run::new(self.patience));
        match phase_two::plan(session, run, self.state.clock_ms()) {
            Step::Ask(branches) => {
                branches.iter().for_each(|branch| run.asked(*branch));
                format!("ask {}", self.numbers_of(&branches))
            }
            Step::Wait => "wait".into(),
            Step::RetryLater => "retry later".into(),
            Step::Detach => "detach".into(),
            Step::FailForGood { branch, status } => {
                format!("branch={} failed for good: {status}", self.numbers_of(&[branch]))
            }
            Step::Report { word, asked } => {
                run.noted();
                format!("report {word} asked={asked}")
            }
            Step::GiveUp { after_ms } => format!("give up after {after_ms}ms"),
            Step::Stopped => "stopped".into(),
            Step::CleanedUp { branch } => format!("cleaned up {}", self.numbers_of(&[branch])),
            Step::Done => "done".into(),
            Step::Nothing => "nothing".into(),
        }
    }

    fn told(&mut self, words: &Words<'_>) -> String {
        let BranchV1 { transaction, branch } = self.branch_of(words);
        let reply = words.branch_status().map_or(Reply::Nothing, Reply::Status);
        let session = self.state.session(transaction).expect("a session");
        let run = self.runs.entry(transaction).or_insert_with(|| Run::new(self.patience));
        match run.answered(session, branch, reply, self.state.clock_ms()) {
            Verdict::Done => "done".into(),
            Verdict::RetryLater => "retry later".into(),
            Verdict::FailForGood(_) => "failed for good".into(),
            Verdict::Reported(status) => format!("reported {status}"),
        }
    }

    fn show(&self, words: &Words<'_>) -> String {
        let transaction = self.transaction(words);
        let Some(session) = self.state.session(transaction) else {
            return self.state.tombstone(transaction).map_or("unknown".into(), |status| format!("ended {status}"));
        };
        let mut text = format!("{} due={}ms", session.status, session.due_ms());
        if session.is_deleted() {
            text += " being deleted";
        }
        for branch in session.branches.values() {
            let number = self.numbers_of(&[branch.branch]);
            let _ = write!(text, "\nbranch={number} {} {} {}", branch.kind, branch.resource, branch.status);
            if branch.fate != Fate::Kept {
                let _ = write!(text, " {:?}", branch.fate);
            }
            if !branch.application_data.is_empty() {
                let _ = write!(text, " data={}", branch.application_data);
            }
        }
        text
    }

    /// What a TM is answered.
    fn answers(&self, words: &Words<'_>) -> String {
        let Some(status) = self.state.standing(self.transaction(words)) else {
            return format!("all {}", answer::UNKNOWN);
        };
        let decide = |answer: Option<_>| answer.map_or("decide".to_string(), |status| format!("{status}"));
        format!(
            "commit={} rollback={} status={}",
            decide(answer::commit_answer(status)),
            decide(answer::rollback_answer(status)),
            answer::status_answer(status)
        )
    }

    fn audit(&self, words: &Words<'_>) -> String {
        let BranchV1 { transaction, branch } = self.branch_of(words);
        match self.state.is_gone(transaction, branch, fence(words), words.has("pending")) {
            Ok(true) => "gone".into(),
            Ok(false) => "not gone".into(),
            Err(refusal) => format!("refused {}", self.told_refusal(&refusal)),
        }
    }

    fn locks(&self) -> String {
        let lines = self.state.locks().map(|lock| {
            let RowKey { table, key } = lock.row;
            let branches = self.numbers_of(lock.branches);
            format!("{} {table}:{key} xid={} branch={branches}", lock.resource, self.number_of(lock.transaction))
        });
        let lines: Vec<String> = lines.collect();
        // What the table says is what an asker meets.
        for lock in self.state.locks() {
            let rows = lock_key::parse(&lock.row.to_string()).expect("a row");
            assert!(self.state.conflict(lock.transaction, lock.resource, &rows, 0).is_none());
            assert!(self.state.conflict(TransactionId(0), lock.resource, &rows, 0).is_some());
        }
        if lines.is_empty() { "none".into() } else { lines.join("\n") }
    }

    fn counts(&self) -> String {
        let counts = self.state.counts();
        format!(
            "sessions={} branches={} rows={} tombstones={}",
            counts.sessions, counts.branches, counts.row_locks, counts.tombstones
        )
    }

    fn transaction(&self, words: &Words<'_>) -> TransactionId {
        self.transactions[words.number("xid").expect("xid=") - 1]
    }

    fn name(&self, words: &Words<'_>) -> TransactionV1 {
        TransactionV1 { transaction: self.transaction(words) }
    }

    fn branch_of(&self, words: &Words<'_>) -> BranchV1 {
        let branch = match words.get("branch") {
            Some("whole") => BranchId::WHOLE,
            _ => self.branches[words.number("branch").expect("branch=") - 1].0,
        };
        BranchV1 { transaction: self.transaction(words), branch }
    }

    fn number_of(&self, transaction: TransactionId) -> usize {
        self.transactions.iter().position(|other| *other == transaction).map_or(0, |position| position + 1)
    }

    fn numbers_of(&self, branches: &[BranchId]) -> String {
        let number = |branch: &BranchId| match self.branches.iter().position(|(other, _)| other == branch) {
            Some(position) => (position + 1).to_string(),
            None if *branch == BranchId::WHOLE => "whole".into(),
            None => "0".into(),
        };
        branches.iter().map(number).collect::<Vec<_>>().join(",")
    }
}

fn fence(words: &Words<'_>) -> Fence {
    Fence { epoch: EPOCH, tenure: Term(words.number("tenure").unwrap_or(1) as u64) }
}

/// Runs a story and gives it back with the lines that came in place of those expected.
fn retold(text: &str) -> String {
    let mut story = Story::new();
    let blocks = text.trim_end().split("\n\n").map(|block| {
        let Some((commands, _)) = block.split_once("\n----") else { return block.to_string() };
        let commands = commands.lines().filter(|line| !line.starts_with('#'));
        let answers: String = commands.map(|command| format!("\n{}", story.run(command))).collect();
        let (given, _) = block.split_once("\n----").expect("split before");
        format!("{given}\n----{answers}")
    });
    blocks.collect::<Vec<_>>().join("\n\n") + "\n"
}

/// Where two texts part, with a little of what stands around.
fn difference(expected: &str, came: &str) -> String {
    let (expected, came): (Vec<&str>, Vec<&str>) = (expected.lines().collect(), came.lines().collect());
    let same = expected.iter().zip(&came).take_while(|(a, b)| a == b).count();
    let near = |lines: &[&str]| lines[same.saturating_sub(4)..lines.len().min(same + 4)].join("\n    ");
    format!("line {}\n  expected\n    {}\n  came\n    {}", same + 1, near(&expected), near(&came))
}

#[test]
fn every_story_ends_as_told() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios");
    let mut files: Vec<_> =
        std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("a file").path()).collect();
    files.sort();
    assert!(files.len() >= 8, "stories are missing");
    let mut wrong = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(&file).expect("a text");
        let came = retold(&text);
        if came != text {
            wrong.push(format!("{}: {}", file.display(), difference(&text, &came)));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}
