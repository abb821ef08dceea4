//! The watch channel.

use quorate_world::runtime::run_test;
use quorate_world::task::{spawn, yield_now};
use quorate_world::time::{Duration, sleep, timeout};
use quorate_world::watch::{Closed, channel};

#[test]
fn a_change_is_seen_once() {
    run_test(async {
        let (sender, mut receiver) = channel(0);
        assert!(timeout(Duration::from_millis(5), receiver.changed()).await.is_err(), "nothing has changed");
        sender.send(1);
        sender.send(2);
        assert_eq!(receiver.changed().await, Ok(()));
        assert_eq!(*receiver.borrow(), 2);
        assert!(timeout(Duration::from_millis(5), receiver.changed()).await.is_err(), "seen already");
        sender.modify(|value| *value += 10);
        assert_eq!(*receiver.borrow_and_update(), 12);
        assert!(timeout(Duration::from_millis(5), receiver.changed()).await.is_err(), "borrowed as seen");
    });
}

#[test]
fn everyone_who_waits_hears_of_it() {
    run_test(async {
        let (sender, receiver) = channel(0u32);
        let waiting: Vec<_> = (0..10)
            .map(|_| {
                let mut receiver = receiver.clone();
                spawn(async move { receiver.wait_until(|value| *value >= 5).await })
            })
            .collect();
        for number in 1..=5 {
            yield_now().await;
            sender.send(number);
        }
        for waiter in waiting {
            assert_eq!(waiter.await, Ok(Ok(5)));
        }
    });
}

#[test]
fn the_end_of_all_senders_is_told() {
    run_test(async {
        let (sender, mut receiver) = channel(1);
        let second = sender.clone();
        let mut late = second.subscribe();
        let waiting = spawn(async move { receiver.changed().await });
        sleep(Duration::from_millis(2)).await;
        drop(sender);
        assert!(!waiting.is_finished());
        second.send(3);
        drop(second);
        assert_eq!(waiting.await, Ok(Ok(())));
        assert_eq!(late.changed().await, Ok(()), "the last value comes first");
        assert_eq!(late.changed().await, Err(Closed));
        assert_eq!(*late.borrow(), 3);
    });
}

#[test]
fn an_unchanged_value_wakes_nobody() {
    run_test(async {
        let (sender, mut receiver) = channel(1);
        assert!(!sender.modify_if(|_| false));
        assert!(timeout(Duration::from_millis(5), receiver.changed()).await.is_err());
        assert!(sender.modify_if(|value| {
            *value = 2;
            true
        }));
        assert_eq!(receiver.changed().await, Ok(()));
        assert_eq!(sender.receivers(), 1);
    });
}

#[test]
fn no_change_is_lost_between_tasks() {
    run_test(async {
        let (sender, mut receiver) = channel(0u32);
        let counting = spawn(async move {
            let mut last = 0;
            while receiver.changed().await.is_ok() {
                let value = *receiver.borrow();
                assert!(value >= last);
                last = value;
            }
            last
        });
        let writing = spawn(async move {
            for number in 1..=20_000 {
                sender.send(number);
                if number % 64 == 0 {
                    yield_now().await;
                }
            }
        });
        writing.await.expect("ends");
        assert_eq!(counting.await, Ok(20_000));
    });
}
