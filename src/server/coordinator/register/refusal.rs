//! Why an RM may not register its branch, as it is told.

use quorate_core::model::{ExceptionCode, GlobalStatus};

use super::super::ask::{Failure, RegisterAsk, Reply};
use super::super::context::Coordinator;
use super::super::message::RefusedV1;
use super::super::request::not_there;
use super::super::tenure::Tenure;

impl Coordinator {
    /// The answer to an RM whose rows somebody else holds.
    pub(super) async fn conflict(&self, tenure: &Tenure, ask: &RegisterAsk, refused: &RefusedV1) -> Reply {
        self.counters.lock_conflicts.one();
        tenure.note_refusal(ask.transaction);
        let RefusedV1 { conflict, rolling_back } = refused;
        let waits = !auto_commit(&ask.application_data) || quorate_world::bug!("everybody_fails_fast");
        let fail_fast = *rolling_back && waits;
        let code = match fail_fast {
            true => {
                quorate_core::sometimes!("conflict_is_told_to_fail_fast");
                ExceptionCode::LockKeyConflictFailFast
            }
            false => ExceptionCode::LockKeyConflict,
        };
        let (row, held_ms, holder) = (&conflict.row, conflict.held_ms, self.xid_of(conflict.holder).await);
        if self.conflict_told.may() {
            let transaction = ask.transaction.0;
            tracing::info!(transaction, %row, %holder, held_ms, "a row is locked by another transaction");
        }
        Failure::new(code, format!("row {row} is locked by global transaction {holder} for {held_ms} ms")).into()
    }
}

/// Why the transaction takes no such branch any more, as the applied state has it; nothing: it does.
pub fn decided(tenure: &Tenure, ask: &RegisterAsk) -> Option<Reply> {
    tenure.replica.read(|transactions| match transactions.session(ask.transaction) {
        Some(session) if session.takes(ask.kind) => None,
        Some(session) => Some(not_active(session.status).into()),
        // Its slot is on its way: whoever owns it knows better.
        None if transactions.owns(ask.transaction.slot()).is_none() => None,
        None => Some(not_there(ask.transaction, transactions.standing(ask.transaction)).into()),
    })
}

/// It is there, and decided.
pub fn not_active(status: GlobalStatus) -> Failure {
    let text = format!("the global transaction is {status}, not Begin");
    Failure::new(ExceptionCode::GlobalTransactionNotActive, text)
}

/// `autoCommit` of the application data, true if it says nothing (semantics, section 3.3). Looked at after a conflict only.
fn auto_commit(application_data: &str) -> bool {
    let value: Option<serde_json::Value> = serde_json::from_str(application_data).ok();
    let said = value.as_ref().and_then(|value| value.get("autoCommit")?.as_bool());
    said.unwrap_or(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn auto_commit_is_what_the_data_says() {
        assert!(!auto_commit(r#"{"autoCommit":false}"#));
        for data in [
            "",
            "not json",
            "[]",
            r#"{"autoCommit":true}"#,
            r#"{"autoCommit":"false"}"#,
            r#"{"x":{"autoCommit":false}}"#,
        ] {
            assert!(auto_commit(data), "{data}");
        }
    }
}
