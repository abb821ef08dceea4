//! `quorate storage`: looks into the data folder of a node that does not run.
//!
//! What is read and judged is `quorate_storage::inspect`; here it becomes lines and an exit code. Not here: repair. A
//! damaged disk is replaced, and the folder stays as it was found.

use clap::{Arg, ArgMatches, Command, value_parser};
use quorate_core::cluster::ClusterId;
use quorate_core::model::GroupId;
use quorate_server::exit::{ExitCode, Failure};
use quorate_storage::StorageError;
use quorate_storage::inspect::{self, DumpedRecord, GroupReport, Report, SegmentReport};
use quorate_world::disk::NodeDisk;
use quorate_world::process;

/// What is looked at.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Look {
    data_dir: String,
    what: What,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum What {
    /// Every file, and whether it is whole.
    Files,
    /// Every record of the log, or those of one group or segment.
    Records { group: Option<GroupId>, segment: Option<u32> },
}

/// Its subcommands.
pub fn command() -> Command {
    let folder = || Arg::new("data").value_name("DATA_DIR").required(true).help("data_dir of a node that does not run");
    let number =
        |name: &'static str, help: &'static str| Arg::new(name).long(name).value_parser(value_parser!(u32)).help(help);
    Command::new("storage")
        .about("Look into the data folder of a node that does not run; nothing is changed")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(Command::new("verify").about("Read every file and say which are whole").arg(folder()))
        .subcommand(
            Command::new("dump")
                .about("Print every record of the log, one a line")
                .arg(folder())
                .arg(number("group", "Only of this group"))
                .arg(number("segment", "Only of the segment with this number")),
        )
}

/// Reads the arguments.
pub fn look(matches: &ArgMatches) -> Look {
    // clap demands a subcommand and knows no other, and the folder with each.
    let (name, inner) = matches.subcommand().unwrap_or(("verify", matches));
    let number = |name: &str| inner.get_one::<u32>(name).copied();
    let what = match name {
        "dump" => What::Records { group: number("group").map(GroupId), segment: number("segment") },
        _ => What::Files,
    };
    Look { data_dir: inner.get_one::<String>("data").cloned().unwrap_or_default(), what }
}

/// Looks, and prints what it sees.
pub async fn run(look: Look) -> Result<(), Failure> {
    // Opening a root would make the folder.
    if !process::has_folder(&look.data_dir) {
        return Err(Failure::new(ExitCode::Io, format!("{}: no such folder", look.data_dir)));
    }
    let disk = NodeDisk::open_root(&look.data_dir)
        .map_err(|error| Failure::new(ExitCode::Io, format!("{}: {error}", look.data_dir)))?;
    match look.what {
        What::Files => judged(&inspect::verify(&disk).await.map_err(failure)?),
        What::Records { group, segment } => {
            inspect::dump(&disk, group, segment, &mut |record| process::say(&record_line(&record)))
                .await
                .map_err(failure)
        }
    }
}

fn failure(error: StorageError) -> Failure {
    Failure::new(ExitCode::numbered(error.exit_code()).unwrap_or(ExitCode::Io), error.to_string())
}

/// A line for each file and group, and in the end what a start would say of the damage.
fn judged(report: &Report) -> Result<(), Failure> {
    process::say(&format!("node {} of cluster {}", report.identity.node, ClusterId(report.identity.cluster)));
    report.segments.iter().for_each(|segment| process::say(&segment_line(segment)));
    let snapshots = report.groups.iter().filter_map(|group| group.snapshot.as_ref());
    snapshots.for_each(|(name, state)| process::say(&format!("snap/{name}: whole, state={state:032x}")));
    for damage in &report.damage {
        process::say(&format!("{}: DAMAGED at offset {}: {}", damage.file, damage.offset, damage.what));
    }
    report.groups.iter().for_each(|group| process::say(&group_line(group)));
    if let Some(tail) = report.tail {
        process::say(&format!("end of the log: {tail}"));
    }
    if report.damage.is_empty() {
        return Ok(());
    }
    let texts: Vec<String> =
        report.damage.iter().map(|damage| StorageError::Damaged(damage.clone()).to_string()).collect();
    Err(Failure::new(ExitCode::Damaged, texts.join("\n")))
}

fn segment_line(segment: &SegmentReport) -> String {
    let SegmentReport { file, epoch, batches, records, used_bytes, live_entries, live_bytes } = segment;
    format!(
        "{file}: whole, epoch={epoch} batches={batches} records={records} used_bytes={used_bytes} \
         live_entries={live_entries} live_bytes={live_bytes}"
    )
}

fn group_line(group: &GroupReport) -> String {
    let GroupReport { group, marks, terms, snapshot } = group;
    let place = |id: Option<quorate_core::model::LogId>| {
        id.map_or_else(|| "none".to_owned(), |id| format!("{}/{}", id.term, id.index))
    };
    let vote = marks.vote.map_or_else(|| "none".to_owned(), |vote| format!("{}/{}", vote.term, vote.node));
    let snapshot = snapshot.as_ref().map_or("none", |(name, _)| name.as_str());
    let removed = if marks.removed { " removed" } else { "" };
    format!(
        "group {group}:{removed} entries={}..{} terms={terms} vote={vote} committed={} purged={} snapshot={snapshot}",
        marks.first,
        marks.next,
        place(marks.committed),
        place(marks.purged)
    )
}

fn record_line(record: &DumpedRecord) -> String {
    let DumpedRecord { file, offset, batch, group, text, payload: _ } = record;
    format!("{file} offset={offset} batch={batch} group={group} {text}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(line: &str) -> Look {
        look(&command().get_matches_from(line.split(' ')))
    }

    #[test]
    fn words_become_looks() {
        assert_eq!(asked("storage verify ./data"), Look { data_dir: "./data".to_owned(), what: What::Files });
        let what = What::Records { group: Some(GroupId(3)), segment: None };
        assert_eq!(asked("storage dump d --group 3"), Look { data_dir: "d".to_owned(), what });
        assert!(command().try_get_matches_from(["storage", "verify"]).is_err(), "which folder?");
    }
}
