//! Who stands in the way, by name. A row lock knows the number of its transaction; the XID that clients and operators know
//! begins with the address of the node where it began, which the transaction's own group knows. Where no replica here knows
//! it, the leader of that group is asked.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use quorate_core::model::TransactionId;
use quorate_world::time::Duration;

use super::console::{ConsoleAnswer, ConsoleAsk};
use super::context::{Coordinator, Leader};
use super::guard::locked;
use super::message::{Query, Response};
use super::nodes;

/// XIDs remembered; beyond that all are forgotten, and asked for again.
const XIDS_MAX: usize = 4_096;
/// For an answer. A refusal waits no longer for the whole name of who is in the way.
const PATIENCE: Duration = Duration::from_millis(300);

/// The XIDs of holders whose groups have no replica here.
#[derive(Default)]
pub struct Holders(Mutex<BTreeMap<TransactionId, Arc<str>>>);

impl Holders {
    fn find(&self, transaction: TransactionId) -> Option<Arc<str>> {
        locked(&self.0).get(&transaction).cloned()
    }

    fn note(&self, transaction: TransactionId, xid: Arc<str>) {
        let mut xids = locked(&self.0);
        if xids.len() >= XIDS_MAX {
            xids.clear();
        }
        xids.insert(transaction, xid);
    }
}

impl Coordinator {
    /// The XID of a transaction; its number alone where it has ended meanwhile, or its group does not answer.
    pub(super) async fn xid_of(&self, transaction: TransactionId) -> Arc<str> {
        if let Some(xid) = self.xid_here(transaction).or_else(|| self.holders.find(transaction)) {
            return xid;
        }
        let ask = Query::Console(ConsoleAsk::ShowSessions(vec![transaction], 0));
        let answer = match self.leader_of(transaction.slot()) {
            Leader::There(node, group) => nodes::ask(&*self.nodes, node, group, &ask, PATIENCE).await.ok(),
            Leader::Here(_) | Leader::Nobody => None,
        };
        let row = match answer {
            Some(Response::Console(ConsoleAnswer::SessionRows(rows))) => rows.into_iter().next(),
            Some(_) | None => None,
        };
        let Some(row) = row else {
            quorate_core::sometimes!("holder_is_named_by_its_number");
            return transaction.to_string().into();
        };
        quorate_core::sometimes!("holder_is_asked_for_elsewhere");
        let xid: Arc<str> = row.xid.to_string().into();
        self.holders.note(transaction, xid.clone());
        xid
    }

    fn xid_here(&self, transaction: TransactionId) -> Option<Arc<str>> {
        let replica = self.group_of(transaction.slot()).and_then(|group| self.led.replica(group))?;
        replica.read(|state| Some(state.session(transaction)?.xid().to_string().into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_are_remembered() {
        let holders = Holders::default();
        let name = |number| (TransactionId(number), Arc::from(format!("h:1:{number}")));
        for number in 0..XIDS_MAX as i64 + 1 {
            let (transaction, xid) = name(number);
            holders.note(transaction, xid);
        }
        let (last, xid) = name(XIDS_MAX as i64);
        assert_eq!(holders.find(last), Some(xid));
        assert_eq!(holders.find(TransactionId(0)), None, "and no more");
    }
}
