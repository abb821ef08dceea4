//! A planned branch as a file has it: what it does stands beside the rest, and what is as usual is left out.

use super::operations::{PlannedBranch, RmDeath, Word, Work};
use serde::{Deserialize, Serialize};

/// See the page. Of `at`, `tcc`, `xa` and `work`, which is how earlier builds wrote one of these, there is one.
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
    #[serde(default, skip_serializing)]
    work: Option<Work>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    fails: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    tries_again: bool,
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
        let PlannedBranch { rm, work, fails, tries_again, word, retries, refuses, slow_ms, rm_death } = branch;
        let (at, tcc, xa) = match work {
            Work::At(rows) => (Some(rows), None, None),
            Work::Tcc(account, delta) => (None, Some((account, delta)), None),
            Work::Xa(account, delta) => (None, None, Some((account, delta))),
        };
        BranchLine { rm, at, tcc, xa, work: None, fails, tries_again, word, retries, refuses, slow_ms, rm_death }
    }
}

impl TryFrom<BranchLine> for PlannedBranch {
    type Error = &'static str;

    fn try_from(line: BranchLine) -> Result<PlannedBranch, &'static str> {
        let BranchLine { rm, at, tcc, xa, work, fails, tries_again, word, retries, refuses, slow_ms, rm_death } = line;
        let at = at.map(Work::At);
        let tcc = tcc.map(|(account, delta)| Work::Tcc(account, delta));
        let xa = xa.map(|(account, delta)| Work::Xa(account, delta));
        let mut told = [at, tcc, xa, work].into_iter().flatten();
        let work = told.next().ok_or("a branch does something: at, tcc or xa is missing")?;
        if told.next().is_some() {
            return Err("a branch does one thing: at, tcc or xa");
        }
        Ok(PlannedBranch { rm, work, fails, tries_again, word, retries, refuses, slow_ms, rm_death })
    }
}
