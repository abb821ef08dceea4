//! A bad example for each rule, and a good one beside it where the rule could bite too much.

use crate::source::Source;
use crate::{imports, rules, source};

type Rule = fn(&Source) -> Vec<crate::Finding>;

fn bites(rule: Rule, path: &str, text: &str) -> Vec<usize> {
    rule(&Source::new(path, text)).iter().map(|finding| finding.line).collect()
}

fn repeat(line: &str, times: usize) -> String {
    format!("{line}\n").repeat(times)
}

#[test]
fn imports_are_those_of_the_table() {
    let allowed: Rule = imports::allowed;
    assert_eq!(bites(allowed, "src/core/wire/x.rs", "use crate::model::Xid;\nuse crate::txn::Command;"), [2]);
    assert_eq!(bites(allowed, "src/core/wire/x.rs", "use super::super::txn::Command;"), [1]);
    assert_eq!(bites(allowed, "src/core/wire/seata/mod.rs", "use super::super::txn::Command;"), [1]);
    assert_eq!(bites(allowed, "src/core/wire/x.rs", "use super::frame::Head; use crate::wire::message;"), [0; 0]);
    assert_eq!(bites(allowed, "src/server/listener/x.rs", "fn f(r: quorate_raft::Replica) {}"), [1]);
    assert_eq!(bites(allowed, "src/server/admin/x.rs", "use crate::{\n    coordinator::Counts,\n};"), [2]);
    assert_eq!(bites(allowed, "src/server/raft/x.rs", "use crate::log_store::LogStore;\nuse openraft::Raft;"), [0; 0]);
    assert_eq!(bites(allowed, "src/server/raft/x.rs", "use quorate_server::peer;"), [1]);
    assert_eq!(
        bites(allowed, "src/server/config/x.rs", "#[cfg(test)]\nmod tests {\n    use crate::exit::ExitCode;\n}"),
        [0; 0]
    );
    assert_eq!(bites(allowed, "src/server/listener/x.rs", "use ::quorate_raft::Replica;"), [1]);
    assert_eq!(bites(allowed, "src/server/listener/x.rs", "use quorate_raft as raft;"), [1]);
    assert_eq!(bites(allowed, "src/new/x.rs", ""), [1], "a folder without a row");
    assert_eq!(bites(allowed, "src/server/listener/x.rs", "use miniz_oxide::inflate;\nuse base64::Engine;"), [1, 2]);
    assert_eq!(bites(allowed, "src/core/wire/x.rs", "use proptest::prelude::*;"), [1], "shipped code draws no samples");
    assert_eq!(bites(allowed, "tests/x.rs", "fn f() {}\n#[test]\nfn g() { quorate_raft::f(); }"), [3], "a test");
    assert_eq!(bites(allowed, "tests/process/mod.rs", "use quorate_core::model::Xid;\nuse crate::process;"), [0; 0]);
}

#[test]
fn the_table_of_imports_and_the_manifests_agree() {
    let found = |text: &str| -> Vec<(usize, String)> {
        let findings = imports::packages(&[Source::new("Cargo.toml", text)]);
        findings.into_iter().map(|found| (found.line, found.what)).collect()
    };
    let text =
        "[package]\nnew = \"1\"\n[dependencies]\n# a = b\nserde.workspace = true\nxxhash-rust = \"1\"\nquorate = { }\n";
    let known = found(text);
    assert!(known.iter().all(|(_, what)| what.ends_with("no manifest depends on it")), "{known:?}");
    for name in ["serde", "xxhash_rust", "quorate_server"] {
        assert!(!known.iter().any(|(_, what)| what.starts_with(&format!("{name}:"))), "{name}");
    }
    assert!(known.iter().any(|(_, what)| what.starts_with("tokio:")));
    let more = found(&format!("{text}[target.\"cfg(madsim)\".dev-dependencies]\nnew-one = \"1\"\n"));
    assert!(more.iter().any(|(line, what)| *line == 9 && what.starts_with("new_one is not")), "{more:?}");
}

#[test]
fn names_stay_at_home() {
    let homes: Rule = imports::homes;
    for bad in [
        "use tokio::sync::mpsc;",
        "use std::fs;",
        "use std::{\n fs, io};",
        "fn f() { std::thread::sleep(d) }",
        "use std::time::Instant;",
        "type A = std::net::SocketAddr;",
        "#[cfg(test)] mod tests { use std::net::TcpStream; }",
        "#[cfg(madsim)] fn f() {}",
        "#[cfg(not(madsim))] fn f() {}",
        "fn f() { if cfg!(madsim) {} }",
        "#[cfg(all(unix, madsim))] fn f() {}",
        "#[cfg(any(madsim, test))] fn f() {}",
        "use bincode::config;",
        "use openraft::Raft;",
        "use ::std::fs;",
        "use ::{std::fs};",
        "pub use ::tokio::spawn;",
        "use ::openraft::Raft;",
        "fn f() -> ::std::time::Instant {}",
        "impl ::openraft::Raft for X {}",
        "use bincode as b;",
        "use openraft as raft;",
        "use madsim as m;",
        "use std as s;",
        "use std::{self as s};",
        "extern crate openraft as raft;",
        "use {bytes::Buf, openraft};",
    ] {
        assert!(!bites(homes, "src/server/coordinator/x.rs", bad).is_empty(), "{bad}");
    }
    for good in [
        "// std::fs and tokio::spawn are only mentioned",
        "const TEXT: &str = \"std::fs::read\";",
        "const RAW: &str = r#\"use tokio::spawn; \"quoted\" \"#;",
        "use std::sync::Arc; use std::collections::BTreeMap;",
        "fn f<'a>(c: char) -> bool { c == '\"' } // tokio::",
        "use quorate_world::time::Instant;",
        "fn f(openraft: u8, bincode: u8) -> u8 { openraft + bincode }",
        "fn f<'a>(x: &'a u8) -> impl Sized + use<'a> { let openraft = x; openraft }",
        "use std::{sync::Arc, collections::{self, BTreeMap}};",
    ] {
        assert_eq!(bites(homes, "src/server/coordinator/x.rs", good), [0; 0], "{good}");
    }
    assert_eq!(bites(homes, "src/server/storage/tests/crash.rs", "#![cfg(madsim)]\n#[cfg(madsim)] fn f() {}"), [2]);
    assert_eq!(bites(homes, "src/world/real/x.rs", "use tokio::net; #[cfg(madsim)] use std::fs;"), [0; 0]);
    assert_eq!(bites(homes, "src/core/codec/mod.rs", "use bincode::config;"), [0; 0]);
}

#[test]
fn every_file_has_a_page() {
    assert_eq!(bites(rules::page, "src/x.rs", "use a::b;"), [1]);
    assert_eq!(bites(rules::page, "src/x.rs", "// A comment is no page.\nuse a::b;"), [1]);
    assert_eq!(bites(rules::page, "src/x.rs", "\n//! A page.\nuse a::b;"), [0; 0]);
}

#[test]
fn files_are_short() {
    let code = repeat("const A: u8 = 1;", 501);
    assert_eq!(bites(rules::file_lines, "src/x.rs", &code), [1]);
    let tested =
        format!("{}#[cfg(test)]\nmod tests {{\n{}}}\n", repeat("const A: u8 = 1;", 490), repeat("fn f() {}", 400));
    assert_eq!(bites(rules::file_lines, "src/x.rs", &tested), [0; 0]);
    assert_eq!(bites(rules::file_lines, "src/a/tests.rs", &code), [0; 0]);
    assert_eq!(bites(rules::file_lines, "src/a/asked_tests.rs", &code), [0; 0]);
    assert_eq!(bites(rules::file_lines, "src/a/contests.rs", &code), [1]);
}

#[test]
fn only_what_is_left_behind_is_passed_over() {
    for ours in ["src/target", "src/core/shared", "sim/src/data", "tests/artifacts", "docs"] {
        assert!(source::is_ours(ours), "{ours}");
    }
    for other in ["target", "shared", "data", "fuzz/artifacts", ".git", "tests/clients/python/.venv"] {
        assert!(!source::is_ours(other), "{other}");
    }
}

#[test]
fn functions_are_short() {
    let function = |lines: usize| format!("//! P\npub fn long(a: [u8; 3]) -> u8 {{\n{}}}\n", repeat("    a();", lines));
    assert_eq!(bites(rules::function_lines, "src/x.rs", &function(69)), [2]);
    assert_eq!(bites(rules::function_lines, "src/x.rs", &function(68)), [0; 0]);
    let declared = format!("trait T {{ fn short(&self);\n{}}}", repeat("    const A: u8;", 100));
    assert_eq!(bites(rules::function_lines, "src/x.rs", &declared), [0; 0]);
}

#[test]
fn names_say_something() {
    for bad in ["struct LockManager;", "mod util {}", "trait SessionHelper {}", "enum StoreImpl {}", "mod helpers;"] {
        assert_eq!(bites(rules::hollow_names, "src/x.rs", bad), [1], "{bad}");
    }
    assert_eq!(bites(rules::hollow_names, "src/x.rs", "struct Simple; impl Simple {} struct Utility;"), [0; 0]);
}

#[test]
fn tests_are_not_skipped() {
    assert_eq!(bites(rules::skipped_tests, "src/x.rs", "#[test]\n#[ignore]\nfn f() {}"), [2]);
    assert_eq!(bites(rules::skipped_tests, "src/x.rs", "fn f() {\n todo!()\n}"), [2]);
}

#[test]
fn paths_are_relative() {
    let places = ["root", "work", "home", "opt", "tmp", "var", "Users", "usr/local"].map(|place| format!("/{place}"));
    for place in &places {
        for bad in [format!("cd {place}/x"), format!("x=\"{place}\""), format!("`{place}/a/b`"), place.clone()] {
            assert_eq!(bites(rules::absolute_paths, "a.md", &bad), [1], "{bad}");
        }
    }
    for good in ["src/work.rs", "the work/life balance", "https://example.org/work/x", "./home"] {
        assert_eq!(bites(rules::absolute_paths, "a.md", good), [0; 0], "{good}");
    }
}

#[test]
fn the_map_must_not_lie() {
    let code = [Source::new("src/core/txn/apply.rs", "pub struct Transactions; impl Transactions { fn apply() {} }")];
    let look = |text: &str| {
        let map = Source::new("docs/ARCHITECTURE.md", text);
        let manifests = [Source::new("src/core/Cargo.toml", "[package]\nname = \"quorate-core\"\n")];
        let exists = |path: &str| path == "src/core/txn";
        let ground = rules::Ground { makefile: "run:\n\tcargo run\n", code: &code, manifests: &manifests, exists };
        let findings = rules::map(&map, &ground);
        findings.iter().map(|finding| finding.line).collect::<Vec<usize>>()
    };
    assert_eq!(
        look("see `src/core/txn`, `src/core/txn/`,\n`Transactions::apply`, `txn`, `make run`, `apply()`"),
        [0; 0]
    );
    assert_eq!(look("`src/core/gone`\n`Vanished`\n`Transactions::vanished`\n`make gone`"), [1, 2, 3, 4]);
    assert_eq!(look("`Vanished::apply`\n`quorate-core`\n`quorate-gone`\n`gone::Transactions::apply`"), [1, 3, 4]);
    assert_eq!(look("```\n`Vanished`\n```\n`--flag`, `a = 1`"), [0; 0]);
}

#[test]
fn dependencies_need_a_reason() {
    let text = "[package]\nx = \"1\"\n[workspace.dependencies]\nown = { path = \"own\" }\nserde = \"1\"\nrand = \"0.10\"\n[x]\n";
    let manifest = Source::new("Cargo.toml", text);
    let findings = rules::dependencies(&manifest, "`serde`: because");
    assert_eq!(findings.iter().map(|finding| finding.line).collect::<Vec<usize>>(), [6]);
    let outside =
        Source::new("fuzz/Cargo.toml", "[package]\nx = \"1\"\n[dependencies]\nserde = \"1\"\nrand = \"0.10\"\n");
    let findings = rules::dependencies(&outside, "`serde`: because");
    assert_eq!(findings.iter().map(|finding| finding.line).collect::<Vec<usize>>(), [5]);
}

#[test]
fn probes_and_their_list_agree() {
    let list = Source::new("sim/probes.txt", "one\ngone\ntwo rare\n");
    let code = "fn f() {\n sometimes!(\"one\");\n // sometimes!(\"not\")\n sometimes!(\"two\");\n}\n";
    let more = "fn g() {\n sometimes!(\"one\");\n sometimes!(\"new\");\n}\n";
    let sources = [Source::new("src/a.rs", code), Source::new("src/b.rs", more)];
    let findings = rules::probes(&list, &sources);
    let places: Vec<(&str, usize)> = findings.iter().map(|found| (found.path.as_str(), found.line)).collect();
    assert_eq!(places, [("src/b.rs", 2), ("src/b.rs", 3), ("sim/probes.txt", 2)]);
}

#[test]
fn only_the_simulation_asks_for_probes() {
    let asked = |path: &str, text: &str| -> Vec<usize> {
        let findings = rules::probes_by_the_simulation(&[Source::new(path, text)]);
        findings.iter().map(|finding| finding.line).collect()
    };
    let asking = "[dependencies]\nquorate-core = { workspace = true, features = [\"probes\"] }\n";
    assert_eq!(asked("sim/Cargo.toml", asking), [0; 0]);
    assert_eq!(asked("sim/Cargo.toml", "[dependencies]\n# \"probes\"\n"), [1]);
    assert_eq!(asked("Cargo.toml", asking), [2]);
    assert_eq!(asked("Cargo.toml", "[features]\ndefault = [\"quorate-core/probes\"]\n"), [2]);
    assert_eq!(asked("src/core/Cargo.toml", "[features]\nprobes = []\n"), [0; 0]);
}

#[test]
fn planted_bugs_and_their_table_agree() {
    let table =
        Source::new("sim/src/planted.rs", "const BUGS = [\n(\"one\", &[\"A1\"]),\n(\"gone\", &[\"B1\"]),\n];\n");
    let code = [Source::new("src/a.rs", "fn f() {\n if bug!(\"one\") {}\n if bug!(\"new\") {}\n}\n")];
    let untold = rules::planted_bugs(&table, "`gone`", &code);
    assert!(untold.iter().any(|found| found.line == 2 && found.what.contains("nothing tells")));
    let findings = rules::planted_bugs(&table, "`one`, `gone`", &code);
    let places: Vec<(&str, usize)> = findings.iter().map(|found| (found.path.as_str(), found.line)).collect();
    assert_eq!(places, [("src/a.rs", 3), ("sim/src/planted.rs", 3)]);
}

#[test]
fn the_page_names_all_oracles_of_a_planted_bug() {
    let table = "const BUGS = [\n(\"one\", &[\"A1\", \"B10\"]),\n];\nconst MORE = [(\"two\", &[\"G3\"]), (\"three\", &[\"D\"])];\n";
    let look = |rows: &str| -> Vec<usize> {
        let told = Source::new("docs/SIMULATION.md", rows);
        let findings = rules::planted_bugs_found_by(&Source::new("sim/src/planted.rs", table), &told);
        findings.iter().map(|finding| finding.line).collect()
    };
    let (one, two) = ("| `one` | what | A1 or B10 | 7 |\n", "| `two` (R2) | what | G3 | 2 |\n");
    let both = "| 3 | Mutant | `three`, `one` | A1, B10 or D |\n";
    assert_eq!(look(&format!("{one}{two}{both}")), [0; 0]);
    assert_eq!(look(&format!("{one}{two}")), [1], "three has no row");
    assert_eq!(look(&format!("{two}| `one` | what | A1 | 7 |\n{both}")), [2]);
    assert_eq!(look(&format!("{two}| `one` | what | A1, B10 or C1 | 7 |\n{both}")), [2]);
    assert_eq!(look(&format!("{one}{two}| 3 | Mutant | `three`, `one` | D |\n")), [3]);
    assert_eq!(look(&format!("{one}{two}{both}| `one` | 1 | 1 of 60 | 0 of 26 | 54 | 3.5 |\n")), [0; 0]);
}

#[test]
fn nobody_asks_for_planted_bugs() {
    let asked = |manifest: &str, makefile: &str| -> Vec<usize> {
        let manifests = [Source::new("Cargo.toml", manifest)];
        let findings = rules::planted_by_nobody(&manifests, &Source::new("Makefile", makefile));
        findings.iter().map(|finding| finding.line).collect()
    };
    assert_eq!(
        asked("[features]\nplanted_bugs = [\"world/planted_bugs\"]\n", "sim:\n\trun --features planted_bugs"),
        [0; 0]
    );
    assert_eq!(asked("[features]\ndefault = [\"planted_bugs\"]\n", ""), [2]);
    assert_eq!(asked("[features]\ndefault = [\"world/planted_bugs\"]\n", ""), [2]);
    assert_eq!(asked("[dependencies]\nworld = { path = \"w\", features = [\"planted_bugs\"] }\n", ""), [2]);
    assert_eq!(asked("", "build:\n\tcargo build --release --features planted_bugs\n"), [2]);
}
