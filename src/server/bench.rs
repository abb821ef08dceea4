//! `quorate bench`: from flags to the load generator of `quorate-client`.

use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use quorate_client::load::{self, IdleOptions, Keys, LoadOptions, Shape, Zipf};
use quorate_server::exit::{ExitCode, Failure};
use quorate_world::process;
use quorate_world::time::Duration;

/// What is to be made.
#[derive(Clone, PartialEq, Debug)]
pub enum Bench {
    /// Transactions.
    Load(LoadOptions),
    /// Connections that do nothing.
    Idle(IdleOptions),
}

/// Its flags.
pub fn command() -> Command {
    let flag = |name: &'static str, default: &'static str, help: &'static str| {
        Arg::new(name).long(name).default_value(default).help(help)
    };
    Command::new("bench")
        .about("Make load as TM and RM over the Seata protocol; works against a stock Seata server too")
        .arg(flag("servers", "127.0.0.1:8091", "HOST:PORT,.. of every node"))
        .arg(flag("shape", "empty", "What a transaction does").value_parser(["empty", "at", "tcc"]))
        .arg(flag("branches", "1", "Branches of a transaction").value_parser(value_parser!(u32).range(1..=100)))
        .arg(flag("keys", "unique", "Rows of AT branches: unique, or zipf:ROWS:THETA"))
        .arg(flag("in-flight", "256", "Transactions at a time").value_parser(value_parser!(u32).range(1..)))
        .arg(Arg::new("rate").long("rate").value_parser(value_parser!(f64)).help("Transactions per second; open loop"))
        .arg(flag("warm-up-s", "5", "Seconds before counting").value_parser(value_parser!(u64)))
        .arg(flag("measured-s", "30", "Seconds of counting").value_parser(value_parser!(u64).range(1..)))
        .arg(
            Arg::new("pids")
                .long("pids")
                .value_delimiter(',')
                .value_parser(value_parser!(u32))
                .help("Server processes whose CPU time and memory are read"),
        )
        .arg(
            Arg::new("idle").long("idle").value_parser(value_parser!(u32).range(1..)).help(
                "No load: so many connections that stay for --measured-s; with --pids, what each costs the servers",
            ),
        )
        .arg(Arg::new("survive").long("survive").action(ArgAction::SetTrue).help(
            "Nodes may come and go: a transaction that is cut off before its commit is begun anew, and counted apart",
        ))
        .arg(
            Arg::new("every-s")
                .long("every-s")
                .value_parser(value_parser!(u64).range(1..))
                .help("Says a line about every so many seconds"),
        )
        .arg(
            Arg::new("workers")
                .long("workers")
                .value_parser(value_parser!(u32).range(1..=1_024))
                .help("Threads that make the load; as many as there are cores if not said"),
        )
        .arg(flag("connections", "1", "As TM and as RM, to each node").value_parser(value_parser!(u32).range(1..)))
}

/// How many threads make the load.
pub fn workers(matches: &ArgMatches) -> Option<usize> {
    matches.get_one::<u32>("workers").map(|workers| *workers as usize)
}

/// Reads the flags.
pub fn options(matches: &ArgMatches) -> Result<Bench, String> {
    let load = load_options(matches)?;
    Ok(match matches.get_one::<u32>("idle") {
        Some(connections) => Bench::Idle(IdleOptions {
            servers: load.servers,
            connections: *connections as usize,
            stay: load.measured,
            pids: load.pids,
        }),
        None => Bench::Load(load),
    })
}

fn load_options(matches: &ArgMatches) -> Result<LoadOptions, String> {
    let text = |name: &str| matches.get_one::<String>(name).cloned().unwrap_or_default();
    let count = |name: &str| matches.get_one::<u32>(name).map_or(1, |count| *count as usize);
    let seconds = |name: &str| Duration::from_secs(matches.get_one::<u64>(name).copied().unwrap_or_default());
    let branches = count("branches");
    let keys = keys(&text("keys"))?;
    let shape = match text("shape").as_str() {
        "at" => Shape::At { branches, keys },
        other if matches.value_source("keys") == Some(ValueSource::CommandLine) => {
            return Err(format!("--keys are those of --shape at; {other} locks no rows"));
        }
        "tcc" => Shape::Tcc { branches },
        // clap takes no other word.
        _empty => Shape::Empty,
    };
    let rate = matches.get_one::<f64>("rate").copied();
    if rate.is_some_and(|rate| !rate.is_finite() || rate <= 0.0) {
        return Err("--rate must be above zero".to_owned());
    }
    Ok(LoadOptions {
        servers: text("servers").split(',').map(str::to_owned).collect(),
        shape,
        in_flight: count("in-flight"),
        rate,
        warm_up: seconds("warm-up-s"),
        measured: seconds("measured-s"),
        pids: matches.get_many::<u32>("pids").map(|pids| pids.copied().collect()).unwrap_or_default(),
        connections: count("connections"),
        survive: matches.get_flag("survive"),
        every: matches.get_one::<u64>("every-s").map(|every_s| Duration::from_secs(*every_s)),
    })
}

fn keys(text: &str) -> Result<Keys, String> {
    if text == "unique" {
        return Ok(Keys::Unique);
    }
    let zipf = text.strip_prefix("zipf:").and_then(|rest| rest.split_once(':'));
    let zipf = zipf.and_then(|(rows, theta)| Some((rows.parse().ok()?, theta.parse::<f64>().ok()?)));
    match zipf {
        Some((rows, theta)) if (1..=10_000_000).contains(&rows) && (0.0..=10.0).contains(&theta) => {
            Ok(Keys::Zipf(Zipf::new(rows, theta)))
        }
        Some(_) | None => Err(format!("--keys {text}: write unique, or zipf:ROWS:THETA like zipf:1000:0.9")),
    }
}

/// Makes it and prints what came of it.
pub async fn run(bench: Bench) -> Result<(), Failure> {
    process::raise_open_files();
    let report = match bench {
        Bench::Load(options) => load::run(options).await.map(|report| report.to_string()),
        Bench::Idle(options) => load::run_idle(options).await.map(|report| report.to_string()),
    };
    process::say(&report.map_err(|error| Failure::new(ExitCode::Unavailable, error.to_string()))?);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bench(line: &str) -> Result<Bench, String> {
        let matches = command().try_get_matches_from(line.split(' ')).map_err(|error| error.to_string())?;
        options(&matches)
    }

    fn read(line: &str) -> Result<LoadOptions, String> {
        match bench(line)? {
            Bench::Load(options) => Ok(options),
            Bench::Idle(options) => panic!("{options:?}"),
        }
    }

    #[test]
    fn idle_connections() {
        let Ok(Bench::Idle(options)) = bench("bench --idle 10000 --measured-s 20 --pids 7") else { panic!("idle") };
        assert_eq!((options.connections, options.pids, options.stay), (10_000, vec![7], Duration::from_secs(20)));
        assert!(bench("bench --idle 0").is_err());
    }

    #[test]
    fn defaults() {
        let options = read("bench").expect("nothing is required");
        assert_eq!((options.shape, options.in_flight, options.rate), (Shape::Empty, 256, None));
        assert_eq!((options.servers, options.pids), (vec!["127.0.0.1:8091".to_owned()], vec![]));
        assert_eq!((options.warm_up, options.measured), (Duration::from_secs(5), Duration::from_secs(30)));
    }

    #[test]
    fn everything_said() {
        let line = "bench --servers a:1,b:2 --shape at --branches 3 --keys zipf:10:0.5 --in-flight 8 --rate 100.5 \
                    --warm-up-s 0 --measured-s 2 --pids 7,8 --connections 2 --survive --every-s 3";
        let options = read(line).expect("right");
        assert_eq!(options.shape, Shape::At { branches: 3, keys: Keys::Zipf(Zipf::new(10, 0.5)) });
        assert_eq!((options.servers.len(), options.pids, options.rate), (2, vec![7, 8], Some(100.5)));
        assert_eq!((options.in_flight, options.connections), (8, 2));
        assert_eq!((options.survive, options.every), (true, Some(Duration::from_secs(3))));
    }

    #[test]
    fn what_is_wrong() {
        assert!(read("bench --shape xa").is_err());
        assert!(read("bench --shape at --keys zipf:0:1").is_err());
        assert!(read("bench --keys nonsense").expect_err("no keys").starts_with("--keys nonsense: write unique"));
        for shape in ["empty", "tcc"] {
            let refused = read(&format!("bench --shape {shape} --keys zipf:10:0.5")).expect_err("no rows");
            assert_eq!(refused, format!("--keys are those of --shape at; {shape} locks no rows"));
        }
        assert!(read("bench --rate 0").is_err());
        assert!(read("bench --in-flight 0").is_err());
    }
}
