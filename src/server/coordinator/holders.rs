//! Who stands in the way, by name. A row lock knows the number of its transaction; the XID that clients and operators know
//! begins with the address of the node where it began, which the transaction's own group knows. Where no replica here knows
//! it, the leader of that group is asked.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use quorate_core::model::TransactionId;
use quorate_world::time::{Duration, Instant, timeout};
use quorate_world::watch;

use super::console::{ConsoleAnswer, ConsoleAsk};
use super::context::{Coordinator, Leader};
use super::guard::locked;
use super::message::{Query, Response};
use super::nodes;

/// XIDs remembered; beyond that all are forgotten, and asked for again.
const XIDS_MAX: usize = 4_096;
/// For an answer. A refusal waits no longer for the whole name of who is in the way.
const PATIENCE: Duration = Duration::from_millis(300);
/// So long nobody is asked again for a holder that was not found: it has ended, or its group does not answer. A row that
/// many want is refused often, and each refusal would wait.
const UNKNOWN: Duration = Duration::from_secs(1);

const _: () = assert!(PATIENCE.as_millis() < UNKNOWN.as_millis());

/// The XIDs of holders whose groups have no replica here.
#[derive(Default)]
pub struct Holders(Mutex<BTreeMap<TransactionId, Known>>);

/// Of one holder.
enum Known {
    Xid(Arc<str>),
    /// Asked for at this time, by whoever has the other end: nothing was heard yet, or there was nothing to hear.
    Asked(Instant, watch::Receiver<Option<Arc<str>>>),
}

/// Where its name comes from.
enum Found {
    Xid(Arc<str>),
    /// Somebody asks, or has asked in vain a moment ago.
    Asked(watch::Receiver<Option<Arc<str>>>),
    /// Nobody does: whoever looks is to ask, and to say here what came of it. Dropped, nothing did.
    Ask(watch::Sender<Option<Arc<str>>>),
}

impl Holders {
    fn find(&self, transaction: TransactionId, now: Instant) -> Found {
        let mut known = locked(&self.0);
        match known.get(&transaction) {
            Some(Known::Xid(xid)) => return Found::Xid(xid.clone()),
            Some(Known::Asked(when, told)) if now - *when < UNKNOWN => return Found::Asked(told.clone()),
            Some(Known::Asked(..)) | None => {}
        }
        if known.len() >= XIDS_MAX {
            known.clear();
        }
        let (tell, told) = watch::channel(None);
        known.insert(transaction, Known::Asked(now, told));
        Found::Ask(tell)
    }

    fn note(&self, transaction: TransactionId, xid: Arc<str>) {
        // In the place that was taken for it; where all was forgotten meanwhile, there is room again.
        locked(&self.0).insert(transaction, Known::Xid(xid));
    }
}

impl Coordinator {
    /// The XID of a transaction; its number alone where it has ended meanwhile, or its group does not answer.
    pub(super) async fn xid_of(&self, transaction: TransactionId) -> Arc<str> {
        if let Some(xid) = self.xid_here(transaction) {
            return xid;
        }
        let found = match self.holders.find(transaction, Instant::now()) {
            Found::Xid(xid) => Some(xid),
            Found::Asked(mut told) => {
                quorate_core::sometimes!("holder_is_being_asked_for");
                let told = timeout(PATIENCE, told.wait_until(Option::is_some)).await;
                told.ok().and_then(Result::ok).flatten()
            }
            Found::Ask(tell) => {
                let xid = self.ask_for_xid(transaction).await;
                if let Some(xid) = &xid {
                    quorate_core::sometimes!("holder_is_asked_for_elsewhere");
                    self.holders.note(transaction, xid.clone());
                    tell.send(Some(xid.clone()));
                }
                xid
            }
        };
        found.unwrap_or_else(|| {
            quorate_core::sometimes!("holder_is_named_by_its_number");
            transaction.to_string().into()
        })
    }

    async fn ask_for_xid(&self, transaction: TransactionId) -> Option<Arc<str>> {
        let ask = Query::Console(ConsoleAsk::ShowSessions(vec![transaction], 0));
        let answer = match self.leader_of(transaction.slot()) {
            Leader::There(node, group) => nodes::ask(&*self.nodes, node, group, &ask, PATIENCE).await.ok(),
            Leader::Here(_) | Leader::Nobody => None,
        };
        match answer {
            Some(Response::Console(ConsoleAnswer::SessionRows(rows))) => {
                rows.into_iter().next().map(|row| row.xid.to_string().into())
            }
            Some(_) | None => None,
        }
    }

    fn xid_here(&self, transaction: TransactionId) -> Option<Arc<str>> {
        let replica = self.group_of(transaction.slot()).and_then(|group| self.led.replica(group))?;
        replica.read(|state| Some(state.session(transaction)?.xid().to_string().into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate_world::runtime::run_test;

    const HOLDER: TransactionId = TransactionId(7);

    fn is_asked_for(holders: &Holders, transaction: TransactionId, now: Instant) -> bool {
        matches!(holders.find(transaction, now), Found::Ask(_))
    }

    #[test]
    fn so_many_are_remembered() {
        run_test(async {
            let (holders, now) = (Holders::default(), Instant::now());
            for number in 0..XIDS_MAX as i64 + 1 {
                assert!(is_asked_for(&holders, TransactionId(number), now));
                holders.note(TransactionId(number), format!("h:1:{number}").into());
            }
            let last = holders.find(TransactionId(XIDS_MAX as i64), now);
            assert!(matches!(last, Found::Xid(xid) if *xid == *format!("h:1:{XIDS_MAX}")));
            assert!(is_asked_for(&holders, TransactionId(0), now), "and no more");
        });
    }

    #[test]
    fn a_burst_asks_once_and_hears_the_answer() {
        run_test(async {
            let (holders, now) = (Holders::default(), Instant::now());
            let Found::Ask(tell) = holders.find(HOLDER, now) else { panic!("nobody has asked") };
            let Found::Asked(mut told) = holders.find(HOLDER, now) else { panic!("somebody asks") };
            holders.note(HOLDER, "h:1:7".into());
            tell.send(Some("h:1:7".into()));
            assert_eq!(told.wait_until(Option::is_some).await.expect("told"), Some("h:1:7".into()));
            assert!(matches!(holders.find(HOLDER, now + UNKNOWN), Found::Xid(_)));
        });
    }

    #[test]
    fn who_was_not_found_is_not_asked_for_again_at_once() {
        run_test(async {
            let (holders, now) = (Holders::default(), Instant::now());
            assert!(is_asked_for(&holders, HOLDER, now));
            let Found::Asked(mut told) = holders.find(HOLDER, now + PATIENCE) else { panic!("a moment ago") };
            assert!(told.wait_until(Option::is_some).await.is_err(), "nobody waits for what was asked in vain");
            assert!(is_asked_for(&holders, HOLDER, now + UNKNOWN));
        });
    }
}
