//! The artefact of a failure: what was planned and how it ended, one JSON object a line (design, section 10.8).
//!
//! Not here yet: reading one back. A seed alone replays on the same commit; the artefact is for eyes and for later.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::disallowed_macros,
    reason = "outside of all worlds: files are real"
)]

use crate::plan::Plan;
use crate::verdict::Failure;
use quorate_world::sim::Digest;
use serde_json::{Value, json};
use std::io;
use std::path::{Path, PathBuf};

/// Where failures are kept.
const FOLDER: &str = "target/sim/failures";
/// Later items are left out beyond this; the last line says how many.
const BYTES_MAX: usize = 64 << 10;

/// Writes the artefact of a failed run and says where it is.
pub fn write(plan: &Plan, bug: Option<&str>, failure: &Failure, digest: Option<Digest>) -> io::Result<PathBuf> {
    let with_bug = bug.map(|bug| format!("-{bug}")).unwrap_or_default();
    let path = Path::new(FOLDER).join(format!("{}-{}{with_bug}.jsonl", plan.size.name, plan.seed));
    std::fs::create_dir_all(FOLDER)?;
    std::fs::write(&path, text(plan, bug, failure, digest))?;
    Ok(path)
}

fn text(plan: &Plan, bug: Option<&str>, failure: &Failure, digest: Option<Digest>) -> String {
    let header = json!({
        "quorate_seed": 1,
        "seed": plan.seed,
        "world": plan.size.name,
        "bug": bug,
        "commit": option_env!("QUORATE_COMMIT"),
        "options": plan.options,
    });
    let operations = plan.operations.iter().map(|operation| json!(operation));
    let items: Vec<Value> = operations.chain(plan.faults.iter().map(|fault| json!(fault))).collect();
    let mut lines = format!("{header}\n");
    let mut left_out = 0;
    for item in items {
        let line = format!("{item}\n");
        if lines.len() + line.len() > BYTES_MAX - 2_048 {
            left_out += 1;
            continue;
        }
        lines.push_str(&line);
    }
    let finding = &failure.finding;
    let verdict = json!({
        "verdict": {
            "kind": failure.kind.word(),
            "oracle": failure.oracle,
            "text": finding.text.chars().take(1_000).collect::<String>(),
            "xid": finding.transaction,
            "group": finding.group,
            "node": finding.node,
            "at_ms": failure.at.as_millis() as u64,
            "left_out": left_out,
        },
        "hash": digest.map(|digest| format!("{:032x}", digest.hash)),
    });
    lines.push_str(&format!("{verdict}\n"));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::SIZES;
    use crate::verdict::Kind;
    use quorate_world::time::Duration;

    #[test]
    fn an_artefact_is_lines_of_json_within_the_bound() {
        let plan = Plan::draw(3, SIZES[0]);
        let failure = Failure::plain(Kind::Safety, "broken \"word\"", Duration::from_secs(3));
        let text = text(&plan, Some("a_bug"), &failure, None);
        assert!(text.len() <= BYTES_MAX, "{}", text.len());
        let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        assert_eq!(lines[0]["seed"], 3);
        assert_eq!(lines[1]["op"], 0);
        assert_eq!(lines[lines.len() - 1]["verdict"]["oracle"], "-");
    }
}
