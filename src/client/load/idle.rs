//! Connections that register and then only answer pings: what do they cost the server?

use std::fmt;
use std::sync::Arc;

use quorate_core::wire::{Message, Registration};
use quorate_world::net::{self, SocketAddr};
use quorate_world::process::{Usage, usage_of};
use quorate_world::task;
use quorate_world::time::{Duration, Instant, sleep};

use super::LoadError;
use crate::connection::{Connection, OnRequest, Speech};

/// Opened at a time.
const OPENING: usize = 64;
const PATIENCE: Duration = Duration::from_secs(30);

/// One run.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct IdleOptions {
    /// `host:port` of each node's Seata port.
    pub servers: Vec<String>,
    /// Connections to all of them together, each registered as TM.
    pub connections: usize,
    /// How long they stay before the servers are looked at again.
    pub stay: Duration,
    /// Server processes on this machine whose memory is read.
    pub pids: Vec<u32>,
}

/// What came of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct IdleReport {
    opened: usize,
    still_open: usize,
    opened_in: Duration,
    before: Vec<Usage>,
    after: Vec<Usage>,
    stay: Duration,
}

impl IdleReport {
    /// Memory that the servers have more than before, for each connection.
    pub fn bytes_per_connection(&self) -> u64 {
        let sum = |usages: &[Usage]| usages.iter().map(|usage| usage.resident_bytes).sum::<u64>();
        sum(&self.after).saturating_sub(sum(&self.before)) / self.opened.max(1) as u64
    }
}

impl fmt::Display for IdleReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let IdleReport { opened, still_open, opened_in, stay, .. } = self;
        write!(f, "{opened} connections opened in {:.1} s, ", opened_in.as_secs_f64())?;
        write!(f, "{still_open} of them open {} s later", stay.as_secs())?;
        for (before, after) in self.before.iter().zip(&self.after) {
            let mb = |bytes: u64| bytes as f64 / 1e6;
            let cpu = after.cpu.saturating_sub(before.cpu).as_secs_f64();
            let (before, after) = (mb(before.resident_bytes), mb(after.resident_bytes));
            write!(f, "\nserver: {before:.1} MB before, {after:.1} MB after, {cpu:.2} s of CPU")?;
        }
        if !self.before.is_empty() {
            write!(f, "\nmemory of the servers per connection: {} bytes", self.bytes_per_connection())?;
        }
        Ok(())
    }
}

/// Opens the connections, lets them be, and measures.
pub async fn run(options: IdleOptions) -> Result<IdleReport, LoadError> {
    let mut addresses = Vec::new();
    for server in &options.servers {
        addresses.push(net::resolve(server).await.map_err(|_| LoadError::NotConnected(server.clone()))?);
    }
    let before = usages(&options.pids)?;
    let began = Instant::now();
    let mut connections = Vec::with_capacity(options.connections);
    while connections.len() < options.connections {
        let numbers = connections.len()..options.connections.min(connections.len() + OPENING);
        let opening: Vec<_> = numbers.map(|number| task::spawn(open(addresses[number % addresses.len()]))).collect();
        for opened in opening {
            // A task that panicked has ended the process.
            let opened = opened.await.ok().flatten();
            connections.push(opened.ok_or_else(|| LoadError::NotConnected(options.servers.join(",")))?);
        }
    }
    let opened_in = began.elapsed();
    sleep(options.stay).await;
    let still_open = connections.iter().filter(|connection| !connection.is_closed()).count();
    let after = usages(&options.pids)?;
    Ok(IdleReport { opened: connections.len(), still_open, opened_in, before, after, stay: options.stay })
}

async fn open(address: SocketAddr) -> Option<Connection> {
    let nothing: OnRequest = Arc::new(|_request| {});
    let connection = Connection::open(address, Speech::default(), nothing).await.ok()?;
    let registration = Registration {
        version: "2.3.0".to_owned(),
        application_id: "bench".to_owned(),
        service_group: "default_tx_group".to_owned(),
        extra_data: String::new(),
    };
    match connection.call(&Message::RegisterTm(registration), PATIENCE).await {
        Ok(Message::RegisterTmResult(result)) if result.identified => Some(connection),
        Ok(_) | Err(_) => None,
    }
}

fn usages(pids: &[u32]) -> Result<Vec<Usage>, LoadError> {
    let read =
        |pid: &u32| usage_of(*pid).map_err(|error| LoadError::NoProcess { pid: *pid, reason: error.to_string() });
    pids.iter().map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_connection_costs() {
        let usage = |resident_bytes| Usage { resident_bytes, ..Usage::default() };
        let report = IdleReport {
            opened: 1_000,
            still_open: 1_000,
            opened_in: Duration::from_millis(1_500),
            before: vec![usage(40_000_000), usage(41_000_000)],
            after: vec![usage(44_000_000), usage(45_000_000)],
            stay: Duration::from_secs(20),
        };
        assert_eq!(report.bytes_per_connection(), 8_000);
        let text = report.to_string();
        assert!(text.starts_with("1000 connections opened in 1.5 s, 1000 of them open 20 s later\n"), "{text}");
        assert!(text.ends_with("per connection: 8000 bytes"), "{text}");
        let without_pids = IdleReport { before: vec![], after: vec![], ..report };
        assert_eq!(without_pids.to_string().lines().count(), 1);
    }
}
