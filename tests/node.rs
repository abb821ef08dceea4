//! Nodes as real processes: the ready line, a restart, an orderly stop, exit codes.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)] // real processes, on a real machine

#[path = "process/mod.rs"]
mod process;

use process::{Folder, Node, PATIENCE, STOP_MAX, free_port, get, value};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// What `quorate ctl` ends with, and what it says.
fn ctl(words: &[&str]) -> (Option<i32>, String) {
    let (code, out, err) = quorate(&[&["ctl"], words].concat());
    (code, out + &err)
}

/// What `quorate` ends with, and what it says on standard output and standard error.
fn quorate(words: &[&str]) -> (Option<i32>, String, String) {
    let ended = Command::new(env!("CARGO_BIN_EXE_quorate")).args(words).output().expect("the binary starts");
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    (ended.status.code(), text(ended.stdout), text(ended.stderr))
}

/// Every file below a folder.
fn contents(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in std::fs::read_dir(folder).expect("the folder is there") {
        let path = entry.expect("it can be read").path();
        if path.is_dir() {
            files.extend(contents(&path));
        } else {
            let bytes = std::fs::read(&path).expect("it can be read");
            files.insert(path, bytes);
        }
    }
    files
}

#[test]
fn one_node_is_ready_stops_in_order_and_comes_back() {
    let folder = Folder::new();
    let mut node = Node::start(&folder.0, &["--peer-listen", "127.0.0.1:0"]);
    let fields = node.ready();
    let keys: Vec<&str> = fields.iter().map(|(key, _)| key.as_str()).collect();
    assert_eq!(keys, ["node", "cluster", "seata", "peer", "admin", "groups", "in_ms"]);
    assert_eq!((value(&fields, "node"), value(&fields, "groups")), ("1", "8"));
    assert!(get(value(&fields, "admin"), "/health").ends_with("ok"));
    assert!(get(value(&fields, "seata"), "/health").starts_with("HTTP/1.1 200"));
    let page = get(value(&fields, "admin"), "/metrics");
    for line in ["quorate_group_health{group=\"8\"} 0\n", "quorate_answers_waiting_bytes 0\n"] {
        assert!(page.contains(line), "{line}");
    }

    let admin = value(&fields, "admin");
    let (code, said) = ctl(&["transaction", "list", "--admin", admin]);
    assert!(code == Some(0) && said.ends_with("0 in all, page 1 of 0\n"), "{code:?} {said}");
    let (code, said) = ctl(&["transaction", "stop", "127.0.0.1:8091:4097", "--admin", admin]);
    assert!(code == Some(69) && said.contains("409: no such transaction"), "{code:?} {said}");
    for group in ["0", "3"] {
        let (code, said) = ctl(&["move-leader", "--group", group, "--node", "77", "--admin", admin]);
        let expected = format!("409: node 77 is no voter of group {group}; its voters are 1");
        assert!(code == Some(69) && said.contains(&expected), "{code:?} {said}");
        let (code, said) = ctl(&["move-leader", "--group", group, "--node", "1", "--admin", admin]);
        assert!(code == Some(0), "{code:?} {said}");
    }
    let (code, said) = ctl(&["transaction", "show", "127.0.0.1:8091:4097", "--admin", admin]);
    assert!(code == Some(69) && said.contains("no transaction 127.0.0.1:8091:4097: it has ended"), "{code:?} {said}");

    // A second process on the same folder.
    let mut second = Node::start(&folder.0, &["--peer-listen", "127.0.0.1:0"]);
    assert_eq!(second.ended(PATIENCE), Some(75), "{}", second.stderr());
    // A port that is taken.
    let other = Folder::new();
    let mut third = Node::start(&other.0, &["--peer-listen", value(&fields, "peer")]);
    assert_eq!(third.ended(PATIENCE), Some(69), "{}", third.stderr());

    node.terminate();
    assert_eq!(node.ended(STOP_MAX), Some(0), "{}", node.stderr());
    // Somebody else's folder stays byte for byte as it was.
    let before = contents(&folder.0);
    assert!(before.keys().any(|path| path.ends_with("IDENTITY")), "{:?}", before.keys());
    let mut other = Node::start(&folder.0, &["--peer-listen", "127.0.0.1:0", "--node-id", "7"]);
    assert_eq!(other.ended(PATIENCE), Some(77));
    assert!(other.stderr().contains("the data folder belongs to node 1, not to node 7"));
    let after = contents(&folder.0);
    assert_eq!(after.keys().collect::<Vec<_>>(), before.keys().collect::<Vec<_>>());
    let changed: Vec<_> = before.iter().filter(|(path, bytes)| after.get(*path) != Some(*bytes)).collect();
    assert!(changed.is_empty(), "changed: {:?}", changed.iter().map(|(path, _)| path).collect::<Vec<_>>());
    let mut again = Node::start(&folder.0, &["--peer-listen", "127.0.0.1:0", "--workers", "1"]);
    assert_eq!(value(&again.ready(), "cluster"), value(&fields, "cluster"));
    again.terminate();
    assert_eq!(again.ended(STOP_MAX), Some(0), "{}", again.stderr());
}

#[test]
fn three_nodes_found_survive_a_kill_and_refuse_a_wiped_disk() {
    let folder = Folder::new();
    let ports = [free_port(), free_port(), free_port()];
    let at = |port: u16| format!("127.0.0.1:{port}");
    let list: Vec<String> = (1..).zip(ports).map(|(node, port)| format!("{node}={}", at(port))).collect();
    let list = list.join(",");
    let start = |node: usize, data: &str| {
        let (id, peer) = (node.to_string(), at(ports[node - 1]));
        // As many threads as its number: one alone is a runtime of its own kind.
        let flags = ["--node-id", &id, "--peers", &list, "--peer-listen", &peer, "--workers", &id];
        Node::start(&folder.0.join(data), &flags)
    };
    let mut nodes = [start(1, "n1"), start(2, "n2"), start(3, "n3")];
    let clusters: Vec<String> = nodes.iter_mut().map(|node| value(&node.ready(), "cluster").to_owned()).collect();
    assert!(clusters.iter().all(|cluster| *cluster == clusters[0]));

    // A crash is no more than a stop.
    nodes[2].child.kill().expect("it runs");
    nodes[2].ended(PATIENCE);
    nodes[2] = start(3, "n3");
    assert_eq!(value(&nodes[2].ready(), "cluster"), clusters[0]);

    // The machine comes back with an empty disk.
    nodes[2].child.kill().expect("it runs");
    nodes[2].ended(PATIENCE);
    let mut wiped = start(3, "n3-new");
    assert_eq!(wiped.ended(PATIENCE), Some(77));
    assert!(wiped.stderr().contains("a lost disk comes back as a new node"));

    for node in &mut nodes[..2] {
        node.terminate();
    }
    for node in &mut nodes[..2] {
        assert_eq!(node.ended(STOP_MAX), Some(0), "{}", node.stderr());
    }
}

#[test]
fn load_says_at_once_whom_it_waits_for() {
    let nobody = format!("127.0.0.1:{}", free_port());
    let mut command = Command::new(env!("CARGO_BIN_EXE_quorate"));
    let mut bench =
        command.args(["bench", "--servers", &nobody]).stdout(std::process::Stdio::piped()).spawn().expect("it starts");
    let mut said = String::new();
    let out = bench.stdout.take().expect("it is piped");
    let read = std::io::BufRead::read_line(&mut std::io::BufReader::new(out), &mut said);
    bench.kill().and_then(|()| bench.wait()).expect("it is our child");
    assert!(read.is_ok() && said.starts_with(&format!("waiting for {nobody}: ")), "{said:?}");
}

/// Asks until the nodes are as wished.
fn until_listed(admin: &str, is_so: impl Fn(&str) -> bool) {
    let began = Instant::now();
    loop {
        let (code, said) = ctl(&["node", "list", "--admin", admin]);
        if code == Some(0) && is_so(&said) {
            return;
        }
        assert!(began.elapsed() < PATIENCE, "never: {said}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_node_joins_is_drained_and_removed() {
    let folder = Folder::new();
    let peer = format!("127.0.0.1:{}", free_port());
    let mut first = Node::start(&folder.0.join("n1"), &["--peer-listen", &peer, "--groups", "4"]);
    let founded = first.ready();
    let admin = value(&founded, "admin");
    let own = format!("127.0.0.1:{}", free_port());
    let mut second = Node::start(&folder.0.join("n2"), &["--join", &peer, "--peer-listen", &own]);
    let joined = second.ready();
    assert_eq!((value(&joined, "node"), value(&joined, "cluster")), ("2", value(&founded, "cluster")));
    until_listed(admin, |said| said.contains("serving   2\n2 ") && said.trim_end().ends_with("serving   2"));

    let (code, said) = ctl(&["node", "drain", "2", "--admin", value(&joined, "admin")]);
    assert!(code == Some(0) && said == "node 2 is draining\n", "{code:?} {said}");
    until_listed(admin, |said| said.trim_end().ends_with("draining  0"));
    let (code, said) = ctl(&["node", "drain", "1", "--admin", admin]);
    assert!(code == Some(69) && said.contains("let another node join first"), "{code:?} {said}");
    let (code, said) = ctl(&["node", "remove", "7", "--admin", admin]);
    assert!(code == Some(69) && said.contains("node 7 is no member"), "{code:?} {said}");

    let (code, said) = ctl(&["node", "remove", "2", "--admin", admin]);
    assert!(code == Some(0), "{code:?} {said}");
    assert_eq!(second.ended(PATIENCE), Some(77));
    assert!(second.stderr().contains("node 2 was removed from"));
    first.terminate();
    assert_eq!(first.ended(STOP_MAX), Some(0), "{}", first.stderr());
}

#[test]
fn a_node_that_is_not_let_in_yet_stops_when_asked() {
    let folder = Folder::new();
    let nobody = format!("127.0.0.1:{}", free_port());
    let mut node = Node::start(&folder.0, &["--join", &nobody, "--peer-listen", "127.0.0.1:0"]);
    let began = Instant::now();
    while !folder.0.join("LOCK").exists() {
        assert!(began.elapsed() < PATIENCE, "it opens no folder");
        std::thread::sleep(Duration::from_millis(5));
    }
    node.terminate();
    assert_eq!(node.ended(STOP_MAX), Some(0), "{}", node.stderr());
}

/// Where a batch in the middle of the log starts: its file, and the offset in it.
fn some_batch(dump: &str) -> (String, u64) {
    let field = |line: &str, name: &str| {
        let found = line.split(' ').find_map(|word| word.strip_prefix(name));
        found.and_then(|value| value.parse::<u64>().ok()).unwrap_or_else(|| panic!("{name} is missing in {line}"))
    };
    let lines: Vec<&str> = dump.lines().collect();
    let last = field(lines.last().expect("the log has records"), "batch=");
    let line = lines.iter().find(|line| field(line, "batch=") * 2 >= last).expect("it has a middle");
    let file = line.split(' ').next().expect("the line has a file");
    (file.to_owned(), field(line, "offset="))
}

#[test]
fn a_damaged_log_stops_the_start_and_is_found_offline_too() {
    let folder = Folder::new();
    let data = folder.0.to_str().expect("ASCII");
    let (code, _, said) = quorate(&["storage", "verify", data]);
    assert!(code == Some(77) && said.contains("this is no data folder"), "{code:?} {said}");
    assert_eq!(std::fs::read_dir(&folder.0).expect("it is there").count(), 0, "nothing was made in it");
    let nowhere = format!("{data}/nowhere");
    assert_eq!(quorate(&["storage", "verify", &nowhere]).0, Some(74));
    assert!(!Path::new(&nowhere).exists());

    let mut node = Node::start(&folder.0, &["--peer-listen", "127.0.0.1:0"]);
    node.ready();
    let (code, _, said) = quorate(&["storage", "verify", data]);
    assert!(code == Some(75) && said.contains("in use by another process"), "{code:?} {said}");
    node.terminate();
    assert_eq!(node.ended(STOP_MAX), Some(0), "{}", node.stderr());

    let (code, said, complaint) = quorate(&["storage", "verify", data]);
    assert_eq!((code, complaint.as_str()), (Some(0), ""));
    assert!(said.starts_with("node 1 of cluster ") && said.contains("wal/wal-0000000001.log: whole, "), "{said}");
    assert!(said.contains("group 8: entries=") && said.ends_with("end of the log: tail=clean\n"), "{said}");
    let (code, dump, _) = quorate(&["storage", "dump", data]);
    assert_eq!(code, Some(0));
    let (code, one, _) = quorate(&["storage", "dump", data, "--group", "8"]);
    assert!(code == Some(0) && !one.is_empty() && one.lines().all(|line| dump.contains(line)), "{one}");

    let (file, offset) = some_batch(&dump);
    let path = folder.0.join(&file);
    let mut bytes = std::fs::read(&path).expect("it is there");
    bytes[offset as usize + 100] ^= 1;
    std::fs::write(&path, bytes).expect("it can be written");
    let (code, said, complaint) = quorate(&["storage", "verify", data]);
    assert_eq!(code, Some(65), "{said}");
    assert!(said.contains(&format!("{file}: DAMAGED at offset {offset}: ")), "{said}");
    assert!(complaint.starts_with(&format!("quorate: storage: damaged: {file} offset {offset} ")), "{complaint}");
    assert!(complaint.contains("Inspect: quorate storage verify <data>."), "{complaint}");
    assert!(complaint.contains("Replace the node: quorate ctl node replace 1, "), "{complaint}");
    let mut damaged = Node::start(&folder.0, &["--peer-listen", "127.0.0.1:0"]);
    assert_eq!(damaged.ended(PATIENCE), Some(65));
    let refusal = damaged.stderr();
    assert!(refusal.contains(&complaint), "{refusal}\n{complaint}");
}
