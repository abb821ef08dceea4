//! A machine that owns resources: the real RM of `quorate-client` over databases that outlive it.
//!
//! Each machine has an AT, a TCC, an XA and an annotated-Saga resource of its own and serves those of its neighbour too, as two instances of one
//! application do: phase two may come to the one that did not do phase one. A branch is found in the plan by the two
//! numbers in its application data, or in its RM's own books.

use super::call::{self, Call};
use super::{EXIT_KILLED, business_at, servers, signed};
use crate::bank::{BranchKey, Damage, Effect, ring};
use crate::plan::ms;
use crate::plan::operations::{PlannedBranch, RmDeath, Word, Work};
use crate::plan::swarm::Class;
use crate::scene::Scene;
use crate::seen::{Seen, Wanted};
use crate::taps::transaction_of;
use quorate_client::rm::{Answer, RegisterError};
use quorate_client::{Branch, Resource, ResourceManager, TransactionManager};
use quorate_core::model::{BranchId, BranchStatus, BranchType, ExceptionCode, TransactionId};
use quorate_world::time::{Duration, sleep};
use quorate_world::{net, process, random, sim};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A stock RM repeats a registration that met a row lock so often, at this pause.
const LOCK_ATTEMPTS_MAX: u32 = 30;
const LOCK_PAUSE: Duration = Duration::from_millis(10);
/// A slow RM takes less than this for its phase one: more than a caller waits.
const LATENESS_MS_MAX: u64 = 15_000;

/// The process of RM `number`, from 1.
pub async fn run(scene: Arc<Scene>, number: u32) -> i32 {
    // Neighbours: 1 and 2, 3 and 4, ..
    let neighbour = ((number - 1) ^ 1) + 1;
    let speaks = scene.plan.options.rm_speaks(number);
    let application = speaks.application(&format!("bank-{}", number.min(neighbour)), "default_tx_group");
    let application = signed(&scene, application);
    let mut resources: BTreeMap<String, Arc<dyn Resource>> = BTreeMap::new();
    for owner in [number, neighbour] {
        for kind in [BranchType::AT, BranchType::TCC, BranchType::XA, BranchType::SAGA_ANNOTATION] {
            let id = resource_id(kind, owner);
            resources.insert(id.clone(), Arc::new(Table { scene: scene.clone(), kind, id }));
        }
    }
    let servers = servers(scene.plan.options.nodes);
    let rm = ResourceManager::start(&servers, &application, resources);
    // As in Java clients, where the RM signs nothing and is let in on the word of the TM beside it.
    let asks_for_keys = scene.plan.options.knobs.access_keys;
    let _manager = asks_for_keys.then(|| TransactionManager::start(&servers, &application));
    let Ok(listener) = net::listen(business_at(number)).await else { return 1 };
    let work = move |call: Call| {
        let (scene, rm) = (scene.clone(), rm.clone());
        async move { Phase1 { scene: &scene, rm: &rm, number, call: &call }.work().await }
    };
    call::serve(listener, work).await;
    1
}

/// The resource of that kind that this machine owns.
pub fn resource_id(kind: BranchType, owner: u32) -> String {
    format!("{}-{owner}", kind.name().to_lowercase())
}

/// Of which kind it is, and the rows it locks.
fn rows_of(work: &Work) -> (BranchType, String) {
    match work {
        Work::At(rows) => {
            let locked = if quorate_world::bug!("second_row_not_locked") { 1 } else { rows.len() };
            (BranchType::AT, lock_keys(rows, locked))
        }
        Work::Tcc(..) => (BranchType::TCC, String::new()),
        Work::Xa(..) => (BranchType::XA, String::new()),
        Work::Step(..) => (BranchType::SAGA_ANNOTATION, String::new()),
    }
}

/// The first so many of these rows.
fn lock_keys(rows: &[(u64, i64)], count: usize) -> String {
    let keys: Vec<String> = rows.iter().take(count).map(|(row, _)| row.to_string()).collect();
    let table = if rows.iter().any(|(row, _)| *row >= ring::FIRST_ROW) { "ring" } else { "account" };
    format!("{table}:{}", keys.join(","))
}

struct Phase1<'a> {
    scene: &'a Scene,
    rm: &'a ResourceManager,
    number: u32,
    call: &'a Call,
}

impl Phase1<'_> {
    async fn work(&self) -> bool {
        let Call { op, branch, xid } = self.call;
        let Some(planned) = self.scene.plan.operation(*op) else { return false };
        let Some(planned) = planned.branches.get(*branch as usize) else { return false };
        let Some(transaction) = transaction_of(xid) else { return false };
        let planned = &self.with_its_row(planned);
        self.look(planned).await;
        let Some(mut id) = self.join(transaction, planned).await else { return false };
        if planned.fails {
            self.scene.fired(Class::Hiccup);
            let status = match planned.word {
                Some(Word::PrepareFailed) => BranchStatus::PhaseOne_PrepareFailed,
                _ => BranchStatus::PhaseOne_Failed,
            };
            // Nothing was changed, so a report that is lost costs an empty rollback and no more; but who is not sure that it is
            // noted must not have the transaction committed.
            if !self.report((transaction, id), status).await || !planned.tries_again {
                return false;
            }
            let Some(again) = self.join(transaction, planned).await else { return false };
            id = again;
        }
        self.die(RmDeath::BeforeLocalCommit);
        sleep(ms(random::below(5)) + self.lateness(planned)).await;
        if planned.is_read_only() {
            return self.report((transaction, id), BranchStatus::PhaseOne_RDONLY).await;
        }
        let effect = self.change((transaction, id), &planned.work);
        self.die(RmDeath::AfterLocalCommit);
        self.look(planned).await;
        if planned.word == Some(Word::StopRetry) {
            self.scene.fired(Class::Hiccup);
            self.report((transaction, id), BranchStatus::STOP_RETRY).await;
        }
        effect == Some(Effect::Tried)
    }

    /// Which row of the ring it changes, its TM knows since it has read it.
    fn with_its_row(&self, planned: &PlannedBranch) -> PlannedBranch {
        let mut planned = planned.clone();
        if let Some(change) = self.scene.swap(self.call.op, self.call.branch) {
            planned.work = Work::At(vec![(ring::FIRST_ROW + change.row, change.to as i64 - change.from as i64)]);
        }
        planned
    }

    /// Asks whether its rows are free, for its transaction and for nobody: as `SELECT .. FOR UPDATE` and a global read do.
    async fn look(&self, planned: &PlannedBranch) {
        let Work::At(rows) = &planned.work else { return };
        if !planned.asks_rows {
            return;
        }
        let asked = if quorate_world::bug!("second_row_not_asked_for") { 1 } else { rows.len() };
        let lock_keys = lock_keys(rows, asked);
        let resource = resource_id(BranchType::AT, self.number);
        let read = || self.scene.watch().bank.at.get(&resource).map(|table| table.written(rows)).unwrap_or_default();
        for xid in [self.call.xid.as_str(), ""] {
            let (question, client) = (self.scene.question(), sim::here().map(|(name, _)| name).unwrap_or_default());
            let (asker, written) = (transaction_of(xid), read());
            let (of, keys) = (resource.clone(), lock_keys.clone());
            self.scene.saw(Seen::AsksRows { question, client, asker, resource: of, lock_keys: keys, written });
            let lockable = self.rm.lockable(xid, &resource, &lock_keys).await.ok();
            let written = read();
            self.scene.saw(Seen::ToldRows { question, lockable, written });
        }
    }

    async fn join(&self, transaction: TransactionId, planned: &PlannedBranch) -> Option<BranchId> {
        let Call { op, branch, .. } = self.call;
        let id = self.register(planned).await?;
        self.scene.note(&format!("branch {op}/{branch} is {id} of {transaction}"));
        self.scene.names((transaction, id), *op, *branch);
        Some(id)
    }

    /// Whether it is noted, for certain.
    async fn report(&self, (transaction, branch): BranchKey, status: BranchStatus) -> bool {
        self.scene.saw(Seen::AsksReport { transaction, branch, status });
        let noted = self.rm.report(&self.call.xid, branch, status).await.is_ok();
        if noted {
            self.scene.saw(Seen::ToldReported { transaction, branch, status });
        }
        noted
    }

    /// Every other slow RM is slow in phase one too: whoever called it may have given up, and all be over, before its change.
    fn lateness(&self, planned: &PlannedBranch) -> Duration {
        if planned.slow_ms.is_multiple_of(2) {
            return Duration::ZERO;
        }
        self.scene.strikes(Class::SlowRm, ms(planned.slow_ms % LATENESS_MS_MAX));
        ms(planned.slow_ms % LATENESS_MS_MAX)
    }

    async fn register(&self, planned: &PlannedBranch) -> Option<BranchId> {
        let (kind, lock_keys) = rows_of(&planned.work);
        let resource = resource_id(kind, self.number);
        let data = match planned.holds_on {
            true => format!(r#"{{"autoCommit":false,"of":"{}/{}"}}"#, self.call.op, self.call.branch),
            false => format!("{}/{}", self.call.op, self.call.branch),
        };
        let wanted = Wanted { kind, resource, lock_keys, data };
        for _ in 0..LOCK_ATTEMPTS_MAX {
            match register(self.scene, self.rm, &self.call.xid, &wanted).await {
                Ok(branch) => return Some(branch),
                Err(RegisterError::Refused { code: ExceptionCode::LockKeyConflict, .. }) => sleep(LOCK_PAUSE).await,
                Err(error) => {
                    self.scene.note(&format!("branch {} is not registered: {error}", wanted.data));
                    return None;
                }
            }
        }
        None
    }

    fn change(&self, key: BranchKey, work: &Work) -> Option<Effect> {
        match work {
            Work::At(rows) => {
                let resource = resource_id(BranchType::AT, self.number);
                let of_the_ring = self.scene.swap(self.call.op, self.call.branch);
                self.scene.bank(&resource, key, |bank| {
                    let table = bank.at.get_mut(&resource)?;
                    let rows = match of_the_ring {
                        Some(change) => change.rows(table)?,
                        None => rows.clone(),
                    };
                    let others = table.changed_by(&rows).filter(|other| other.0 != key.0).collect();
                    Some((Ok(table.commit_locally(key, &rows)), others))
                })
            }
            Work::Tcc(account, delta) => {
                let resource = resource_id(BranchType::TCC, self.number);
                self.scene.bank(&resource, key, |bank| {
                    Some((Ok(bank.tcc.get_mut(&resource)?.reserve(key, *account, *delta)), Vec::new()))
                })
            }
            Work::Xa(account, delta) => {
                let resource = resource_id(BranchType::XA, self.number);
                self.scene.bank(&resource, key, |bank| {
                    Some((Ok(bank.xa.get_mut(&resource)?.prepare(key, *account, *delta)), Vec::new()))
                })
            }
            Work::Step(account, delta) => {
                let resource = resource_id(BranchType::SAGA_ANNOTATION, self.number);
                self.scene.bank(&resource, key, |bank| {
                    Some((Ok(bank.steps.get_mut(&resource)?.act(key, *account, *delta)), Vec::new()))
                })
            }
        }
    }

    fn die(&self, at: RmDeath) {
        if self.scene.rm_dies(self.call.op, self.call.branch, at) {
            process::exit(EXIT_KILLED);
        }
    }
}

/// Asks for a branch, and shows what was asked and what came of it.
pub(super) async fn register(
    scene: &Scene,
    rm: &ResourceManager,
    xid: &str,
    wanted: &Wanted,
) -> Result<BranchId, RegisterError> {
    let (question, client) = (scene.question(), sim::here().map(|(name, _)| name).unwrap_or_default());
    let transaction = transaction_of(xid).unwrap_or_default();
    let Wanted { kind, resource, lock_keys, data } = wanted;
    scene.saw(Seen::AsksBranch { question, client, transaction, wanted: wanted.clone() });
    let answer = rm.register(xid, *kind, resource, lock_keys, data).await;
    let wanted = wanted.clone();
    scene.saw(match &answer {
        Ok(branch) => Seen::ToldRegistered { question, transaction, branch: *branch, wanted },
        Err(RegisterError::Refused { code, .. }) => {
            Seen::ToldNoBranch { question, transaction, wanted, code: Some(*code) }
        }
        Err(RegisterError::Call(_)) => Seen::ToldNoBranch { question, transaction, wanted, code: None },
    });
    answer
}

/// A resource, as phase two meets it.
struct Table {
    scene: Arc<Scene>,
    kind: BranchType,
    id: String,
}

impl Resource for Table {
    fn commit(&self, branch: Branch) -> Answer {
        self.phase_two(branch, true)
    }

    fn rollback(&self, branch: Branch) -> Answer {
        self.phase_two(branch, false)
    }

    fn delete_undo_logs(&self, kind: BranchType, save_days: i16) {
        self.scene.saw(Seen::AskedToDelete { kind, resource: self.id.clone(), save_days });
    }
}

impl Table {
    fn phase_two(&self, branch: Branch, commit: bool) -> Answer {
        let (scene, kind, id) = (self.scene.clone(), self.kind, self.id.clone());
        Box::pin(async move {
            let key: BranchKey = (transaction_of(&branch.xid)?, branch.id);
            scene.saw(asked(key, &branch));
            let (op, number) = planned(&branch.application_data).or_else(|| scene.named(key))?;
            die(&scene, (op, number), RmDeath::BeforePhaseTwo);
            sleep(ms(1 + random::below(4)) + scene.slowness(op, number)).await;
            if scene.retries(op, number) {
                let later = match commit {
                    true => BranchStatus::PhaseTwo_CommitFailed_Retryable,
                    false => BranchStatus::PhaseTwo_RollbackFailed_Retryable,
                };
                return Some(says(&scene, key, later));
            }
            // An AT database commits whatever it is asked to.
            if !(kind == BranchType::AT && commit) && scene.refuses(op, number) {
                let never = match commit {
                    true => BranchStatus::PhaseTwo_CommitFailed_Unretryable,
                    false => BranchStatus::PhaseTwo_RollbackFailed_Unretryable,
                };
                return Some(says(&scene, key, never));
            }
            let Some(effect) = apply(&scene, kind, &id, key, commit) else {
                // Written over, so nobody can put it back (semantics 2.5).
                return Some(says(&scene, key, BranchStatus::PhaseTwo_RollbackFailed_Unretryable));
            };
            die(&scene, (op, number), RmDeath::BeforeAnswer);
            // An XA database forgets what is over, and says so.
            let is_known = kind != BranchType::XA || effect != Effect::Nothing;
            Some(says(
                &scene,
                key,
                match (commit, is_known) {
                    (true, true) => BranchStatus::PhaseTwo_Committed,
                    (true, false) => BranchStatus::PhaseTwo_CommitFailed_XAER_NOTA_Retryable,
                    (false, true) => BranchStatus::PhaseTwo_Rollbacked,
                    (false, false) => BranchStatus::PhaseTwo_RollbackFailed_XAER_NOTA_Retryable,
                },
            ))
        })
    }
}

fn asked(key: BranchKey, branch: &Branch) -> Seen {
    let Branch { kind, resource, application_data, .. } = branch.clone();
    Seen::Asked { transaction: key.0, branch: key.1, kind, resource, data: application_data }
}

fn says(scene: &Scene, key: BranchKey, status: BranchStatus) -> BranchStatus {
    scene.saw(Seen::Says { transaction: key.0, branch: key.1, status });
    status
}

/// What phase two does in a database. Nothing: it found what must not be.
pub(super) fn apply(scene: &Scene, kind: BranchType, resource: &str, key: BranchKey, commit: bool) -> Option<Effect> {
    scene.bank(resource, key, |bank| {
        let result: Result<Effect, Damage> = match (kind, commit) {
            (BranchType::AT, true) => Ok(bank.at.get_mut(resource)?.commit(key)),
            (BranchType::AT, false) => bank.at.get_mut(resource)?.roll_back(key),
            (BranchType::XA, true) => Ok(bank.xa.get_mut(resource)?.commit(key)),
            (BranchType::XA, false) => Ok(bank.xa.get_mut(resource)?.roll_back(key)),
            (BranchType::SAGA_ANNOTATION, true) => bank.steps.get_mut(resource)?.confirm(key),
            (BranchType::SAGA_ANNOTATION, false) => Ok(bank.steps.get_mut(resource)?.compensate(key)),
            (_, true) => bank.tcc.get_mut(resource)?.confirm(key),
            (_, false) => bank.tcc.get_mut(resource)?.cancel(key),
        };
        Some((result, Vec::new()))
    })
}

/// The numbers, alone or in the JSON of one that holds on.
fn planned(application_data: &str) -> Option<(u32, u32)> {
    let numbers = application_data.split('"').find(|part| part.contains('/'))?;
    let (op, branch) = numbers.split_once('/')?;
    Some((op.parse().ok()?, branch.parse().ok()?))
}

fn die(scene: &Scene, (op, branch): (u32, u32), at: RmDeath) {
    if scene.rm_dies(op, branch, at) {
        process::exit(EXIT_KILLED);
    }
}
