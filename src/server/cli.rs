//! The command line: subcommands, and one flag for each key of the configuration that has one.
//!
//! The flags are made from the table of keys, so a key is written down once. Values are not read here; the
//! configuration does that for all sources alike.

use crate::bench::{self, Bench};
use crate::ctl;
use crate::ctl::Question;
use crate::inspect::{self, Look};
use clap::{Arg, ArgMatches, Command};
use quorate_server::config::{FILE_VARIABLE, Sources, keys};
use std::collections::BTreeMap;

/// What the operator wants.
#[derive(Clone, PartialEq, Debug)]
pub enum Asked {
    /// Run a node.
    Server(Given),
    /// Read the configuration and show it.
    CheckConfig(Given),
    /// Make load, with so many threads.
    Bench(Bench, Option<usize>),
    /// Ask a running node.
    Ctl(Question),
    /// Look into the data folder of a node that does not run.
    Storage(Look),
    /// Say who we are.
    Version,
}

/// Flags of a configuration.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Given {
    /// By key.
    pub flags: BTreeMap<String, String>,
    /// Path of the file, by flag.
    pub file: Option<String>,
}

impl Given {
    /// Where the file is: the flag wins over the variable.
    pub fn path<'a>(&'a self, environment: &'a BTreeMap<String, String>) -> Option<&'a str> {
        self.file.as_deref().or_else(|| environment.get(FILE_VARIABLE).map(String::as_str))
    }

    /// All sources together; `file` is path and text.
    pub fn sources(self, environment: BTreeMap<String, String>, file: Option<(String, String)>) -> Sources {
        Sources { flags: self.flags, environment, file }
    }
}

/// Reads the command line. Refused, or help asked for: clap's own error, which prints itself.
pub fn parse<I, T>(arguments: I) -> Result<Asked, clap::Error>
where
    I: IntoIterator<Item = T>,
    T: Into<std::ffi::OsString> + Clone,
{
    let matches = command().try_get_matches_from(arguments)?;
    Ok(match matches.subcommand() {
        Some(("server", matches)) => Asked::Server(given(matches)),
        Some(("check-config", matches)) => Asked::CheckConfig(given(matches)),
        Some(("bench", matches)) => {
            let options = bench::options(matches);
            let options = options.map_err(|reason| command().error(clap::error::ErrorKind::ValueValidation, reason))?;
            Asked::Bench(options, bench::workers(matches))
        }
        Some(("ctl", matches)) => Asked::Ctl(ctl::question(matches)),
        Some(("storage", matches)) => Asked::Storage(inspect::look(matches)),
        // clap demands a subcommand and knows no other.
        Some(_) | None => Asked::Version,
    })
}

fn command() -> Command {
    let configured = |name: &'static str, about: &'static str| {
        Command::new(name).about(about).args(keys::KEYS.iter().filter(|key| key.flag).map(flag)).arg(
            Arg::new("config").long("config").value_name("FILE").help("TOML file; docs/OPERATING.md lists all keys"),
        )
    };
    Command::new("quorate")
        .about("A transaction coordinator for Seata clients, sharded over many raft groups")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(configured("server", "Run a node"))
        .subcommand(configured("check-config", "Read the configuration, print it, open nothing"))
        .subcommand(bench::command())
        .subcommand(ctl::command())
        .subcommand(inspect::command())
        .subcommand(Command::new("version").about("Print the version"))
}

fn flag(key: &'static keys::Key) -> Arg {
    let help = format!("{} [{}]", key.meaning, key.unset.text());
    Arg::new(key.name).long(keys::flag_name(key.name)).value_name("VALUE").allow_hyphen_values(true).help(help)
}

fn given(matches: &ArgMatches) -> Given {
    let value = |name: &str| matches.get_one::<String>(name).cloned();
    let flags = keys::KEYS.iter().filter(|key| key.flag);
    Given {
        flags: flags.filter_map(|key| Some((key.name.to_owned(), value(key.name)?))).collect(),
        file: value("config"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(line: &str) -> Result<Asked, String> {
        parse(line.split(' ')).map_err(|error| error.to_string())
    }

    #[test]
    fn flags_become_keys() {
        let Ok(Asked::Server(given)) = asked("quorate server --node-id 2 --config q.toml --groups=4") else {
            panic!("a server")
        };
        let flags: Vec<(&str, &str)> = given.flags.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        assert_eq!(flags, [("groups", "4"), ("node_id", "2")]);
        let environment = BTreeMap::from([("QUORATE_CONFIG".to_owned(), "other.toml".to_owned())]);
        assert_eq!(given.path(&environment), Some("q.toml"));
        assert_eq!(Given::default().path(&environment), Some("other.toml"));
    }

    #[test]
    fn other_commands() {
        assert_eq!(asked("quorate version"), Ok(Asked::Version));
        assert_eq!(asked("quorate check-config"), Ok(Asked::CheckConfig(Given::default())));
    }

    #[test]
    fn an_unknown_flag_names_the_nearest() {
        let error = asked("quorate server --admin-lisen 127.0.0.1:1").expect_err("no such flag");
        assert!(error.contains("'--admin-lisen'") && error.contains("'--admin-listen'"), "{error}");
        assert!(asked("quorate").is_err());
        assert!(asked("quorate sever").expect_err("no such command").contains("server"));
    }

    #[test]
    fn help_shows_every_flag_with_its_default() {
        let help = asked("quorate server --help").expect_err("clap prints help as an error");
        for key in keys::KEYS.iter().filter(|key| key.flag) {
            assert!(help.contains(&format!("--{}", keys::flag_name(key.name))), "{}", key.name);
            assert!(help.contains(key.meaning), "{}", key.name);
        }
    }
}
