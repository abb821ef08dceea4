//! A Saga engine: takes the steps of its machines, undoes them, and tells the coordinator how they stand.
//!
//! It lives in the process of a TM and serves phase two as the resource `application#group`. All that it knows is in a
//! database outside (`bank::saga`), so its next life, or phase two beside it, goes on where it was.

use super::rm::register;
use super::{EXIT_KILLED, tm};
use crate::bank::saga::Went;
use crate::plan::ms;
use crate::plan::operations::{Operation, PlannedSaga, TmDeath};
use crate::plan::swarm::Class;
use crate::scene::Scene;
use crate::seen::{Seen, Wanted};
use crate::taps::transaction_of;
use quorate_client::rm::Answer;
use quorate_client::{Application, Branch, Resource, ResourceManager, TransactionManager};
use quorate_core::model::{BranchStatus, BranchType, GlobalStatus, TransactionId};
use quorate_world::time::sleep;
use quorate_world::{process, random};
use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

/// See the page.
#[derive(Clone)]
pub struct Engine {
    scene: Arc<Scene>,
    /// Its own RM, which needs the engine first.
    rm: Arc<OnceLock<ResourceManager>>,
}

/// How far it came.
enum Came {
    /// All steps are done.
    Through,
    /// There is no way on.
    Failed,
    /// A step could not be registered.
    Stuck,
    /// Somebody else undoes it.
    Barred,
    /// What was done beside it has failed.
    ForUndoing,
}

impl Engine {
    /// The engine of an application, connected to all `servers`.
    pub fn start(scene: &Arc<Scene>, servers: &[String], application: &Application) -> Engine {
        let engine = Engine { scene: scene.clone(), rm: Arc::default() };
        let mut resources: BTreeMap<String, Arc<dyn Resource>> = BTreeMap::new();
        resources.insert(format!("{}#{}", application.id, application.service_group), Arc::new(engine.clone()));
        let rm = ResourceManager::start(servers, application, resources);
        assert!(engine.rm.set(rm).is_ok(), "it is new");
        engine
    }

    /// Runs a planned Saga from its begin to its report.
    pub async fn run(&self, manager: &TransactionManager, operation: &Operation, planned: &PlannedSaga) {
        let name = format!("$Saga_op-{}", operation.op);
        let xid = match manager.begin(&name, operation.timeout_ms).await {
            Ok(xid) => xid,
            Err(error) => return tm::not_begun(&self.scene, name, &error),
        };
        let Some(transaction) = transaction_of(&xid) else { return };
        self.scene.note(&format!("{name} is {xid}"));
        self.scene.saw(Seen::ToldBegun { transaction, name: name.clone(), timeout_ms: operation.timeout_ms });
        if !self.scene.watch().bank.sagas.start(transaction, planned) {
            return;
        }
        self.die(operation, TmDeath::AfterBegin);
        let came = self.go_on(&xid, transaction).await;
        let came = match came {
            // Beside branches of other kinds it may not turn later: what is not done now is undone now.
            _ if operation.branches.is_empty() => came,
            Came::Through if tm::all_branches(operation, &xid).await => Came::Through,
            Came::Barred => Came::Barred,
            // In the database, before it thinks: the coordinator may have it asked meanwhile how far it came.
            Came::Through | Came::Failed | Came::Stuck | Came::ForUndoing => {
                match self.scene.watch().bank.sagas.give_up(transaction) {
                    true => Came::ForUndoing,
                    false => Came::Through,
                }
            }
        };
        sleep(ms(operation.thinks_ms)).await;
        self.die(operation, TmDeath::BeforeEnd);
        let word = match came {
            Came::Through => GlobalStatus::Committed,
            Came::Stuck => GlobalStatus::CommitRetrying,
            Came::Failed if self.scene.watch().bank.sagas.undoes_later(transaction) => {
                self.scene.watch().bank.sagas.turn_back(transaction);
                GlobalStatus::RollbackRetrying
            }
            Came::Failed | Came::ForUndoing => {
                self.undo(transaction).await;
                GlobalStatus::Rollbacked
            }
            Came::Barred => return,
        };
        let telling = manager.report(&xid, word);
        if self.scene.tm_dies(operation.op, TmDeath::AfterEndSent) {
            let leaves = self.scene.plan.options.tm_speaks(operation.tm + 1).sends_within();
            let _ = quorate_world::time::timeout(leaves, telling).await;
            process::exit(EXIT_KILLED);
        }
        let answer = telling.await;
        self.scene.note(&format!("{name} reported {word}: {answer:?}"));
    }

    async fn go_on(&self, xid: &str, transaction: TransactionId) -> Came {
        loop {
            if self.scene.watch().bank.sagas.has_next(transaction) {
                let Some(rm) = self.rm.get() else { return Came::Stuck };
                let (kind, resource) = (BranchType::SAGA, "machine#step".to_owned());
                let step = Wanted { kind, resource, lock_keys: String::new(), data: String::new() };
                if let Err(error) = register(&self.scene, rm, xid, &step).await {
                    self.scene.note(&format!("a step of {transaction} is not registered: {error}"));
                    return Came::Stuck;
                }
                sleep(ms(random::below(5))).await;
            }
            let went = self.scene.watch().bank.sagas.step(transaction);
            self.scene.note(&format!("saga {transaction} goes on: {went:?}"));
            match went {
                Went::Step => {}
                Went::Over => return Came::Through,
                Went::Failed => return Came::Failed,
                Went::Barred => return Came::Barred,
            }
        }
    }

    async fn undo(&self, transaction: TransactionId) {
        loop {
            let went = self.scene.watch().bank.sagas.undo(transaction);
            self.scene.note(&format!("saga {transaction} goes back: {went:?}"));
            if went != Went::Step {
                return;
            }
            sleep(ms(random::below(5))).await;
        }
    }

    fn hiccups(&self, transaction: TransactionId) -> bool {
        let hiccups = self.scene.watch().bank.sagas.hiccups(transaction);
        if hiccups {
            self.scene.fired(Class::Hiccup);
        }
        hiccups
    }

    fn die(&self, operation: &Operation, at: TmDeath) {
        if self.scene.tm_dies(operation.op, at) {
            process::exit(EXIT_KILLED);
        }
    }
}

impl Resource for Engine {
    fn commit(&self, branch: Branch) -> Answer {
        let engine = self.clone();
        Box::pin(async move {
            let transaction = transaction_of(&branch.xid)?;
            if engine.hiccups(transaction) {
                return Some(BranchStatus::PhaseTwo_CommitFailed_Retryable);
            }
            Some(match engine.go_on(&branch.xid, transaction).await {
                Came::Through => {
                    engine.scene.watch().bank.sagas.tell_done(transaction);
                    BranchStatus::PhaseTwo_Committed
                }
                Came::Stuck => BranchStatus::PhaseTwo_CommitFailed_Retryable,
                Came::Failed | Came::Barred | Came::ForUndoing => {
                    let later = engine.scene.watch().bank.sagas.undoes_later(transaction);
                    if later {
                        engine.scene.watch().bank.sagas.turn_back(transaction);
                        return Some(BranchStatus::PhaseTwo_RollbackFailed_Retryable);
                    }
                    engine.undo(transaction).await;
                    BranchStatus::PhaseTwo_Rollbacked
                }
            })
        })
    }

    fn rollback(&self, branch: Branch) -> Answer {
        let engine = self.clone();
        Box::pin(async move {
            let transaction = transaction_of(&branch.xid)?;
            let timed_out = branch.application_data.starts_with("Timeout");
            if timed_out && engine.scene.watch().bank.sagas.rather_goes_on(transaction) {
                return Some(BranchStatus::PhaseTwo_CommitFailed_Retryable);
            }
            if engine.hiccups(transaction) {
                return Some(BranchStatus::PhaseTwo_RollbackFailed_Retryable);
            }
            engine.undo(transaction).await;
            Some(BranchStatus::PhaseTwo_Rollbacked)
        })
    }
}
