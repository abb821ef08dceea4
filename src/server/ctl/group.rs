//! `quorate ctl group` and `quorate ctl rebalance`: groups come and go, and slots are spread over them.

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use serde_json::Value;

use super::cells::cell;
use super::{Call, View};

/// Subcommands on groups.
pub fn command() -> Command {
    let group = Arg::new("group").required(true).value_parser(value_parser!(u32)).help("Its number");
    let label =
        Arg::new("label").long("label").help("Its name; a group that has one stays on the nodes where it is placed");
    Command::new("group")
        .about("Groups of the cluster: which there are, one more, one less")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(Command::new("list").about("All groups: leader, replicas, slots, health"))
        .subcommand(Command::new("add").about("One more, without slots; `rebalance` gives it its share").arg(label))
        .subcommand(Command::new("remove").about("Move its slots to the others, and then remove it").arg(group))
}

/// How slots are spread.
pub fn rebalance() -> Command {
    let switch =
        |name: &'static str, help: &'static str| Arg::new(name).long(name).action(ArgAction::SetTrue).help(help);
    Command::new("rebalance")
        .about("Move slots to where the sharding strategy has them, while transactions run")
        .arg(switch("dry-run", "Only print what would move, and about how long it takes"))
        .arg(switch("stop", "Let no more slots start to move; those on their way arrive").conflicts_with("dry-run"))
}

/// Reads the flags. A group that is added under a key is one group, however often it is asked for.
pub fn call(matches: &ArgMatches, key: [u8; 16]) -> Call {
    let (name, inner) = matches.subcommand().unwrap_or(("list", matches));
    let post = |path: String, form: String| Call { method: "POST", path, form: Some(form), view: View::Text };
    match name {
        "add" => {
            let label = inner.get_one::<String>("label").cloned().unwrap_or_default();
            let key: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
            post("/quorate/v1/groups".to_owned(), format!("key={key}&label={label}"))
        }
        "remove" => {
            let group = inner.get_one::<u32>("group").copied().unwrap_or_default();
            post(format!("/quorate/v1/groups/{group}/remove"), String::new())
        }
        _ => Call { method: "GET", path: "/quorate/v1/status".to_owned(), form: None, view: View::Groups },
    }
}

/// Reads the flags of `rebalance`.
pub fn call_rebalance(matches: &ArgMatches) -> Call {
    let path = "/quorate/v1/rebalance".to_owned();
    if matches.get_flag("dry-run") {
        return Call { method: "GET", path, form: None, view: View::Plan };
    }
    let path = if matches.get_flag("stop") { format!("{path}/stop") } else { path };
    Call { method: "POST", path, form: Some(String::new()), view: View::Text }
}

/// The groups out of a status.
pub fn table(body: &str) -> Result<String, String> {
    let status: Value = serde_json::from_str(body).map_err(|error| format!("this is no status: {error}"))?;
    let line =
        |cells: [String; 5]| format!("{:<8} {:<8} {:<8} {:<20} {}", cells[0], cells[1], cells[2], cells[3], cells[4]);
    let names = ["group", "leader", "slots", "health", "replicas"];
    let rows = status["groups"].as_array().into_iter().flatten();
    let rows = rows.map(|row| line(names.map(|name| cell(row, name))));
    let lines: Vec<String> = [line(names.map(str::to_owned))].into_iter().chain(rows).collect();
    Ok(lines.join("\n"))
}

/// What would move.
pub fn plan(body: &str) -> Result<String, String> {
    let plan: Value = serde_json::from_str(body).map_err(|error| format!("this is no plan: {error}"))?;
    let under_way = plan["under_way"].as_u64().unwrap_or(0);
    let mut lines = Vec::new();
    match plan["slots"].as_u64().unwrap_or(0) {
        0 if under_way == 0 => return Ok("all slots are where they should be".to_owned()),
        0 => {}
        slots => lines.push(format!("{slots} slots to move, about {} s", cell(&plan, "seconds"))),
    }
    if under_way > 0 {
        lines.push(format!("{under_way} slots are on their way"));
    }
    for share in plan["shares"].as_array().into_iter().flatten() {
        let of = |name: &str| cell(share, name);
        lines.push(format!(
            "group {} to group {}: {} slots, about {} sessions, {} row locks, {} bytes",
            of("from"),
            of("to"),
            of("slots"),
            of("sessions"),
            of("row_locks"),
            of("bytes")
        ));
    }
    let is_wished = plan["is_wished"].as_bool().unwrap_or(false);
    lines.push(
        if is_wished { "they move now" } else { "nothing moves yet: `quorate ctl rebalance` starts it" }.to_owned(),
    );
    Ok(lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(line: &str) -> Result<Call, String> {
        let matches = super::super::command().try_get_matches_from(line.split(' '));
        matches.map(|matches| super::super::question(&matches).call).map_err(|error| error.to_string())
    }

    #[test]
    fn calls() {
        let asked = |line: &str| question(line).map(|call| (call.method, call.path));
        assert_eq!(asked("ctl group remove 7"), Ok(("POST", "/quorate/v1/groups/7/remove".to_owned())));
        assert_eq!(asked("ctl group list"), Ok(("GET", "/quorate/v1/status".to_owned())));
        assert_eq!(asked("ctl rebalance"), Ok(("POST", "/quorate/v1/rebalance".to_owned())));
        assert_eq!(asked("ctl rebalance --dry-run"), Ok(("GET", "/quorate/v1/rebalance".to_owned())));
        assert_eq!(asked("ctl rebalance --stop"), Ok(("POST", "/quorate/v1/rebalance/stop".to_owned())));
        let form = question("ctl group add --label east").expect("legal").form.expect("a form");
        assert!(
            form.starts_with("key=") && form.ends_with("&label=east") && form.len() == "key=&label=east".len() + 32
        );
        assert!(question("ctl rebalance --dry-run --stop").is_err() && question("ctl group remove x").is_err());
    }

    #[test]
    fn a_plan_in_words() {
        let share = serde_json::json!({"from": 1, "to": 3, "slots": 20, "sessions": 5, "row_locks": 6, "bytes": 700});
        let body =
            serde_json::json!({"slots": 20, "under_way": 2, "seconds": 1, "is_wished": false, "shares": [share]});
        let words = plan(&body.to_string()).expect("a plan");
        assert!(words.contains("group 1 to group 3: 20 slots, about 5 sessions, 6 row locks, 700 bytes"), "{words}");
        assert!(words.starts_with("20 slots to move, about 1 s\n2 slots are on their way\n"), "{words}");
        let none = serde_json::json!({"slots": 0, "under_way": 0, "seconds": 0, "is_wished": false, "shares": []});
        assert_eq!(plan(&none.to_string()).as_deref(), Ok("all slots are where they should be"));
        assert!(plan("x").is_err());
    }
}
