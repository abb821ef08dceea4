//! The binary: reads command line, environment and file, and hands over to the library.
//!
//! Everything that could go wrong in a node is in `quorate_server::run`; here it only becomes a line and an exit code.

mod bench;
mod cli;
mod ctl;
mod inspect;
mod logging;

use cli::{Asked, Given};
use quorate_server::config::{Config, VARIABLES};
use quorate_server::exit::{ExitCode, Failure};
use quorate_world::process;
use quorate_world::runtime::{RuntimeOptions, block_on_main, block_on_main_with};
use std::collections::BTreeMap;
use std::ffi::OsString;

#[cfg(feature = "jemalloc")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() {
    let asked = match cli::parse(std::env::args_os()) {
        Ok(asked) => asked,
        // Help goes to stdout and ends well, a wrong flag to stderr with 2, which is our number for it too.
        Err(error) => error.exit(),
    };
    let code = match act(asked) {
        Ok(()) => ExitCode::Stopped,
        Err(failure) => {
            eprintln!("quorate: {failure}");
            failure.code
        }
    };
    process::exit(code.number());
}

fn act(asked: Asked) -> Result<(), Failure> {
    match asked {
        Asked::Server(given) => serve(configured(given)?),
        Asked::CheckConfig(given) => {
            let config = configured(given)?;
            process::say(config.to_toml().trim_end());
            config.warnings().iter().for_each(|warning| eprintln!("quorate: {warning}"));
            Ok(())
        }
        Asked::Bench(options, workers) => block_on_main_with(RuntimeOptions { workers }, bench::run(options)),
        Asked::Ctl(question) => block_on_main(ctl::run(question)),
        Asked::Storage(look) => block_on_main(inspect::run(look)),
        Asked::Version => {
            process::say(concat!("quorate ", env!("CARGO_PKG_VERSION")));
            Ok(())
        }
    }
}

fn serve(config: Config) -> Result<(), Failure> {
    process::install_panic_hook();
    logging::start(&config).map_err(|reason| Failure::new(ExitCode::Usage, reason))?;
    block_on_main_with(RuntimeOptions { workers: config.workers }, quorate_server::run(config))
}

/// The variables that are text. Refused: one of ours that is none.
fn environment(variables: impl Iterator<Item = (OsString, OsString)>) -> Result<BTreeMap<String, String>, String> {
    let mut texts = BTreeMap::new();
    for (name, value) in variables {
        match (name.into_string(), value.into_string()) {
            (Ok(name), Ok(value)) => {
                texts.insert(name, value);
            }
            (Ok(name), Err(_)) if name.starts_with(VARIABLES) => return Err(format!("{name}: its value is not UTF-8")),
            (Err(name), _) if name.to_string_lossy().starts_with(VARIABLES) => {
                return Err(format!("{}: no such key; its name is not UTF-8", name.to_string_lossy()));
            }
            // Somebody else's.
            (Ok(_) | Err(_), _) => {}
        }
    }
    Ok(texts)
}

fn configured(given: Given) -> Result<Config, Failure> {
    let environment = environment(std::env::vars_os()).map_err(|reason| Failure::new(ExitCode::Usage, reason))?;
    let file = match given.path(&environment) {
        Some(path) => {
            let read = process::read_text(path);
            let text =
                read.map_err(|error| Failure::new(ExitCode::Usage, format!("configuration file {path}: {error}")))?;
            Some((path.to_owned(), text))
        }
        None => None,
    };
    let sources = given.sources(environment, file);
    Config::load(&sources).map_err(|error| Failure::new(ExitCode::Usage, error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStringExt;

    #[test]
    fn variables_of_ours_that_are_no_text_are_refused() {
        let given = |name: &[u8], value: &[u8]| {
            let others = [(OsString::from("LS_COLORS"), OsString::from_vec(vec![0xff]))];
            let given = (OsString::from_vec(name.to_vec()), OsString::from_vec(value.to_vec()));
            environment(others.into_iter().chain([given]))
        };
        let texts = given(b"QUORATE_GROUPS", b"2").expect("text");
        assert_eq!(texts, BTreeMap::from([("QUORATE_GROUPS".to_owned(), "2".to_owned())]));
        assert_eq!(given(b"QUORATE_GROUPS", b"2\xff"), Err("QUORATE_GROUPS: its value is not UTF-8".to_owned()));
        assert!(given(b"QUORATE_GR\xff", b"2").expect_err("no name").contains("no such key"));
    }
}
