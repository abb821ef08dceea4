//! A machine that begins and ends global transactions, as the plan says.
//!
//! The real TM of `quorate-client` with a business around it: begin, call the RMs one after another, think, commit if
//! all is well and roll back otherwise; Sagas are left to the engine beside it. Transactions that its death interrupted are nobody's any more: the coordinator
//! must end them.

use super::call::{self, Call};
use super::ring;
use super::saga::Engine;
use super::{EXIT_KILLED, business_at, servers, signed};
use crate::plan::ms;
use crate::plan::operations::{Operation, TmDeath};
use crate::scene::Scene;
use crate::seen::Seen;
use crate::taps::transaction_of;
use quorate_client::TransactionManager;
use quorate_client::tm::{BeginError, REQUEST_TIMEOUT};
use quorate_core::model::GlobalStatus;
use quorate_core::wire::{ClientVersion, Message};
use quorate_server::coordinator::UNKNOWN_WHETHER_DONE;
use quorate_world::time::sleep;
use quorate_world::{process, task};
use std::sync::Arc;

/// The process of TM `number`, from 1.
pub async fn run(scene: Arc<Scene>, number: u32) -> i32 {
    let (name, group) = (format!("shop-{number}"), "default_tx_group");
    let application = signed(&scene, scene.plan.options.tm_speaks(number).application(&name, group));
    let servers = servers(scene.plan.options.nodes);
    let tm = TransactionManager::start(&servers, &application);
    let engine = Engine::start(&scene, &servers, &application);
    let mine = scene.plan.operations.iter().filter(|operation| operation.tm + 1 == number);
    let tasks: Vec<_> = mine
        .map(|operation| task::spawn(wait_and_do(scene.clone(), tm.clone(), engine.clone(), operation.clone())))
        .collect();
    for task in tasks {
        let _ = task.await;
    }
    // Machines stay on when their work is done.
    std::future::pending().await
}

async fn wait_and_do(scene: Arc<Scene>, tm: TransactionManager, engine: Engine, operation: Operation) {
    scene.until(operation.at_ms).await;
    if scene.claim(operation.op) {
        match &operation.saga {
            Some(planned) => engine.run(&tm, &operation, planned).await,
            None => transact(&scene, &tm, &operation).await,
        }
        scene.finish(operation.op);
    }
}

async fn transact(scene: &Arc<Scene>, tm: &TransactionManager, operation: &Operation) {
    let name = format!("op-{}", operation.op);
    let xid = match tm.begin(&name, operation.timeout_ms).await {
        Ok(xid) => xid,
        Err(error) => {
            scene.note(&format!("{name} has not begun: {error}"));
            not_begun(scene, name, &error);
            return;
        }
    };
    let Some(transaction) = transaction_of(&xid) else { return };
    scene.note(&format!("{name} is {xid}"));
    scene.saw(Seen::ToldBegun { transaction, name: name.clone(), timeout_ms: operation.timeout_ms });
    for (number, after_ms) in (0..).zip(&operation.asks_ms) {
        let knows = scene.plan.options.tm_speaks(operation.tm + 1).hears();
        task::spawn(wonder(scene.clone(), (tm.clone(), knows), xid.clone(), *after_ms, number % 2 == 0));
    }
    die(scene, operation, TmDeath::AfterBegin);
    let done = match operation.ring {
        Some(start) => ring::rewire(scene, operation, &xid, start).await,
        None => all_branches(operation, &xid).await,
    };
    sleep(ms(operation.thinks_ms)).await;
    die(scene, operation, TmDeath::BeforeEnd);
    let commit = done && operation.commit;
    scene.saw(Seen::AsksEnd { transaction, commit });
    let ending = async { if commit { tm.commit(&xid).await } else { tm.rollback(&xid).await } };
    if scene.tm_dies(operation.op, TmDeath::AfterEndSent) {
        // Long enough for the request to leave, hardly ever for the answer.
        let leaves = scene.plan.options.tm_speaks(operation.tm + 1).sends_within();
        let _ = quorate_world::time::timeout(leaves, ending).await;
        process::exit(EXIT_KILLED);
    }
    let answer = ending.await;
    scene.note(&format!("{name} asked to {}: {answer:?}", if commit { "commit" } else { "roll back" }));
    if let Some(status) = answer {
        scene.saw(Seen::ToldEnd { transaction, commit, status });
    }
}

/// A TM was refused its begin, and what it was told is a "no" if it does not say that it is none.
pub(super) fn not_begun(scene: &Scene, name: String, error: &BeginError) {
    match error {
        BeginError::Refused(text) if !text.contains(UNKNOWN_WHETHER_DONE) => scene.saw(Seen::ToldNotBegun { name }),
        BeginError::Refused(_) | BeginError::Call(_) => {}
    }
}

/// Asks how a transaction stands: the node that its XID names, or any.
async fn wonder(
    scene: Arc<Scene>,
    (tm, knows): (TransactionManager, ClientVersion),
    xid: String,
    after_ms: u64,
    anybody: bool,
) {
    sleep(ms(after_ms)).await;
    let Some(transaction) = transaction_of(&xid) else { return };
    let question = scene.question();
    scene.saw(Seen::AsksStatus { question, transaction });
    let since = scene.watch().ghost.transaction(transaction).map_or(0, |found| found.statuses.len());
    let answer = if anybody { status_from_any(&tm, &xid).await } else { tm.status(&xid).await };
    scene.note(&format!("{xid} stands at {answer:?}"));
    if let Some(status) = answer {
        scene.saw(Seen::ToldStatus { question, transaction, since, status, knows });
    }
}

async fn status_from_any(tm: &TransactionManager, xid: &str) -> Option<GlobalStatus> {
    let request = Message::GlobalStatus { xid: xid.to_owned(), extra_data: String::new() };
    match tm.pool().ask(None, &request, REQUEST_TIMEOUT).await {
        Ok(Message::GlobalStatusResult { status, .. }) => Some(status),
        Ok(_) | Err(_) => None,
    }
}

/// Has all branches done, one after another.
pub(super) async fn all_branches(operation: &Operation, xid: &str) -> bool {
    for (number, branch) in operation.branches.iter().enumerate() {
        let call = Call { op: operation.op, branch: number as u32, xid: xid.to_owned() };
        if call::ask(business_at(branch.rm + 1), &call).await != Some(true) {
            return false;
        }
    }
    true
}

fn die(scene: &Scene, operation: &Operation, at: TmDeath) {
    if scene.tm_dies(operation.op, at) {
        process::exit(EXIT_KILLED);
    }
}
