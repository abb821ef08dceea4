//! `quorate ctl lock`: who holds which row, and away with locks that nobody has a right to, by Seata's console calls.

use super::branch::{branch, parameters, xid};
use super::cells::{cell, encoded, missing, rows, seconds};
use super::{Call, View};
use clap::{Arg, ArgMatches, Command, value_parser};
use serde_json::Value;

const PREFIX: &str = "/api/v1/console/globalLock/";

/// A flag, Seata's name of it, and what it is.
const NAMES: [(&str, &str, &str); 3] = [
    ("resource", "resourceId", "The resource id, as its RM registers it"),
    ("table", "tableName", "The table, as its RM writes it"),
    ("pk", "pk", "The primary key of the row"),
];

/// Its subcommands.
pub fn command() -> Command {
    let text = |name: &'static str, help: &'static str| Arg::new(name).long(name).help(help);
    let number = |name: &'static str, help: &'static str| text(name, help).value_parser(value_parser!(i64));
    let list = Command::new("list")
        .about("Row locks, by holder, branch and row")
        .arg(text("xid", "Of this transaction"))
        .arg(number("branch", "Through this branch"))
        .args(NAMES.map(|(name, _, help)| text(name, help)))
        .arg(number("page", "Counted from 1").default_value("1"))
        .arg(number("size", "Rows of a page").default_value("50"));
    let check = Command::new("check").about("Whether a branch is still there").arg(xid()).arg(branch());
    let delete = Command::new("delete")
        .about("Release the lock of a branch that is gone; refused if anybody has a right to it")
        .arg(xid())
        .args(NAMES.map(|(name, _, help)| text(name, help).required(true)))
        .arg(number("branch", "The branch that it is held through, to be sure"));
    Command::new("lock")
        .about("See row locks, and release orphans")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommands([list, check, delete])
}

/// Reads the flags.
pub fn call(matches: &ArgMatches) -> Call {
    let (name, inner) = matches.subcommand().unwrap_or(("list", matches));
    let text = |name: &str| inner.try_get_one::<String>(name).ok().flatten().map(|text| encoded(text));
    let number = |name: &str| inner.try_get_one::<i64>(name).ok().flatten().map(i64::to_string);
    if name == "check" {
        let path = format!("{PREFIX}check?{}", parameters(inner));
        return Call { method: "GET", path, form: None, view: View::HasBranch };
    }
    let mut pairs = vec![("xid", text("xid")), ("branchId", number("branch"))];
    pairs.extend(NAMES.map(|(flag, parameter, _)| (parameter, text(flag))));
    pairs.extend([("pageNum", number("page")), ("pageSize", number("size"))]);
    let pairs: Vec<String> = pairs.into_iter().filter_map(|(name, value)| Some(format!("{name}={}", value?))).collect();
    let (method, call, view) = match name {
        "delete" => ("DELETE", "delete", View::Done),
        _ => ("GET", "query", View::Locks),
    };
    Call { method, path: format!("{PREFIX}{call}?{}", pairs.join("&")), form: None, view }
}

/// A page of row locks, one a line.
pub fn table(page: &Value) -> String {
    let line = |cells: [String; 7]| {
        let [row, resource, xid, branch, held, status, name] = cells;
        format!("{row:<32} {resource:<32} {xid:<44} {branch:<20} {held:>10} {status:<26} {name}")
    };
    let titles = ["row", "resource", "xid", "branch", "held", "its transaction", "name"].map(str::to_owned);
    let mut lines = vec![line(titles)];
    lines.extend(rows(page).iter().map(|lock| {
        let row = format!("{}:{}", cell(lock, "tableName"), cell(lock, "pk"));
        let [resource, xid, branch, name] =
            ["resourceId", "xid", "branchId", "holderTransactionName"].map(|name| cell(lock, name));
        let status = lock["holderStatusName"].as_str().unwrap_or("unknown").to_owned();
        line([row, resource, xid, branch, seconds(lock, "heldMs"), status, name])
    }));
    lines.push(format!("{} in all, page {} of {}", cell(page, "total"), cell(page, "pageNum"), cell(page, "pages")));
    lines.extend(missing(page));
    lines.join("\n")
}

/// Whether a branch is there.
pub fn has_branch(answer: &Value) -> String {
    match answer["data"].as_bool() {
        Some(true) => "the branch is there: its row locks go with it, or with its transaction".to_owned(),
        Some(false) => "there is no such branch: nobody has a right to a row lock of it".to_owned(),
        None => cell(answer, "message"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Call, String> {
        let matches =
            super::super::command().try_get_matches_from(line.split(' ')).map_err(|error| error.to_string())?;
        Ok(super::super::question(&matches).call)
    }

    #[test]
    fn calls() {
        let path = |line: &str| read(line).map(|call| (call.method, call.path.trim_start_matches(PREFIX).to_owned()));
        let list = path("ctl lock list --xid a:1:7 --table t --size 9");
        assert_eq!(list, Ok(("GET", "query?xid=a:1:7&tableName=t&pageNum=1&pageSize=9".to_owned())));
        assert_eq!(path("ctl lock check a:1:7 9"), Ok(("GET", "check?xid=a:1:7&branchId=9".to_owned())));
        let delete = path("ctl lock delete :7 --resource jdbc:mysql://h/db --table t --pk a_b --branch 9");
        let expected = "delete?xid=:7&branchId=9&resourceId=jdbc:mysql:%2F%2Fh%2Fdb&tableName=t&pk=a_b";
        assert_eq!(delete, Ok(("DELETE", expected.to_owned())));
        for wrong in ["ctl lock", "ctl lock check :7", "ctl lock delete :7 --table t --pk 1", "ctl lock free :7"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_list() {
        let page = serde_json::json!({
            "total": 1, "pageNum": 1, "pages": 1, "groupsUnanswered": [],
            "data": [{"xid": "a:1:7", "branchId": "9", "resourceId": "db", "tableName": "t", "pk": "1", "heldMs": "4250",
                "holderStatusName": null, "holderTransactionName": null}],
        });
        let shown = table(&page);
        let words: Vec<&str> = shown.lines().nth(1).expect("a row").split_whitespace().collect();
        assert_eq!(words, ["t:1", "db", "a:1:7", "9", "4.2s", "unknown", "-"]);
        assert!(shown.ends_with("1 in all, page 1 of 1"), "{shown}");
        assert!(has_branch(&serde_json::json!({"data": true})).starts_with("the branch is there"));
        assert!(has_branch(&serde_json::json!({"data": false})).starts_with("there is no such branch"));
    }
}
