//! `quorate ctl transaction`: what stands in the way of transactions, and what an operator does about it. The calls are
//! Seata's own console calls, so other tools can make them too.

use super::cells::{cell, encoded, missing, rows, seconds};
use super::{Call, View};
use clap::{Arg, ArgMatches, Command, value_parser};
use serde_json::Value;

/// What does something: its name, method, Seata's name of it, and what it does.
const OPERATIONS: [(&str, &str, &str, &str); 6] = [
    ("retry", "PUT", "sendCommitOrRollback", "Have phase two ask again now what it would ask after a pause"),
    ("stop", "PUT", "stopGlobalSession", "Let phase two stand still"),
    ("start", "PUT", "startGlobalSession", "Let phase two go on that was stopped"),
    ("reopen", "PUT", "changeGlobalStatus", "Have what failed for good tried again"),
    (
        "delete",
        "DELETE",
        "deleteGlobalSession",
        "Have its RMs clean up what failed or is retried: AT stays, the rest is undone",
    ),
    ("force-delete", "DELETE", "forceDeleteGlobalSession", "End it with its row locks, whatever its RMs have done"),
];

const PREFIX: &str = "/api/v1/console/globalSession/";

/// Its subcommands.
pub fn command() -> Command {
    let xid = || {
        Arg::new("xid")
            .required(true)
            .value_name("XID")
            .help("As clients know it, ADDRESS:PORT:NUMBER; :NUMBER will do")
    };
    let text = |name: &'static str, help: &'static str| Arg::new(name).long(name).help(help);
    let number = |name: &'static str, help: &'static str| text(name, help).value_parser(value_parser!(u64));
    let list = Command::new("list")
        .about("Transactions that have not ended, oldest first")
        .arg(text("xid", "A part of the XID"))
        .arg(text("application", "A part of the application id"))
        .arg(text("name", "A part of the transaction's name"))
        .arg(number("status", "Number of the status, as in Seata"))
        .arg(number("unreported-for-ms", "Undecided, so old, with a branch of which its RM said nothing yet"))
        .arg(number("page", "Counted from 1").default_value("1"))
        .arg(number("size", "Rows of a page").default_value("50"));
    let show = Command::new("show").about("One transaction, its branches, and what is in its way").arg(xid());
    let operations = OPERATIONS.map(|(name, _, _, about)| Command::new(name).about(about).arg(xid()));
    Command::new("transaction")
        .visible_alias("txn")
        .about("See transactions, and help those that are stuck")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(list)
        .subcommand(show)
        .subcommands(operations)
}

/// Reads the flags.
pub fn call(matches: &ArgMatches) -> Call {
    let (name, inner) = matches.subcommand().unwrap_or(("list", matches));
    let of = |name: &str| inner.try_get_one::<String>(name).ok().flatten().cloned();
    let number = |name: &str| inner.try_get_one::<u64>(name).ok().flatten().map(u64::to_string);
    let xid = of("xid").unwrap_or_default();
    let (method, path, view) = match OPERATIONS.iter().find(|(known, ..)| *known == name) {
        Some((_, method, call, _)) => (*method, format!("{PREFIX}{call}?xid={}", encoded(&xid)), View::Done),
        None if name == "show" => {
            let number = xid.rsplit(':').next().unwrap_or_default();
            (
                "GET",
                format!("{PREFIX}query?pageSize=1000&xid={}", encoded(&format!(":{number}"))),
                View::Transaction(xid),
            )
        }
        None => {
            let pairs = [
                ("xid", of("xid")),
                ("applicationId", of("application")),
                ("transactionName", of("name")),
                ("status", number("status")),
                ("unreportedForMs", number("unreported-for-ms")),
                ("pageNum", number("page")),
                ("pageSize", number("size")),
            ];
            let pairs = pairs.into_iter().filter_map(|(name, value)| Some(format!("{name}={}", encoded(&value?))));
            let pairs: Vec<String> = pairs.collect();
            ("GET", format!("{PREFIX}query?withBranch=true&{}", pairs.join("&")), View::Transactions)
        }
    };
    Call { method, path, form: None, view }
}

/// A page of transactions, one a line.
pub fn table(page: &Value) -> String {
    let line = |cells: [String; 7]| {
        let [xid, status, age, branches, application, name, stuck] = cells;
        format!("{xid:<44} {status:<26} {age:>10} {branches:>8} {application:<16} {name:<24} {stuck}")
    };
    let titles = ["xid", "status", "age", "branches", "application", "name", "stuck"].map(str::to_owned);
    let mut lines = vec![line(titles)];
    lines.extend(rows(page).iter().map(|row| {
        let branches = row["branchSessionVOs"].as_array().map_or(0, Vec::len);
        let branches = branches as u64 + row["branchesLeftOut"].as_u64().unwrap_or_default();
        let (status, age) = (cell(row, "statusName"), seconds(row, "ageMs"));
        let (application, name) = (cell(row, "applicationId"), cell(row, "transactionName"));
        line([cell(row, "xid"), status, age, branches.to_string(), application, name, cell(&row["stuck"], "text")])
    }));
    lines.push(format!("{} in all, page {} of {}", cell(page, "total"), cell(page, "pageNum"), cell(page, "pages")));
    lines.extend(missing(page));
    lines.join("\n")
}

/// One transaction, with all that is known.
pub fn details(page: &Value, xid: &str) -> Result<String, String> {
    let number = xid.rsplit(':').next().unwrap_or_default();
    let Some(row) = rows(page).iter().find(|row| row["transactionId"] == *number) else {
        let missing = missing(page).map(|what| format!("; {what}")).unwrap_or_default();
        return Err(format!("no transaction {xid}: it has ended, or never was{missing}"));
    };
    let mut lines = vec![
        format!("xid          {}", cell(row, "xid")),
        format!("status       {} ({})", cell(row, "statusName"), cell(row, "status")),
        format!("age          {}, its time-out {}", seconds(row, "ageMs"), seconds(row, "timeout")),
        format!("name         {}", cell(row, "transactionName")),
        format!("application  {}, group {}", cell(row, "applicationId"), cell(row, "transactionServiceGroup")),
        format!("raft group   {}", cell(row, "group")),
    ];
    let stuck = &row["stuck"];
    if !stuck.is_null() {
        lines.push(format!("stuck        {}: {}", cell(stuck, "reason"), cell(stuck, "text")));
    }
    for branch in row["branchSessionVOs"].as_array().into_iter().flatten() {
        let [id, kind, status, resource, client, locks] =
            ["branchId", "branchType", "statusName", "resourceId", "clientId", "lockRows"]
                .map(|name| cell(branch, name));
        let age = seconds(branch, "ageMs");
        lines.push(format!(
            "branch       {id} {kind} {status} of {resource}, by {client}, {locks} row locks, age {age}"
        ));
    }
    match row["branchesLeftOut"].as_u64() {
        Some(0) | None => {}
        Some(more) => lines.push(format!("             and {more} branches more")),
    }
    Ok(lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> super::super::Question {
        let command = super::super::command();
        super::super::question(&command.try_get_matches_from(line.split(' ')).expect("right"))
    }

    #[test]
    fn questions() {
        let asked = read("ctl transaction stop 10.0.0.1:8091:77 --admin a:1 --token t");
        assert_eq!((asked.call.method, asked.admin.as_str(), asked.token.as_deref()), ("PUT", "a:1", Some("t")));
        assert_eq!(asked.call.path, "/api/v1/console/globalSession/stopGlobalSession?xid=10.0.0.1:8091:77");
        assert_eq!(read("ctl txn force-delete :77").call.method, "DELETE");
        let asked = read("ctl transaction show 10.0.0.1:8091:77");
        assert_eq!(asked.call.path, "/api/v1/console/globalSession/query?pageSize=1000&xid=:77");
        let asked = read("ctl transaction list --name a&b --status 5");
        let path =
            "/api/v1/console/globalSession/query?withBranch=true&transactionName=a%26b&status=5&pageNum=1&pageSize=50";
        assert_eq!(asked.call.path, path);
        let wrong = |line: &str| super::super::command().try_get_matches_from(line.split(' ')).is_err();
        assert!(wrong("ctl transaction") && wrong("ctl transaction stop") && wrong("ctl transaction stpo :7"));
    }

    fn page() -> Value {
        serde_json::json!({
            "total": 1, "pageNum": 1, "pages": 1, "message": "not all: no answer from the leader of group 2",
            "groupsUnanswered": [2],
            "data": [{
                "xid": "a:1:77", "transactionId": "77", "status": 5, "statusName": "RollbackRetrying", "ageMs": "93450",
                "timeout": "60000", "applicationId": "shop", "transactionServiceGroup": "g", "transactionName": "buy",
                "group": 3, "branchesLeftOut": 2,
                "stuck": {"reason": "NO_CHANNEL", "text": "branch 9 of jdbc:a waits"},
                "branchSessionVOs": [{"branchId": "9", "branchType": "AT", "statusName": "Registered", "clientId": "shop:b:2",
                    "resourceId": "jdbc:a", "lockRows": 4, "ageMs": null}],
            }],
        })
    }

    #[test]
    fn a_list() {
        let shown = table(&page());
        let lines: Vec<&str> = shown.lines().collect();
        let words: Vec<&str> = lines[1].split_whitespace().collect();
        assert_eq!(words[..6], ["a:1:77", "RollbackRetrying", "93.4s", "3", "shop", "buy"]);
        assert!(lines[1].ends_with("branch 9 of jdbc:a waits"), "{shown}");
        assert_eq!(lines[2..], ["1 in all, page 1 of 1", "not all: no answer from the leader of group 2"]);
    }

    #[test]
    fn one() {
        let shown = details(&page(), "elsewhere:1:77").expect("it is there");
        assert!(shown.contains("stuck        NO_CHANNEL: branch 9 of jdbc:a waits\n"), "{shown}");
        assert!(
            shown.contains("\nbranch       9 AT Registered of jdbc:a, by shop:b:2, 4 row locks, age -\n"),
            "{shown}"
        );
        assert!(shown.ends_with("and 2 branches more"), "{shown}");
        let none = details(&page(), "a:1:7").expect_err("another");
        assert_eq!(
            none,
            "no transaction a:1:7: it has ended, or never was; not all: no answer from the leader of group 2"
        );
    }
}
