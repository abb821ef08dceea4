//! Tasks, selection, chance.

use quorate_world::random;
use quorate_world::runtime::run_test;
use quorate_world::select::{Either2, Either3, Either4, select2, select3, select4};
use quorate_world::sync::{mpsc, oneshot};
use quorate_world::task::{Aborted, spawn, spawn_owned_thread, yield_now};
use quorate_world::time::{Duration, sleep};
use std::collections::BTreeSet;
use std::future::{pending, ready};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

#[test]
fn a_task_hands_over_its_result() {
    run_test(async {
        assert_eq!(spawn(async { 6 * 7 }).await, Ok(42));
        assert_eq!(spawn_owned_thread("own", async { "done" }).expect("starts").await, Ok("done"));
    });
}

#[test]
fn a_dropped_handle_does_not_end_the_task() {
    run_test(async {
        let (tell, told) = oneshot::channel();
        drop(spawn(async move {
            sleep(Duration::from_millis(5)).await;
            tell.send(1).expect("somebody listens");
        }));
        assert_eq!(told.await, Ok(1));
    });
}

struct Tells(Arc<AtomicBool>);

impl Drop for Tells {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

#[test]
fn an_aborted_task_is_dropped() {
    run_test(async {
        let dropped = Arc::new(AtomicBool::new(false));
        let tells = Tells(dropped.clone());
        let task = spawn(async move {
            let _tells = tells;
            pending::<()>().await;
        });
        yield_now().await;
        assert!(!task.is_finished());
        task.abort();
        assert_eq!(task.await, Err(Aborted));
        assert!(dropped.load(Ordering::SeqCst));
    });
}

#[test]
fn a_thread_of_its_own_talks_with_tasks() {
    run_test(async {
        let (ask, mut asked) = mpsc::channel::<(u32, oneshot::Sender<u32>)>(1);
        let thread = spawn_owned_thread("answers", async move {
            while let Some((number, answer)) = asked.recv().await {
                sleep(Duration::from_millis(1)).await;
                answer.send(number * 2).expect("somebody waits");
            }
            spawn(async { 99 }).await
        })
        .expect("starts");
        for number in 0..5 {
            let (answer, answered) = oneshot::channel();
            ask.send((number, answer)).await.expect("it lives");
            assert_eq!(answered.await, Ok(number * 2));
        }
        drop(ask);
        assert_eq!(thread.await, Ok(Ok(99)));
    });
}

#[test]
fn the_first_of_those_ready_wins() {
    run_test(async {
        for _ in 0..50 {
            assert_eq!(select2(ready(1), ready(2)).await, Either2::First(1));
            assert_eq!(select2(pending::<()>(), ready(2)).await, Either2::Second(2));
            assert_eq!(select3(pending::<()>(), ready(2), ready(3)).await, Either3::Second(2));
            assert_eq!(select3(pending::<()>(), pending::<()>(), ready(3)).await, Either3::Third(3));
            assert_eq!(select4(pending::<()>(), pending::<()>(), ready(3), ready(4)).await, Either4::Third(3));
            let last = select4(pending::<()>(), pending::<()>(), pending::<()>(), ready(4)).await;
            assert_eq!(last, Either4::Fourth(4));
        }
    });
}

#[test]
fn a_loser_passed_by_reference_goes_on() {
    run_test(async {
        let mut slow = Box::pin(async {
            sleep(Duration::from_millis(20)).await;
            "slow"
        });
        assert_eq!(select2(&mut slow, sleep(Duration::from_millis(2))).await, Either2::Second(()));
        assert_eq!(slow.await, "slow");
    });
}

#[test]
fn chance_is_spread() {
    run_test(async {
        let drawn: BTreeSet<u64> = (0..1000).map(|_| random::u64()).collect();
        assert_eq!(drawn.len(), 1000);
        let small: BTreeSet<u64> = (0..1000).map(|_| random::below(10)).collect();
        assert_eq!(small, (0..10).collect());
        assert_eq!(random::below(1), 0);
        assert_ne!(random::bytes16(), random::bytes16());
    });
}
