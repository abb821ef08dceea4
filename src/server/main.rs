//! The binary: reads command line, environment and file, and hands over to the library.
//!
//! Everything that could go wrong in a node is in `quorate_server::run`; here it only becomes a line and an exit code.

mod bench;
mod cli;
mod ctl;
mod logging;

use cli::{Asked, Given};
use quorate_server::config::Config;
use quorate_server::exit::{ExitCode, Failure};
use quorate_world::process;
use quorate_world::runtime::{RuntimeOptions, block_on_main, block_on_main_with};
use std::collections::BTreeMap;

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
        Asked::Bench(options) => block_on_main(bench::run(options)),
        Asked::Ctl(question) => block_on_main(ctl::run(question)),
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

fn configured(given: Given) -> Result<Config, Failure> {
    // Names and values that are no text cannot be ours.
    let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
        Some((name.into_string().ok()?, value.into_string().ok()?))
    };
    let environment: BTreeMap<String, String> = std::env::vars_os().filter_map(text).collect();
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
