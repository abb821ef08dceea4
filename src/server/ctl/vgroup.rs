//! `quorate ctl vgroup`: which unit serves which transaction service group, as Seata's naming server sets it.

use super::cells::{cell, encoded};
use super::{Call, View};
use clap::{Arg, ArgMatches, Command};
use serde_json::Value;

/// Its subcommands.
pub fn command() -> Command {
    let name = || Arg::new("vgroup").required(true).value_name("VGROUP").help("The transaction service group");
    let unit = Arg::new("unit").required(true).value_name("UNIT").help("The unit that serves it");
    Command::new("vgroup")
        .about("See and change which unit serves which transaction service group, as discovery shows it")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(Command::new("list").about("All that are mapped"))
        .subcommand(Command::new("add").about("Map one, or map it elsewhere").arg(name()).arg(unit))
        .subcommand(Command::new("remove").about("Map it no longer").arg(name()))
}

/// Reads the flags.
pub fn call(matches: &ArgMatches) -> Call {
    let (name, inner) = matches.subcommand().unwrap_or(("list", matches));
    let text = |name: &str| inner.get_one::<String>(name).map(|text| encoded(text)).unwrap_or_default();
    let (path, view) = match name {
        "add" => (format!("/vgroup/v1/addVGroup?vGroup={}&unit={}", text("vgroup"), text("unit")), View::Done),
        "remove" => (format!("/vgroup/v1/removeVGroup?vGroup={}", text("vgroup")), View::Done),
        _ => ("/quorate/v1/status".to_owned(), View::Vgroups),
    };
    Call { method: "GET", path, form: None, view }
}

/// One a line.
pub fn table(status: &Value) -> String {
    let line = |cells: [String; 3]| format!("{:<40} {:<24} {}", cells[0], cells[1], cells[2]);
    let names = ["vgroup", "cluster", "unit"];
    let rows = status["vgroups"].as_array().into_iter().flatten();
    let rows = rows.map(|row| line(names.map(|name| cell(row, name))));
    let lines: Vec<String> = [line(names.map(str::to_owned))].into_iter().chain(rows).collect();
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls() {
        let path = |line: &str| {
            let matches = super::super::command().try_get_matches_from(line.split(' '));
            matches.map(|matches| super::super::question(&matches).call.path).map_err(|error| error.to_string())
        };
        let added = path("ctl vgroup add my/shop u&1");
        assert_eq!(added, Ok("/vgroup/v1/addVGroup?vGroup=my%2Fshop&unit=u%261".to_owned()));
        assert_eq!(path("ctl vgroup remove shop -o json"), Ok("/vgroup/v1/removeVGroup?vGroup=shop".to_owned()));
        assert_eq!(path("ctl vgroup list"), Ok("/quorate/v1/status".to_owned()));
        assert!(path("ctl vgroup add shop").is_err() && path("ctl vgroup").is_err());
        let status = serde_json::json!({"vgroups": [{"vgroup": "shop", "cluster": "default", "unit": "u1"}]});
        let words: Vec<String> = table(&status).split_whitespace().map(str::to_owned).collect();
        assert_eq!(words, ["vgroup", "cluster", "unit", "shop", "default", "u1"]);
    }
}
