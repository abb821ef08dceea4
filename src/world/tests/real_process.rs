//! How a real process ends: this test program starts itself again to see.

#![cfg(not(madsim))]

use quorate_world::process;
use quorate_world::runtime::block_on_main;
use quorate_world::select::{Either2, select2};
use quorate_world::task::{spawn, spawn_owned_thread};
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

const ROLE: &str = "QUORATE_TEST_ROLE";

/// Runs the test `actor` of this program in a process of its own, which plays the role.
fn play(role: &str) -> Child {
    let program = std::env::current_exe().expect("this program has a path");
    Command::new(program)
        .args(["--exact", "actor", "--nocapture"])
        .env(ROLE, role)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("starts")
}

/// What the processes of the other tests do; nothing when this test runs as one of them.
#[test]
fn actor() {
    let Ok(role) = std::env::var(ROLE) else { return };
    process::install_panic_hook();
    block_on_main(async {
        match role.as_str() {
            "panics in a task" => drop(spawn(async { panic!("on purpose, in a test") })),
            "panics in a thread" => drop(spawn_owned_thread("own", async { panic!("on purpose, in a test") })),
            "exits" => process::exit(74),
            "stops" => {
                let mut stop = std::pin::pin!(process::stop_requested());
                // The first poll is what begins to listen.
                assert_eq!(select2(stop.as_mut(), async {}).await, Either2::Second(()));
                process::say("ready");
                stop.await;
                process::exit(3)
            }
            role => panic!("no such role: {role}"),
        }
        std::future::pending::<()>().await;
    });
}

fn code(mut child: Child) -> Option<i32> {
    child.wait().expect("ends").code()
}

#[test]
fn a_panic_anywhere_ends_the_process_with_70() {
    assert_eq!(code(play("panics in a task")), Some(process::EXIT_PANIC));
    assert_eq!(code(play("panics in a thread")), Some(process::EXIT_PANIC));
}

#[test]
fn exit_ends_the_process_with_its_code() {
    assert_eq!(code(play("exits")), Some(74));
}

#[test]
fn both_signals_ask_it_to_stop() {
    for signal in ["-TERM", "-INT"] {
        let mut child = play("stops");
        let mut lines = BufReader::new(child.stdout.take().expect("is piped")).lines();
        // The test runner says things of its own first.
        assert!(lines.any(|line| line.expect("reads").ends_with("ready")));
        let sent = Command::new("kill").args([signal, &child.id().to_string()]).status().expect("runs");
        assert!(sent.success());
        assert_eq!(code(child), Some(3));
    }
}
