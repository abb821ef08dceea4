//! What the listener counts.

use super::connection::Ended;
use crate::admin::Exposition;
use core::sync::atomic::{AtomicU64, Ordering};

/// Since the process started.
#[derive(Debug, Default)]
pub struct Traffic {
    open_unknown: AtomicU64,
    accepted: AtomicU64,
    open_seata: AtomicU64,
    open_http: AtomicU64,
    accepted_seata: AtomicU64,
    accepted_http: AtomicU64,
    refused_strangers: AtomicU64,
    refused_full: AtomicU64,
    ended: [AtomicU64; Ended::NAMES.len()],
    foreign_frames: AtomicU64,
}

/// Counts one open connection for as long as it lives.
#[derive(Debug)]
pub struct Open<'a>(&'a AtomicU64);

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn open<'a>(now: &'a AtomicU64, ever: &AtomicU64) -> Open<'a> {
    now.fetch_add(1, Ordering::Relaxed);
    ever.fetch_add(1, Ordering::Relaxed);
    Open(now)
}

impl Traffic {
    /// A connection begins, and it is not yet known what it speaks.
    pub fn unknown(&self) -> Open<'_> {
        open(&self.open_unknown, &self.accepted)
    }

    /// A Seata connection begins.
    pub fn seata(&self) -> Open<'_> {
        open(&self.open_seata, &self.accepted_seata)
    }

    /// An HTTP connection begins.
    pub fn http(&self) -> Open<'_> {
        open(&self.open_http, &self.accepted_http)
    }

    /// Somebody spoke another protocol.
    pub fn stranger(&self) {
        self.refused_strangers.fetch_add(1, Ordering::Relaxed);
    }

    /// There was no room for a connection.
    pub fn full(&self) {
        self.refused_full.fetch_add(1, Ordering::Relaxed);
    }

    /// A Seata connection has ended.
    pub fn ended(&self, how: &Ended) {
        let position = Ended::NAMES.iter().position(|name| *name == how.name());
        if let Some(count) = position.and_then(|position| self.ended.get(position)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A frame of a serializer or compressor that is not spoken here.
    pub fn foreign_frame(&self) {
        self.foreign_frames.fetch_add(1, Ordering::Relaxed);
    }

    /// Connections open now, of all kinds.
    pub fn open(&self) -> u64 {
        [&self.open_unknown, &self.open_seata, &self.open_http].iter().map(|open| open.load(Ordering::Relaxed)).sum()
    }

    /// Its part of the metrics page.
    pub fn write(&self, page: &mut Exposition) {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        page.gauge("quorate_connections_open", "Connections of clients, by protocol")
            .sample(&[("kind", "seata")], read(&self.open_seata))
            .sample(&[("kind", "http")], read(&self.open_http))
            .sample(&[("kind", "unknown")], read(&self.open_unknown));
        page.counter("quorate_connections_accepted_total", "Connections of clients, by protocol")
            .sample(&[("kind", "seata")], read(&self.accepted_seata))
            .sample(&[("kind", "http")], read(&self.accepted_http));
        page.counter("quorate_connections_refused_total", "Connections closed at once, by reason")
            .sample(&[("kind", "stranger")], read(&self.refused_strangers))
            .sample(&[("kind", "full")], read(&self.refused_full));
        let mut ended = page.counter("quorate_connections_ended_total", "Seata connections that ended, by reason");
        for (name, count) in Ended::NAMES.iter().zip(&self.ended) {
            ended = ended.sample(&[("kind", name)], read(count));
        }
        page.counter("quorate_frames_foreign_total", "Frames of a serializer or compressor that is not spoken here")
            .value(read(&self.foreign_frames));
    }
}
