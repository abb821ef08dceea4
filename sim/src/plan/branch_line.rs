//! A planned branch as a file has it: what it does stands beside the rest, and what is as usual is left out.

use super::operations::{PlannedBranch, RmDeath, Word, Work};
use serde::{Deserialize, Serialize};

/// See the page. Of `at`, `tcc`, `xa`, `step` and `work`, which is how earlier builds wrote one of these, there is one.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct BranchLine {
    rm: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    at: Option<Vec<(u64, i64)>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tcc: Option<(u64, i64)>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    xa: Option<(u64, i64)>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    step: Option<(u64, i64)>,
    #[serde(default, skip_serializing)]
    work: Option<Work>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    fails: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    tries_again: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    asks_rows: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    holds_on: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    word: Option<Word>,
    #[serde(default, skip_serializing_if = "is_zero")]
    retries: u32,
    #[serde(default, skip_serializing_if = "is_zero")]
    refuses: u32,
    #[serde(default, skip_serializing_if = "is_nothing")]
    slow_ms: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rm_death: Option<RmDeath>,
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

fn is_nothing(ms: &u64) -> bool {
    *ms == 0
}

impl From<PlannedBranch> for BranchLine {
    fn from(branch: PlannedBranch) -> BranchLine {
        let PlannedBranch {
            rm,
            work,
            fails,
            tries_again,
            asks_rows,
            holds_on,
            word,
            retries,
            refuses,
            slow_ms,
            rm_death,
        } = branch;
        let (mut at, mut tcc, mut xa, mut step) = (None, None, None, None);
        match work {
            Work::At(rows) => at = Some(rows),
            Work::Tcc(account, delta) => tcc = Some((account, delta)),
            Work::Xa(account, delta) => xa = Some((account, delta)),
            Work::Step(account, delta) => step = Some((account, delta)),
        }
        BranchLine {
            rm,
            at,
            tcc,
            xa,
            step,
            work: None,
            fails,
            tries_again,
            asks_rows,
            holds_on,
            word,
            retries,
            refuses,
            slow_ms,
            rm_death,
        }
    }
}

impl TryFrom<BranchLine> for PlannedBranch {
    type Error = &'static str;

    fn try_from(line: BranchLine) -> Result<PlannedBranch, &'static str> {
        let BranchLine {
            rm,
            at,
            tcc,
            xa,
            step,
            work,
            fails,
            tries_again,
            asks_rows,
            holds_on,
            word,
            retries,
            refuses,
            slow_ms,
            rm_death,
        } = line;
        let at = at.map(Work::At);
        let tcc = tcc.map(|(account, delta)| Work::Tcc(account, delta));
        let xa = xa.map(|(account, delta)| Work::Xa(account, delta));
        let step = step.map(|(account, delta)| Work::Step(account, delta));
        let mut told = [at, tcc, xa, step, work].into_iter().flatten();
        let work = told.next().ok_or("a branch does something: at, tcc, xa or step is missing")?;
        if told.next().is_some() {
            return Err("a branch does one thing: at, tcc, xa or step");
        }
        Ok(PlannedBranch {
            rm,
            work,
            fails,
            tries_again,
            asks_rows,
            holds_on,
            word,
            retries,
            refuses,
            slow_ms,
            rm_death,
        })
    }
}
