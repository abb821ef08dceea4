//! From an answer to the wire: the mirror of `request`.
//!
//! A TM looks at nothing but the status byte of commit and rollback, so a failed one carries a status that no client takes
//! for success: Finished, if there is nothing better (semantics, sections 1.4 and 1.5, W30).

use quorate_core::model::{BranchId, GlobalStatus, TransactionId, Xid};
use quorate_core::wire::{ClientVersion, Message, ResultPart};

use super::ask::{Failure, Reply};

/// The kind of answer that a request wants.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)] // one for each request
pub enum Question {
    Begin,
    Commit,
    Rollback,
    Status,
    Report,
    Register,
    ReportBranch,
    LockQuery,
}

/// The message for a reply, in terms that the client's version knows.
pub fn write(question: Question, reply: Reply, advertise: &str, version: ClientVersion) -> Message {
    let mut message = match reply {
        Reply::Failed(failure) => failed(question, &failure),
        Reply::Begun(transaction) => begun(transaction, advertise),
        Reply::Standing(status) => standing(question, ResultPart::success(), status),
        Reply::Registered(branch_id) => Message::BranchRegisterResult { result: ResultPart::success(), branch_id },
        Reply::Reported => Message::BranchReportResult { result: ResultPart::success() },
        Reply::Lockable(lockable) => Message::LockQueryResult { result: ResultPart::success(), lockable },
    };
    version.adapt(&mut message);
    message
}

fn begun(transaction: TransactionId, advertise: &str) -> Message {
    let xid = Xid { address: advertise.into(), transaction }.to_string();
    Message::GlobalBeginResult { result: ResultPart::success(), xid, extra_data: String::new() }
}

fn standing(question: Question, result: ResultPart, status: GlobalStatus) -> Message {
    match question {
        Question::Commit => Message::GlobalCommitResult { result, status },
        Question::Rollback => Message::GlobalRollbackResult { result, status },
        Question::Report => Message::GlobalReportResult { result, status },
        // The others ask for no status; a status result is what any client at least understands.
        Question::Status | Question::Begin | Question::Register | Question::ReportBranch | Question::LockQuery => {
            Message::GlobalStatusResult { result, status }
        }
    }
}

fn failed(question: Question, failure: &Failure) -> Message {
    let result = ResultPart::failed(failure.code, failure.message());
    match question {
        Question::Begin => Message::GlobalBeginResult { result, xid: String::new(), extra_data: String::new() },
        Question::Register => Message::BranchRegisterResult { result, branch_id: BranchId(0) },
        Question::ReportBranch => Message::BranchReportResult { result },
        Question::LockQuery => Message::LockQueryResult { result, lockable: false },
        Question::Commit | Question::Rollback | Question::Status | Question::Report => {
            standing(question, result, GlobalStatus::Finished)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate_core::model::{ExceptionCode, ResultCode};

    #[test]
    fn a_failed_commit_never_looks_like_success() {
        let reply = Reply::Failed(Failure::runtime("the xid is empty"));
        let Message::GlobalCommitResult { result, status } = write(Question::Commit, reply, "h:1", ClientVersion::V2_4)
        else {
            panic!("another message")
        };
        assert_eq!((result.code, status), (ResultCode::Failed, GlobalStatus::Finished));
        assert_eq!(result.message, "RuntimeException[the xid is empty]");
    }

    #[test]
    fn old_clients_read_old_numbers() {
        let fail_fast = Failure::new(ExceptionCode::LockKeyConflictFailFast, "x");
        let number = |version| match write(Question::Register, fail_fast.clone().into(), "h:1", version) {
            Message::BranchRegisterResult { result, branch_id: BranchId(0) } => result.exception.code(),
            other => panic!("{other:?}"),
        };
        assert_eq!(number(ClientVersion::V2_3), 20);
        assert_eq!(number(ClientVersion::of(1, 6, 0)), 19);
        assert_eq!(number(ClientVersion::of(1, 4, 2)), 2);
    }

    #[test]
    fn an_xid_names_the_node_that_was_asked() {
        let message = write(Question::Begin, Reply::Begun(TransactionId(4097)), "10.0.0.1:8091", ClientVersion::V2_3);
        let Message::GlobalBeginResult { xid, .. } = message else { panic!("another message") };
        assert_eq!(xid, "10.0.0.1:8091:4097");
    }
}
