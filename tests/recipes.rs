//! Recipes of the Makefile that hold several processes: what becomes of the others when one ends.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)] // real processes, on a real machine

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Stands in for a node: the second one finds its port taken, the others serve until they are asked to stop.
const NODE: &str = r#"#!/bin/sh
while [ $# -gt 0 ]; do case $1 in --node-id) node=$2;; --data-dir) data=$2;; esac; shift; done
[ "$node" != 2 ] || { echo "quorate: 127.0.0.1:9092: address in use" >&2; exit 69; }
trap 'touch "$data/stopped"; exit 0' TERM
touch "$data/serves"
while :; do sleep 0.05; done
"#;

#[test]
fn a_cluster_of_which_one_node_ends_is_stopped_and_says_why() {
    let folder = std::env::temp_dir().join(format!("quorate-recipes-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a temporary folder");
    let node = folder.join("node");
    std::fs::write(&node, NODE).expect("a file for a test");
    std::fs::set_permissions(&node, PermissionsExt::from_mode(0o755)).expect("it is ours");
    let makefile: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("Makefile");
    let mut make = Command::new("make");
    make.current_dir(&folder).arg("-f").arg(makefile).args(["-s", "cluster"]);
    make.arg(format!("QUORATE={}", node.display()));
    // Of the `make` that runs this test.
    for variable in ["MAKEFLAGS", "MFLAGS", "MAKELEVEL"] {
        make.env_remove(variable);
    }
    let ended = make.output().expect("make is there");
    let said = String::from_utf8_lossy(&ended.stdout);
    assert_eq!(ended.status.code(), Some(2), "{said}");
    assert!(said.contains("node 2 ended with 69:\nquorate: 127.0.0.1:9092: address in use\n"), "{said}");
    for other in ["n1", "n3"] {
        // Who was told before it could hear it is gone as well.
        let data = folder.join("data-cluster").join(other);
        assert!(data.join("stopped").exists() || !data.join("serves").exists(), "{other} was left alone: {said}");
    }
    std::fs::remove_dir_all(&folder).expect("it is there");
}
