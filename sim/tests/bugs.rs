//! Small failures that were found once, each under the name of the fact that it breaks: with its planted bug the same oracle
//! finds it again, and without the bug the same plan is harmless.
//!
//! `sim/bugs/<fact>/seed.jsonl` is the shrunk artefact and `story.txt` what happens in it. To add one: `make shrink`, a folder, a
//! line at the end.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn simulator(verb: &str, fact: &str, more: &[&str]) -> Output {
    let file = bugs().join(fact).join("seed.jsonl");
    let mut command = Command::new(env!("CARGO_BIN_EXE_quorate-sim"));
    command.arg(verb).arg(file).args(more).output().expect("the simulator starts")
}

fn bugs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("bugs")
}

fn check(fact: &str, oracle: &str) {
    let kept = std::fs::read_to_string(bugs().join(fact).join("story.txt")).expect("each fact has a story");
    let told = String::from_utf8_lossy(&simulator("story", fact, &[]).stdout).into_owned();
    // Moments move with the code; who it is about does not.
    for word in ["begins op-", &format!("{oracle} is broken")] {
        assert_eq!(told.contains(word), kept.contains(word), "{fact}, {word}: {told}");
    }
    let with = simulator("replay", fact, &[]);
    let line = String::from_utf8_lossy(&with.stdout).into_owned();
    assert!(line.contains(&format!(" oracle={oracle} ")), "{fact}: {line}{}", String::from_utf8_lossy(&with.stderr));
    let without = simulator("replay", fact, &["--no-bug"]);
    let line = String::from_utf8_lossy(&without.stdout).into_owned();
    assert_eq!(without.status.code(), Some(0), "{fact}: {line}{}", String::from_utf8_lossy(&without.stderr));
}

macro_rules! facts {
    ($($fact:ident $oracle:literal,)*) => {
        $(
            #[test]
            fn $fact() {
                check(stringify!($fact), $oracle);
            }
        )*

        #[test]
        fn every_folder_is_a_test() {
            let known = [$(stringify!($fact)),*];
            let folders = std::fs::read_dir(bugs()).expect("sim/bugs is there");
            for folder in folders {
                let name = folder.expect("it can be listed").file_name();
                assert!(known.iter().any(|fact| name == *fact), "sim/bugs/{name:?} has no test");
            }
        }
    };
}

facts! {
    a_decision_outlives_its_leader "G1",
    a_status_is_fresh "C3",
    a_vote_outlives_its_process "D2",
    a_wiped_replica_keeps_its_word "D",
    an_end_is_told_after_it_is_decided "C1",
    an_ended_transaction_holds_no_lock "B3",
    branches_act_on_decisions_in_the_log "A3",
    phase_two_goes_the_decided_way "A2",
    replicas_apply_alike "D",
    unknown_is_never_guessed "C1",
}
