//! The house rules that a compiler does not know, as a test.
//!
//! `tidy/source.rs` reads the tree and blanks comments, texts and tests out of the code; `tidy/imports.rs` holds the
//! table of who may name whom; `tidy/rules.rs` the other rules. Each rule has a bad example in `tidy/bites.rs`, so that a
//! rule that has gone blind is noticed.
//!
//! Not here: what clippy can see (`clippy.toml`), and dependencies (`deny.toml`).
#![allow(clippy::disallowed_methods, clippy::disallowed_types)] // it reads the tree, on a real machine only

#[path = "tidy/bites.rs"]
mod bites;
#[path = "tidy/imports.rs"]
mod imports;
#[path = "tidy/rules.rs"]
mod rules;
#[path = "tidy/source.rs"]
mod source;

use rules::Ground;
use source::Source;

/// Every rule about one Rust file.
const RULES: [fn(&Source) -> Vec<Finding>; 8] = [
    imports::allowed,
    imports::homes,
    rules::page,
    rules::file_lines,
    rules::function_lines,
    rules::hollow_names,
    rules::skipped_tests,
    rules::absolute_paths,
];

/// Something to put right.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Finding {
    path: String,
    line: usize,
    what: String,
}

impl Finding {
    fn new(source: &Source, line: usize, what: impl Into<String>) -> Finding {
        Finding { path: source.path.clone(), line, what: what.into() }
    }
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.what)
    }
}

fn manifests() -> Vec<Source> {
    source::text_sources().into_iter().filter(|file| file.path.ends_with("Cargo.toml")).collect()
}

fn complain(mut findings: Vec<Finding>) {
    findings.sort();
    let lines: Vec<String> = findings.iter().map(Finding::to_string).collect();
    assert!(lines.is_empty(), "{} findings\n{}\n", lines.len(), lines.join("\n"));
}

#[test]
fn the_code_is_tidy() {
    let sources = source::rust_sources();
    assert!(sources.len() > 50, "the walk over the tree has lost its way");
    complain(sources.iter().flat_map(|source| RULES.iter().flat_map(|rule| rule(source))).collect());
}

#[test]
fn the_table_of_imports_knows_every_package() {
    complain(imports::packages(&manifests()));
}

#[test]
fn texts_name_no_place_of_one_machine() {
    complain(source::text_sources().iter().flat_map(rules::absolute_paths).collect());
}

#[test]
fn the_map_shows_what_is_there() {
    let map = source::read("docs/ARCHITECTURE.md");
    let makefile = source::read("Makefile");
    let (code, manifests) = (source::rust_sources(), manifests());
    let exists = source::exists;
    complain(rules::map(&map, &Ground { makefile: &makefile.text, code: &code, manifests: &manifests, exists }));
}

#[test]
fn every_dependency_has_a_sentence() {
    let decision = source::read("docs/decisions/0001-dependencies.md");
    for manifest in ["Cargo.toml", "fuzz/Cargo.toml"] {
        complain(rules::dependencies(&source::read(manifest), &decision.text));
    }
}

#[test]
fn every_probe_is_listed() {
    let sources: Vec<Source> =
        source::rust_sources().into_iter().filter(|file| file.path.starts_with("src/")).collect();
    complain(rules::probes(&source::read("sim/probes.txt"), &sources));
}

/// The feature that counts probes is asked for by the simulation and by nobody else, so that production has none.
#[test]
fn only_the_simulation_counts_probes() {
    complain(rules::probes_by_the_simulation(&manifests()));
}

/// So is the feature that plants bugs: the build of `make run` and of `cargo build` has none.
#[test]
fn production_has_no_planted_bugs() {
    complain(rules::planted_by_nobody(&manifests(), &source::read("Makefile")));
}

#[test]
fn every_planted_bug_has_its_name_in_the_table() {
    let is_place = |path: &str| (path.starts_with("src/") || path.starts_with("sim/src/")) && !path.contains("/tests/");
    let table = source::read("sim/src/planted.rs");
    let code: Vec<Source> =
        source::rust_sources().into_iter().filter(|file| is_place(&file.path) && file.path != table.path).collect();
    let told = source::read("docs/SIMULATION.md");
    complain(rules::planted_bugs(&table, &told.text, &code));
    complain(rules::planted_bugs_found_by(&table, &told));
}
