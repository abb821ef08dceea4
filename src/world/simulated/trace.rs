//! The trace: a chained 128-bit hash over everything that happened, and on request its lines in a file.
//!
//! Two runs are the same run if and only if their hashes are equal. A record is the time, what happened and three
//! numbers; longer things (bytes of a message, the text of a tap) enter as their own hash. No address, no process
//! id, no real time goes in.

use std::io::Write;
use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Kind {
    /// Bytes left a process: connection and direction, bytes, their hash.
    Sent = 1,
    /// Bytes reached a machine: connection and direction, bytes, their hash.
    Delivered,
    /// A connection was made: connection, from machine, to machine.
    Connected,
    /// A connection was refused or gave up: attempt, machine.
    NotConnected,
    /// A direction of a connection ended: connection and direction; 1 if by reset.
    Closed,
    /// A disk call was made: machine, operation, what.
    DiskCall,
    /// A disk call ended: machine, operation, 1 if it failed.
    DiskDone,
    /// A timer fired: machine.
    Timer,
    /// A fault happened: class, machine, what.
    Fault,
    /// A process started: machine, life.
    Started,
    /// A process ended: machine, life, how.
    Ended,
    /// A line on standard output: machine, hash.
    Said,
    /// A tap: machine, hash.
    Tap,
    /// Something the harness put in: hash.
    Note,
}

/// The hash so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Digest {
    /// Chained hash.
    pub hash: u128,
    /// How many records it covers.
    pub events: u64,
}

pub(crate) struct Trace {
    digest: Digest,
    lines: Option<Box<dyn Write>>,
}

impl Trace {
    pub fn new(seed: u64, lines: Option<Box<dyn Write>>) -> Trace {
        Trace { digest: Digest { hash: u128::from(seed), events: 0 }, lines }
    }

    pub fn digest(&self) -> Digest {
        self.digest
    }

    pub fn record(&mut self, at_nanos: u64, kind: Kind, numbers: [u64; 3], text: Option<&str>) {
        let mut bytes = [0; 16 + 8 + 1 + 24];
        bytes[..16].copy_from_slice(&self.digest.hash.to_le_bytes());
        bytes[16..24].copy_from_slice(&at_nanos.to_le_bytes());
        bytes[24] = kind as u8;
        for (place, number) in bytes[25..].chunks_exact_mut(8).zip(numbers) {
            place.copy_from_slice(&number.to_le_bytes());
        }
        self.digest = Digest { hash: xxh3_128(&bytes), events: self.digest.events + 1 };
        if let Some(lines) = &mut self.lines {
            let [a, b, c] = numbers;
            let written =
                writeln!(lines, "{:.9} {kind:?} {a} {b} {c} {}", at_nanos as f64 / 1e9, text.unwrap_or_default());
            if let Err(error) = written {
                tracing::warn!(%error, "the trace file cannot be written");
                self.lines = None;
            }
        }
    }

    pub fn flush(&mut self) {
        if let Some(lines) = &mut self.lines
            && let Err(error) = lines.flush()
        {
            tracing::warn!(%error, "the trace file cannot be written");
        }
    }
}

pub(crate) fn hash_of(bytes: &[u8]) -> u64 {
    xxh3_64(bytes)
}
