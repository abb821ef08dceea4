//! Questions that wait for their answer on one connection.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use quorate_world::sync::oneshot;
use quorate_world::time::{self, Duration};

use super::CallError;

type Answer = Result<Bytes, CallError>;

/// The questions of one connection, by request id.
#[derive(Default)]
pub struct Pending {
    asked: Mutex<BTreeMap<u64, oneshot::Sender<Answer>>>,
}

/// Waits for one answer. Dropped, the question is forgotten, and an answer to it is ignored.
pub struct Wait {
    pending: Arc<Pending>,
    request: u64,
    answer: oneshot::Receiver<Answer>,
}

impl Pending {
    /// Notes a question before it is sent.
    pub fn ask(self: &Arc<Self>, request: u64) -> Wait {
        let (asked, answer) = oneshot::channel();
        self.asked().insert(request, asked);
        Wait { pending: self.clone(), request, answer }
    }

    /// Hands an answer to whoever waits. One that nobody waits for any more is no fault.
    pub fn answer(&self, request: u64, answer: Answer) {
        let asked = self.asked().remove(&request);
        if asked.is_none() {
            quorate_core::sometimes!("answer_of_a_node_came_too_late");
        }
        if let Some(asked) = asked {
            // The asker may have gone in this very moment.
            let _ = asked.send(answer);
        }
    }

    /// Answers all questions with one error, in the order of asking.
    pub fn fail_all(&self, error: &CallError) {
        let asked = std::mem::take(&mut *self.asked());
        for asked in asked.into_values() {
            let _ = asked.send(Err(error.clone()));
        }
    }

    /// How many wait.
    #[cfg(test)]
    pub fn count(&self) -> usize {
        self.asked().len()
    }

    fn asked(&self) -> MutexGuard<'_, BTreeMap<u64, oneshot::Sender<Answer>>> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wait {
    /// The answer, or an error at the latest when the time is up.
    pub async fn within(mut self, limit: Duration) -> Answer {
        match time::timeout(limit, &mut self.answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(CallError::Broken),
            Err(_) => {
                quorate_core::sometimes!("node_did_not_answer_in_time");
                Err(CallError::TimedOut)
            }
        }
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        let forgotten = self.pending.asked().remove(&self.request);
        drop(forgotten);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate_world::runtime::run_test;

    const SOON: Duration = Duration::from_millis(5);

    #[test]
    fn each_answer_finds_its_question() {
        run_test(async {
            let pending = Arc::new(Pending::default());
            let (first, second) = (pending.ask(1), pending.ask(2));
            pending.answer(2, Ok(Bytes::from_static(b"two")));
            pending.answer(9, Ok(Bytes::new()));
            assert_eq!(second.within(SOON).await, Ok(Bytes::from_static(b"two")));
            assert_eq!(first.within(SOON).await, Err(CallError::TimedOut));
            assert_eq!(pending.count(), 0);
        });
    }

    #[test]
    fn a_lost_connection_answers_everybody() {
        run_test(async {
            let pending = Arc::new(Pending::default());
            let waits: Vec<Wait> = (1..4).map(|request| pending.ask(request)).collect();
            pending.fail_all(&CallError::Unreachable);
            for wait in waits {
                assert_eq!(wait.within(Duration::from_secs(60)).await, Err(CallError::Unreachable));
            }
        });
    }

    #[test]
    fn a_question_that_is_dropped_is_forgotten() {
        let pending = Arc::new(Pending::default());
        drop(pending.ask(7));
        assert_eq!(pending.count(), 0);
    }
}
