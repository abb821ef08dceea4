//! Begin: a new transaction in a group led here, taking turns, so that it costs no hop; else in a healthy group
//! elsewhere. Its id is minted in apply.

use std::sync::Arc;

use quorate_core::model::ExceptionCode;
use quorate_core::txn::command::BeginV1;
use quorate_core::txn::{Command, Outcome, Refusal};
use quorate_world::time::{Duration, timeout};

use super::ask::{BeginAsk, Failure, Reply};
use super::context::{Coordinator, Leader};
use super::tenure::{Lost, Tenure};

impl Coordinator {
    /// A group for a new transaction: one led here, the one where it will probably lock if that is among them; else the
    /// next one whose leader is known.
    pub(super) fn place_for_begin(&self, hinted: Option<&BeginAsk>) -> Leader {
        let home = hinted.and_then(|ask| self.homes.find(&ask.name, |home| self.led.tenure(home)));
        if let Some(tenure) = home {
            quorate_core::sometimes!("begin_goes_where_it_will_probably_lock");
            return Leader::Here(tenure);
        }
        if let Some(tenure) = self.led.next() {
            return Leader::Here(tenure);
        }
        quorate_core::sometimes!("begin_at_a_node_that_leads_nothing");
        let groups: Vec<_> = {
            let routing = self.routing.borrow();
            routing.groups().map(|(group, _)| group).filter(|group| routing.slots_of(*group).next().is_some()).collect()
        };
        // A random first one: the groups of a node that cannot be reached are not tried in the same order by everybody.
        let first = quorate_world::random::below(groups.len().max(1) as u64) as usize;
        let (before, after) = groups.split_at(first.min(groups.len()));
        let known = after.iter().chain(before).map(|group| self.leader_of_group(*group));
        known.into_iter().find(|leader| !matches!(leader, Leader::Nobody)).unwrap_or(Leader::Nobody)
    }

    /// Begins a transaction in this group.
    pub(super) async fn begin(&self, tenure: &Arc<Tenure>, ask: &BeginAsk) -> Result<Reply, Lost> {
        if let Err(full) = self.memory.begin(tenure.group) {
            quorate_core::sometimes!("begin_refused_for_memory");
            return Ok(full.into());
        }
        if let Err(full) = self.disk.begin() {
            quorate_core::sometimes!("begin_refused_for_the_disk");
            return Ok(full.into());
        }
        let BeginAsk { address, application, service_group, name, timeout_ms } = ask.clone();
        let command = Command::BeginNear(BeginV1 { address, application, service_group, name, timeout_ms });
        let proposed = tenure.propose(command);
        let outcome = match quorate_world::bug!("slow_begin_is_refused") {
            true => match timeout(Duration::from_millis(50), proposed).await {
                Ok(outcome) => outcome?,
                Err(_) => return Ok(Failure::new(ExceptionCode::BeginFailed, "it took too long").into()),
            },
            false => proposed.await?,
        };
        match outcome {
            Outcome::Begun(transaction) => {
                let timeout_ms = u64::try_from(ask.timeout_ms).unwrap_or(0);
                tenure.note_deadline(tenure.clock_ms().unwrap_or(0).saturating_add(timeout_ms));
                Ok(Reply::Begun(transaction))
            }
            // A group without slots: another one takes it.
            Outcome::Refused(Refusal::NotOwner { .. } | Refusal::OldTenure { .. }) => Err(Lost),
            Outcome::Refused(refusal) => {
                Ok(Failure::new(ExceptionCode::BeginFailed, format!("begin refused: {refusal}")).into())
            }
            outcome => unreachable_outcome("Begin", &outcome),
        }
    }
}

/// The state machine answers each command with an outcome of its own kind; another one is a bug.
pub(super) fn unreachable_outcome(command: &str, outcome: &Outcome) -> ! {
    panic!("{command} came to {outcome:?}")
}
