//! What a client's declared version knows (protocol, sections 3.1 and 3.2).
//!
//! A Java reader loses the whole frame over an enum number it does not know, so [`ClientVersion::adapt`] maps values to
//! older ones before a message is written. Nothing to map for branch statuses: they travel from clients only.

use crate::model::{ExceptionCode, GlobalStatus};

use super::message::{Message, ResultPart};

/// A version string as a number to compare: up to four parts at dots, each cut at `-`, weights 100 apart. A part that is
/// no number counts as 0, and text of more parts as older than any.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct ClientVersion(u64);

/// What older clients are told for NotRaftLeader, LockKeyConflictFailFast, TransactionTimeout, CommitHeuristic, Broken:
/// values of today that have the number of then.
type Numbers = [ExceptionCode; 5];

const NUMBERS_1_7: Numbers = [
    ExceptionCode::Unknown,
    ExceptionCode::NotRaftLeader,
    ExceptionCode::LockKeyConflictFailFast,
    ExceptionCode::TransactionTimeout,
    ExceptionCode::CommitHeuristic,
];
const NUMBERS_1_5: Numbers = [
    ExceptionCode::Unknown,
    ExceptionCode::NotRaftLeader,
    ExceptionCode::Unknown,
    ExceptionCode::Unknown,
    ExceptionCode::Unknown,
];
const NUMBERS_BEFORE_1_5: Numbers = [
    ExceptionCode::Unknown,
    ExceptionCode::LockKeyConflict,
    ExceptionCode::Unknown,
    ExceptionCode::Unknown,
    ExceptionCode::Unknown,
];
const _: () = assert!(ExceptionCode::NotRaftLeader.code() as usize + 5 == ExceptionCode::ALL.len());

const PARTS_MAX: usize = 4;
const PART_WEIGHT: u64 = 100;

impl ClientVersion {
    /// From here on undo logs may be deleted on request.
    pub const V0_7_1: ClientVersion = ClientVersion::of(0, 7, 1);
    /// From here on merged requests have ids, and batch results are understood.
    pub const V1_5: ClientVersion = ClientVersion::of(1, 5, 0);
    /// From here on there are exception codes for time-outs.
    pub const V1_7: ClientVersion = ClientVersion::of(1, 7, 0);
    /// From here on exception codes have the numbers of [`ExceptionCode`].
    pub const V2_0: ClientVersion = ClientVersion::of(2, 0, 0);
    /// From here on every child of a merged request may get an answer of its own.
    pub const V2_3: ClientVersion = ClientVersion::of(2, 3, 0);
    /// From here on global statuses above 17 are known.
    pub const V2_4: ClientVersion = ClientVersion::of(2, 4, 0);

    /// `major.minor.patch`.
    pub const fn of(major: u8, minor: u8, patch: u8) -> ClientVersion {
        let value = (major as u64 * PART_WEIGHT + minor as u64) * PART_WEIGHT + patch as u64;
        ClientVersion(value * PART_WEIGHT)
    }

    /// Reads a declared version, such as `2.3.0-SNAPSHOT`.
    pub fn parse(text: &str) -> ClientVersion {
        let mut value: u64 = 0;
        let mut parts = text.split('.');
        for _ in 0..PARTS_MAX {
            let number = parts.next().and_then(|part| part.split('-').next()).map(str::parse::<u16>);
            let part = number.and_then(Result::ok).map_or(0, u64::from);
            value = value * PART_WEIGHT + part;
        }
        if parts.next().is_some() {
            return ClientVersion::default();
        }
        ClientVersion(value)
    }

    /// Whether a batch result (121) may answer a merged request.
    pub fn takes_batch_results(self) -> bool {
        self >= ClientVersion::V1_5
    }

    /// Whether each child of a merged request may be answered by a frame of its own. Older clients leak memory then.
    pub fn takes_single_results(self) -> bool {
        self >= ClientVersion::V2_3
    }

    /// Whether undo log deletes may be sent.
    pub fn takes_undo_log_deletes(self) -> bool {
        self >= ClientVersion::V0_7_1
    }

    /// Replaces, in this message and its children, what the client does not know by the nearest it does.
    pub fn adapt(self, message: &mut Message) {
        if self >= ClientVersion::V2_4 {
            return;
        }
        match message {
            Message::GlobalCommitResult { result, status }
            | Message::GlobalRollbackResult { result, status }
            | Message::GlobalStatusResult { result, status }
            | Message::GlobalReportResult { result, status } => {
                self.adapt_result(result);
                *status = self.global_status(*status);
            }
            Message::GlobalBeginResult { result, .. }
            | Message::BranchCommitResult { result, .. }
            | Message::BranchRollbackResult { result, .. }
            | Message::BranchRegisterResult { result, .. }
            | Message::BranchReportResult { result }
            | Message::LockQueryResult { result, .. } => self.adapt_result(result),
            Message::MergeResult { messages } | Message::BatchResult { messages, .. } => {
                messages.iter_mut().for_each(|message| self.adapt(message));
            }
            Message::GlobalBegin { .. }
            | Message::BranchCommit { .. }
            | Message::BranchRollback { .. }
            | Message::GlobalCommit { .. }
            | Message::GlobalRollback { .. }
            | Message::BranchRegister { .. }
            | Message::BranchReport { .. }
            | Message::GlobalStatus { .. }
            | Message::GlobalReport { .. }
            | Message::LockQuery { .. }
            | Message::Merged { .. }
            | Message::RegisterTm(_)
            | Message::RegisterTmResult(_)
            | Message::RegisterRm { .. }
            | Message::RegisterRmResult(_)
            | Message::UnregisterRm { .. }
            | Message::UnregisterRmResult(_)
            | Message::UndoLogDelete { .. } => {}
        }
    }

    /// The nearest global status that the client knows.
    pub fn global_status(self, status: GlobalStatus) -> GlobalStatus {
        if self >= ClientVersion::V2_4 {
            return status;
        }
        let before_1_5 = self < ClientVersion::V1_5;
        match status {
            // An operator removes it: for the client it is over, and nothing is known about it any more.
            GlobalStatus::Deleting => GlobalStatus::Finished,
            GlobalStatus::StopCommitOrCommitRetry => GlobalStatus::CommitRetrying,
            GlobalStatus::StopRollbackOrRollbackRetry => GlobalStatus::RollbackRetrying,
            GlobalStatus::CommitRetryTimeout if before_1_5 => GlobalStatus::CommitFailed,
            GlobalStatus::RollbackRetryTimeout if before_1_5 => GlobalStatus::RollbackFailed,
            GlobalStatus::UnKnown
            | GlobalStatus::Begin
            | GlobalStatus::Committing
            | GlobalStatus::CommitRetrying
            | GlobalStatus::Rollbacking
            | GlobalStatus::RollbackRetrying
            | GlobalStatus::TimeoutRollbacking
            | GlobalStatus::TimeoutRollbackRetrying
            | GlobalStatus::AsyncCommitting
            | GlobalStatus::Committed
            | GlobalStatus::CommitFailed
            | GlobalStatus::Rollbacked
            | GlobalStatus::RollbackFailed
            | GlobalStatus::TimeoutRollbacked
            | GlobalStatus::TimeoutRollbackFailed
            | GlobalStatus::Finished
            | GlobalStatus::CommitRetryTimeout
            | GlobalStatus::RollbackRetryTimeout => status,
        }
    }

    /// The code whose *number* the client reads as `code` or as the nearest it knows: the ordinals moved in 1.5, 1.7
    /// and 2.0, so that for an old client the name of what is returned means nothing.
    pub fn exception_code(self, code: ExceptionCode) -> ExceptionCode {
        let shifted = if self >= ClientVersion::V2_0 {
            return code;
        } else if self >= ClientVersion::V1_7 {
            NUMBERS_1_7
        } else if self >= ClientVersion::V1_5 {
            NUMBERS_1_5
        } else {
            NUMBERS_BEFORE_1_5
        };
        let first = usize::from(ExceptionCode::NotRaftLeader.code());
        match usize::from(code.code()).checked_sub(first) {
            Some(place) => shifted.get(place).copied().unwrap_or(ExceptionCode::Unknown),
            None => code,
        }
    }

    /// What a client of this version takes a code that it was told for: the mirror of [`ClientVersion::exception_code`].
    pub fn meant(self, told: ExceptionCode) -> ExceptionCode {
        let known = ExceptionCode::ALL.iter().find(|known| self.exception_code(**known) == told);
        known.copied().unwrap_or(ExceptionCode::Unknown)
    }

    fn adapt_result(self, result: &mut ResultPart) {
        result.exception = self.exception_code(result.exception);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    fn version(text: &str) -> ClientVersion {
        ClientVersion::parse(text)
    }

    #[test]
    fn versions_compare_as_seata_does() {
        let ordered = ["", "0.6.1", "0.7.1", "1.0", "1.4.2", "1.5.0", "1.8.0.1", "2.0.0", "2.3.0", "2.10.0", "3"];
        for pair in ordered.windows(2) {
            assert!(version(pair[0]) < version(pair[1]), "{pair:?}");
        }
        assert_eq!(version("2.3.0-SNAPSHOT"), ClientVersion::V2_3);
        assert_eq!(version("2.3.0.RELEASE"), ClientVersion::V2_3);
        for older_than_any in ["nonsense", "1.2.3.4.5", "-", "...", "99999999999", "\u{664}.0"] {
            assert_eq!(version(older_than_any), ClientVersion::default(), "{older_than_any}");
        }
    }

    #[test]
    fn switches() {
        assert!(!version("1.4.2").takes_batch_results() && version("1.5.0").takes_batch_results());
        assert!(!version("2.2.9").takes_single_results() && version("2.3.0-SNAPSHOT").takes_single_results());
        assert!(!version("0.6.1").takes_undo_log_deletes() && version("0.7.1").takes_undo_log_deletes());
    }

    /// The table of protocol 2.5, by number.
    #[test]
    fn exception_numbers_of_each_age() {
        use ExceptionCode::{Broken, CommitHeuristic, FailedStore, LockKeyConflict, TransactionTimeout};
        use ExceptionCode::{LockKeyConflictFailFast, NotRaftLeader};
        let number = |text: &str, code: ExceptionCode| version(text).exception_code(code).code();
        for (declared, numbers) in [
            ("2.0.0", [19, 20, 21, 22, 23]),
            ("1.8.0", [0, 19, 20, 21, 22]),
            ("1.7.0", [0, 19, 20, 21, 22]),
            ("1.6.1", [0, 19, 0, 0, 0]),
            ("1.5.0", [0, 19, 0, 0, 0]),
            ("1.4.2", [0, 2, 0, 0, 0]),
            ("0.6.1", [0, 2, 0, 0, 0]),
        ] {
            let codes = [NotRaftLeader, LockKeyConflictFailFast, TransactionTimeout, CommitHeuristic, Broken];
            assert_eq!(codes.map(|code| number(declared, code)), numbers, "{declared}");
            let meant = version(declared).meant(version(declared).exception_code(LockKeyConflictFailFast));
            let fails_fast = if declared < "1.5" { LockKeyConflict } else { LockKeyConflictFailFast };
            assert_eq!(meant, fails_fast, "{declared}");
            assert_eq!([LockKeyConflict, FailedStore].map(|code| number(declared, code)), [2, 18], "{declared}");
        }
    }

    /// The highest status of protocol 3.2.
    #[test]
    fn statuses_stay_below_what_is_known() {
        for (declared, highest) in [("1.4.2", 15), ("1.5.0", 17), ("2.3.0", 17), ("2.4.0", 20)] {
            for status in GlobalStatus::ALL {
                let told = version(declared).global_status(*status);
                assert!(told.code() <= highest, "{declared} {status}");
                assert!(status.code() > highest || told == *status, "{declared} {status}");
            }
        }
    }

    #[test]
    fn children_are_adapted_too() {
        let answer =
            |exception, status| Message::GlobalCommitResult { result: ResultPart::failed(exception, "why"), status };
        let mut message = Message::MergeResult {
            messages: vec![answer(ExceptionCode::NotRaftLeader, GlobalStatus::StopCommitOrCommitRetry)],
        };
        version("1.8.0").adapt(&mut message);
        let adapted = vec![answer(ExceptionCode::Unknown, GlobalStatus::CommitRetrying)];
        assert_eq!(message, Message::MergeResult { messages: adapted });
    }
}
