//! What the listener counts, and so the bounds on how many connections there are.

use super::connection::Ended;
use crate::admin::Exposition;
use core::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;

/// How many connections there may be at a time; whoever comes beyond is closed at once. Seata clients and HTTP have rooms of
/// their own: neither crowds out the other.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bounds {
    /// At the Seata port, those too of which it is not yet known what they speak.
    pub clients: u64,
    /// HTTP at both ports. A client of the raft registry holds one for its watch.
    pub http: u64,
}

impl Bounds {
    /// Where nothing else sets narrower ones.
    pub const WIDEST: Bounds = Bounds { clients: 16_384, http: 4_096 };
}

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
    refused_http_full: AtomicU64,
    ended: [AtomicU64; Ended::NAMES.len()],
    foreign_frames: AtomicU64,
}

/// Counts one open connection for as long as it lives.
#[derive(Debug)]
pub struct Open {
    traffic: Arc<Traffic>,
    of: fn(&Traffic) -> &AtomicU64,
}

impl Drop for Open {
    fn drop(&mut self) {
        (self.of)(&self.traffic).fetch_sub(1, Ordering::Relaxed);
    }
}

impl Traffic {
    fn open(self: &Arc<Self>, of: fn(&Traffic) -> &AtomicU64, ever: &AtomicU64) -> Open {
        of(self).fetch_add(1, Ordering::Relaxed);
        ever.fetch_add(1, Ordering::Relaxed);
        Open { traffic: self.clone(), of }
    }

    /// A connection begins at the Seata port, and it is not yet known what it speaks; none: there is no room. One task alone
    /// asks, the one that accepts.
    pub fn unknown(self: &Arc<Self>, bounds: Bounds) -> Option<Open> {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        // In this order: one that becomes a Seata connection meanwhile is counted twice rather than not at all.
        if read(&self.open_unknown) + read(&self.open_seata) >= bounds.clients {
            self.refused_full.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        Some(self.open(|traffic| &traffic.open_unknown, &self.accepted))
    }

    /// It is a Seata connection.
    pub fn seata(self: &Arc<Self>) -> Open {
        self.open(|traffic| &traffic.open_seata, &self.accepted_seata)
    }

    /// An HTTP connection begins; none: there is no room.
    pub fn http(self: &Arc<Self>, bounds: Bounds) -> Option<Open> {
        let one_more = |open: u64| (open < bounds.http).then_some(open + 1);
        if self.open_http.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).is_err() {
            self.refused_http_full.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        self.accepted_http.fetch_add(1, Ordering::Relaxed);
        Some(Open { traffic: self.clone(), of: |traffic| &traffic.open_http })
    }

    /// Somebody spoke another protocol.
    pub fn stranger(&self) {
        self.refused_strangers.fetch_add(1, Ordering::Relaxed);
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
            .sample(&[("kind", "full")], read(&self.refused_full))
            .sample(&[("kind", "http_full")], read(&self.refused_http_full));
        let mut ended = page.counter("quorate_connections_ended_total", "Seata connections that ended, by reason");
        for (name, count) in Ended::NAMES.iter().zip(&self.ended) {
            ended = ended.sample(&[("kind", name)], read(count));
        }
        page.counter("quorate_frames_foreign_total", "Frames of a serializer or compressor that is not spoken here")
            .value(read(&self.foreign_frames));
    }
}
