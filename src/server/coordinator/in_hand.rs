//! What requests may weigh between being read and being answered: per connection and per node.
//!
//! A frame takes room for all of its requests before anything is started for them, and gives it back as they are
//! answered. Without room the connection is not read any further, so that its client is slowed down and not failed. Room
//! is taken for a whole frame at once: no frame waits with half of what it needs, so none waits for ever. A frame that
//! is larger than all of the room is refused in words.
//!
//! A commit or rollback that is decided and waits for its RMs gives its room back ([`Held`]): their answers may stand behind a
//! frame that waits for that very room. What is left of it is its task, and there are no more of those than transactions in
//! phase two, which `memory` bounds. It counts as unanswered all the same ([`Unanswered`]): a stop waits for it.
//!
//! Not here: phase-two requests of ours (`channel`), what other nodes forward (`peer`), frames whose end has not come
//! (`listener`).

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use quorate_core::model::limits;
use quorate_core::wire::Message;
use quorate_world::linger::narrow;
use quorate_world::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use super::guard::locked;

/// What a request weighs beside its texts: its task and what is kept to answer it.
pub const REQUEST_BYTES: usize = 3 << 10;
/// What an answer weighs that is kept until all of its frame are there.
const ANSWER_BYTES: usize = 1 << 10;
/// All requests of one connection: the largest merged frame with texts of a whole frame.
pub const CONNECTION_BYTES_MAX: usize = limits::MERGED_REQUESTS_MAX * REQUEST_BYTES + limits::FRAME_BYTES_MAX;
/// The same before anybody has registered on it: `seata-go` may send a request or two ahead.
pub const STRANGER_BYTES_MAX: usize = 256 << 10;
/// Room for all connections that a node must have at least.
pub const NODE_BYTES_MIN: usize = 64 << 20;

/// In runs of the simulation where there is little room: a few requests of one connection,
const CONNECTION_BYTES_NARROW: usize = 8 * REQUEST_BYTES;
/// of one that nobody has registered on,
const STRANGER_BYTES_NARROW: usize = 2 * REQUEST_BYTES;
/// and of a node.
pub const NODE_BYTES_NARROW: usize = 16 * REQUEST_BYTES;

/// Counted in.
const UNIT_BYTES: usize = 1 << 10;

const _: () = assert!(CONNECTION_BYTES_MAX <= NODE_BYTES_MIN);
const _: () = assert!(STRANGER_BYTES_MAX < CONNECTION_BYTES_MAX);

/// What a connection may have in hand,
pub fn connection_bytes_max() -> usize {
    narrow("requests_of_a_connection", CONNECTION_BYTES_MAX, CONNECTION_BYTES_NARROW)
}

/// and before anybody has registered on it.
pub fn stranger_bytes_max() -> usize {
    narrow("requests_of_a_stranger", STRANGER_BYTES_MAX, STRANGER_BYTES_NARROW)
}

/// Room for requests, of a connection or of a node.
pub struct Room {
    free: Arc<Semaphore>,
    units_max: AtomicUsize,
}

impl Room {
    /// Room for so many bytes.
    pub fn new(bytes_max: usize) -> Room {
        let units = bytes_max / UNIT_BYTES;
        Room { free: Arc::new(Semaphore::new(units)), units_max: AtomicUsize::new(units) }
    }

    /// Makes it that large, if it is smaller.
    pub fn grow(&self, bytes_max: usize) {
        let units = bytes_max / UNIT_BYTES;
        let before = self.units_max.fetch_max(units, Ordering::AcqRel);
        self.free.add_permits(units.saturating_sub(before));
    }

    /// All of it, taken or not, in bytes.
    pub fn bytes_max(&self) -> usize {
        self.units_max.load(Ordering::Acquire) * UNIT_BYTES
    }

    /// How much of it is taken, in bytes.
    pub fn bytes_taken(&self) -> usize {
        let units = self.units_max.load(Ordering::Acquire);
        units.saturating_sub(self.free.available_permits()) * UNIT_BYTES
    }

    /// Waits for so much. Nothing: there never is.
    async fn take(&self, units: u32) -> Option<OwnedSemaphorePermit> {
        if units as usize > self.units_max.load(Ordering::Acquire) {
            return None;
        }
        if self.free.available_permits() < units as usize {
            quorate_core::sometimes!("request_waits_for_room");
        }
        // The semaphore is never closed.
        self.free.clone().acquire_many_owned(units).await.ok()
    }
}

/// What one frame, or one request of it, has taken; dropped when it is answered.
pub struct InHand {
    of_connection: OwnedSemaphorePermit,
    of_node: OwnedSemaphorePermit,
}

impl InHand {
    /// Waits until connection and node have room for a frame of this weight. Nothing: it is larger than all of it.
    pub async fn take(connection: &Room, node: &Room, bytes: usize) -> Option<InHand> {
        let units = units(bytes);
        let of_connection = connection.take(units).await?;
        let of_node = node.take(units).await?;
        Some(InHand { of_connection, of_node })
    }

    /// The part of one request, to be given back by itself. Nothing is left of a part that is too large.
    pub fn split(&mut self, bytes: usize) -> Option<InHand> {
        let units = units(bytes) as usize;
        let of_connection = self.of_connection.split(units.min(self.of_connection.num_permits()))?;
        let of_node = self.of_node.split(units.min(self.of_node.num_permits()))?;
        Some(InHand { of_connection, of_node })
    }
}

/// How many requests of a connection are not answered yet, with room or without.
#[derive(Default)]
pub struct Unanswered {
    count: AtomicUsize,
    none: Notify,
}

impl Unanswered {
    /// Waits until there are none.
    pub async fn none(&self) {
        loop {
            let none = self.none.notified();
            if self.count.load(Ordering::Acquire) == 0 {
                return;
            }
            none.await;
        }
    }
}

/// One request until it is answered, and its room, which may go before.
#[derive(Default)]
pub struct Held {
    in_hand: Mutex<Option<InHand>>,
    among: Option<Arc<Unanswered>>,
}

impl Held {
    /// With all of its room.
    pub fn new(in_hand: Option<InHand>, among: &Arc<Unanswered>) -> Held {
        among.count.fetch_add(1, Ordering::AcqRel);
        Held { in_hand: Mutex::new(in_hand), among: Some(among.clone()) }
    }

    /// What is left of the request is small and bounded otherwise.
    pub fn give_back(&self) {
        locked(&self.in_hand).take();
    }

    /// The request is answered, and its answer waits for those of its frame.
    pub fn keep_answer(&self) {
        let mut held = locked(&self.in_hand);
        *held = held.take().and_then(|mut in_hand| in_hand.split(ANSWER_BYTES));
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(among) = &self.among
            && among.count.fetch_sub(1, Ordering::AcqRel) == 1
        {
            among.none.notify_waiters();
        }
    }
}

fn units(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(UNIT_BYTES)).unwrap_or(u32::MAX)
}

/// What a request weighs; all of a merged frame together. Answers and registrations are served at once and weigh nothing.
pub fn weight_bytes(message: &Message) -> usize {
    let texts = |texts: &[&String]| REQUEST_BYTES + texts.iter().map(|text| text.len()).sum::<usize>();
    match message {
        Message::GlobalBegin { name, .. } => texts(&[name]),
        Message::GlobalCommit { xid, extra_data }
        | Message::GlobalRollback { xid, extra_data }
        | Message::GlobalStatus { xid, extra_data }
        | Message::GlobalReport { xid, extra_data, .. } => texts(&[xid, extra_data]),
        Message::BranchRegister { xid, resource_id, lock_keys, application_data, .. }
        | Message::LockQuery { xid, resource_id, lock_keys, application_data, .. } => {
            texts(&[xid, resource_id, lock_keys, application_data])
        }
        Message::BranchReport { xid, resource_id, application_data, .. } => {
            texts(&[xid, resource_id, application_data])
        }
        Message::Merged { messages, .. } => messages.iter().map(weight_bytes).sum(),
        Message::GlobalBeginResult { .. }
        | Message::BranchCommit { .. }
        | Message::BranchCommitResult { .. }
        | Message::BranchRollback { .. }
        | Message::BranchRollbackResult { .. }
        | Message::GlobalCommitResult { .. }
        | Message::GlobalRollbackResult { .. }
        | Message::BranchRegisterResult { .. }
        | Message::BranchReportResult { .. }
        | Message::GlobalStatusResult { .. }
        | Message::GlobalReportResult { .. }
        | Message::LockQueryResult { .. }
        | Message::MergeResult { .. }
        | Message::BatchResult { .. }
        | Message::RegisterTm(_)
        | Message::RegisterTmResult(_)
        | Message::RegisterRm { .. }
        | Message::RegisterRmResult(_)
        | Message::UnregisterRm { .. }
        | Message::UnregisterRmResult(_)
        | Message::UndoLogDelete { .. } => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate_world::runtime::run_test;
    use quorate_world::task;

    fn status() -> Message {
        Message::GlobalStatus { xid: "h:1:7".to_owned(), extra_data: String::new() }
    }

    #[test]
    fn a_merged_frame_weighs_what_its_requests_weigh() {
        let merged = Message::Merged { messages: vec![status(); 10], ids: None };
        assert_eq!(weight_bytes(&merged), 10 * (REQUEST_BYTES + 5));
        let answer = Message::BranchReportResult { result: quorate_core::wire::ResultPart::success() };
        assert_eq!(weight_bytes(&answer), 0);
    }

    #[test]
    fn who_finds_no_room_waits_for_it() {
        run_test(async {
            let (connection, node) = (Room::new(8 << 10), Arc::new(Room::new(10 << 10)));
            let mut first = InHand::take(&connection, &node, 7 << 10).await.expect("there is room");
            let other = node.clone();
            let second = task::spawn(async move {
                let own = Room::new(8 << 10);
                InHand::take(&own, &other, 4 << 10).await.map(|_in_hand| ()).expect("it fits")
            });
            task::yield_now().await;
            assert!(!second.is_finished(), "there is no room for both");
            drop(first.split(2 << 10).expect("a part"));
            second.await.expect("there was room in the end");
            assert_eq!((connection.bytes_taken(), node.bytes_taken()), (5 << 10, 5 << 10));
            drop(first);
            assert_eq!((connection.bytes_taken(), node.bytes_taken()), (0, 0));
        });
    }

    #[test]
    fn what_gave_its_room_back_is_unanswered_still() {
        run_test(async {
            let (connection, node) = (Room::new(8 << 10), Room::new(8 << 10));
            let among = Arc::new(Unanswered::default());
            let held = Held::new(InHand::take(&connection, &node, 4 << 10).await, &among);
            held.give_back();
            assert_eq!(connection.bytes_taken(), 0);
            let waits = among.clone();
            let none = task::spawn(async move { waits.none().await });
            task::yield_now().await;
            assert!(!none.is_finished());
            drop(held);
            none.await.expect("there are none");
        });
    }

    #[test]
    fn what_never_fits_does_not_wait() {
        run_test(async {
            let (connection, node) = (Room::new(4 << 10), Room::new(64 << 10));
            assert!(InHand::take(&connection, &node, 5 << 10).await.is_none());
            connection.grow(6 << 10);
            connection.grow(2 << 10);
            assert_eq!(connection.bytes_max(), 6 << 10);
            assert!(InHand::take(&connection, &node, 5 << 10).await.is_some());
            assert_eq!(node.bytes_taken(), 0);
        });
    }
}
