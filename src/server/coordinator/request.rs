//! From the wire to an ask: splits the XID, checks the limits, and answers at once what needs no group.
//!
//! The mirror of `reply`. A limit is refused here, before anything is forwarded or logged, with a text that names it.

use quorate_core::model::xid::XidError;
use quorate_core::model::{BranchType, ExceptionCode, GlobalStatus, TransactionId, Xid, limits, lock_key};
use quorate_core::wire::Message;
use quorate_world::random;

use super::ask::{Ask, BeginAsk, Failure, LockQueryAsk, RegisterAsk, RegisterOnceAsk, Reply, ReportBranchAsk};
use super::channel::Identity;
use super::reply::Question;

/// What to do with a message.
pub enum Request {
    /// The group that owns its slot answers.
    Ask(Ask),
    /// Answered without a group: nobody can know such an XID, or a limit stands in the way.
    Settled(Reply),
    /// No request of a client about a transaction.
    Other,
}

/// Translates a request of a client.
pub fn read(message: Message, identity: &Identity, advertise: &str) -> Request {
    let asked = match message {
        Message::GlobalBegin { timeout_ms, name } => begin(timeout_ms, name, identity, advertise),
        Message::GlobalCommit { xid, .. } => of_transaction(&xid, Ask::Commit),
        Message::GlobalRollback { xid, .. } => of_transaction(&xid, Ask::Rollback),
        Message::GlobalStatus { xid, .. } => of_transaction(&xid, Ask::Status),
        Message::GlobalReport { xid, status, .. } => report(&xid, status.unwrap_or(GlobalStatus::UnKnown)),
        Message::BranchRegister { xid, branch_type, resource_id, lock_keys, application_data } => {
            let ask = RegisterAsk {
                transaction: TransactionId(0),
                kind: branch_type,
                resource: resource_id,
                lock_keys,
                application_data,
                client: identity.client.to_string(),
                locks: false,
            };
            register(&xid, ask)
        }
        Message::BranchReport { xid, branch_id, status, application_data, .. } => report_branch(&xid, |transaction| {
            ReportBranchAsk { transaction, branch: branch_id, status, application_data }
        }),
        Message::LockQuery { xid, branch_type, resource_id, lock_keys, .. } => {
            lock_query(&xid, branch_type, resource_id, lock_keys)
        }
        Message::GlobalBeginResult { .. }
        | Message::BranchCommit { .. }
        | Message::BranchCommitResult { .. }
        | Message::BranchRollback { .. }
        | Message::BranchRollbackResult { .. }
        | Message::GlobalCommitResult { .. }
        | Message::GlobalRollbackResult { .. }
        | Message::BranchRegisterResult { .. }
        | Message::BranchReportResult { .. }
        | Message::GlobalStatusResult { .. }
        | Message::GlobalReportResult { .. }
        | Message::LockQueryResult { .. }
        | Message::Merged { .. }
        | Message::MergeResult { .. }
        | Message::BatchResult { .. }
        | Message::RegisterTm(_)
        | Message::RegisterTmResult(_)
        | Message::RegisterRm { .. }
        | Message::RegisterRmResult(_)
        | Message::UnregisterRm { .. }
        | Message::UnregisterRmResult(_)
        | Message::UndoLogDelete { .. } => return Request::Other,
    };
    match asked {
        Ok(ask) => Request::Ask(ask),
        Err(reply) => Request::Settled(reply),
    }
}

/// Which answer a request wants; nothing: it is no request about a transaction.
pub fn question(message: &Message) -> Option<Question> {
    Some(match message {
        Message::GlobalBegin { .. } => Question::Begin,
        Message::GlobalCommit { .. } => Question::Commit,
        Message::GlobalRollback { .. } => Question::Rollback,
        Message::GlobalStatus { .. } => Question::Status,
        Message::GlobalReport { .. } => Question::Report,
        Message::BranchRegister { .. } => Question::Register,
        Message::BranchReport { .. } => Question::ReportBranch,
        Message::LockQuery { .. } => Question::LockQuery,
        Message::GlobalBeginResult { .. }
        | Message::BranchCommit { .. }
        | Message::BranchCommitResult { .. }
        | Message::BranchRollback { .. }
        | Message::BranchRollbackResult { .. }
        | Message::GlobalCommitResult { .. }
        | Message::GlobalRollbackResult { .. }
        | Message::BranchRegisterResult { .. }
        | Message::BranchReportResult { .. }
        | Message::GlobalStatusResult { .. }
        | Message::GlobalReportResult { .. }
        | Message::LockQueryResult { .. }
        | Message::Merged { .. }
        | Message::MergeResult { .. }
        | Message::BatchResult { .. }
        | Message::RegisterTm(_)
        | Message::RegisterTmResult(_)
        | Message::RegisterRm { .. }
        | Message::RegisterRmResult(_)
        | Message::UnregisterRm { .. }
        | Message::UnregisterRmResult(_)
        | Message::UndoLogDelete { .. } => return None,
    })
}

/// The code of a refusal that has no better one.
pub const fn refusal_code(question: Question) -> ExceptionCode {
    match question {
        Question::Begin => ExceptionCode::BeginFailed,
        Question::Register => ExceptionCode::FailedToAddBranch,
        Question::ReportBranch => ExceptionCode::BranchReportFailed,
        Question::LockQuery => ExceptionCode::LockableCheckFailed,
        Question::Commit | Question::Rollback | Question::Status | Question::Report => ExceptionCode::Unknown,
    }
}

fn begin(timeout_ms: i32, name: String, identity: &Identity, advertise: &str) -> Result<Ask, Reply> {
    within("transaction name", &name, limits::NAME_BYTES_MAX, ExceptionCode::BeginFailed)?;
    Ok(Ask::Begin(BeginAsk {
        address: advertise.into(),
        application: identity.application.to_string(),
        service_group: identity.service_group.to_string(),
        name,
        timeout_ms,
    }))
}

/// Commit, rollback and status: an XID that is none is Finished, an empty one an error beside it (semantics, fact 3).
fn of_transaction(xid: &str, ask: impl FnOnce(TransactionId) -> Ask) -> Result<Ask, Reply> {
    match Xid::parse(xid) {
        Ok(xid) => Ok(ask(xid.transaction)),
        Err(XidError::Empty) => Err(Failure::runtime("the xid is empty").into()),
        Err(XidError::NoNumber) => Err(Reply::Standing(quorate_core::txn::answer::UNKNOWN)),
    }
}

fn report(xid: &str, status: GlobalStatus) -> Result<Ask, Reply> {
    match Xid::parse(xid) {
        Ok(xid) => Ok(Ask::Report(xid.transaction, status)),
        Err(XidError::Empty) => Err(Failure::runtime("the xid is empty").into()),
        Err(XidError::NoNumber) => Err(Reply::Standing(status)),
    }
}

fn register(xid: &str, mut ask: RegisterAsk) -> Result<Ask, Reply> {
    ask.transaction = of_branch(xid)?;
    let code = ExceptionCode::FailedToAddBranch;
    within("resource id", &ask.resource, limits::NAME_BYTES_MAX, code)?;
    within("application data", &ask.application_data, limits::APPLICATION_DATA_BYTES_MAX, code)?;
    match ask.kind {
        BranchType::AT => {
            let rows = lock_key::parse(&ask.lock_keys).map_err(|error| Failure::new(code, error.to_string()))?;
            ask.locks = !rows.is_empty();
        }
        BranchType::TCC | BranchType::XA | BranchType::SAGA | BranchType::SAGA_ANNOTATION => {
            within("lock keys", &ask.lock_keys, limits::LOCK_KEYS_BYTES_MAX, code)?;
        }
    }
    Ok(match ask.may_be_repeated() {
        true => Ask::Register(ask),
        false => Ask::RegisterOnce(RegisterOnceAsk { register: ask, request: random::u64() }),
    })
}

fn report_branch(xid: &str, ask: impl FnOnce(TransactionId) -> ReportBranchAsk) -> Result<Ask, Reply> {
    let ask = ask(of_branch(xid)?);
    let code = ExceptionCode::BranchReportFailed;
    within("application data", &ask.application_data, limits::APPLICATION_DATA_BYTES_MAX, code)?;
    Ok(Ask::ReportBranch(ask))
}

fn lock_query(xid: &str, kind: BranchType, resource: String, lock_keys: String) -> Result<Ask, Reply> {
    let transaction = match Xid::parse(xid) {
        Ok(xid) => Some(xid.transaction),
        Err(XidError::Empty) => None,
        Err(XidError::NoNumber) => return Err(Failure::runtime(format!("no transaction id in xid {xid:?}")).into()),
    };
    match kind {
        BranchType::AT => {}
        BranchType::TCC | BranchType::XA | BranchType::SAGA | BranchType::SAGA_ANNOTATION => {
            return Err(Reply::Lockable(true));
        }
    }
    let code = ExceptionCode::LockableCheckFailed;
    within("resource id", &resource, limits::NAME_BYTES_MAX, code)?;
    let rows = lock_key::parse(&lock_keys).map_err(|error| Failure::new(code, error.to_string()))?;
    if rows.is_empty() {
        return Err(Reply::Lockable(true));
    }
    Ok(Ask::LockQuery(LockQueryAsk { transaction, resource, lock_keys }))
}

/// For branches an XID that nobody knows is an error.
fn of_branch(xid: &str) -> Result<TransactionId, Reply> {
    match Xid::parse(xid) {
        Ok(xid) => Ok(xid.transaction),
        Err(XidError::Empty) => Err(Failure::runtime("the xid is empty").into()),
        Err(XidError::NoNumber) => Err(no_such_transaction(xid).into()),
    }
}

/// The refusal of a branch request for a transaction that is not there: how it ended, where that is still known.
pub fn not_there(transaction: TransactionId, standing: Option<GlobalStatus>) -> Failure {
    let Some(status) = standing else { return no_such_transaction(transaction) };
    let text = format!("the global transaction {transaction} has ended, with {status}");
    Failure::new(ExceptionCode::GlobalTransactionNotExist, text)
}

/// The same for an XID that nobody knows.
pub fn no_such_transaction(xid: impl std::fmt::Display) -> Failure {
    Failure::new(ExceptionCode::GlobalTransactionNotExist, format!("no global transaction {xid}, it may be finished"))
}

fn within(what: &str, text: &str, bytes_max: usize, code: ExceptionCode) -> Result<(), Reply> {
    if text.len() <= bytes_max {
        return Ok(());
    }
    Err(Failure::new(code, format!("{what} of {} bytes, at most {bytes_max} are allowed", text.len())).into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate_core::wire::ClientVersion;

    fn refused(message: Message) -> Option<(ExceptionCode, String)> {
        let identity = Identity {
            application: "shop".into(),
            service_group: "default_tx_group".into(),
            client: "shop:10.0.0.2:5000".into(),
            version: ClientVersion::V2_3,
        };
        match read(message, &identity, "h:1") {
            Request::Settled(Reply::Failed(failure)) => Some((failure.code, failure.text)),
            Request::Ask(_) => None,
            Request::Settled(_) | Request::Other => panic!("no refusal and nothing to ask"),
        }
    }

    fn register(resource: &str, lock_keys: String, data: &str) -> Message {
        Message::BranchRegister {
            xid: "h:1:4097".to_owned(),
            branch_type: BranchType::AT,
            resource_id: resource.to_owned(),
            lock_keys,
            application_data: data.to_owned(),
        }
    }

    /// Every bound on a register, a report, a begin and a query is refused before anything is asked, and named.
    #[test]
    fn limits_are_refused_in_words() {
        let code = ExceptionCode::FailedToAddBranch;
        let keys = |rows: usize| format!("t:{}", (0..rows).map(|row| format!("{row},")).collect::<String>());
        let long = |bytes: usize| "x".repeat(bytes);
        for (message, names) in [
            (register("db", keys(limits::ROWS_OF_BRANCH_MAX + 1), ""), "at most 100000 rows"),
            (register("db", format!("t:{}", long(limits::ROW_KEY_BYTES_MAX)), ""), "a row key may have at most 1024"),
            (
                register("db", long(limits::LOCK_KEYS_BYTES_MAX + 1), ""),
                "lock keys of a branch may have at most 2097152",
            ),
            (register(&long(limits::NAME_BYTES_MAX + 1), keys(1), ""), "resource id of 1025 bytes, at most 1024"),
            (register("db", keys(1), &long(limits::APPLICATION_DATA_BYTES_MAX + 1)), "at most 1048576 are allowed"),
        ] {
            let (refused_with, text) = refused(message).expect("beyond a bound");
            assert!(refused_with == code && text.contains(names), "{text}");
        }
        assert_eq!(refused(register("db", keys(1_000), "{}")), None);
        let begin = Message::GlobalBegin { timeout_ms: 1, name: long(limits::NAME_BYTES_MAX + 1) };
        assert_eq!(refused(begin).map(|(code, _)| code), Some(ExceptionCode::BeginFailed));
        let query = Message::LockQuery {
            xid: String::new(),
            branch_type: BranchType::AT,
            resource_id: "db".to_owned(),
            lock_keys: keys(limits::ROWS_OF_BRANCH_MAX + 1),
            application_data: String::new(),
        };
        assert_eq!(refused(query).map(|(code, _)| code), Some(ExceptionCode::LockableCheckFailed));
    }
}
