//! A steward who tells the cluster what is wished of its nodes and groups, over HTTP and through any of them, until one has taken or
//! refused it. When the faults are over he lets every node serve again, every other time.

use super::node_ip;
use super::operator::TOKEN;
use crate::plan::ms;
use crate::scene::Scene;
use quorate_world::io::{self, AsyncReadExt, AsyncWriteExt};
use quorate_world::net::{self, IpAddr, Ipv4Addr, SocketAddr};
use quorate_world::time::{Duration, sleep, timeout};
use std::sync::Arc;

/// For an answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// His machine's address.
pub fn ip() -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(10, 0, 3, 2))
}

/// His process.
pub async fn run(scene: Arc<Scene>) -> i32 {
    let nodes = scene.plan.options.nodes;
    let mut node = 0;
    let mut heals = false;
    loop {
        sleep(ms(200)).await;
        let next = scene.watch().wishes.front().cloned();
        let Some(wish) = next else {
            if !heals && scene.is_healed() {
                heals = true;
                // A half of the clusters goes on without those that were drained.
                let stays_so = scene.plan.options.schedule.is_multiple_of(2);
                let there = scene.places().into_keys().filter(|_| !stays_so);
                let wishes: Vec<String> = there.map(|node| format!("nodes/{node}/undrain")).collect();
                scene.watch().wishes.extend(wishes);
            }
            continue;
        };
        node = node % nodes + 1;
        let Ok(Ok(answer)) = timeout(PATIENCE, exchange(node, &wish)).await else { continue };
        let status = answer.split(' ').nth(1).unwrap_or_default();
        if status == "200" || (status == "409" && !answer.contains("no leader")) {
            let (_, text) = answer.split_once("\r\n\r\n").unwrap_or_default();
            scene.note(&format!("the steward told n{node}: {wish}: {}", text.trim_end()));
            scene.watch().wishes.pop_front();
        }
    }
}

async fn exchange(node: u32, wish: &str) -> io::Result<String> {
    let mut stream = net::connect(SocketAddr::new(node_ip(node), 7091)).await?;
    let path = format!("/quorate/v1/{wish}");
    let head = format!("POST {path} HTTP/1.0\r\nhost: n{node}\r\nauthorization: Bearer {TOKEN}\r\n");
    stream.write_all(format!("{head}content-length: 0\r\n\r\n").as_bytes()).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}
