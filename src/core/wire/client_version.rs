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
        match status {
            // An operator removes it: for the client it is over, and nothing is known about it any more.
            GlobalStatus::Deleting if self < ClientVersion::V2_4 => GlobalStatus::Finished,
            GlobalStatus::StopCommitOrCommitRetry if self < ClientVersion::V2_4 => GlobalStatus::CommitRetrying,
            GlobalStatus::StopRollbackOrRollbackRetry if self < ClientVersion::V2_4 => GlobalStatus::RollbackRetrying,
            GlobalStatus::CommitRetryTimeout if self < ClientVersion::V1_5 => GlobalStatus::CommitFailed,
            GlobalStatus::RollbackRetryTimeout if self < ClientVersion::V1_5 => GlobalStatus::RollbackFailed,
            known => known,
        }
    }

    /// The code whose *number* the client reads as `code` or as the nearest it knows: the ordinals moved in 1.5, 1.7
    /// and 2.0, so that for an old client the name of what is returned means nothing.
    pub fn exception_code(self, code: ExceptionCode) -> ExceptionCode {
        if self >= ClientVersion::V2_0 {
            return code;
        }
        let from = |version: ClientVersion, number: ExceptionCode, older: ExceptionCode| {
            if self >= version { number } else { older }
        };
        match code {
            ExceptionCode::NotRaftLeader => ExceptionCode::Unknown,
            ExceptionCode::LockKeyConflictFailFast => {
                from(ClientVersion::V1_5, ExceptionCode::NotRaftLeader, ExceptionCode::LockKeyConflict)
            }
            ExceptionCode::TransactionTimeout => {
                from(ClientVersion::V1_7, ExceptionCode::LockKeyConflictFailFast, ExceptionCode::Unknown)
            }
            ExceptionCode::CommitHeuristic => {
                from(ClientVersion::V1_7, ExceptionCode::TransactionTimeout, ExceptionCode::Unknown)
            }
            ExceptionCode::Broken => from(ClientVersion::V1_7, ExceptionCode::CommitHeuristic, ExceptionCode::Unknown),
            same => same,
        }
    }

    fn adapt_result(self, result: &mut ResultPart) {
        result.exception = self.exception_code(result.exception);
    }
}
