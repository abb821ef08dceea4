//! `quorate ctl`: asks a running node over its HTTP port. Transactions are in `transaction`, their branches in `branch`, row
//! locks in `lock`, transaction service groups in `vgroup`, nodes in `node`, groups and their slots in `group`.

mod branch;
mod cells;
mod group;
mod lock;
mod node;
mod transaction;
mod vgroup;

use cells::cell;

use clap::{Arg, ArgMatches, Command, value_parser};
use quorate_server::exit::{ExitCode, Failure};
use quorate_world::io::{AsyncReadExt, AsyncWriteExt};
use quorate_world::time::{Duration, timeout};
use quorate_world::{net, process, random};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(10);

/// Its subcommands.
pub fn command() -> Command {
    let number = |name: &'static str, help: &'static str| {
        Arg::new(name).long(name).required(true).value_parser(value_parser!(u64)).help(help)
    };
    let output = Arg::new("output")
        .short('o')
        .long("output")
        .value_parser(["text", "json"])
        .default_value("text")
        .global(true)
        .help("json: the node's answer as it came");
    Command::new("ctl")
        .about("Ask a running node over its HTTP port")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .arg(Arg::new("admin").long("admin").default_value("127.0.0.1:7091").global(true).help("HOST:PORT of the node"))
        .arg(Arg::new("token").long("token").global(true).help("admin.token of the node, when it is asked from afar"))
        .arg(output)
        .subcommand(Command::new("status").about("Nodes, groups, leaders, health"))
        .subcommand(transaction::command())
        .subcommand(branch::command())
        .subcommand(lock::command())
        .subcommand(vgroup::command())
        .subcommand(node::command())
        .subcommand(group::command())
        .subcommand(group::rebalance())
        .subcommand(
            Command::new("move-leader")
                .about("Ask a group's leader, if it is this node, to hand over")
                .arg(number("group", "The group"))
                .arg(number("node", "The node that should lead it")),
        )
}

/// One request to a node.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Question {
    admin: String,
    token: Option<String>,
    /// The answer is printed as it came.
    is_json: bool,
    call: Call,
}

/// What is asked, wherever.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Call {
    method: &'static str,
    path: String,
    form: Option<String>,
    view: View,
}

/// How the answer is shown.
#[derive(Clone, PartialEq, Eq, Debug)]
enum View {
    /// As it came.
    Text,
    /// Nodes and groups.
    Status,
    /// Nodes alone.
    Nodes,
    /// Groups alone.
    Groups,
    /// Which slots would move.
    Plan,
    /// A page of transactions.
    Transactions,
    /// The transaction of this XID.
    Transaction(String),
    /// A page of row locks.
    Locks,
    /// Whether the branch of a lock is there.
    HasBranch,
    /// Mapped transaction service groups.
    Vgroups,
    /// What was done with one.
    Done,
}

/// Reads the flags.
pub fn question(matches: &ArgMatches) -> Question {
    let call = match matches.subcommand() {
        Some(("transaction", inner)) => transaction::call(inner),
        Some(("branch", inner)) => branch::call(inner),
        Some(("lock", inner)) => lock::call(inner),
        Some(("vgroup", inner)) => vgroup::call(inner),
        Some(("node", inner)) => node::call(inner),
        Some(("group", inner)) => group::call(inner, random::bytes16()),
        Some(("rebalance", inner)) => group::call_rebalance(inner),
        Some(("move-leader", inner)) => {
            let number = |name: &str| inner.get_one::<u64>(name).copied().unwrap_or_default();
            let path = format!("/quorate/v1/groups/{}/leader", number("group"));
            Call { method: "POST", path, form: Some(format!("node={}", number("node"))), view: View::Text }
        }
        // clap demands a subcommand and knows no other.
        Some(_) | None => Call { method: "GET", path: "/quorate/v1/status".to_owned(), form: None, view: View::Status },
    };
    let text = |name: &str| matches.get_one::<String>(name).cloned();
    let is_json = text("output").is_some_and(|output| output == "json");
    Question { admin: text("admin").unwrap_or_default(), token: text("token"), is_json, call }
}

/// Asks, and prints the answer.
pub async fn run(question: Question) -> Result<(), Failure> {
    let unavailable = |reason: String| Failure::new(ExitCode::Unavailable, format!("{}: {reason}", question.admin));
    let answer = timeout(PATIENCE, ask(&question)).await;
    let answer = answer.map_err(|_| unavailable(format!("no answer within {} s; {LOOK_FIRST}", PATIENCE.as_secs())))?;
    let (status, body) = answer.map_err(|error| unavailable(format!("{error}; {WHICH_NODE}")))?;
    if question.is_json {
        process::say(as_json(&body).trim_end());
    }
    if status != 200 {
        return Err(unavailable(format!("{status}: {}{}", reason(&body), advice(status))));
    }
    if !question.is_json {
        process::say(shown(&question.call.view, body).map_err(unavailable)?.trim_end());
    }
    Ok(())
}

const WHICH_NODE: &str = "is a node running there? --admin HOST:PORT names the HTTP port of any node";
const LOOK_FIRST: &str = "what was to be changed may be changed: look before you repeat it";

/// What to do about a refusal that does not say so itself.
fn advice(status: u16) -> &'static str {
    match status {
        401 => "; --token takes that token, or admin.token of the node",
        403 => "; give --token with admin.token of the node, or ask on the node's own machine",
        404 => "; the node may be of an older version than this program",
        _ => "",
    }
}

/// What is no JSON is a text.
fn as_json(body: &str) -> String {
    match serde_json::from_str::<Value>(body) {
        Ok(_) => body.to_owned(),
        Err(_) => Value::String(body.trim_end().to_owned()).to_string(),
    }
}

/// Why something was refused: the message of Seata's envelope, or the text that came.
fn reason(body: &str) -> String {
    let envelope: Option<Value> = serde_json::from_str(body).ok();
    let message = envelope.as_ref().and_then(|envelope| envelope["message"].as_str());
    message.unwrap_or(body.trim_end()).to_owned()
}

fn shown(view: &View, body: String) -> Result<String, String> {
    let page = || {
        serde_json::from_str(&body)
            .map_err(|error| format!("this is no page of a console: {error}; is it the HTTP port of a node?"))
    };
    match view {
        View::Text => Ok(body),
        View::Nodes => node::table(&body),
        View::Groups => group::table(&body),
        View::Plan => group::plan(&body),
        View::Status => table(&body),
        View::Transactions => Ok(transaction::table(&page()?)),
        View::Transaction(xid) => transaction::details(&page()?, xid),
        View::Locks => Ok(lock::table(&page()?)),
        View::HasBranch => Ok(lock::has_branch(&page()?)),
        View::Vgroups => Ok(vgroup::table(&page()?)),
        View::Done => Ok(reason(&body)),
    }
}

async fn ask(question: &Question) -> Result<(u16, String), std::io::Error> {
    let mut stream = net::connect(net::resolve(&question.admin).await?).await?;
    stream.write_all(request(question).as_bytes()).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    let answer = String::from_utf8_lossy(&answer);
    let parts = answer.split_once("\r\n\r\n");
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
    match (status, parts) {
        (Some(status), Some((_, body))) => Ok((status, body.to_owned())),
        (Some(_) | None, _) => Err(std::io::ErrorKind::InvalidData.into()),
    }
}

fn request(question: &Question) -> String {
    let Question { admin, token, call: Call { method, path, form, .. }, .. } = question;
    let body = form.as_deref().unwrap_or_default();
    let token = token.as_ref().map(|token| format!("authorization: Bearer {token}\r\n")).unwrap_or_default();
    let length = body.len();
    // HTTP/1.0: the answer ends with the connection, never in chunks.
    format!("{method} {path} HTTP/1.0\r\nhost: {admin}\r\n{token}content-length: {length}\r\n\r\n{body}")
}

fn table(body: &str) -> Result<String, String> {
    let status: Value = serde_json::from_str(body).map_err(|error| format!("this is no status: {error}"))?;
    let mut lines = vec![format!(
        "cluster {} picture {} as seen by node {}",
        cell(&status, "cluster"),
        cell(&status, "picture"),
        cell(&status, "node")
    )];
    lines.extend(node::rows(&status));
    let names = ["group", "health", "leader", "term", "slots", "committed", "applied", "replicas", "target", "label"];
    let row = |cells: [String; 10]| {
        let [group, health, leader, term, slots, committed, applied, replicas, target, label] = cells;
        let wide = format!("{group:<6} {health:<18} {leader:<7} {term:<6} {slots:<6} {committed:<10} {applied:<10}");
        format!("{wide} {replicas:<12} {target:<12} {label}")
    };
    lines.push(row(names.map(str::to_owned)));
    lines.extend(
        status["groups"].as_array().into_iter().flatten().map(|group| row(names.map(|name| cell(group, name)))),
    );
    Ok(lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Question, String> {
        let matches = command().try_get_matches_from(line.split(' ')).map_err(|error| error.to_string())?;
        Ok(question(&matches))
    }

    #[test]
    fn questions() {
        let status = read("ctl status --admin a:1").expect("right");
        assert_eq!((status.call.path.as_str(), status.admin.as_str()), ("/quorate/v1/status", "a:1"));
        assert_eq!((&status.call.form, status.is_json), (&None, false));
        assert!(read("ctl status -o json").expect("right").is_json);
        assert!(read("ctl -o json transaction stop :7").expect("right").is_json);
        assert!(read("ctl status -o yaml").is_err());
        let moved = read("ctl move-leader --group 3 --node 2 --token t").expect("right");
        assert_eq!(
            request(&moved),
            "POST /quorate/v1/groups/3/leader HTTP/1.0\r\nhost: 127.0.0.1:7091\r\nauthorization: Bearer t\r\n\
             content-length: 6\r\n\r\nnode=2"
        );
        assert!(read("ctl move-leader --group 3").is_err() && read("ctl").is_err());
    }

    #[test]
    fn an_answer_as_json() {
        assert_eq!(as_json(r#"{"code":"409"}"#), r#"{"code":"409"}"#);
        assert_eq!(as_json("asked node 2 to lead\n"), r#""asked node 2 to lead""#);
        assert_eq!(reason(r#"{"code":"409","message":"it is stopped"}"#), "it is stopped");
        assert!(advice(401).contains("--token") && advice(403).contains("--token") && advice(409).is_empty());
    }

    #[test]
    fn a_table() {
        let body = r#"{"node":1,"cluster":"ab","picture":4,"nodes":[{"node":1,"seata":"a:1","admin":"a:2","peer":"a:3",
            "silent":false}],"groups":[{"group":1,"label":"","health":"HEALTHY","leader":null,"term":0,"replicas":[1,2],
            "slots":4096,"committed":7,"applied":7}]}"#;
        let shown = table(body).expect("a status");
        assert!(shown.starts_with("cluster ab picture 4 as seen by node 1\n"), "{shown}");
        assert!(
            shown.contains("\n1      HEALTHY            -       0      4096   7          7          [1,2]"),
            "{shown}"
        );
        assert!(table("ok").is_err());
    }
}
