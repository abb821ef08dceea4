//! What TM, RM and coordinator say to each other, free of bytes (protocol, sections 2.2 to 2.4).
//!
//! On the wire a null string and an empty one are the same bytes, so here every string is a plain `String`.
//! One body may differ between protocol versions, one value does not: what a version cannot carry is left out.

use alloc::string::String;
use alloc::vec::Vec;

use crate::model::{BranchId, BranchStatus, BranchType, ExceptionCode, GlobalStatus, ResultCode};

/// Common part of every answer to a transaction request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ResultPart {
    /// Whether the request was served.
    pub code: ResultCode,
    /// Why not. Travels only with `Failed`, cut to 32,767 bytes.
    pub message: String,
    /// Why not, as a number; travels always. A number that we do not know is read as `Unknown`.
    pub exception: ExceptionCode,
}

impl ResultPart {
    /// The request was served.
    pub const fn success() -> ResultPart {
        ResultPart { code: ResultCode::Success, message: String::new(), exception: ExceptionCode::Unknown }
    }

    /// The request was refused.
    pub fn failed(exception: ExceptionCode, message: impl Into<String>) -> ResultPart {
        ResultPart { code: ResultCode::Failed, message: message.into(), exception }
    }

    /// Whether the request was served.
    pub fn is_success(&self) -> bool {
        self.code == ResultCode::Success
    }
}

/// Who registers.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Registration {
    /// The client's version, see [`super::ClientVersion::parse`].
    pub version: String,
    /// Name of the application.
    pub application_id: String,
    /// Its transaction service group.
    pub service_group: String,
    /// Lines `key=value`, see protocol 3.3; often empty.
    pub extra_data: String,
}

/// The answer to a registration.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RegistrationResult {
    /// Travels in version 2 only (never for [`Message::UnregisterRmResult`]); elsewhere read from `identified`.
    pub code: ResultCode,
    /// Why it was refused. Travels in version 2 and with `Failed` only, cut to 32,767 bytes.
    pub message: String,
    /// Whether the client may go on.
    pub identified: bool,
    /// The server's version.
    pub version: String,
}

impl RegistrationResult {
    /// The client may go on.
    pub fn accepted(version: impl Into<String>) -> RegistrationResult {
        RegistrationResult {
            code: ResultCode::Success,
            message: String::new(),
            identified: true,
            version: version.into(),
        }
    }

    /// The client may not go on.
    pub fn refused(version: impl Into<String>, message: impl Into<String>) -> RegistrationResult {
        RegistrationResult {
            code: ResultCode::Failed,
            message: message.into(),
            identified: false,
            version: version.into(),
        }
    }
}

/// One message. A `…Result` answers the variant of that name.
#[derive(Clone, PartialEq, Eq, Debug)]
#[allow(missing_docs)] // fields carry the protocol's own names; what is special is said at the variant
pub enum Message {
    /// TM to coordinator.
    GlobalBegin {
        timeout_ms: i32,
        name: String,
    },
    GlobalBeginResult {
        result: ResultPart,
        xid: String,
        extra_data: String,
    },
    /// Coordinator to RM. An RM stops reading at an empty `xid` or `resource_id`: both must be there.
    BranchCommit {
        xid: String,
        branch_id: BranchId,
        branch_type: BranchType,
        resource_id: String,
        application_data: String,
    },
    BranchCommitResult {
        result: ResultPart,
        xid: String,
        branch_id: BranchId,
        status: BranchStatus,
    },
    /// Coordinator to RM, as [`Message::BranchCommit`].
    BranchRollback {
        xid: String,
        branch_id: BranchId,
        branch_type: BranchType,
        resource_id: String,
        application_data: String,
    },
    BranchRollbackResult {
        result: ResultPart,
        xid: String,
        branch_id: BranchId,
        status: BranchStatus,
    },
    /// TM to coordinator.
    GlobalCommit {
        xid: String,
        extra_data: String,
    },
    /// A TM looks at `status` only, also when `result` is `Failed` (protocol 5.2).
    GlobalCommitResult {
        result: ResultPart,
        status: GlobalStatus,
    },
    /// TM to coordinator.
    GlobalRollback {
        xid: String,
        extra_data: String,
    },
    /// A TM looks at `status` only, also when `result` is `Failed` (protocol 5.2).
    GlobalRollbackResult {
        result: ResultPart,
        status: GlobalStatus,
    },
    /// RM to coordinator. `lock_keys` is the text of `model::lock_key`.
    BranchRegister {
        xid: String,
        branch_type: BranchType,
        resource_id: String,
        lock_keys: String,
        application_data: String,
    },
    /// `branch_id` is 0 when it failed.
    BranchRegisterResult {
        result: ResultPart,
        branch_id: BranchId,
    },
    /// RM to coordinator. Java sends type AT and no resource, whatever the branch is: trust the stored branch.
    BranchReport {
        xid: String,
        branch_id: BranchId,
        status: BranchStatus,
        resource_id: String,
        application_data: String,
        branch_type: BranchType,
    },
    BranchReportResult {
        result: ResultPart,
    },
    /// TM to coordinator: how does it stand?
    GlobalStatus {
        xid: String,
        extra_data: String,
    },
    GlobalStatusResult {
        result: ResultPart,
        status: GlobalStatus,
    },
    /// TM to coordinator, Saga only.
    GlobalReport {
        xid: String,
        extra_data: String,
        status: Option<GlobalStatus>,
    },
    GlobalReportResult {
        result: ResultPart,
        status: GlobalStatus,
    },
    /// RM to coordinator; `xid` may be empty, outside a global transaction.
    LockQuery {
        xid: String,
        branch_type: BranchType,
        resource_id: String,
        lock_keys: String,
        application_data: String,
    },
    LockQueryResult {
        result: ResultPart,
        lockable: bool,
    },
    /// Client to coordinator. `ids` are the children's own request ids; clients before 1.5.0 send none.
    Merged {
        messages: Vec<Message>,
        ids: Option<Vec<i32>>,
    },
    /// As many answers as there were requests, in their order, in a frame with the merged frame's id.
    MergeResult {
        messages: Vec<Message>,
    },
    /// Answers with the ids they belong to (clients from 1.5.0 to 2.2.x).
    BatchResult {
        messages: Vec<Message>,
        ids: Vec<i32>,
    },
    RegisterTm(Registration),
    RegisterTmResult(RegistrationResult),
    /// `resource_ids` is a list separated by commas.
    RegisterRm {
        registration: Registration,
        resource_ids: String,
    },
    RegisterRmResult(RegistrationResult),
    /// Clients from 2.7 to servers that say 2.6.0 or more.
    UnregisterRm {
        registration: Registration,
        resource_ids: String,
    },
    UnregisterRmResult(RegistrationResult),
    /// Coordinator to RM, never answered.
    UndoLogDelete {
        branch_type: BranchType,
        resource_id: String,
        save_days: i16,
    },
}

impl Message {
    /// The type code in front of the body.
    pub const fn type_code(&self) -> i16 {
        match self {
            Message::GlobalBegin { .. } => 1,
            Message::GlobalBeginResult { .. } => 2,
            Message::BranchCommit { .. } => 3,
            Message::BranchCommitResult { .. } => 4,
            Message::BranchRollback { .. } => 5,
            Message::BranchRollbackResult { .. } => 6,
            Message::GlobalCommit { .. } => 7,
            Message::GlobalCommitResult { .. } => 8,
            Message::GlobalRollback { .. } => 9,
            Message::GlobalRollbackResult { .. } => 10,
            Message::BranchRegister { .. } => 11,
            Message::BranchRegisterResult { .. } => 12,
            Message::BranchReport { .. } => 13,
            Message::BranchReportResult { .. } => 14,
            Message::GlobalStatus { .. } => 15,
            Message::GlobalStatusResult { .. } => 16,
            Message::GlobalReport { .. } => 17,
            Message::GlobalReportResult { .. } => 18,
            Message::LockQuery { .. } => 21,
            Message::LockQueryResult { .. } => 22,
            Message::Merged { .. } => 59,
            Message::MergeResult { .. } => 60,
            Message::RegisterTm(_) => 101,
            Message::RegisterTmResult(_) => 102,
            Message::RegisterRm { .. } => 103,
            Message::RegisterRmResult(_) => 104,
            Message::UnregisterRm { .. } => 105,
            Message::UnregisterRmResult(_) => 106,
            Message::UndoLogDelete { .. } => 111,
            Message::BatchResult { .. } => 121,
        }
    }

    /// Its name, for logs and metric labels, as in [`Message::type_name`].
    pub const fn name(&self) -> &'static str {
        match Message::type_name(self.type_code()) {
            Some(name) => name,
            None => "unknown",
        }
    }

    /// The name of a type code, or nothing if no message has it.
    pub const fn type_name(type_code: i16) -> Option<&'static str> {
        Some(match type_code {
            1 => "global_begin",
            2 => "global_begin_result",
            3 => "branch_commit",
            4 => "branch_commit_result",
            5 => "branch_rollback",
            6 => "branch_rollback_result",
            7 => "global_commit",
            8 => "global_commit_result",
            9 => "global_rollback",
            10 => "global_rollback_result",
            11 => "branch_register",
            12 => "branch_register_result",
            13 => "branch_report",
            14 => "branch_report_result",
            15 => "global_status",
            16 => "global_status_result",
            17 => "global_report",
            18 => "global_report_result",
            21 => "lock_query",
            22 => "lock_query_result",
            59 => "merged",
            60 => "merge_result",
            101 => "register_tm",
            102 => "register_tm_result",
            103 => "register_rm",
            104 => "register_rm_result",
            105 => "unregister_rm",
            106 => "unregister_rm_result",
            111 => "undo_log_delete",
            121 => "batch_result",
            _ => return None,
        })
    }

    /// Whether it may stand inside a merged message: plain requests and answers about transactions.
    pub const fn may_be_merged(&self) -> bool {
        may_be_merged(self.type_code())
    }
}

/// Whether a message of this type may stand inside a merged one.
pub(super) const fn may_be_merged(type_code: i16) -> bool {
    matches!(type_code, 1..=18 | 21 | 22)
}
