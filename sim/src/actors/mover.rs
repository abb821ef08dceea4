//! Somebody who moves leaders: asks the leader of a group, over HTTP, to hand it over to another node, in the middle of all else.
//!
//! Asked until it says that it will: it may not lead any more, or not answer. Whether the other one takes over is up to raft.

use super::operator;
use crate::plan::faults::Fault;
use crate::plan::ms;
use crate::plan::swarm::Class;
use crate::scene::Scene;
use quorate_core::model::{GroupId, NodeId};
use quorate_world::io::{self, AsyncReadExt, AsyncWriteExt};
use quorate_world::net::{self, IpAddr, Ipv4Addr, SocketAddr};
use quorate_world::sim::Dice;
use quorate_world::task;
use quorate_world::time::{Duration, sleep, timeout};
use std::sync::Arc;

/// For an answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// The machine's address.
pub fn ip() -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(10, 0, 3, 3))
}

/// The process.
pub async fn run(scene: Arc<Scene>) -> i32 {
    let planned = scene.plan.faults.iter().filter(|fault| fault.class == Class::Transfer);
    let moves: Vec<_> = planned.map(|fault| task::spawn(wait_and_move(scene.clone(), *fault))).collect();
    for moved in moves {
        let _ = moved.await;
    }
    std::future::pending().await
}

async fn wait_and_move(scene: Arc<Scene>, fault: Fault) {
    scene.until(fault.from_ms).await;
    let mut dice = Dice::new(u64::from(fault.pick), "strike");
    while !move_one(&scene, &mut dice).await {
        sleep(ms(200)).await;
    }
}

/// Whether a leader said that it will go.
async fn move_one(scene: &Scene, dice: &mut Dice) -> bool {
    let leaders: Vec<(GroupId, NodeId)> =
        scene.watch().ghost.leaders.iter().map(|(group, (_, leader))| (*group, *leader)).collect();
    let Some((group, leader)) = leaders.get(dice.below(leaders.len().max(1) as u64) as usize).copied() else {
        return false;
    };
    let nodes = u64::from(scene.plan.options.nodes);
    let to = NodeId(1 + (leader.0 - 1 + dice.between(1, (nodes - 1).max(1))) % nodes);
    let Some(machine) = scene.machine_of(leader) else { return false };
    let answer = timeout(PATIENCE, ask(machine.ip(), leader, group, to)).await;
    let taken = matches!(&answer, Ok(Ok(text)) if text.starts_with("HTTP/1.") && text.contains(" 200 "));
    if taken {
        scene.fired(Class::Transfer);
        scene.note(&format!("n{leader} is asked to hand group {group} over to n{to}"));
    }
    taken
}

async fn ask(at: IpAddr, leader: NodeId, group: GroupId, to: NodeId) -> io::Result<String> {
    let mut stream = net::connect(SocketAddr::new(at, 7091)).await?;
    let body = format!("node={to}");
    let request = format!(
        "POST /quorate/v1/groups/{group}/leader HTTP/1.0\r\nhost: n{leader}\r\nauthorization: Bearer {}\r\n\
         content-length: {}\r\n\r\n{body}",
        operator::TOKEN,
        body.len()
    );
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}
