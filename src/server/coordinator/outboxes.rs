//! What is on its way to clients, over all connections of a node.
//!
//! Each outbox has bounds of its own, but there are thousands of connections, and clients that ask and do not read would
//! together take many times what requests may weigh. So all of it is counted, and when it is more than the node has room for,
//! connections are closed and lose what waits for them: first those whose client has taken nothing of late, then whichever,
//! those with most before the others, until there is some room again. A client that reads has little on its way and does not
//! notice; whoever puts in an answer looks at one number, and at the outboxes only when it is too high.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Weak};

use quorate_world::time::Instant;

use super::guard::locked;
use super::in_hand::NODE_BYTES_MIN;
use super::outbox::{OUTBOX_BYTES_MAX, Outbox};
use super::seldom::Seldom;

// One alone stays far below it.
const _: () = assert!(2 * OUTBOX_BYTES_MAX <= NODE_BYTES_MIN);

/// In runs of the simulation where there is little room for them.
pub const OUTBOXES_BYTES_NARROW: usize = 96 << 10;

/// The outboxes of a node.
pub struct Outboxes {
    bytes_max: usize,
    bytes: AtomicUsize,
    open: Mutex<Open>,
    /// Held by whoever makes room; the others go on without.
    making: Mutex<()>,
    told: Seldom,
}

#[derive(Default)]
struct Open {
    last: u64,
    outboxes: BTreeMap<u64, Weak<Outbox>>,
}

/// The place of an outbox among them.
pub struct Among {
    /// All of them.
    pub outboxes: Arc<Outboxes>,
    /// Names it.
    pub id: u64,
}

impl Outboxes {
    /// None yet, and room for so much.
    pub fn new(bytes_max: usize) -> Arc<Outboxes> {
        Arc::new(Outboxes {
            bytes_max,
            bytes: AtomicUsize::new(0),
            open: Mutex::default(),
            making: Mutex::default(),
            told: Seldom::default(),
        })
    }

    /// One of a connection that has just come.
    pub fn open(self: &Arc<Outboxes>) -> Arc<Outbox> {
        let mut open = locked(&self.open);
        open.last += 1;
        let id = open.last;
        let outbox = Arc::new(Outbox::among(Among { outboxes: self.clone(), id }));
        open.outboxes.insert(id, Arc::downgrade(&outbox));
        outbox
    }

    /// How much is on its way.
    pub fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// One has so much, where it had that much before.
    pub(super) fn count(&self, before: usize, now: usize) {
        match now.checked_sub(before) {
            Some(more) => self.bytes.fetch_add(more, Ordering::Relaxed),
            None => self.bytes.fetch_sub(before - now, Ordering::Relaxed),
        };
    }

    /// One is gone that had so much.
    pub(super) fn leave(&self, id: u64, bytes: usize) {
        self.count(bytes, 0);
        locked(&self.open).outboxes.remove(&id);
    }

    /// Closes connections if there is too much on its way, until an eighth of the room is free: then nobody looks at all of
    /// them again for a while.
    pub(super) fn make_room(&self) {
        if self.bytes() <= self.bytes_max {
            return;
        }
        let Ok(_making) = self.making.try_lock() else { return };
        // Taken out first: the last one to let go of an outbox needs the list.
        let all: Vec<Arc<Outbox>> = locked(&self.open).outboxes.values().filter_map(Weak::upgrade).collect();
        let now = Instant::now();
        let mut queued: Vec<((bool, usize), Arc<Outbox>)> =
            all.into_iter().map(|outbox| (outbox.weight(now), outbox)).collect();
        queued.sort_by_key(|(weight, _)| Reverse(*weight));
        let mut closed = 0;
        for (_, outbox) in queued {
            if self.bytes() <= self.bytes_max / 8 * 7 {
                break;
            }
            closed += usize::from(outbox.crowd_out());
        }
        quorate_core::sometimes!("clients_that_do_not_read_fill_the_node");
        if self.told.may() {
            let bytes_max = self.bytes_max;
            tracing::warn!(closed, bytes_max, "connections were closed: too much waits for clients that do not read");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::outbox::Overrun;
    use super::*;
    use quorate_world::runtime::run_test;
    use quorate_world::time::{Duration, sleep};

    const KIB: usize = 1 << 10;

    fn put(outbox: &Outbox, bytes: usize) -> bool {
        outbox.put(|out| {
            out.resize(out.len() + bytes, 7);
            Ok::<(), ()>(())
        })
    }

    #[test]
    fn who_lets_most_gather_goes_and_who_reads_does_not_notice() {
        run_test(async {
            let outboxes = Outboxes::new(1_024 * KIB);
            let (little, much, reader) = (outboxes.open(), outboxes.open(), outboxes.open());
            assert!(put(&little, 300 * KIB) && put(&much, 500 * KIB));
            for _ in 0..100 {
                assert!(put(&reader, 100 * KIB));
                assert!(reader.next().await.is_some());
            }
            assert_eq!(outboxes.bytes(), 900 * KIB);
            assert!(put(&little, 150 * KIB), "it went in, and then there was no room");
            assert_eq!(much.is_overrun(), Some(Overrun::Node));
            assert!(much.next().await.is_none() && !put(&much, 1));
            assert!(little.is_overrun().is_none() && reader.is_overrun().is_none());
            assert_eq!(outboxes.bytes(), 550 * KIB);
            drop((little, much, reader));
            assert_eq!((outboxes.bytes(), locked(&outboxes.open).outboxes.len()), (0, 0));
        });
    }

    #[test]
    fn those_that_do_not_read_go_before_those_that_have_much_just_now() {
        run_test(async {
            let outboxes = Outboxes::new(1_024 * KIB);
            let (stuck, small, busy) = (outboxes.open(), outboxes.open(), outboxes.open());
            assert!(put(&stuck, 200 * KIB) && put(&small, KIB));
            sleep(Duration::from_millis(1_100)).await;
            assert!(put(&busy, 850 * KIB));
            assert_eq!(stuck.is_overrun(), Some(Overrun::Node));
            assert!(small.is_overrun().is_none(), "it has next to nothing");
            assert!(busy.is_overrun().is_none() && put(&busy, KIB));
            assert!(put(&busy, 400 * KIB), "with nobody else to go");
            assert_eq!(busy.is_overrun(), Some(Overrun::Node));
            assert_eq!(outboxes.bytes(), KIB);
        });
    }
}
