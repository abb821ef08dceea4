//! Recipes of the Makefile that hold several processes: what becomes of the others when one ends.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)] // real processes, on a real machine

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Stands in for a node: the second one finds its port taken, the others serve until they are asked to stop.
const ONE_FAILS: &str = r#"#!/bin/sh
while [ $# -gt 0 ]; do case $1 in --node-id) node=$2;; --data-dir) data=$2;; esac; shift; done
[ "$node" != 2 ] || { echo "quorate: 127.0.0.1:9092: address in use" >&2; exit 69; }
trap 'touch "$data/stopped"; exit 0' TERM
touch "$data/serves"
while :; do sleep 0.05; done
"#;

/// The second one is killed; the others would be heard if they were asked to stop, and end by themselves later.
const ONE_IS_KILLED: &str = r#"#!/bin/sh
while [ $# -gt 0 ]; do case $1 in --node-id) node=$2;; --data-dir) data=$2;; esac; shift; done
[ "$node" != 2 ] || kill -9 $$
trap 'touch "$data/stopped"; exit 0' TERM
touch "$data/serves"
for turn in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do sleep 0.05; done
"#;

/// Runs `make cluster` with these nodes, in a folder of its own: its exit code, what it said, and the folder.
fn cluster(name: &str, node: &str) -> (Option<i32>, String, PathBuf) {
    let folder = std::env::temp_dir().join(format!("quorate-recipes-{}-{name}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a temporary folder");
    let path = folder.join("node");
    std::fs::write(&path, node).expect("a file for a test");
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).expect("it is ours");
    let makefile: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("Makefile");
    let mut make = Command::new("make");
    make.current_dir(&folder).arg("-f").arg(makefile).args(["-s", "cluster"]);
    make.arg(format!("QUORATE={}", path.display()));
    // Of the `make` that runs this test.
    for variable in ["MAKEFLAGS", "MFLAGS", "MAKELEVEL"] {
        make.env_remove(variable);
    }
    let ended = make.output().expect("make is there");
    (ended.status.code(), String::from_utf8_lossy(&ended.stdout).into_owned(), folder)
}

#[test]
fn a_cluster_of_which_one_node_fails_is_stopped_and_says_why() {
    let (code, said, folder) = cluster("fails", ONE_FAILS);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("node 2 ended with 69:\nquorate: 127.0.0.1:9092: address in use\n"), "{said}");
    for other in ["n1", "n3"] {
        // Who was told before it could hear it is gone as well.
        let data = folder.join("data-cluster").join(other);
        assert!(data.join("stopped").exists() || !data.join("serves").exists(), "{other} was left alone: {said}");
    }
    std::fs::remove_dir_all(&folder).expect("it is there");
}

#[test]
fn a_cluster_of_which_one_node_is_killed_goes_on() {
    let (code, said, folder) = cluster("killed", ONE_IS_KILLED);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("node 2 was killed or stopped (137); the others go on\n"), "{said}");
    for other in ["n1", "n3"] {
        let data = folder.join("data-cluster").join(other);
        assert!(data.join("serves").exists() && !data.join("stopped").exists(), "{other} was stopped: {said}");
    }
    std::fs::remove_dir_all(&folder).expect("it is there");
}
