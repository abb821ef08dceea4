//! An artefact is a run that can happen again: the same events, the same failure, without the seed being drawn again; and
//! one that is damaged or of a later version is refused.
//!
//! Source: design, section 10.8.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Found in a second, by its oracle.
const BUG: &str = "lock_kept_at_end";

/// A folder of one's own, below the one for tests.
fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder for a test");
    folder
}

fn simulate(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_quorate-sim"));
    command.args(arguments).current_dir(folder).output().expect("the simulator starts")
}

fn line(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).lines().last().unwrap_or_default().to_owned()
}

fn says(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A red run, and where its artefact is.
fn red(folder: &Path) -> (Output, PathBuf) {
    let output = simulate(folder, &["run", "--seed", "1", "--world", "R0", "--bug", BUG]);
    assert_eq!(output.status.code(), Some(10), "{}", says(&output));
    (output, folder.join(format!("target/sim/failures/R0-1-{BUG}.jsonl")))
}

#[test]
fn an_artefact_replays_event_for_event() {
    let folder = folder("replay");
    let (first, path) = red(&folder);
    let again = simulate(&folder, &["replay", path.to_str().expect("ASCII")]);
    assert_eq!(again.status.code(), Some(10));
    assert!(says(&again).contains("the same run, event for event"), "{}", says(&again));
    let run = |output: &Output| line(output).split(" replay=").next().unwrap_or_default().to_owned();
    assert_eq!(run(&again), run(&first));

    let without = simulate(&folder, &["replay", "--no-bug", path.to_str().expect("ASCII")]);
    assert_eq!(without.status.code(), Some(0), "{}", says(&without));
    std::fs::remove_dir_all(&folder).expect("it is there");
}

#[test]
fn a_shrunk_artefact_fails_by_the_same_oracle() {
    let folder = folder("shrink");
    let (_, path) = red(&folder);
    let shrunk = simulate(&folder, &["shrink", path.to_str().expect("ASCII")]);
    assert_eq!(shrunk.status.code(), Some(0), "{}", says(&shrunk));
    let small = path.with_extension("small.jsonl");
    let again = simulate(&folder, &["replay", small.to_str().expect("ASCII")]);
    assert_eq!(again.status.code(), Some(10));
    assert!(line(&again).contains("oracle=B3"), "{}", line(&again));
    assert!(says(&again).contains("the same run, event for event"), "{}", says(&again));
    let lines = std::fs::read_to_string(&small).expect("it was written").lines().count();
    assert!(lines <= 2 + 12 + 4, "{lines} lines");
    std::fs::remove_dir_all(&folder).expect("it is there");
}

#[test]
fn what_cannot_be_read_is_a_failure_of_the_harness() {
    let folder = folder("damaged");
    let (_, path) = red(&folder);
    let text = std::fs::read_to_string(&path).expect("it was written");
    let refused = |text: &str, why: &str| {
        let damaged = folder.join("damaged.jsonl");
        std::fs::write(&damaged, text).expect("a file for a test");
        for command in ["replay", "shrink"] {
            let output = simulate(&folder, &[command, damaged.to_str().expect("ASCII")]);
            assert_eq!(output.status.code(), Some(13), "{command}: {}", says(&output));
            assert!(says(&output).contains(why), "{command}: {}", says(&output));
        }
    };
    refused(&text.replacen("\"quorate_seed\":1", "\"quorate_seed\":9", 1), "version 9");
    refused(&text[..text.len() / 2], "line ");
    refused("", "cut short");
    let missing = simulate(&folder, &["replay", "nowhere.jsonl"]);
    assert_eq!(missing.status.code(), Some(13), "{}", says(&missing));
    std::fs::remove_dir_all(&folder).expect("it is there");
}

#[test]
fn a_bug_that_is_not_planted_is_refused() {
    let folder = folder("names");
    let refused = |arguments: &[&str], nearest: &str| {
        let output = simulate(&folder, arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", line(&output));
        assert!(says(&output).contains(&format!("similar value exists: '{nearest}'")), "{}", says(&output));
    };
    let typo = "lock_kept_at_ende";
    refused(&["run", "--seed", "1", "--world", "R0", "--bug", typo], BUG);
    refused(&["hunt", "--seeds", "1..2", "--bug", typo], BUG);
    refused(&["shrink", "--seed", "1", "--bug", typo], BUG);
    refused(&["bugs", typo], BUG);
    // It is there, but nobody is expected to find it, so no table can say that somebody did.
    let unlooked = simulate(&folder, &["bugs", "remove_forgets_the_log"]);
    assert_eq!(unlooked.status.code(), Some(2), "{}", says(&unlooked));

    let (_, path) = red(&folder);
    let text = std::fs::read_to_string(&path).expect("it was written");
    std::fs::write(&path, text.replacen(BUG, typo, 1)).expect("a file for a test");
    let replayed = simulate(&folder, &["replay", path.to_str().expect("ASCII")]);
    assert_eq!(replayed.status.code(), Some(13), "{}", says(&replayed));
    assert!(says(&replayed).contains(&format!("no bug is planted as {typo}")), "{}", says(&replayed));
    std::fs::remove_dir_all(&folder).expect("it is there");
}
