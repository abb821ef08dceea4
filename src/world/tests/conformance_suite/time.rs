//! Clocks and waiting.

use quorate_world::runtime::run_test;
use quorate_world::select::{Either2, select2};
use quorate_world::time::{Duration, Elapsed, Instant, sleep, sleep_until, timeout, timeout_at, wall_ms};
use std::future::{pending, ready};

const MS: Duration = Duration::from_millis(1);

#[test]
fn sleeping_takes_as_long_as_asked() {
    run_test(async {
        let before = Instant::now();
        sleep(30 * MS).await;
        let slept = before.elapsed();
        assert!(slept >= 30 * MS && slept < 2000 * MS, "{slept:?}");
        let deadline = Instant::now() + 20 * MS;
        sleep_until(deadline).await;
        assert!(Instant::now() >= deadline);
        sleep_until(before).await;
    });
}

#[test]
fn the_shorter_sleep_ends_first() {
    run_test(async {
        match select2(sleep(60 * MS), sleep(10 * MS)).await {
            Either2::First(()) => panic!("60 ms before 10"),
            Either2::Second(()) => {}
        }
    });
}

#[test]
fn a_time_out_gives_up_and_a_result_in_time_is_kept() {
    run_test(async {
        assert_eq!(timeout(10 * MS, pending::<()>()).await, Err(Elapsed));
        assert_eq!(timeout(Duration::ZERO, ready(7)).await, Ok(7));
        assert_eq!(timeout_at(Instant::now() + 10 * MS, pending::<()>()).await, Err(Elapsed));
        let nested = timeout(1000 * MS, timeout(10 * MS, pending::<()>())).await;
        assert_eq!(nested, Ok(Err(Elapsed)));
    });
}

#[test]
fn instants_reckon_without_overflow() {
    run_test(async {
        let now = Instant::now();
        assert_eq!((now + 5 * MS) - now, 5 * MS);
        assert_eq!(now - (now + 5 * MS), Duration::ZERO);
        assert_eq!((now + 5 * MS) - 5 * MS, now);
        assert!(now + Duration::MAX > now);
        assert!(now - Duration::MAX < now);
        assert_eq!((now + MS).elapsed(), Duration::ZERO);
    });
}

#[test]
fn both_clocks_run() {
    run_test(async {
        let (forward, wall) = (Instant::now(), wall_ms());
        const YEAR_2025_MS: u64 = 1_735_689_600_000;
        assert!(wall > YEAR_2025_MS);
        sleep(50 * MS).await;
        let (forward, wall) = (forward.elapsed().as_millis() as u64, wall_ms() - wall);
        assert!(forward >= 50 && wall.abs_diff(forward) <= 40, "{forward} and {wall}");
    });
}

#[test]
fn a_very_long_sleep_does_not_end() {
    run_test(async {
        assert!(timeout(10 * MS, sleep(Duration::MAX)).await.is_err());
    });
}
