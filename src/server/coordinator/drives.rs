//! Which decided transactions of a tenure have a driver, and which requests wait for it.
//!
//! A driver may be started by the request that decided, or by the look for unfinished transactions that every tenure makes
//! now and then; whichever came first, the request waits for the same pass of phase two. So who waits is kept here, not in
//! the driver. So is what it has met of late, for an operator to see.

use std::collections::BTreeMap;

use quorate_core::console::Trouble;
use quorate_core::model::{BranchId, TransactionId};
use quorate_world::sync::{Notify, oneshot};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A request that waits; dropped: the state says how the transaction stands.
pub type Waiter = oneshot::Sender<()>;

/// The drivers at work. `T` is the task of one.
pub struct Drives<T>(BTreeMap<TransactionId, Drive<T>>);

struct Drive<T> {
    task: T,
    waiters: Vec<Waiter>,
    /// What requests wait for has happened; later ones have nothing to wait for.
    answered: bool,
    /// Branches that were asked in vain and are not done.
    troubles: BTreeMap<BranchId, Trouble>,
    /// Operators who wait for what comes of asking a branch.
    onlookers: Vec<Waiter>,
    /// How an operator makes it look again; made when it first rests, or is first wanted to.
    nudge: Option<Arc<Nudge>>,
}

/// An operator's wish that a driver look again. Counted too: one that comes while the driver makes up its mind to rest must
/// not be lost.
#[derive(Default)]
pub struct Nudge {
    count: AtomicU64,
    wake: Notify,
}

impl Nudge {
    /// Look again.
    pub fn ring(&self) {
        self.count.fetch_add(1, Ordering::AcqRel);
        self.wake.notify_waiters();
    }

    /// Waits until it has rung more often than so.
    pub async fn rung_since(&self, seen: u64) {
        let rung = self.wake.notified();
        if self.count.load(Ordering::Acquire) == seen {
            rung.await;
        }
    }
}

impl<T> Default for Drives<T> {
    fn default() -> Drives<T> {
        Drives(BTreeMap::new())
    }
}

impl<T> Drives<T> {
    /// Starts the driver of a transaction, unless it has one, and lets `waiter` wait for it. False: it had one.
    pub fn start(&mut self, transaction: TransactionId, waiter: Option<Waiter>, start: impl FnOnce() -> T) -> bool {
        if let Some(drive) = self.0.get_mut(&transaction) {
            if !drive.answered {
                drive.waiters.extend(waiter);
            }
            return false;
        }
        let drive = Drive {
            task: start(),
            waiters: waiter.into_iter().collect(),
            answered: false,
            troubles: BTreeMap::new(),
            onlookers: Vec::new(),
            nudge: None,
        };
        self.0.insert(transaction, drive);
        true
    }

    /// Those who wait for a transaction may be answered.
    pub fn answer(&mut self, transaction: TransactionId) {
        let Some(drive) = self.0.get_mut(&transaction) else { return };
        drive.answered = true;
        for waiter in drive.waiters.drain(..) {
            // It may have lost patience.
            _ = waiter.send(());
        }
    }

    /// What came of asking a branch: trouble, or none any more.
    pub fn note(&mut self, transaction: TransactionId, branch: BranchId, trouble: Option<Trouble>) {
        let Some(drive) = self.0.get_mut(&transaction) else { return };
        match trouble {
            Some(trouble) => drive.troubles.insert(branch, trouble),
            None => drive.troubles.remove(&branch),
        };
        for onlooker in drive.onlookers.drain(..) {
            _ = onlooker.send(());
        }
    }

    /// Tells when next a branch was asked in vain, or is done after that, and by its drop that the driver has ended; nothing:
    /// there is no driver.
    pub fn news(&mut self, transaction: TransactionId) -> Option<oneshot::Receiver<()>> {
        let drive = self.0.get_mut(&transaction)?;
        let (onlooker, news) = oneshot::channel();
        drive.onlookers.retain(|onlooker| !onlooker.is_closed());
        drive.onlookers.push(onlooker);
        Some(news)
    }

    /// The branches of a transaction that were asked in vain and are not done.
    pub fn troubles(&self, transaction: TransactionId) -> Vec<(BranchId, Trouble)> {
        let drive = self.0.get(&transaction);
        drive.into_iter().flat_map(|drive| &drive.troubles).map(|(branch, trouble)| (*branch, *trouble)).collect()
    }

    /// What rings when an operator wants the driver to look again.
    pub fn nudge(&mut self, transaction: TransactionId) -> Arc<Nudge> {
        let drive = self.0.get_mut(&transaction);
        drive.map_or_else(Arc::default, |drive| drive.nudge.get_or_insert_default().clone())
    }

    /// How often it has rung so far.
    pub fn nudges(&self, transaction: TransactionId) -> u64 {
        let nudge = self.0.get(&transaction).and_then(|drive| drive.nudge.as_ref());
        nudge.map_or(0, |nudge| nudge.count.load(Ordering::Acquire))
    }

    /// A driver has ended. Who still waits for it is told by the drop.
    pub fn remove(&mut self, transaction: TransactionId) {
        self.0.remove(&transaction);
    }

    /// How many are at work.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// The tasks of all, to be ended.
    pub fn into_tasks(self) -> impl Iterator<Item = T> {
        self.0.into_values().map(|drive| drive.task)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRANSACTION: TransactionId = TransactionId(7);

    #[test]
    fn a_request_waits_for_the_driver_that_was_there_before_it() {
        let mut drives = Drives::default();
        assert!(drives.start(TRANSACTION, None, || "the first"));
        let (waiter, mut done) = oneshot::channel();
        assert!(!drives.start(TRANSACTION, Some(waiter), || panic!("it has a driver")));
        assert_eq!(done.try_recv(), Err(oneshot::error::TryRecvError::Empty), "it waits");
        drives.answer(TRANSACTION);
        assert_eq!(done.try_recv(), Ok(()));
    }

    #[test]
    fn nobody_waits_for_what_has_happened() {
        let mut drives = Drives::default();
        drives.start(TRANSACTION, None, || ());
        drives.answer(TRANSACTION);
        let (waiter, mut done) = oneshot::channel();
        drives.start(TRANSACTION, Some(waiter), || ());
        assert_eq!(done.try_recv(), Err(oneshot::error::TryRecvError::Closed), "the state says how it stands");
    }

    #[test]
    fn troubles_last_until_the_branch_is_done() {
        use quorate_core::console::LastAnswer;
        let mut drives = Drives::default();
        let trouble = Trouble { attempts: 1, last: LastAnswer::NoChannel };
        drives.note(TRANSACTION, BranchId(3), Some(trouble));
        assert!(drives.troubles(TRANSACTION).is_empty(), "it has no driver");
        drives.start(TRANSACTION, None, || ());
        drives.note(TRANSACTION, BranchId(3), Some(trouble));
        assert_eq!(drives.troubles(TRANSACTION), [(BranchId(3), trouble)]);
        drives.note(TRANSACTION, BranchId(3), None);
        assert!(drives.troubles(TRANSACTION).is_empty());
    }

    #[test]
    fn an_operator_hears_of_troubles_and_of_the_end() {
        use quorate_core::console::LastAnswer;
        let mut drives = Drives::default();
        assert!(drives.news(TRANSACTION).is_none(), "it has no driver");
        drives.start(TRANSACTION, None, || ());
        let mut news = drives.news(TRANSACTION).expect("it has one");
        assert_eq!(news.try_recv(), Err(oneshot::error::TryRecvError::Empty));
        drives.note(TRANSACTION, BranchId(3), Some(Trouble { attempts: 1, last: LastAnswer::Silent }));
        assert_eq!(news.try_recv(), Ok(()));
        let mut news = drives.news(TRANSACTION).expect("it has one");
        drives.remove(TRANSACTION);
        assert_eq!(news.try_recv(), Err(oneshot::error::TryRecvError::Closed));
    }

    #[test]
    fn a_nudge_before_the_rest_is_not_lost() {
        use core::pin::pin;
        use core::task::{Context, Poll, Waker};
        let mut drives = Drives::default();
        drives.start(TRANSACTION, None, || ());
        let mut context = Context::from_waker(Waker::noop());
        let mut is_over = |nudge: &Nudge, seen| pin!(nudge.rung_since(seen)).poll(&mut context) == Poll::Ready(());
        let seen = drives.nudges(TRANSACTION);
        assert!(!is_over(&drives.nudge(TRANSACTION), seen), "nobody wants anything");
        drives.nudge(TRANSACTION).ring();
        assert!(is_over(&drives.nudge(TRANSACTION), seen), "it came between the plan and the rest");
        assert!(!is_over(&drives.nudge(TRANSACTION), drives.nudges(TRANSACTION)), "the next plan has seen it");
        assert_eq!(drives.nudges(TransactionId(8)), 0, "it has no driver");
    }

    #[test]
    fn the_end_of_a_driver_ends_the_wait() {
        let mut drives = Drives::default();
        let (waiter, mut done) = oneshot::channel();
        drives.start(TRANSACTION, Some(waiter), || ());
        assert_eq!(drives.count(), 1);
        drives.remove(TRANSACTION);
        assert_eq!(done.try_recv(), Err(oneshot::error::TryRecvError::Closed));
        assert_eq!(drives.count(), 0);
    }
}
