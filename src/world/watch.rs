//! A value with readers who want to know when it changes.
//!
//! Our own, because tokio's spreads its waiters over lists chosen by a random source that no seed reaches. This one
//! wakes in the order of waiting, and it is the same code in both worlds.
//!
//! A receiver sees the newest value, not every value. Everything that touches the list of waiters happens under one
//! lock, and the version is looked at again under it: a change between the look and the wait cannot be missed.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::ops::Deref;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};
use std::task::{Context, Poll, Waker};

/// Makes a channel that starts with `value`. The first receiver has seen it.
pub fn channel<T>(value: T) -> (Sender<T>, Receiver<T>) {
    let turns = Turns { version: 0, senders: 1, receivers: 1, next_ticket: 0, waiting: BTreeMap::new() };
    let shared = Arc::new(Shared { value: RwLock::new(value), turns: Mutex::new(turns) });
    (Sender { shared: shared.clone() }, Receiver { shared, seen: 0 })
}

/// The writing side. Clones write to the same value.
pub struct Sender<T> {
    shared: Arc<Shared<T>>,
}

/// A reading side, which remembers the version it has seen.
pub struct Receiver<T> {
    shared: Arc<Shared<T>>,
    seen: u64,
}

/// The value, held still. Do not keep it across an await: writers wait for it.
pub struct Ref<'a, T>(RwLockReadGuard<'a, T>);

/// All senders are gone; the value will not change again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Closed;

struct Shared<T> {
    value: RwLock<T>,
    turns: Mutex<Turns>,
}

struct Turns {
    version: u64,
    senders: usize,
    receivers: usize,
    next_ticket: u64,
    waiting: BTreeMap<u64, Waker>,
}

impl<T> Shared<T> {
    // A panic while the value is held ends the process in production; in a test it must not hide the first one.
    fn turns(&self) -> MutexGuard<'_, Turns> {
        self.turns.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn value(&self) -> Ref<'_, T> {
        Ref(self.value.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn announce(&self) {
        let waiting = {
            let mut turns = self.turns();
            turns.version += 1;
            std::mem::take(&mut turns.waiting)
        };
        waiting.into_values().for_each(Waker::wake);
    }
}

impl<T> Sender<T> {
    /// Replaces the value and wakes everyone who waits.
    pub fn send(&self, value: T) {
        self.modify(|current| *current = value);
    }

    /// Changes the value in place and wakes everyone who waits.
    pub fn modify(&self, change: impl FnOnce(&mut T)) {
        self.modify_if(|current| {
            change(current);
            true
        });
    }

    /// Changes the value in place; wakes only if `change` says that it did. Returns what it said.
    pub fn modify_if(&self, change: impl FnOnce(&mut T) -> bool) -> bool {
        let changed = change(&mut self.shared.value.write().unwrap_or_else(PoisonError::into_inner));
        if changed {
            self.shared.announce();
        }
        changed
    }

    /// The value as it is.
    pub fn borrow(&self) -> Ref<'_, T> {
        self.shared.value()
    }

    /// A new receiver, which has seen the value as it is.
    pub fn subscribe(&self) -> Receiver<T> {
        let mut turns = self.shared.turns();
        turns.receivers += 1;
        Receiver { shared: self.shared.clone(), seen: turns.version }
    }

    /// How many receivers there are.
    pub fn receivers(&self) -> usize {
        self.shared.turns().receivers
    }
}

impl<T> Receiver<T> {
    /// The value as it is. Does not count as seen.
    pub fn borrow(&self) -> Ref<'_, T> {
        self.shared.value()
    }

    /// The value as it is, which counts as seen.
    pub fn borrow_and_update(&mut self) -> Ref<'_, T> {
        // Version first: a change in between is then reported once more, never lost.
        self.seen = self.shared.turns().version;
        self.shared.value()
    }

    /// Waits until there is a version that this receiver has not seen, and marks it as seen.
    pub fn changed(&mut self) -> Changed<'_, T> {
        Changed { receiver: self, ticket: None }
    }

    /// Waits until the value satisfies `condition`, looking at the present one first, and returns a copy of it.
    pub async fn wait_until(&mut self, condition: impl Fn(&T) -> bool) -> Result<T, Closed>
    where
        T: Clone,
    {
        loop {
            {
                let value = self.borrow_and_update();
                if condition(&value) {
                    return Ok(value.clone());
                }
            }
            self.changed().await?;
        }
    }
}

/// The future of [`Receiver::changed`]. Dropping it loses nothing.
pub struct Changed<'a, T> {
    receiver: &'a mut Receiver<T>,
    ticket: Option<u64>,
}

impl<T> Future for Changed<'_, T> {
    type Output = Result<(), Closed>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let mut turns = this.receiver.shared.turns();
        if turns.version != this.receiver.seen {
            let version = turns.version;
            drop(turns);
            this.receiver.seen = version;
            return Poll::Ready(Ok(()));
        }
        if turns.senders == 0 {
            return Poll::Ready(Err(Closed));
        }
        let ticket = *this.ticket.get_or_insert_with(|| {
            turns.next_ticket += 1;
            turns.next_ticket
        });
        let replaced = turns.waiting.insert(ticket, context.waker().clone());
        drop(turns);
        // Only now: dropping a waker may run code of the task behind it.
        drop(replaced);
        Poll::Pending
    }
}

impl<T> Drop for Changed<'_, T> {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket {
            let removed = self.receiver.shared.turns().waiting.remove(&ticket);
            drop(removed);
        }
    }
}

impl<T> Deref for Ref<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        self.shared.turns().senders += 1;
        Sender { shared: self.shared.clone() }
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        let waiting = {
            let mut turns = self.shared.turns();
            turns.senders -= 1;
            if turns.senders > 0 {
                return;
            }
            std::mem::take(&mut turns.waiting)
        };
        waiting.into_values().for_each(Waker::wake);
    }
}

impl<T> Clone for Receiver<T> {
    fn clone(&self) -> Self {
        self.shared.turns().receivers += 1;
        Receiver { shared: self.shared.clone(), seen: self.seen }
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        self.shared.turns().receivers -= 1;
    }
}

impl<T> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("watch::Sender")
    }
}

impl<T> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("watch::Receiver")
    }
}

impl<T: fmt::Debug> fmt::Debug for Ref<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("all senders of the watched value are gone")
    }
}

impl std::error::Error for Closed {}
