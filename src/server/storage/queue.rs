//! What waits for the disk: records of all groups, gathered into the batches that will carry them.
//!
//! `put` encodes straight into the stream of the last waiting batch, so nothing is copied or allocated per entry later.
//! First in, first out over all groups: a durable record implies all that were queued before it. While one batch is
//! being written, the next ones gather. There is no delay on purpose, but the writer goes behind whoever waits for a
//! processor: on a busy machine its batches grow, on an idle one it does not wait.
//!
//! Records that wake nobody: the newest `Committed` of a group is kept aside and travels with the next batch; a `Purge`
//! keeps its place in the queue. Neither starts a batch for half a second, so an idle group costs no syncs.

use crate::batch;
use crate::group::Group;
use crate::limits::{BATCH_BYTES, LAZY_MS, QUEUE_BYTES_MAX};
use crate::record::{RECORD_HEAD_BYTES, Record};
use quorate_core::model::{GroupId, LogId, LogIndex};
use quorate_world::select::{Either2, select2};
use quorate_world::sync::{Notify, Semaphore, oneshot};
use quorate_world::task::yield_owned_thread;
use quorate_world::time::{Duration, Instant, sleep_until};
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// So often the writer goes behind the threads that wait for a processor before it takes a batch. Measured with three nodes
/// on two cores: half of the syncs, and an eighth less CPU per transaction.
const TURNS_FOR_OTHERS: usize = 2;

/// What happens when an operation is durable.
pub(crate) enum Then {
    /// Nothing.
    Nothing,
    /// Runs on the writer's thread: short, and never waits.
    Call(Box<dyn FnOnce() + Send>),
    /// Wakes whoever waits.
    Tell(oneshot::Sender<()>),
}

/// Records of one group that belong together.
pub(crate) struct Operation {
    pub group: Arc<Group>,
    /// How many records of the batch are its own.
    pub records: u32,
    /// Bytes of the queue that it holds until it is durable.
    pub room_bytes: usize,
    /// The last entry it writes, if any: until there the cache may drop it later.
    pub last: Option<LogIndex>,
    pub then: Then,
}

/// A batch that waits.
pub(crate) struct Gathered {
    pub stream: Vec<u8>,
    pub records: u32,
    pub operations: Vec<Operation>,
    urgent: bool,
}

impl Gathered {
    fn new(mut stream: Vec<u8>) -> Gathered {
        batch::begin(&mut stream);
        Gathered { stream, records: 0, operations: Vec::new(), urgent: false }
    }
}

#[derive(Default)]
struct Waiting {
    batches: VecDeque<Gathered>,
    committed: BTreeMap<GroupId, (Arc<Group>, LogId)>,
    /// When what wakes nobody gets a batch of its own.
    lazy_due: Option<Instant>,
    /// Nothing lazy has come in its time since the last batch.
    looked: bool,
    /// The writer sleeps without a timer.
    asleep: bool,
    /// Streams for reuse.
    streams: Vec<Vec<u8>>,
    /// A batch was taken and is not yet durable.
    in_flight: bool,
    closed: bool,
}

/// The queue of the node.
pub(crate) struct Queue {
    waiting: Mutex<Waiting>,
    wake: Notify,
    /// Bytes that may still be queued.
    pub room: Semaphore,
    /// A batch closes when its records reach this.
    pub batch_bytes: usize,
}

impl Queue {
    pub fn new(batch_bytes: usize) -> Queue {
        Queue {
            batch_bytes,
            waiting: Mutex::new(Waiting::default()),
            wake: Notify::new(),
            room: Semaphore::new(QUEUE_BYTES_MAX),
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues records, encoded by `encode`; an urgent operation starts a batch.
    pub fn put(&self, operation: Operation, bytes: usize, urgent: bool, encode: impl FnOnce(&mut Vec<u8>)) {
        let mut waiting = self.waiting();
        let full =
            waiting.batches.back().is_none_or(|last| last.records > 0 && last.stream.len() + bytes > self.batch_bytes);
        if full {
            let stream = waiting.streams.pop().unwrap_or_default();
            waiting.batches.push_back(Gathered::new(stream));
        }
        let last = waiting.batches.back_mut().expect("one was just made sure of");
        encode(&mut last.stream);
        last.records += operation.records;
        last.operations.push(operation);
        let wake = match urgent {
            true => !std::mem::replace(&mut last.urgent, true),
            false => waiting.set_lazy(),
        };
        drop(waiting);
        if wake {
            self.wake.notify_one();
        }
    }

    /// The newest committed entry of a group, for the next batch.
    pub fn put_committed(&self, group: &Arc<Group>, log_id: LogId) {
        let mut waiting = self.waiting();
        waiting.committed.insert(group.id, (group.clone(), log_id));
        let wake = waiting.set_lazy();
        drop(waiting);
        if wake {
            self.wake.notify_one();
        }
    }

    /// A group that goes takes what was kept aside for it along.
    pub fn forget_committed(&self, group: GroupId) {
        self.waiting().committed.remove(&group);
    }

    /// Waits for the next batch; nothing once the queue is closed and empty. For the writer, on its own thread.
    pub async fn take(&self) -> Option<Gathered> {
        loop {
            let wait = self.waiting().wait(Instant::now());
            match wait {
                Wait::Over => {}
                Wait::WokenOr(due) => {
                    if let Either2::Second(()) = select2(self.wake.notified(), sleep_until(due)).await {
                        self.waiting().looked = true;
                    }
                    continue;
                }
                Wait::Woken => {
                    self.wake.notified().await;
                    continue;
                }
            }
            for _ in 0..TURNS_FOR_OTHERS {
                yield_owned_thread().await;
            }
            let mut waiting = self.waiting();
            let batch = waiting.take();
            // What was due may have gone with its group.
            if batch.is_some() || waiting.closed {
                return batch;
            }
        }
    }

    /// Takes a stream back for reuse.
    pub fn recycle(&self, stream: Vec<u8>) {
        if stream.capacity() <= 2 * BATCH_BYTES {
            let mut waiting = self.waiting();
            if waiting.streams.len() < 4 {
                waiting.streams.push(stream);
            }
        }
    }

    /// Whether everything that was put is durable.
    pub fn is_idle(&self) -> bool {
        let waiting = self.waiting();
        waiting.batches.is_empty() && !waiting.in_flight
    }

    /// What is queued is still written; then `take` ends.
    pub fn close(&self) {
        self.waiting().closed = true;
        self.wake.notify_one();
    }

    /// Bytes that wait for the disk.
    pub fn bytes(&self) -> usize {
        QUEUE_BYTES_MAX - self.room.available_permits().min(QUEUE_BYTES_MAX)
    }
}

/// What the writer waits for.
enum Wait {
    /// There is something to write, or the queue is closed.
    Over,
    /// To be woken, at most until then.
    WokenOr(Instant),
    /// To be woken.
    Woken,
}

impl Waiting {
    /// Lazy records have come. True: the writer must be woken to set its alarm.
    fn set_lazy(&mut self) -> bool {
        self.lazy_due.get_or_insert_with(|| Instant::now() + Duration::from_millis(LAZY_MS));
        std::mem::take(&mut self.asleep)
    }

    fn wait(&mut self, now: Instant) -> Wait {
        (self.in_flight, self.asleep) = (false, false);
        let urgent = self.batches.iter().any(|batch| batch.urgent);
        if urgent || self.closed || self.lazy_due.is_some_and(|due| due <= now) {
            return Wait::Over;
        }
        match self.lazy_due {
            Some(due) => Wait::WokenOr(due),
            // The marks of what was just made durable come soon, and then need not wake anybody.
            None if !self.looked => Wait::WokenOr(now + Duration::from_millis(LAZY_MS)),
            None => {
                self.asleep = true;
                Wait::Woken
            }
        }
    }

    fn take(&mut self) -> Option<Gathered> {
        if self.batches.is_empty() && !self.committed.is_empty() {
            let stream = self.streams.pop().unwrap_or_default();
            self.batches.push_back(Gathered::new(stream));
        }
        let mut batch = self.batches.pop_front();
        if let Some(batch) = &mut batch {
            (self.in_flight, self.looked) = (true, false);
            for (_, (group, log_id)) in core::mem::take(&mut self.committed) {
                Record::Committed(log_id).encode(group.id, &mut batch.stream);
                batch.records += 1;
                batch.operations.push(Operation { group, records: 1, room_bytes: 0, last: None, then: Then::Nothing });
            }
        }
        // A purge may stand in a later batch; then half a second more.
        self.lazy_due = None;
        if !self.batches.is_empty() {
            self.set_lazy();
        }
        batch
    }
}

const _: () = assert!(RECORD_HEAD_BYTES * 2048 < BATCH_BYTES, "the marks of all groups fit a batch");

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::GroupIndex;
    use quorate_core::model::Term;
    use quorate_world::runtime::run_test;
    use quorate_world::time::timeout;

    fn group(id: u32) -> Arc<Group> {
        Arc::new(Group::new(GroupId(id), GroupIndex::default(), Arc::default()))
    }

    fn put(queue: &Queue, group: &Arc<Group>, payload_bytes: usize, urgent: bool) {
        let payload = vec![0; payload_bytes];
        let record = Record::Entry { log_id: LogId::default(), payload: &payload };
        let operation = Operation { group: group.clone(), records: 1, room_bytes: 0, last: None, then: Then::Nothing };
        queue.put(operation, RECORD_HEAD_BYTES + payload_bytes, urgent, |stream| record.encode(group.id, stream));
    }

    fn groups_of(gathered: &Gathered) -> Vec<u32> {
        gathered.operations.iter().map(|operation| operation.group.id.0).collect()
    }

    async fn take(queue: &Queue) -> Vec<u32> {
        queue.take().await.map(|gathered| groups_of(&gathered)).unwrap_or_default()
    }

    #[test]
    fn what_is_queued_goes_in_order_and_in_full_batches() {
        run_test(async {
            let queue = Queue::new(1000);
            let groups = [group(1), group(2), group(3)];
            for (which, bytes) in [(0, 300), (1, 300), (2, 300), (0, 5000), (1, 10), (2, 10)] {
                put(&queue, &groups[which], bytes, true);
            }
            assert!(!queue.is_idle());
            assert_eq!(take(&queue).await, [1, 2]);
            assert_eq!(take(&queue).await, [3], "what is larger than a batch goes alone");
            assert_eq!(take(&queue).await, [1]);
            assert_eq!(take(&queue).await, [2, 3]);
            queue.close();
            assert!(queue.take().await.is_none() && queue.is_idle());
        });
    }

    #[test]
    fn marks_of_a_group_that_goes_end_nothing() {
        run_test(async {
            let queue = Queue::new(1000);
            let group = group(1);
            queue.put_committed(&group, LogId::default());
            queue.forget_committed(GroupId(1));
            let wait = timeout(Duration::from_millis(2 * LAZY_MS), queue.take()).await;
            assert!(wait.is_err(), "there is nothing to write, and the queue is open");
            put(&queue, &group, 0, true);
            assert_eq!(take(&queue).await, [1]);
        });
    }

    #[test]
    fn lazy_records_wait_for_a_batch_or_half_a_second() {
        run_test(async {
            let queue = Queue::new(1000);
            let (one, two) = (group(1), group(2));
            put(&queue, &one, 0, false);
            for index in 0..5 {
                queue.put_committed(&two, LogId { term: Term(1), index: LogIndex(index) });
            }
            let soon = timeout(Duration::from_millis(LAZY_MS / 4), queue.take()).await;
            assert!(soon.is_err(), "they wake nobody");
            put(&queue, &two, 0, true);
            assert_eq!(take(&queue).await, [1, 2, 2], "in order, and the newest mark behind");
            queue.put_committed(&one, LogId::default());
            queue.put_committed(&two, LogId::default());
            queue.forget_committed(GroupId(2));
            let began = Instant::now();
            assert_eq!(take(&queue).await, [1], "a batch of their own");
            assert!(began.elapsed() >= Duration::from_millis(LAZY_MS / 2));
        });
    }
}
