//! An operator who has a hand in phase two, over HTTP and through any node: he looks at what there is, stops transactions
//! or single branches that are on their way, starts them again, and wakes those that rest. When the faults are over he starts whatever
//! stands still, so that everything can end. He deletes only where RMs clean up the way that was decided, so that the money stays what
//! it was: in a rollback all but AT branches, in a commit only those. What becomes of it otherwise is nobody's promise.
//!
//! In some seeds he deletes by force too: a whole transaction or a branch, with its locks, and no RM hears of it. What it did is his to
//! finish then, and he does it by hand in the databases. And he deletes row locks, which only orphans let him.
//!
//! A third of the seeds have one. What he may do is refused more often than not, and that must do no harm either.

use super::{node_ip, rm};
use crate::bank::{Bank, BranchKey, Effect};
use crate::ghost::transaction::Listed;
use crate::plan::ms;
use crate::scene::Scene;
use quorate_core::model::BranchType;
use quorate_core::txn::status::Direction;
use quorate_world::io::{self, AsyncReadExt, AsyncWriteExt};
use quorate_world::net::{self, IpAddr, Ipv4Addr, SocketAddr};
use quorate_world::select::select2;
use quorate_world::sim::Dice;
use quorate_world::time::{Duration, sleep, timeout};
use serde_json::Value;
use std::sync::Arc;

/// What lets him change something from his own machine; in the configuration of the nodes.
pub const TOKEN: &str = "of the operator";
/// For an answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// His machine's address.
pub fn ip() -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(10, 0, 3, 1))
}

/// His process.
pub async fn run(scene: Arc<Scene>) -> i32 {
    let options = &scene.plan.options;
    let nodes = options.nodes;
    let dice = Dice::new(options.schedule, "what the operator does");
    match options.operator {
        true => _ = select2(scene.until(options.safety_ms), meddle(&scene, dice, nodes)).await,
        false => scene.until(options.safety_ms).await,
    }
    scene.note("the operator starts what stands still, and has tried again what failed");
    let mut node = 0;
    loop {
        correct(&scene);
        finish(&scene);
        node = node % nodes + 1;
        for open in transactions(&scene, node).await {
            let has_failed = open.has_failed();
            let Open { xid, status, branches, .. } = open;
            if has_failed {
                call(&scene, node, "PUT", &format!("globalSession/changeGlobalStatus?xid={xid}")).await;
            }
            if status.starts_with("Stop") {
                call(&scene, node, "PUT", &format!("globalSession/startGlobalSession?xid={xid}")).await;
            }
            for Branch { id: branch, .. } in branches.iter().filter(|branch| branch.status == "STOP_RETRY") {
                call(&scene, node, "PUT", &format!("branchSession/startBranchSession?xid={xid}&branchId={branch}"))
                    .await;
            }
        }
        sleep(ms(1_000)).await;
    }
}

/// What was written over when its locks had been let go, nobody but him can put right.
fn correct(scene: &Scene) {
    let dirty = scene.watch().dirty.clone();
    for (resource, key) in dirty {
        scene.note(&format!("the operator takes off what branch {} of {} left at {resource}", key.1, key.0));
        scene.bank(&resource, key, |bank| Some((Ok(bank.at.get_mut(&resource)?.correct(key)), Vec::new())));
        scene.watch().dirty.remove(&(resource, key));
    }
}

async fn meddle(scene: &Scene, mut dice: Dice, nodes: u32) {
    let forces = scene.plan.options.knobs.forces;
    loop {
        sleep(ms(dice.between(100, 3_000))).await;
        finish(scene);
        let node = 1 + dice.below(u64::from(nodes)) as u32;
        if forces && dice.below(4) == 0 {
            delete_lock(scene, &mut dice, node).await;
            continue;
        }
        let there = transactions(scene, node).await;
        if forces && dice.below(3) == 0 {
            delete_by_force(scene, &mut dice, node, &there).await;
            continue;
        }
        // Few are decided at a time, and of these few go as decided: he looks for them.
        let deletes = dice.below(2) == 0;
        let wanted: Vec<&Open> = there.iter().filter(|open| !deletes || open.may_be_deleted()).collect();
        let Some(open) = wanted.get(dice.below(wanted.len().max(1) as u64) as usize) else { continue };
        let xid = &open.xid;
        let of_branch = dice.below(3) == 0;
        let branch = open.branches.get(dice.below(open.branches.len().max(1) as u64) as usize);
        let what = match branch.filter(|_| of_branch) {
            Some(known) => {
                let (branch, status) = (&known.id, &known.status);
                let cleans = open.cleans_as_decided(known);
                let wish = match status.as_str() {
                    _ if cleans && deletes => "deleteBranchSession",
                    "STOP_RETRY" => "startBranchSession",
                    _ => "stopBranchSession",
                };
                format!("branchSession/{wish}?xid={xid}&branchId={branch}")
            }
            None if open.is_decided()
                && open.branches.iter().all(|branch| open.cleans_as_decided(branch))
                && deletes =>
            {
                format!("globalSession/deleteGlobalSession?xid={xid}")
            }
            None => {
                let wish = match (open.status.starts_with("Stop"), dice.below(4)) {
                    (_, 0 | 1) if open.has_failed() => "changeGlobalStatus",
                    (true, 0) => "sendCommitOrRollback",
                    (true, _) => "startGlobalSession",
                    (false, 0 | 1) => "stopGlobalSession",
                    (false, 2) => "sendCommitOrRollback",
                    (false, _) => "startGlobalSession",
                };
                format!("globalSession/{wish}?xid={xid}")
            }
        };
        let method = if what.contains("delete") { "DELETE" } else { "PUT" };
        call(scene, 1 + dice.below(u64::from(nodes)) as u32, method, &what).await;
    }
}

/// A transaction that is decided or rests undecided, or one branch of a decided one: gone, with its locks, and with no word to RMs.
async fn delete_by_force(scene: &Scene, dice: &mut Dice, node: u32, there: &[Open]) {
    let of_branch = dice.below(2) == 0;
    let wanted = |open: &&Open| open.is_decided() || (!of_branch && !open.is_saga() && open.status == "Begin");
    let wanted: Vec<&Open> = there.iter().filter(wanted).collect();
    let Some(open) = wanted.get(dice.below(wanted.len().max(1) as u64) as usize) else { return };
    let xid = &open.xid;
    let what = match open.branches.get(dice.below(open.branches.len().max(1) as u64) as usize) {
        Some(Branch { id, .. }) if of_branch => {
            format!("branchSession/forceDeleteBranchSession?xid={xid}&branchId={id}")
        }
        _ => format!("globalSession/forceDeleteGlobalSession?xid={xid}"),
    };
    call(scene, node, "DELETE", &what).await;
}

/// Any row lock. Those that somebody has a right to stay, and of the others there are few.
async fn delete_lock(scene: &Scene, dice: &mut Dice, node: u32) {
    let Some(page) = call(scene, node, "GET", "globalLock/query?pageSize=100").await else { return };
    let rows = page["data"].as_array().cloned().unwrap_or_default();
    let Some(row) = rows.get(dice.below(rows.len().max(1) as u64) as usize) else { return };
    let text = |name: &str| row[name].as_str().unwrap_or_default().to_owned();
    let names = ["xid", "branchId", "resourceId", "tableName", "pk"];
    let named: Vec<String> = names.map(|name| format!("{name}={}", text(name))).into();
    // It may be gone, or somebody else's, when he comes to it.
    sleep(ms(dice.below(2_000))).await;
    call(scene, node, "DELETE", &format!("globalLock/delete?{}", named.join("&"))).await;
}

/// What was left to him he finishes by hand, in the databases and in the direction that was decided: no RM is told any more. An XA
/// branch may be prepared after that, so he looks for those too.
fn finish(scene: &Scene) {
    let left: Vec<BranchKey> = {
        let watch = scene.watch();
        let open = watch.bank.open_branches().into_iter().map(|(_, key)| key);
        watch.ghost.left.iter().copied().chain(open.filter(|key| watch.ghost.is_left(*key))).collect()
    };
    for key in left {
        let found = {
            let watch = scene.watch();
            let found = watch.ghost.transaction(key.0);
            let listed = found.and_then(|found| Some((found.listed.get(&key.1)?.clone(), found.decision?)));
            listed.filter(|_| found.is_some_and(|found| !found.has_failed(key.1)))
        };
        if let Some((Listed { kind, resource, .. }, decided)) = found {
            let commit = decided == Direction::Commit;
            scene.note(&format!("the operator finishes branch {} of {} at {resource}: {decided:?}", key.1, key.0));
            let taken_off = |bank: &mut Bank| Some((Ok(bank.at.get_mut(&resource)?.correct(key)), Vec::new()));
            match kind {
                // Others may have written over it since its locks went.
                BranchType::AT if !commit && scene.bank(&resource, key, taken_off) == Some(Effect::RolledBack) => {}
                // At a commit nothing becomes of a step.
                BranchType::SAGA_ANNOTATION if commit => {}
                BranchType::SAGA => {}
                kind => _ = rm::apply(scene, kind, &resource, key, commit),
            }
        }
        scene.watch().ghost.left.remove(&key);
    }
}

/// A transaction as the console shows it.
struct Open {
    xid: String,
    status: String,
    name: String,
    branches: Vec<Branch>,
}

struct Branch {
    id: String,
    status: String,
    kind: String,
}

impl Open {
    /// Deleted by its RM, this branch goes the way that was decided.
    fn cleans_as_decided(&self, branch: &Branch) -> bool {
        let rolls_back = self.status.contains("ollback");
        self.is_decided() && rolls_back == (branch.kind != "AT")
    }

    /// For good, unless he has it tried again.
    fn has_failed(&self) -> bool {
        self.status.ends_with("Failed") || self.status.ends_with("RetryTimeout")
    }

    /// He may, and it would not be refused.
    fn may_be_deleted(&self) -> bool {
        let stands = ["CommitRetrying", "RollbackRetrying", "TimeoutRollbacking"].contains(&self.status.as_str());
        let stands = stands || self.status.starts_with("Stop") || self.has_failed();
        stands && self.branches.iter().any(|branch| self.cleans_as_decided(branch))
    }

    /// And nobody turns it: no engine of a Saga has a say.
    fn is_decided(&self) -> bool {
        (self.status.contains("ollback") || self.status.contains("ommit")) && !self.is_saga()
    }

    fn is_saga(&self) -> bool {
        self.name.starts_with("$Saga_") || self.branches.iter().any(|branch| branch.kind == "SAGA")
    }
}

/// What there is.
async fn transactions(scene: &Scene, node: u32) -> Vec<Open> {
    let Some(page) = call(scene, node, "GET", "globalSession/query?pageSize=100").await else { return Vec::new() };
    let text = |row: &Value, name: &str| row[name].as_str().unwrap_or_default().to_owned();
    let rows = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let branch = |row: &Value| Branch {
        id: text(row, "branchId"),
        status: text(row, "statusName"),
        kind: text(row, "branchType"),
    };
    let open = |row: &Value| Open {
        xid: text(row, "xid"),
        status: text(row, "statusName"),
        name: text(row, "transactionName"),
        branches: rows(&row["branchSessionVOs"]).iter().map(branch).collect(),
    };
    rows(&page["data"]).iter().map(open).collect()
}

async fn call(scene: &Scene, node: u32, method: &str, what: &str) -> Option<Value> {
    let answer = timeout(PATIENCE, exchange(node, method, what)).await.ok()?.ok()?;
    let (_, body) = answer.split_once("\r\n\r\n")?;
    let answer: Value = serde_json::from_str(body).ok()?;
    if method != "GET" {
        scene
            .note(&format!("the operator asked n{node} to {what}: {}", answer["message"].as_str().unwrap_or_default()));
    }
    Some(answer)
}

async fn exchange(node: u32, method: &str, what: &str) -> io::Result<String> {
    let mut stream = net::connect(SocketAddr::new(node_ip(node), 7091)).await?;
    let path = format!("/api/v1/console/{what}");
    let request = format!("{method} {path} HTTP/1.0\r\nhost: n{node}\r\nauthorization: Bearer {TOKEN}\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}
