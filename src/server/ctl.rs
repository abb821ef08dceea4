//! `quorate ctl`: asks a running node over its HTTP port. Transactions are in `transaction`.

mod node;
mod transaction;

use clap::{Arg, ArgMatches, Command, value_parser};
use quorate_server::exit::{ExitCode, Failure};
use quorate_world::io::{AsyncReadExt, AsyncWriteExt};
use quorate_world::time::{Duration, timeout};
use quorate_world::{net, process};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(10);

/// Its subcommands.
pub fn command() -> Command {
    let number = |name: &'static str, help: &'static str| {
        Arg::new(name).long(name).required(true).value_parser(value_parser!(u64)).help(help)
    };
    Command::new("ctl")
        .about("Ask a running node over its HTTP port")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .arg(Arg::new("admin").long("admin").default_value("127.0.0.1:7091").global(true).help("HOST:PORT of the node"))
        .arg(Arg::new("token").long("token").global(true).help("admin.token of the node, when it is asked from afar"))
        .subcommand(Command::new("status").about("Nodes, groups, leaders, health"))
        .subcommand(transaction::command())
        .subcommand(node::command())
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
    /// The same as it came.
    Json,
    /// Nodes alone.
    Nodes,
    /// A page of transactions.
    Transactions,
    /// The transaction of this XID.
    Transaction(String),
    /// What was done with one.
    Done,
}

/// Reads the flags.
pub fn question(matches: &ArgMatches) -> Question {
    let (path, form, matches) = match matches.subcommand() {
        Some(("transaction", inner)) => return transaction::question(inner),
        Some(("node", inner)) => return node::question(inner),
        Some(("move-leader", inner)) => {
            let number = |name: &str| inner.get_one::<u64>(name).copied().unwrap_or_default();
            let path = format!("/quorate/v1/groups/{}/leader", number("group"));
            (path, Some(format!("node={}", number("node"))), inner)
        }
        // clap demands a subcommand and knows no other.
        Some((_, inner)) => ("/quorate/v1/status".to_owned(), None, inner),
        None => ("/quorate/v1/status".to_owned(), None, matches),
    };
    let text = |name: &str| matches.get_one::<String>(name).cloned();
    let (method, view) = if form.is_some() { ("POST", View::Text) } else { ("GET", View::Status) };
    Question { admin: text("admin").unwrap_or_default(), token: text("token"), method, path, form, view }
}

/// Asks, and prints the answer.
pub async fn run(question: Question) -> Result<(), Failure> {
    let unavailable = |reason: String| Failure::new(ExitCode::Unavailable, format!("{}: {reason}", question.admin));
    let answer = timeout(PATIENCE, ask(&question)).await;
    let answer = answer.map_err(|_| unavailable(format!("no answer within {} s", PATIENCE.as_secs())))?;
    let (status, body) = answer.map_err(|error| unavailable(error.to_string()))?;
    if status != 200 {
        return Err(unavailable(format!("{status}: {}", reason(&body))));
    }
    process::say(shown(&question.view, body).map_err(unavailable)?.trim_end());
    Ok(())
}

/// Why something was refused: the message of Seata's envelope, or the text that came.
fn reason(body: &str) -> String {
    let envelope: Option<Value> = serde_json::from_str(body).ok();
    let message = envelope.as_ref().and_then(|envelope| envelope["message"].as_str());
    message.unwrap_or(body.trim_end()).to_owned()
}

fn shown(view: &View, body: String) -> Result<String, String> {
    let page = || serde_json::from_str(&body).map_err(|error| format!("this is no page of transactions: {error}"));
    match view {
        View::Text | View::Json => Ok(body),
        View::Nodes => node::table(&body),
        View::Status => table(&body),
        View::Transactions => Ok(transaction::table(&page()?)),
        View::Transaction(xid) => transaction::details(&page()?, xid),
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
    let Question { admin, token, method, path, form, .. } = question;
    let body = form.as_deref().unwrap_or_default();
    let token = token.as_ref().map(|token| format!("authorization: Bearer {token}\r\n")).unwrap_or_default();
    let length = body.len();
    // HTTP/1.0: the answer ends with the connection, never in chunks.
    format!("{method} {path} HTTP/1.0\r\nhost: {admin}\r\n{token}content-length: {length}\r\n\r\n{body}")
}

fn cell(row: &Value, name: &str) -> String {
    match &row[name] {
        Value::String(text) => text.clone(),
        Value::Null => "-".to_owned(),
        other => other.to_string(),
    }
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
        assert_eq!((status.path.as_str(), status.admin.as_str(), &status.form), ("/quorate/v1/status", "a:1", &None));
        let moved = read("ctl move-leader --group 3 --node 2 --token t").expect("right");
        assert_eq!(
            request(&moved),
            "POST /quorate/v1/groups/3/leader HTTP/1.0\r\nhost: 127.0.0.1:7091\r\nauthorization: Bearer t\r\n\
             content-length: 6\r\n\r\nnode=2"
        );
        assert!(read("ctl move-leader --group 3").is_err() && read("ctl").is_err());
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
