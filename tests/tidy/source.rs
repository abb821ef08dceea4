//! The tree, and code without what is not code.
//!
//! No parser: comments and texts are blanked character by character, tests by matching braces. That is exact enough for
//! formatted Rust, and it needs no dependency.

use std::fs;
use std::path::{Path, PathBuf};

/// A file.
pub struct Source {
    /// From the root of the repository, with `/`.
    pub path: String,
    /// As it is.
    pub text: String,
    /// Line by line the same, but comments and the insides of texts are spaces.
    pub code: String,
    /// `code` without tests.
    pub shipped: String,
}

impl Source {
    /// Reads `text` as the content of `path`.
    pub fn new(path: &str, text: &str) -> Source {
        let code = blank_comments_and_texts(text);
        let shipped = if is_test_file(path) { blank(&code) } else { blank_tests(&code) };
        Source { path: path.to_owned(), text: text.to_owned(), code, shipped }
    }
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Whether `path` is in the repository.
pub fn exists(path: &str) -> bool {
    root().join(path).exists()
}

/// One file.
pub fn read(path: &str) -> Source {
    let text = fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
    Source::new(path, &text)
}

/// All Rust files.
pub fn rust_sources() -> Vec<Source> {
    files(|path| path.ends_with(".rs"))
}

/// All other files that people read or machines obey.
pub fn text_sources() -> Vec<Source> {
    let kinds = [".md", ".toml", ".sh", ".py", ".txt", ".java", ".go", ".yml", ".yaml", ".json", ".proto"];
    files(|path| {
        let name = path.rsplit('/').next().unwrap_or(path);
        !path.ends_with(".rs") && (kinds.iter().any(|kind| name.ends_with(kind)) || !name.contains('.'))
    })
}

fn files(wanted: impl Fn(&str) -> bool) -> Vec<Source> {
    let mut paths = Vec::new();
    walk(&root(), &mut paths);
    paths.sort();
    let named = paths.iter().map(|path| (path, relative(path))).filter(|(_, name)| wanted(name));
    // What is no text has no lines to look at.
    named.filter_map(|(path, name)| Some(Source::new(&name, &fs::read_to_string(path).ok()?))).collect()
}

/// What builds, runs and checkouts leave behind, by its path: a folder of ours may have such a name elsewhere.
const NOT_OURS: [&str; 7] =
    ["target", "data", "data-cluster", "shared", "fuzz/target", "fuzz/artifacts", "tests/clients/java/target"];

/// The same by names that nobody would give to a folder of ours.
const NEVER_OURS: [&str; 4] = [".git", "node_modules", ".venv", ".gradle"];

/// Whether a folder, named from the root of the repository, has anything to look at.
pub fn is_ours(folder: &str) -> bool {
    !NOT_OURS.contains(&folder) && !NEVER_OURS.contains(&folder.rsplit('/').next().unwrap_or(folder))
}

fn relative(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).to_string_lossy().replace('\\', "/")
}

fn walk(folder: &Path, paths: &mut Vec<PathBuf>) {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    for entry in entries.flatten() {
        let path = entry.path();
        match entry.file_type() {
            Ok(kind) if kind.is_dir() && is_ours(&relative(&path)) => walk(&path, paths),
            Ok(kind) if kind.is_file() => paths.push(path),
            Ok(_) | Err(_) => {}
        }
    }
}

fn is_test_file(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    name == "tests.rs"
        || name.ends_with("_tests.rs")
        || path.starts_with("tests/")
        || path.contains("/tests/")
        || path.contains("/examples/")
}

fn blank(code: &str) -> String {
    code.chars().map(|c| if c == '\n' { '\n' } else { ' ' }).collect()
}

/// Where a scan of the text stands.
enum Inside {
    Code,
    Line,
    Block(usize),
    Text { hashes: Option<usize> },
}

fn blank_comments_and_texts(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let (mut out, mut at, mut inside) = (String::with_capacity(text.len()), 0, Inside::Code);
    while at < chars.len() {
        let rest = &chars[at..];
        let (taken, next) = match inside {
            Inside::Code => step_code(rest, chars[..at].last().copied()),
            Inside::Line => (1, if rest[0] == '\n' { Inside::Code } else { Inside::Line }),
            Inside::Block(depth) => match rest {
                ['*', '/', ..] => (2, if depth == 1 { Inside::Code } else { Inside::Block(depth - 1) }),
                ['/', '*', ..] => (2, Inside::Block(depth + 1)),
                _ => (1, Inside::Block(depth)),
            },
            Inside::Text { hashes } => match (rest, hashes) {
                (['\\', _, ..], None) => (2, Inside::Text { hashes }),
                (['"', ..], None) => (1, Inside::Code),
                (['"', after @ ..], Some(count)) if after.iter().take_while(|c| **c == '#').count() >= count => {
                    (1 + count, Inside::Code)
                }
                _ => (1, Inside::Text { hashes }),
            },
        };
        let is_code = matches!(inside, Inside::Code) && matches!(next, Inside::Code) && taken == 1;
        out.extend(rest[..taken].iter().map(|c| if *c == '\n' || is_code { *c } else { ' ' }));
        at += taken;
        inside = next;
    }
    out
}

/// One step in code: the characters to take, and where the scan stands behind them.
fn step_code(rest: &[char], before: Option<char>) -> (usize, Inside) {
    let in_word = before.is_some_and(|c| c.is_alphanumeric() || c == '_');
    match rest {
        ['/', '/', ..] => (2, Inside::Line),
        ['/', '*', ..] => (2, Inside::Block(1)),
        ['"', ..] => (1, Inside::Text { hashes: None }),
        ['r', after @ ..] if !in_word || before == Some('b') => {
            let hashes = after.iter().take_while(|c| **c == '#').count();
            match after.get(hashes) {
                Some('"') => (2 + hashes, Inside::Text { hashes: Some(hashes) }),
                Some(_) | None => (1, Inside::Code),
            }
        }
        // A character; a lifetime has no second quote there.
        ['\'', '\\', ..] => (rest.iter().skip(3).take_while(|c| **c != '\'').count() + 4, Inside::Code),
        ['\'', _, '\'', ..] => (3, Inside::Code),
        _ => (1, Inside::Code),
    }
}

/// Blanks every item behind `#[cfg(test)]`, and every `#[test]` function outside of one.
fn blank_tests(code: &str) -> String {
    let mut out = code.to_owned();
    for mark in ["#[cfg(test)]", "#[cfg(all(test", "#[test]", "#[cfg(any(test"] {
        let mut from = 0;
        while let Some(start) = out[from..].find(mark).map(|at| at + from) {
            let end = end_of_item(&out, start + mark.len());
            let blanked = blank(&out[start..end]);
            out.replace_range(start..end, &blanked);
            from = end;
        }
    }
    out
}

/// Behind the `}` or `;` that ends the item which begins at or after `start`.
pub fn end_of_item(code: &str, start: usize) -> usize {
    let (mut depth, mut brackets) = (0_usize, 0_usize);
    for (at, c) in code[start..].char_indices() {
        match c {
            '(' | '[' => brackets += 1,
            ')' | ']' => brackets = brackets.saturating_sub(1),
            '{' => depth += 1,
            '}' if depth <= 1 => return start + at + 1,
            '}' => depth -= 1,
            ';' if depth == 0 && brackets == 0 => return start + at + 1,
            _ => {}
        }
    }
    code.len()
}

/// The line, from 1, of a position in a text.
pub fn line_of(text: &str, position: usize) -> usize {
    text[..position].matches('\n').count() + 1
}

/// Every word of a code, with its position.
pub fn words(code: &str) -> impl Iterator<Item = (usize, &str)> {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let mut from = 0;
    core::iter::from_fn(move || {
        let start = from + code[from..].find(is_word)?;
        let end = code[start..].find(|c| !is_word(c)).map_or(code.len(), |at| start + at);
        from = end;
        Some((start, &code[start..end]))
    })
}
