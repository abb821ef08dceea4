//! Processes and machines.

use crate::{echo_at, echo_machine, idle_machine, ip};
use quorate_world::disk::{Disk, DiskFile, NodeDisk, OpenHow};
use quorate_world::io::{AsyncReadExt, AsyncWriteExt, ErrorKind};
use quorate_world::net::{connect, listen};
use quorate_world::sim::{self, Ending, FaultClass, Options};
use quorate_world::task::spawn;
use quorate_world::time::{Duration, sleep, timeout};
use quorate_world::{process, tap};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_killed_process_gives_its_peers_the_end_at_once() {
    sim::run(1, Options::default(), || async {
        let machine = echo_machine(1);
        let mut stream = connect(echo_at(1)).await.expect("connects");
        stream.write_all(b"x").await.expect("writes");
        stream.read_exact(&mut [0]).await.expect("answers");
        assert!(machine.kill());
        assert_eq!(machine.ended().await, Ending::Killed);
        assert!(!machine.kill(), "killed twice");
        let heard = timeout(10 * MS, stream.read(&mut [0])).await.expect("in time");
        assert!(matches!(heard, Ok(0)) || heard.is_err_and(|error| error.kind() == ErrorKind::ConnectionReset));
        let error = timeout(10 * MS, connect(echo_at(1))).await.expect("in time").expect_err("refused");
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
        machine.start();
        sleep(MS).await;
        let mut stream = connect(echo_at(1)).await.expect("its port was free again");
        stream.write_all(b"y").await.expect("writes");
        stream.read_exact(&mut [0]).await.expect("answers");
        assert_eq!(machine.lives(), 2);
    });
}

#[test]
fn a_machine_without_power_is_silent_and_knows_nobody_afterwards() {
    sim::run(1, Options::default(), || async {
        let machine = echo_machine(1);
        let mut stream = connect(echo_at(1)).await.expect("connects");
        stream.write_all(b"x").await.expect("writes");
        stream.read_exact(&mut [0]).await.expect("answers");
        assert!(machine.power_fail());
        assert!(timeout(30 * SECOND, stream.read(&mut [0])).await.is_err(), "heard from the dead");
        assert!(timeout(5 * SECOND, connect(echo_at(1))).await.is_err(), "connected to the dead");
        stream.write_all(b"anybody?").await.expect("the kernel takes it");
        machine.start();
        let error = timeout(30 * SECOND, stream.read(&mut [0])).await.expect("in time").expect_err("a reset");
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        connect(echo_at(1)).await.expect("a new one works");
    });
}

#[test]
fn a_process_that_exits_takes_all_its_tasks_along() {
    sim::run(1, Options::default(), || async {
        let steps = Arc::new(AtomicUsize::new(0));
        let counted = steps.clone();
        let machine = sim::add_machine("n1", ip(1), move || {
            let counted = counted.clone();
            async move {
                spawn(async move {
                    loop {
                        counted.fetch_add(1, Ordering::SeqCst);
                        sleep(10 * MS).await;
                    }
                });
                spawn(async {
                    sleep(55 * MS).await;
                    process::exit(74);
                });
                std::future::pending().await
            }
        });
        machine.start();
        assert_eq!(machine.ended().await, Ending::Exited(74));
        assert_eq!(machine.ending().and_then(|ending| ending.code()), Some(74));
        sleep(SECOND).await;
        assert_eq!(steps.load(Ordering::SeqCst), 6);
        assert_eq!(sim::counters()[&FaultClass::ProcessExit], 1);
    });
}

#[test]
fn a_panic_anywhere_ends_the_process_and_not_the_world() {
    sim::run(1, Options::default(), || async {
        let machine = sim::add_machine("n1", ip(1), || async {
            let listener = listen(echo_at(1)).await.expect("listens");
            spawn(async {
                sleep(5 * MS).await;
                panic!("on purpose, in a test");
            });
            listener.accept().await.expect("accepts");
            0
        });
        machine.start();
        let ending = machine.ended().await;
        assert_eq!(ending, Ending::Panicked("on purpose, in a test".to_owned()));
        assert_eq!(ending.code(), Some(70));
        let error = connect(echo_at(1)).await.expect_err("its listener is gone");
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    });
}

#[test]
fn main_returns_and_the_process_is_over() {
    sim::run(1, Options::default(), || async {
        let machine = sim::add_machine("n1", ip(1), || async {
            process::say("ready");
            process::stop_requested().await;
            process::say("bye");
            0
        });
        machine.start();
        sleep(MS).await;
        assert_eq!(machine.take_said(), ["ready"]);
        machine.request_stop();
        assert_eq!(machine.ended().await, Ending::Returned);
        assert_eq!(machine.take_said(), ["bye"]);
    });
}

#[test]
fn a_paused_process_stands_still_while_its_kernel_listens() {
    sim::run(1, Options::default(), || async {
        let machine = echo_machine(1);
        sleep(MS).await;
        let mut stream = connect(echo_at(1)).await.expect("connects");
        assert!(machine.pause());
        assert!(!machine.pause() && machine.is_paused());
        stream.write_all(b"x").await.expect("the kernel takes it");
        assert!(timeout(10 * SECOND, stream.read(&mut [0])).await.is_err());
        let mut second = timeout(SECOND, connect(echo_at(1))).await.expect("in time").expect("the kernel connects");
        assert!(timeout(10 * SECOND, second.write_all(&vec![0; 8 << 20])).await.is_err(), "nobody reads it");
        assert!(machine.resume());
        timeout(SECOND, stream.read_exact(&mut [0])).await.expect("in time").expect("answers");
        machine.pause();
        machine.kill();
        machine.start();
        sleep(MS).await;
        connect(echo_at(1)).await.expect("killed while paused, started again");
    });
}

/// Writes to the disk when it is dropped, as careless code might.
struct WritesWhenDropped {
    file: Option<<NodeDisk as Disk>::File>,
    _lock: quorate_world::disk::DiskLock,
}

impl Drop for WritesWhenDropped {
    fn drop(&mut self) {
        if let Some(file) = self.file.take() {
            spawn(async move { file.write_at(0, b"ghost".as_slice().into()).await });
        }
    }
}

#[test]
fn the_dead_touch_nothing() {
    sim::run(1, Options::default(), || async {
        let machine = sim::add_machine("n1", ip(1), || async {
            let disk = NodeDisk::open_root("data").expect("a root");
            // Fails if the lock of the life before were still held, or were given back late by its destructor.
            let lock = disk.lock("LOCK").await.expect("nobody else lives here");
            let file = match disk.open("f", OpenHow::CreateNew).await {
                Ok(file) => file,
                Err(_) => disk.open("f", OpenHow::Write).await.expect("is there"),
            };
            file.write_at(0, b"alive".as_slice().into()).await.expect("writes");
            let _careless = WritesWhenDropped { file: Some(file), _lock: lock };
            std::future::pending().await
        });
        machine.start();
        sleep(10 * MS).await;
        machine.restart();
        // Before the old tasks are dropped the new one may run already.
        sleep(10 * MS).await;
        assert!(machine.is_running(), "{:?}", machine.ending());
        assert_eq!(machine.disk().read("data/f").expect("is there"), b"alive");
    });
}

#[derive(Debug, PartialEq)]
struct Step(u32);

#[test]
fn taps_reach_the_hook_and_the_trace() {
    let run = |last: u32| {
        sim::run(1, Options::default(), move || async move {
            let seen = Arc::new(Mutex::new(Vec::new()));
            let told = seen.clone();
            sim::set_tap_hook(move |tap| {
                if let Some(Step(number)) = tap.get() {
                    told.lock().expect("no panic").push((tap.machine.index(), *number));
                }
            });
            let machine = sim::add_machine("n1", ip(1), move || async move {
                tap!(Step(1));
                tap!(Step(last));
                0
            });
            machine.start();
            machine.ended().await;
            tap!(Step(9));
            let seen = seen.lock().expect("no panic").clone();
            assert_eq!(seen, [(1, 1), (1, last), (0, 9)]);
        })
        .digest
    };
    assert_eq!(run(2), run(2));
    assert_ne!(run(2), run(3), "what a tap says is in the hash");
}

#[test]
fn machines_have_names_and_addresses_of_their_own() {
    sim::run(1, Options::default(), || async {
        let machine = idle_machine(3);
        assert_eq!(sim::machine("n3"), Some(machine));
        assert_eq!(sim::machine("n4"), None);
        assert_eq!(quorate_world::net::resolve("n3:80").await.expect("known"), "10.0.0.3:80".parse().expect("one"));
        assert_eq!((machine.name(), machine.ip(), machine.index()), ("n3".to_owned(), ip(3), 1));
    });
}

#[derive(Debug)]
struct Now;

#[test]
fn a_machine_can_be_ended_from_within_a_tap_of_its_own() {
    sim::run(1, Options::default(), || async {
        sim::set_tap_hook(|tap| {
            assert!(tap.get::<Now>().is_some());
            assert!(tap.machine.power_fail(), "told of the dead");
        });
        let machine = sim::add_machine("n1", ip(1), || async {
            let disk = NodeDisk::open_root("data").expect("a root");
            tap!(Now);
            // Goes on to its next wait, but the world does not hear it any more.
            tap!(Now);
            assert!(disk.open("f", OpenHow::CreateNew).await.is_err());
            assert!(listen(echo_at(1)).await.is_err());
            panic!("too late to matter")
        });
        machine.start();
        assert_eq!(machine.ended().await, Ending::PowerFailed);
        sleep(SECOND).await;
        assert_eq!(machine.disk().files(), []);
        assert!(!sim::counters().contains_key(&FaultClass::ProcessPanic));
    });
}

#[test]
#[should_panic(expected = "all tasks will block forever")]
fn a_world_in_which_nothing_can_happen_any_more_says_so() {
    sim::run(1, Options::default(), || async {
        idle_machine(1);
        sleep(Duration::MAX).await;
    });
}

#[test]
fn a_panic_of_the_harness_leaves_the_hash() {
    let run = |text: &'static str| {
        sim::try_run(1, Options::default(), move || async move { assert!(text.is_empty(), "{text}") })
    };
    let ended = run("on purpose, in a test");
    let panic = ended.output.expect_err("it panicked");
    assert_eq!(
        panic.downcast_ref::<&str>().copied().or(panic.downcast_ref::<String>().map(|s| s.as_str())),
        Some("on purpose, in a test")
    );
    assert_eq!(ended.digest, run("another").digest);
}

#[test]
fn a_planted_bug_is_there_only_in_the_run_that_chose_it() {
    let run = |bug: Option<&str>| {
        let options = Options { bug: bug.map(str::to_owned), ..Options::default() };
        let run = sim::run(1, options, || async { quorate_world::bug!("one_of_them") });
        (run.output, run.bug_passed)
    };
    let planted = quorate_world::bug::PLANTED;
    assert_eq!(run(Some("one_of_them")), (planted, planted));
    assert_eq!(run(Some("another")), (false, false));
    assert_eq!(run(None), (false, false));
}
