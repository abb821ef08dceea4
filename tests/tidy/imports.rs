//! Who may name whom. The tables are the architecture; `docs/ARCHITECTURE.md` tells the same in words.

use crate::Finding;
use crate::source::{Source, line_of, words};

/// A folder or file, and what its code may name: `crate::x` for parts of its own package, other packages by their names.
/// The longest matching path counts. Tests may name more, but for those under `tests`, which have a row.
const ALLOWED: &[(&str, &[&str])] = &[
    ("src/core/lib.rs", &[]),
    ("src/core/probe.rs", &[]),
    ("src/core/bug.rs", &["xxhash_rust"]),
    ("src/core/model", &["serde", "thiserror", "xxhash_rust"]),
    // Tests in files of their own, with what they draw.
    ("src/core/wire/properties.rs", &["crate::model", "bytes", "proptest"]),
    ("src/core/wire/samples.rs", &["crate::model", "bytes", "proptest"]),
    ("src/core/wire", &["crate::model", "bytes", "thiserror"]),
    ("src/core/codec", &["crate::model", "crate::txn", "crate::cluster", "serde", "bincode", "thiserror"]),
    ("src/core/txn", &["crate::model", "crate::codec", "serde", "thiserror", "xxhash_rust"]),
    ("src/core/cluster", &["crate::model", "crate::codec", "crate::txn", "serde", "thiserror"]),
    ("src/core/phase_two", &["crate::model", "crate::txn"]),
    ("src/core/console", &["crate::model", "crate::txn", "serde", "thiserror"]),
    ("src/core/meters.rs", &["crate::model", "crate::txn"]),
    (
        "src/compressor",
        &["quorate_core", "bytes", "bzip2", "flate2", "lz4_flex", "miniz_oxide", "ruzstd", "xxhash_rust"],
    ),
    (
        "src/world",
        &[
            "tokio",
            "madsim",
            "openraft_rt",
            "openraft_rt_tokio",
            "bytes",
            "rand",
            "pin_project_lite",
            "tracing",
            "xxhash_rust",
            "rustix",
        ],
    ),
    (
        "src/server/storage",
        &["quorate_core", "quorate_world", "bytes", "crc32c", "thiserror", "tracing", "xxhash_rust"],
    ),
    (
        "src/server/raft",
        &[
            "quorate_core",
            "quorate_world",
            "quorate_storage",
            "openraft",
            "bytes",
            "serde",
            "thiserror",
            "tracing",
            "xxhash_rust",
            "futures_util",
        ],
    ),
    ("src/server/config", &["quorate_core", "strsim", "toml", "thiserror"]),
    ("src/server/exit.rs", &[]),
    ("src/server/mac.rs", &["sha2"]),
    (
        "src/server/peer",
        &[
            "crate::exit",
            "quorate_core",
            "quorate_world",
            "quorate_raft",
            "bytes",
            "crc32c",
            "serde",
            "thiserror",
            "tracing",
        ],
    ),
    (
        "src/server/coordinator",
        &[
            "crate::mac",
            "crate::peer",
            "base64",
            "quorate_compressor",
            "quorate_core",
            "quorate_world",
            "quorate_raft",
            "bytes",
            "serde",
            "thiserror",
            "tracing",
            "serde_json",
        ],
    ),
    (
        "src/server/admin",
        &[
            "crate::mac",
            "base64",
            "quorate_core",
            "quorate_storage",
            "quorate_world",
            "bytes",
            "hyper",
            "http_body_util",
            "serde",
            "serde_json",
            "thiserror",
            "tracing",
        ],
    ),
    (
        "src/server/listener",
        &[
            "crate::admin",
            "crate::coordinator",
            "quorate_compressor",
            "quorate_core",
            "quorate_world",
            "bytes",
            "tracing",
        ],
    ),
    ("src/server/main.rs", &["quorate_server", "quorate_world", "quorate_client", "tikv_jemallocator"]),
    (
        "src/server/cli.rs",
        &["crate::bench", "crate::ctl", "crate::inspect", "quorate_client", "quorate_server", "clap"],
    ),
    ("src/server/inspect.rs", &["quorate_core", "quorate_server", "quorate_storage", "quorate_world", "clap"]),
    ("src/server/bench.rs", &["quorate_client", "quorate_server", "quorate_world", "clap"]),
    ("src/server/ctl", &["clap", "serde_json"]),
    ("src/server/ctl.rs", &["quorate_server", "quorate_world", "clap", "serde_json"]),
    ("src/server/logging.rs", &["quorate_server", "tracing_subscriber"]),
    // Puts the parts together, so it may name all of them.
    (
        "src/server",
        &[
            "crate::admin",
            "crate::config",
            "crate::coordinator",
            "crate::exit",
            "crate::listener",
            "crate::peer",
            "quorate_core",
            "quorate_world",
            "quorate_raft",
            "quorate_storage",
            "bytes",
            "serde",
            "thiserror",
            "tracing",
        ],
    ),
    (
        "src/client",
        &["quorate_compressor", "quorate_core", "quorate_world", "bytes", "hdrhistogram", "thiserror", "tracing"],
    ),
    (
        "sim",
        &[
            "quorate_server",
            "quorate_client",
            "quorate_core",
            "quorate_raft",
            "quorate_storage",
            "quorate_world",
            "bytes",
            "clap",
            "serde",
            "serde_json",
            "thiserror",
            "tracing",
            "tracing_subscriber",
            "xxhash_rust",
        ],
    ),
    ("fuzz", &["bytes", "quorate_compressor", "quorate_core", "libfuzzer_sys"]),
    (
        "tests",
        &[
            "bytes",
            "quorate_compressor",
            "quorate_core",
            "quorate_server",
            "quorate_client",
            "rustix",
            "serde",
            "serde_json",
        ],
    ),
];

/// Packages that the table speaks about; `std`, `core` and `alloc` are for [`homes`] and the compiler.
const PACKAGES: &[&str] = &[
    "base64",
    "bincode",
    "bytes",
    "bzip2",
    "clap",
    "crc32c",
    "flate2",
    "futures_util",
    "hdrhistogram",
    "http_body_util",
    "hyper",
    "libfuzzer_sys",
    "lz4_flex",
    "madsim",
    "miniz_oxide",
    "openraft",
    "openraft_rt",
    "openraft_rt_tokio",
    "pin_project_lite",
    "proptest",
    "quorate_client",
    "quorate_compressor",
    "quorate_core",
    "quorate_raft",
    "quorate_server",
    "quorate_storage",
    "quorate_world",
    "rand",
    "rustix",
    "ruzstd",
    "serde",
    "serde_json",
    "sha2",
    "strsim",
    "thiserror",
    "tikv_jemallocator",
    "tokio",
    "toml",
    "tracing",
    "tracing_subscriber",
    "xxhash_rust",
];

/// Names that live in one place each, tests included: what a name is, and the folders that may say it.
const HOMES: &[(&str, &[&str])] = &[
    ("tokio", &["src/world"]),
    ("madsim", &["src/world"]),
    ("std::fs", &["src/world", "sim", "tests", "fuzz"]),
    ("std::net", &["src/world", "tests"]),
    ("std::time", &["src/world", "sim", "tests"]),
    ("std::thread", &["src/world", "sim", "tests"]),
    ("bincode", &["src/core/codec"]),
    ("openraft", &["src/server/raft"]),
    ("openraft_rt", &["src/world", "src/server/raft"]),
    ("openraft_rt_tokio", &["src/world"]),
];

/// Checks [`PACKAGES`] against all that the manifests depend on: the table would pass over a name that is missing there.
pub fn packages(manifests: &[Source]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut named: Vec<String> = Vec::new();
    for manifest in manifests {
        let mut inside = false;
        for (at, line) in manifest.text.lines().enumerate() {
            if line.starts_with('[') {
                inside = line.ends_with("dependencies]");
            } else if let Some((name, _)) = line.split_once(['.', ' ']).filter(|(name, _)| inside && *name != "#") {
                // The library of this package has another name than the package.
                let name = if name == "quorate" { "quorate_server".to_owned() } else { name.replace('-', "_") };
                if !PACKAGES.contains(&name.as_str()) {
                    let what = format!("{name} is not among PACKAGES (tests/tidy/imports.rs)");
                    findings.push(Finding::new(manifest, at + 1, what));
                }
                named.push(name);
            }
        }
    }
    let table = Source::new("tests/tidy/imports.rs", "");
    let twice = PACKAGES.windows(2).filter(|pair| pair[0] >= pair[1]);
    findings.extend(twice.map(|pair| Finding::new(&table, 1, format!("PACKAGES: {} before {}", pair[0], pair[1]))));
    let gone = PACKAGES.iter().filter(|known| !named.iter().any(|name| name == *known));
    findings.extend(gone.map(|known| Finding::new(&table, 1, format!("{known}: no manifest depends on it"))));
    findings
}

/// Checks the shipped code of a file, and all code under `tests`, against [`ALLOWED`].
pub fn allowed(source: &Source) -> Vec<Finding> {
    let rows = ALLOWED.iter().filter(|(folder, _)| is_in(&source.path, folder));
    let Some((folder, names)) = rows.max_by_key(|(folder, _)| folder.len()) else {
        return vec![Finding::new(source, 1, "no row in tests/tidy/imports.rs says what this file may name")];
    };
    let own = own_module(&source.path);
    let code = if is_in(&source.path, "tests") { &source.code } else { &source.shipped };
    let mut findings: Vec<Finding> = Vec::new();
    for (at, path) in paths(code) {
        let path = absolute(&path, &source.path);
        let named = match path.split_first() {
            Some((first, [second, ..])) if first == "crate" && is_module(second) => format!("crate::{second}"),
            Some((first, _)) if PACKAGES.contains(&first.as_str()) => first.clone(),
            Some(_) | None => continue,
        };
        if own.as_ref() != Some(&named) && !names.contains(&named.as_str()) && !same_package(folder, &named) {
            let what = format!("{folder} may not name {named} (tests/tidy/imports.rs)");
            findings.push(Finding::new(source, line_of(code, at), what));
        }
    }
    findings.dedup_by_key(|finding| (finding.line, finding.what.clone()));
    findings
}

/// Packages whose parts may all name each other: the table has one row for the whole of them.
fn same_package(folder: &str, named: &str) -> bool {
    let whole =
        ["src/compressor", "src/world", "src/server/storage", "src/server/raft", "src/client", "sim", "tests", "fuzz"];
    whole.contains(&folder) && named.starts_with("crate::")
}

/// Checks all code of a file, tests too, against [`HOMES`].
pub fn homes(source: &Source) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (at, path) in paths(&source.code) {
        let joined = path.join("::");
        for (name, folders) in HOMES {
            let is_it = joined == *name || joined.strip_prefix(name).is_some_and(|rest| rest.starts_with("::"));
            if is_it && !folders.iter().any(|folder| is_in(&source.path, folder)) {
                let what = format!("{name} is named in {} only", folders.join(", "));
                findings.push(Finding::new(source, line_of(&source.code, at), what));
            }
        }
    }
    findings.extend(renamed_std(source));
    // The cfg is no path, and stands anywhere between others: `all(unix, madsim)`.
    if !is_in(&source.path, "src/world") {
        let whole_test = |at: usize| is_test(&source.path) && source.code[..at].lines().last().is_some_and(is_of_file);
        let cfgs = words(&source.code).filter(|(_, word)| *word == "madsim");
        findings.extend(cfgs.filter(|(at, _)| !whole_test(*at)).map(|(at, _)| {
            let what = "cfg(madsim) is for src/world, and for whole files of integration tests";
            Finding::new(source, line_of(&source.code, at), what)
        }));
    }
    findings.dedup();
    findings
}

/// Under another name the standard library could give anything to anybody.
fn renamed_std(source: &Source) -> Vec<Finding> {
    let renamed = |at: usize, path: &[String]| match path {
        [std] if std == "std" => words(&source.code[at..]).nth(1).is_some_and(|(_, next)| next == "as"),
        [std, own] => std == "std" && own == "self",
        _ => false,
    };
    let found = paths(&source.code).into_iter().filter(|(at, path)| renamed(*at, path));
    found.map(|(at, _)| Finding::new(source, line_of(&source.code, at), "std keeps its name")).collect()
}

fn is_test(path: &str) -> bool {
    path.starts_with("tests/") || path.contains("/tests/")
}

/// `#![cfg(madsim)]`, `#![cfg(not(madsim))]`: the file exists in one of the worlds.
fn is_of_file(line: &str) -> bool {
    line.starts_with("#![cfg(")
}

fn is_in(path: &str, folder: &str) -> bool {
    path.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn is_module(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_lowercase())
}

/// The package's root folder, and the modules of the file below it.
fn modules(path: &str) -> Vec<String> {
    let roots = [
        "src/core/",
        "src/compressor/",
        "src/world/",
        "src/server/storage/",
        "src/server/raft/",
        "src/server/",
        "src/client/",
        "sim/src/",
    ];
    let inside = roots.iter().find_map(|root| path.strip_prefix(root)).unwrap_or(path);
    let names = inside.trim_end_matches(".rs").split('/').map(str::to_owned);
    names.filter(|name| name != "mod" && name != "lib" && name != "main").collect()
}

fn own_module(path: &str) -> Option<String> {
    modules(path).first().map(|name| format!("crate::{name}"))
}

/// Follows `super` and `self` to the root of the package. Inline modules are taken for files: tests are blanked before.
fn absolute(path: &[String], file: &str) -> Vec<String> {
    let ups = path.iter().take_while(|part| *part == "super").count();
    if ups == 0 {
        return path.to_vec();
    }
    let mut modules = modules(file);
    modules.truncate(modules.len().saturating_sub(ups));
    ["crate".to_owned()].into_iter().chain(modules).chain(path[ups..].iter().cloned()).collect()
}

/// Words that no path goes on from: what follows in `use ::std::fs` begins at the root. `crate`, `self` and `super` begin paths.
const KEYWORDS: [&str; 33] = [
    "as", "async", "await", "break", "const", "continue", "dyn", "else", "enum", "extern", "fn", "for", "if", "impl",
    "in", "let", "loop", "match", "mod", "move", "mut", "pub", "ref", "return", "static", "struct", "trait", "type",
    "unsafe", "use", "where", "while", "yield",
];

/// Every path `a::b::c` of a code with its position. Groups `a::{b, c::d}` give `a::b` and `a::c::d`; single words count
/// where they are imported, so that `use openraft as r;` is seen, and `tokio` anywhere.
pub fn paths(code: &str) -> Vec<(usize, Vec<String>)> {
    let all: Vec<(usize, &str)> = words(code).collect();
    // Whether it is of an import, and its words.
    let mut found: Vec<(usize, bool, Vec<String>)> = Vec::new();
    let (mut importing, mut behind_keyword) = (false, false);
    // Open groups: where the prefix ends that holds inside of them.
    let mut prefixes: Vec<(Vec<String>, bool)> = Vec::new();
    let mut current: Vec<String> = Vec::new();
    let mut end = 0;
    for (at, word) in all {
        let between: String = code[end..at].chars().filter(|c| !c.is_whitespace()).collect();
        let continues = between == "::" && end != 0 && !behind_keyword;
        // `use<'a>` imports nothing.
        importing &= !between.contains(';') && !between.starts_with('<');
        for (position, c) in between.char_indices() {
            match c {
                '{' => {
                    let is_group = between[..position].ends_with("::");
                    let prefix = if is_group { current.clone() } else { Vec::new() };
                    prefixes.push((prefix, is_group));
                    current = Vec::new();
                }
                '}' => {
                    prefixes.pop();
                    current = Vec::new();
                }
                _ => {}
            }
        }
        let is_extern_crate = word == "crate" && code[..end].ends_with("extern");
        behind_keyword = KEYWORDS.contains(&word) || is_extern_crate;
        if behind_keyword {
            importing |= word == "use" || is_extern_crate;
            current = Vec::new();
        } else if continues {
            current.push(word.to_owned());
            if let Some(last) = found.last_mut() {
                last.2.push(word.to_owned());
            }
        } else {
            current = match prefixes.last() {
                Some((prefix, true)) => prefix.clone(),
                Some((_, false)) | None => Vec::new(),
            };
            current.push(word.to_owned());
            // A method or a field is no path.
            if !between.ends_with('.') {
                found.push((at, importing, current.clone()));
            }
        }
        end = at + word.len();
    }
    found.retain(|(_, imported, path)| path.len() > 1 || *imported || path[0] == "tokio");
    found.into_iter().map(|(at, _, path)| (at, path)).collect()
}
