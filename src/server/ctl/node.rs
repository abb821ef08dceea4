//! `quorate ctl node`: who is there, and who should come or go.

use clap::{Arg, ArgMatches, Command, value_parser};
use serde_json::Value;

use super::cells::cell;
use super::{Call, View};

/// Its subcommands.
pub fn command() -> Command {
    let wish = |name: &'static str, about: &'static str| {
        let node = Arg::new("node").required(true).value_parser(value_parser!(u64)).help("Its number");
        Command::new(name).about(about).arg(node)
    };
    Command::new("node")
        .about("Nodes of the cluster: who is there, and who should go")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(Command::new("list").about("All nodes, and how many groups each carries"))
        .subcommand(wish("drain", "Move its leaders and replicas to other nodes; it stays a member"))
        .subcommand(wish("undrain", "Take `drain` or `remove` back: it may carry groups again"))
        .subcommand(wish("remove", "Drain it and then forget it, for good: its number and its disk never come back"))
        .subcommand(wish("replace", "It is lost for good: let others, new ones too, take its place in every group"))
}

/// Reads the flags.
pub fn call(matches: &ArgMatches) -> Call {
    let (name, inner) = matches.subcommand().unwrap_or(("list", matches));
    if name == "list" {
        return Call { method: "GET", path: "/quorate/v1/status".to_owned(), form: None, view: View::Nodes };
    }
    let node = inner.get_one::<u64>("node").copied().unwrap_or_default();
    let path = format!("/quorate/v1/nodes/{node}/{name}");
    Call { method: "POST", path, form: Some(String::new()), view: View::Text }
}

/// The nodes out of a status.
pub fn table(body: &str) -> Result<String, String> {
    let status: Value = serde_json::from_str(body).map_err(|error| format!("this is no status: {error}"))?;
    let moving = status["groups"].as_array().into_iter().flatten().filter(|group| !group["target"].is_null());
    let moving: Vec<String> = moving
        .map(|group| {
            format!(
                "group {} moves from {} to {}",
                cell(group, "group"),
                cell(group, "replicas"),
                cell(group, "target")
            )
        })
        .collect();
    Ok(rows(&status).into_iter().chain(moving).collect::<Vec<_>>().join("\n"))
}

/// A line for each node, under a head.
pub fn rows(status: &Value) -> Vec<String> {
    let names = ["node", "seata", "admin", "peer", "silent", "standing", "groups"];
    let row = |cells: [String; 7]| {
        let [number, seata, admin, peer, silent, standing, groups] = cells;
        format!("{number:<6} {seata:<24} {admin:<24} {peer:<24} {silent:<7} {standing:<9} {groups}")
    };
    let nodes = status["nodes"].as_array().into_iter().flatten();
    let lines = nodes.map(|node| row(names.map(|name| cell(node, name))));
    std::iter::once(row(names.map(str::to_owned))).chain(lines).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<super::super::Question, String> {
        let whole = super::super::command();
        let matches = whole.try_get_matches_from(line.split(' ')).map_err(|error| error.to_string())?;
        Ok(super::super::question(&matches))
    }

    #[test]
    fn wishes_are_posted_to_the_node_they_are_about() {
        let drain = read("ctl node drain 4 --admin a:1 --token t").expect("right");
        assert_eq!((drain.call.method, drain.call.path.as_str()), ("POST", "/quorate/v1/nodes/4/drain"));
        assert_eq!((drain.admin.as_str(), drain.token.as_deref()), ("a:1", Some("t")));
        assert_eq!(read("ctl node replace 2").expect("right").call.path, "/quorate/v1/nodes/2/replace");
        assert!(read("ctl node drain").is_err() && read("ctl node drain x").is_err() && read("ctl node").is_err());
        assert!(read("ctl node list -o json").expect("right").is_json);
        assert!(read("ctl node list -o yaml").is_err());
    }

    #[test]
    fn a_table_of_nodes_and_moves() {
        let body = r#"{"nodes":[{"node":4,"seata":"a:1","admin":"a:2","peer":"a:3","silent":false,"standing":"draining",
            "groups":2}],"groups":[{"group":1,"replicas":[1,2,4],"target":[1,2,3]},{"group":2,"target":null}]}"#;
        let shown = table(body).expect("a status");
        assert!(shown.contains("\n4      a:1") && shown.contains("false   draining  2"), "{shown}");
        assert!(shown.ends_with("\ngroup 1 moves from [1,2,4] to [1,2,3]"), "{shown}");
        assert!(table("ok").is_err());
    }
}
