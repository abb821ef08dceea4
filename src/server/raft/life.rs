//! How long a replica has what its group has on the disk in hand.
//!
//! openraft's shutdown waits for its core alone. What the core has handed on goes on: the worker of the state machine comes to
//! the end of its queue, and may install a snapshot that was received before; a snapshot that is being built is finished in a task
//! of its own; a reader of the log looks once more. A group is wiped only when the last of them is gone. A snapshot that took its
//! place after that would be there for ever, or for the replica of the group that is made here next.

use std::future::pending;

use quorate_world::watch;

/// A life, and the first hold on it.
pub(crate) fn begin() -> (Life, Hold) {
    let (over, ends) = watch::channel(false);
    let (held, holds) = watch::channel(());
    (Life { over, holds }, Hold { ends, _held: held })
}

/// The life of a replica, as the replica itself has it.
pub(crate) struct Life {
    over: watch::Sender<bool>,
    holds: watch::Receiver<()>,
}

impl Life {
    /// What is better not finished is given up.
    pub fn end(&self) {
        self.over.send(true);
    }

    /// Waits until nobody has anything in hand.
    pub async fn let_go(&self) {
        let mut holds = self.holds.clone();
        while holds.changed().await.is_ok() {}
    }
}

/// Held by whoever may read or write what the group has on the disk.
#[derive(Clone)]
pub(crate) struct Hold {
    ends: watch::Receiver<bool>,
    _held: watch::Sender<()>,
}

impl Hold {
    /// Whether the life is over.
    pub fn is_over(&self) -> bool {
        *self.ends.borrow()
    }

    /// Waits until the life is over.
    pub async fn over(&self) {
        if self.ends.clone().wait_until(|over| *over).await.is_err() {
            // A replica that is dropped and was never stopped goes on.
            pending().await
        }
    }
}

#[cfg(test)]
mod tests {
    use quorate_world::runtime::run_test;
    use quorate_world::select::{Either2, select2};

    use super::*;

    #[test]
    fn a_life_is_let_go_with_its_last_hold() {
        run_test(async {
            let (life, hold) = begin();
            let other = hold.clone();
            assert!(!hold.is_over());
            life.end();
            hold.over().await;
            assert!(hold.is_over());
            drop(hold);
            assert_eq!(select2(life.let_go(), async {}).await, Either2::Second(()));
            drop(other);
            life.let_go().await;
        });
    }

    #[test]
    fn a_life_that_nobody_ended_goes_on() {
        run_test(async {
            let (life, hold) = begin();
            assert_eq!(select2(hold.over(), async {}).await, Either2::Second(()));
            drop(life);
            assert_eq!(select2(hold.over(), async {}).await, Either2::Second(()));
        });
    }
}
