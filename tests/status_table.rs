//! The table of statuses in `docs/TRANSACTIONS.md` is what the functions in `txn::status` say, line for line. That
//! `apply` moves transactions like that and in no other way is tested beside it (`txn::tests::moves`).
#![allow(clippy::disallowed_methods, clippy::disallowed_types)] // it reads the page, on a real machine only

use std::collections::BTreeSet;

use quorate_core::model::GlobalStatus;
use quorate_core::txn::status::{may_become, operator_may_become, saga_may_become};

const PAGE: &str = include_str!("../docs/TRANSACTIONS.md");
const HEAD: &str = "| from | by itself | besides, by the engine of its Saga | besides, by an operator |";

fn named(to: impl Fn(GlobalStatus) -> bool) -> String {
    let names: Vec<&str> = GlobalStatus::ALL.iter().filter(|status| to(**status)).map(|status| status.name()).collect();
    if names.is_empty() { "-".to_owned() } else { names.join(", ") }
}

fn line(from: GlobalStatus) -> String {
    let itself = named(|to| may_become(from, to));
    let engine = named(|to| saga_may_become(from, to) && !may_become(from, to));
    let operator = named(|to| operator_may_become(from, to) && !may_become(from, to));
    format!("| {} | {itself} | {engine} | {operator} |", from.name())
}

#[test]
fn the_page_shows_the_machine() {
    let (_, table) = PAGE.split_once(HEAD).expect("the page has the table");
    let shown: BTreeSet<&str> = table.lines().skip(2).take_while(|line| line.starts_with('|')).collect();
    let real: Vec<String> = GlobalStatus::ALL.iter().map(|from| line(*from)).collect();
    let real: BTreeSet<&str> =
        real.iter().map(String::as_str).filter(|line| !line.ends_with("| - | - | - |")).collect();
    let wrong: Vec<_> = shown.symmetric_difference(&real).collect();
    assert!(wrong.is_empty(), "in one only, page or function: {wrong:#?}");
}

#[test]
fn what_has_no_line_has_no_way_out() {
    let still: Vec<&str> = GlobalStatus::ALL
        .iter()
        .filter(|from| line(**from).ends_with("| - | - | - |"))
        .map(|status| status.name())
        .collect();
    assert_eq!(still, ["UnKnown", "Committed", "Rollbacked", "TimeoutRollbacked", "Finished", "Deleting"]);
}
