//! Rules about one file, and about the texts that describe the others.

use crate::Finding;
use crate::source::{Source, end_of_item, line_of, words};
use std::collections::{BTreeMap, BTreeSet};

const FILE_LINES_MAX: usize = 500;
const FUNCTION_LINES_MAX: usize = 70;

/// Every file begins with the page that tells its idea.
pub fn page(source: &Source) -> Vec<Finding> {
    let first = source.text.lines().find(|line| !line.trim().is_empty() && !line.starts_with("#!"));
    if first.is_some_and(|line| line.starts_with("//!")) {
        return Vec::new();
    }
    vec![Finding::new(source, 1, "no `//!` page on top: what is this file, why, and what is not here?")]
}

/// Files stay short enough for one head. Tests do not count.
pub fn file_lines(source: &Source) -> Vec<Finding> {
    let tests = source.code.lines().zip(source.shipped.lines());
    let tests = tests.filter(|(code, shipped)| !code.trim().is_empty() && shipped.trim().is_empty()).count();
    let lines = if source.shipped.trim().is_empty() { 0 } else { source.text.lines().count() - tests };
    if lines <= FILE_LINES_MAX {
        return Vec::new();
    }
    vec![Finding::new(source, 1, format!("{lines} lines without tests, at most {FILE_LINES_MAX}: split it by idea"))]
}

/// So do functions.
pub fn function_lines(source: &Source) -> Vec<Finding> {
    let code = &source.shipped;
    let functions = words(code).filter(|(_, word)| *word == "fn");
    let named = functions.filter_map(|(start, _)| Some((start, words(&code[start + 2..]).next()?.1)));
    let long = named.filter_map(|(start, name)| {
        let lines = code[start..end_of_item(code, start)].matches('\n').count() + 1;
        let what = format!("fn {name} has {lines} lines, at most {FUNCTION_LINES_MAX}");
        (lines > FUNCTION_LINES_MAX).then(|| Finding::new(source, line_of(code, start), what))
    });
    long.collect()
}

/// Names are nouns of the field; these say nothing.
pub fn hollow_names(source: &Source) -> Vec<Finding> {
    let hollow = ["Manager", "Helper", "Helpers", "Util", "Utils", "Impl"];
    // What TM and RM stand for since X/Open.
    let known = ["TransactionManager", "ResourceManager"];
    let kinds = ["struct", "enum", "trait", "type", "mod"];
    let all: Vec<(usize, &str)> = words(&source.code).collect();
    let pairs = all.windows(2).filter(|pair| kinds.contains(&pair[0].1));
    let bad = pairs.filter(|pair| {
        let name = pair[1].1;
        !known.contains(&name) && hollow.iter().any(|end| name.ends_with(end) || name.eq_ignore_ascii_case(end))
    });
    let finding = |pair: &[(usize, &str)]| {
        let what = format!("{}: name it by what it is in the field", pair[1].1);
        Finding::new(source, line_of(&source.code, pair[1].0), what)
    };
    bad.map(finding).collect()
}

/// A test that is skipped protects nothing.
pub fn skipped_tests(source: &Source) -> Vec<Finding> {
    let marks = source.code.match_indices("#[ignore").chain(source.code.match_indices("todo!("));
    marks.map(|(at, mark)| Finding::new(source, line_of(&source.code, at), format!("{mark} is not for here"))).collect()
}

/// Nothing in the repository knows where it lies on one machine.
pub fn absolute_paths(source: &Source) -> Vec<Finding> {
    // Put together here, or this file would find itself.
    let places = ["root", "work", "home", "opt", "tmp", "var", "Users", "usr/local"].map(|place| format!("/{place}"));
    let mut findings = Vec::new();
    for place in &places {
        for (at, _) in source.text.match_indices(place.as_str()) {
            let before = source.text[..at].chars().next_back();
            let after = source.text[at + place.len()..].chars().next();
            let begins = before.is_none_or(|c| c.is_whitespace() || "\"'`(=:,[<|".contains(c));
            let ends = after.is_none_or(|c| !c.is_alphanumeric() && c != '_' && c != '-');
            if begins && ends {
                findings.push(Finding::new(
                    source,
                    line_of(&source.text, at),
                    format!("{place}: a path of one machine"),
                ));
            }
        }
    }
    findings
}

/// Where the names in the map come from.
pub struct Ground<'a> {
    /// The Makefile, for targets.
    pub makefile: &'a str,
    /// All code, for names.
    pub code: &'a [Source],
    /// All manifests, for packages.
    pub manifests: &'a [Source],
    /// Whether a path is in the repository.
    pub exists: fn(&str) -> bool,
}

/// What stands in backticks in the map must exist: paths, `make` targets, packages, names in the code.
pub fn map(map: &Source, ground: &Ground<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut fenced = false;
    for (number, line) in map.text.lines().enumerate() {
        if line.starts_with("```") {
            fenced = !fenced;
        }
        if fenced {
            continue;
        }
        for token in line.split('`').skip(1).step_by(2) {
            if !is_there(token, ground) {
                findings.push(Finding::new(map, number + 1, format!("`{token}` does not exist")));
            }
        }
    }
    findings
}

fn is_there(token: &str, ground: &Ground<'_>) -> bool {
    if let Some(target) = token.strip_prefix("make ") {
        let target = target.split(' ').next().unwrap_or(target);
        return ground.makefile.lines().any(|line| line.strip_prefix(target).is_some_and(|rest| rest.starts_with(':')));
    }
    if token.contains('/') || token.ends_with(".rs") || token.ends_with(".md") || token.ends_with(".toml") {
        return (ground.exists)(token.trim_end_matches('/'));
    }
    if token.contains('-') && token.split('-').all(|part| part.starts_with(|c: char| c.is_ascii_lowercase())) {
        let name = format!("name = \"{token}\"");
        return ground.manifests.iter().any(|manifest| manifest.text.lines().any(|line| line == name));
    }
    let is_name = token.chars().all(|c| c.is_alphanumeric() || "_:!()".contains(c));
    let is_known = |name: &str| ground.code.iter().any(|source| has_word(source, name));
    // Anything else in backticks is a piece of text: a flag, a line, a value.
    !is_name || words(token).all(|(_, name)| is_known(name))
}

fn has_word(source: &Source, name: &str) -> bool {
    let in_path = source.path.split(['/', '.']).any(|part| part == name);
    in_path || (source.code.contains(name) && words(&source.code).any(|(_, word)| word == name))
}

/// Every probe of the code stands in the list, at one place, and the list has no other; what is rare says so.
pub fn probes(list: &Source, code: &[Source]) -> Vec<Finding> {
    let name_of = |line: &str| line.split(' ').next().unwrap_or(line).to_owned();
    let mut unseen: BTreeMap<String, usize> =
        list.text.lines().enumerate().map(|(number, line)| (name_of(line), number + 1)).collect();
    let listed: BTreeSet<String> = unseen.keys().cloned().collect();
    let mut findings = Vec::new();
    for source in code {
        let lines = source.text.lines().zip(source.shipped.lines()).enumerate();
        let probes = lines.filter(|(_, (_, code))| code.contains("sometimes!("));
        let named = probes.filter_map(|(number, (text, _))| Some((number + 1, text.split("sometimes!(\"").nth(1)?)));
        for (number, rest) in named {
            let name = rest.split('"').next().unwrap_or_default();
            if !listed.contains(name) {
                findings.push(Finding::new(source, number, format!("the probe {name} is not in {}", list.path)));
            } else if unseen.remove(name).is_none() {
                findings.push(Finding::new(source, number, format!("the probe {name} is somewhere else too")));
            }
        }
    }
    let gone = unseen.into_iter().map(|(name, number)| Finding::new(list, number, format!("{name}: no such probe")));
    findings.extend(gone);
    findings
}

/// The simulation asks for the feature that counts probes, and no other manifest does, by default or of a dependency.
pub fn probes_by_the_simulation(manifests: &[Source]) -> Vec<Finding> {
    const SIMULATION: &str = "sim/Cargo.toml";
    let asks = |line: &str| line.split('#').next().unwrap_or(line).contains("probes\"");
    let mut findings = Vec::new();
    for manifest in manifests {
        let mut asking = manifest.text.lines().enumerate().filter(|(_, line)| asks(line)).peekable();
        if manifest.path != SIMULATION {
            findings.extend(asking.map(|(at, _)| Finding::new(manifest, at + 1, "probes are for the simulation")));
        } else if asking.peek().is_none() {
            findings.push(Finding::new(manifest, 1, "the simulation counts no probes"));
        }
    }
    findings
}

/// Every planted bug of the code stands in the table that the simulation knows them by, the table has no other, and `told`
/// says what each does.
pub fn planted_bugs(table: &Source, told: &str, code: &[Source]) -> Vec<Finding> {
    let is_name = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_lowercase() || c == '_');
    let names_of = |source: &Source, mark: &str| -> Vec<(usize, String)> {
        let marked = source.text.match_indices(mark).map(|(at, _)| (at, &source.text[at + mark.len()..]));
        let named = marked.filter_map(|(at, rest)| Some((at, rest.split('"').next()?.to_owned())));
        named.filter(|(_, name)| is_name(name)).collect()
    };
    let known: BTreeMap<String, usize> = names_of(table, "\"").into_iter().map(|(at, name)| (name, at)).collect();
    let mut findings = Vec::new();
    let mut planted = BTreeSet::new();
    for source in code {
        // In comments too, which only mention what is there.
        for (at, name) in names_of(source, "bug!(\"") {
            if !known.contains_key(&name) {
                let what = format!("the planted bug {name} is not in {}", table.path);
                findings.push(Finding::new(source, line_of(&source.text, at), what));
            }
            planted.insert(name);
        }
    }
    let gone = known.iter().filter(|(name, _)| !planted.contains(*name));
    findings.extend(
        gone.map(|(name, at)| Finding::new(table, line_of(&table.text, *at), format!("{name}: no such planted bug"))),
    );
    let untold = known.iter().filter(|(name, _)| !told.contains(&format!("`{name}`")));
    findings.extend(
        untold.map(|(name, at)| Finding::new(table, line_of(&table.text, *at), format!("{name}: nothing tells of it"))),
    );
    findings
}

/// The rows of `told` that have four cells and name planted bugs, in the first cell or in the third, say in the cell third or fourth
/// who may find them: all oracles of the table, and no other.
pub fn planted_bugs_found_by(table: &Source, told: &Source) -> Vec<Finding> {
    let oracles = oracles_of(table);
    let known = |cell: &str| -> Vec<&str> {
        let names = cell.split('`').skip(1).step_by(2);
        names.filter_map(|name| oracles.get_key_value(name)).map(|(name, _)| name.as_str()).collect()
    };
    let mut findings = Vec::new();
    let mut named = BTreeSet::new();
    for (number, line) in told.text.lines().enumerate().filter(|(_, line)| line.starts_with('|')) {
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").collect();
        let [first, _, third, fourth] = cells[..] else { continue };
        let (names, found_by) = match (known(first), known(third)) {
            (names, _) if !names.is_empty() => (names, third),
            (_, names) => (names, fourth),
        };
        let said: BTreeSet<&str> = words(found_by).map(|(_, word)| word).filter(|word| is_oracle(word)).collect();
        let meant: BTreeSet<&str> = names.iter().flat_map(|name| &oracles[*name]).map(String::as_str).collect();
        if !names.is_empty() && said != meant {
            let what = format!("{} may be found by {meant:?}, as {} has it", names.join(", "), table.path);
            findings.push(Finding::new(told, number + 1, what));
        }
        named.extend(names);
    }
    let missing = oracles.keys().filter(|name| !named.contains(name.as_str()));
    findings.extend(missing.map(|name| Finding::new(told, 1, format!("{name}: no row says who finds it"))));
    findings
}

fn is_oracle(word: &str) -> bool {
    word.starts_with(|c: char| c.is_ascii_uppercase())
}

/// `("bug", &["A1", "B2"])`, wherever it stands in the table of planted bugs.
fn oracles_of(table: &Source) -> BTreeMap<String, Vec<String>> {
    let entries = table.text.split("(\"").skip(1).filter_map(|entry| {
        let (name, rest) = entry.split_once("\", &[")?;
        let (oracles, _) = rest.split_once(']')?;
        Some((name.to_owned(), oracles.split('"').skip(1).step_by(2).map(str::to_owned).collect()))
    });
    entries.collect()
}

/// The feature that plants bugs hands itself on under its own name only: nobody asks for it, by default or of a dependency, so
/// that no build has it but one that says so on its command line, and no recipe that builds a release does.
pub fn planted_by_nobody(manifests: &[Source], makefile: &Source) -> Vec<Finding> {
    const FEATURE: &str = "planted_bugs";
    let lines = |source: &'_ Source| -> Vec<(usize, String)> {
        let lines = source.text.lines().enumerate();
        lines.map(|(at, line)| (at + 1, line.split('#').next().unwrap_or(line).trim().to_owned())).collect()
    };
    let mut findings = Vec::new();
    for manifest in manifests {
        let asking = lines(manifest).into_iter().filter(|(_, line)| line.contains(FEATURE));
        let asking = asking.filter(|(_, line)| !line.starts_with(&format!("{FEATURE} = [")));
        findings.extend(asking.map(|(at, _)| Finding::new(manifest, at, format!("{FEATURE} is asked for"))));
    }
    let released = lines(makefile).into_iter().filter(|(_, line)| line.contains("--release") && line.contains(FEATURE));
    findings.extend(released.map(|(at, _)| Finding::new(makefile, at, format!("a release with {FEATURE}"))));
    findings
}

/// Every dependency of the workspace, and of what stands outside, is in the list of decisions.
pub fn dependencies(manifest: &Source, decision: &str) -> Vec<Finding> {
    let head =
        if manifest.text.contains("[workspace.dependencies]") { "[workspace.dependencies]" } else { "[dependencies]" };
    let lines = manifest.text.lines().enumerate().skip_while(|(_, line)| *line != head).skip(1);
    let lines = lines.take_while(|(_, line)| !line.starts_with('['));
    let names = lines.filter_map(|(number, line)| Some((number, line.split_once(" = ")?)));
    let others = names.filter(|(_, (_, value))| !value.contains("path = "));
    let missing = others.filter(|(_, (name, _))| !decision.contains(&format!("`{name}`")));
    missing
        .map(|(number, (name, _))| Finding::new(manifest, number + 1, format!("{name}: no sentence says why")))
        .collect()
}
