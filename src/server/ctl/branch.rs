//! `quorate ctl branch`: what an operator does about a single branch, by Seata's console calls.

use super::cells::encoded;
use super::{Call, View};
use clap::{Arg, ArgMatches, Command, value_parser};

/// Its name, method, Seata's name of it, and what it does.
const OPERATIONS: [(&str, &str, &str, &str); 4] = [
    ("stop", "PUT", "stopBranchSession", "Let phase two pass over it; in a rollback those before it wait"),
    ("start", "PUT", "startBranchSession", "Have it asked again"),
    ("delete", "DELETE", "deleteBranchSession", "Have its RM clean up: what AT changed stays, anything else is undone"),
    (
        "force-delete",
        "DELETE",
        "forceDeleteBranchSession",
        "Be done with it and its row locks, whatever its RM has done",
    ),
];

const PREFIX: &str = "/api/v1/console/branchSession/";

/// Its subcommands.
pub fn command() -> Command {
    let operations = OPERATIONS.map(|(name, _, _, about)| Command::new(name).about(about).arg(xid()).arg(branch()));
    Command::new("branch")
        .about("Help a transaction that one of its branches holds up; `ctl transaction show XID` has their numbers")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommands(operations)
}

/// The transaction.
pub(super) fn xid() -> Arg {
    Arg::new("xid").required(true).value_name("XID").help("As clients know it, ADDRESS:PORT:NUMBER; :NUMBER will do")
}

/// The branch.
pub(super) fn branch() -> Arg {
    Arg::new("branch").required(true).value_name("BRANCH").value_parser(value_parser!(i64)).help("Its number")
}

/// The transaction and the branch, as parameters.
pub(super) fn parameters(matches: &ArgMatches) -> String {
    let xid = matches.get_one::<String>("xid").map(|xid| encoded(xid)).unwrap_or_default();
    let branch = matches.get_one::<i64>("branch").copied().unwrap_or_default();
    format!("xid={xid}&branchId={branch}")
}

/// Reads the flags.
pub fn call(matches: &ArgMatches) -> Call {
    let (name, inner) = matches.subcommand().unwrap_or(("", matches));
    // clap demands a subcommand and knows no other.
    let (_, method, call, _) = OPERATIONS.into_iter().find(|(known, ..)| *known == name).unwrap_or(OPERATIONS[0]);
    Call { method, path: format!("{PREFIX}{call}?{}", parameters(inner)), form: None, view: View::Done }
}

#[cfg(test)]
mod tests {
    fn read(line: &str) -> Result<super::Call, String> {
        let matches =
            super::super::command().try_get_matches_from(line.split(' ')).map_err(|error| error.to_string())?;
        Ok(super::super::question(&matches).call)
    }

    #[test]
    fn calls() {
        for (line, method, call) in [
            ("ctl branch stop 10.0.0.1:8091:77 9", "PUT", "stopBranchSession"),
            ("ctl branch start 10.0.0.1:8091:77 9", "PUT", "startBranchSession"),
            ("ctl branch delete 10.0.0.1:8091:77 9 --token t", "DELETE", "deleteBranchSession"),
            ("ctl branch force-delete 10.0.0.1:8091:77 9 -o json", "DELETE", "forceDeleteBranchSession"),
        ] {
            let asked = read(line).expect("right");
            assert_eq!(asked.method, method);
            assert_eq!(asked.path, format!("/api/v1/console/branchSession/{call}?xid=10.0.0.1:8091:77&branchId=9"));
        }
        for wrong in
            ["ctl branch", "ctl branch stop", "ctl branch stop :7", "ctl branch stop :7 x", "ctl branch end :7 9"]
        {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
