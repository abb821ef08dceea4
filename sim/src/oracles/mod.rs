//! Oracles: each judges one promise, from what was seen and from the ghost model. One file each; the first line names
//! the promise and where it comes from.
//!
//! An oracle never asks a node and never takes an error or a silence for "did not happen": unknown stays unknown.
//! To add one: a file here with an [`Oracle`], a line in [`all`], a line in `docs/SIMULATION.md`, and a planted bug that
//! only it finds.

mod a1_atomicity;
mod a2_one_decision;
mod a3_decision_first;
mod a4_fixed_list;
mod a5_forward;
mod a6_in_its_time;
mod a7_saga;
mod a9_fenced;
mod b1_one_holder;
mod b2_dirty_write;
mod b3_no_lock_left;
mod b6_money;
mod c1_kept_word;
mod c2_no_phantom;
mod c3_fresh;
mod c4_once;
mod d2_durable;
mod d3_whole_snapshots;
mod d_logs;
mod e4_members;
mod g1_all_end;
mod g2_nothing_left;
mod g3_placed;

use crate::bank::Bank;
use crate::ghost::Ghost;
use crate::seen::{Seen, Step};
use quorate_core::model::{GroupId, NodeId, TransactionId};

/// A broken promise.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Finding {
    /// What is wrong, for people.
    pub text: String,
    /// Which transaction, if it is about one,
    pub transaction: Option<TransactionId>,
    /// group,
    pub group: Option<GroupId>,
    /// and node.
    pub node: Option<NodeId>,
}

impl Finding {
    /// About nothing in particular.
    pub fn new(text: impl Into<String>) -> Finding {
        Finding { text: text.into(), ..Finding::default() }
    }

    /// About this transaction.
    pub fn about(transaction: TransactionId, text: impl Into<String>) -> Finding {
        Finding { transaction: Some(transaction), ..Finding::new(text) }
    }

    /// In this group.
    pub fn in_group(self, group: GroupId) -> Finding {
        Finding { group: Some(group), ..self }
    }

    /// At this node.
    pub fn at_node(self, node: NodeId) -> Finding {
        Finding { node: Some(node), ..self }
    }
}

/// What an oracle says.
pub type Judgement = Result<(), Finding>;

/// Judges one promise.
pub trait Oracle: Send {
    /// As `simulation` notes and tables name it.
    fn name(&self) -> &'static str;

    /// Something was seen.
    fn see(&mut self, _ghost: &Ghost, _seen: &Seen) -> Judgement {
        Ok(())
    }

    /// A group has applied a command; the ghost knows it already.
    fn step(&mut self, _ghost: &Ghost, _step: &Step<'_>) -> Judgement {
        Ok(())
    }

    /// Everything has come to rest.
    fn at_rest(&mut self, _ghost: &Ghost, _bank: &Bank) -> Judgement {
        Ok(())
    }

    /// What still keeps the world from rest, after the heal; for oracles of liveness.
    fn pending(&self, _ghost: &Ghost, _bank: &Bank) -> Vec<Finding> {
        Vec::new()
    }
}

/// All oracles.
pub fn all() -> Vec<Box<dyn Oracle>> {
    vec![
        Box::new(d_logs::Logs::default()),
        Box::new(d2_durable::DurableFirst),
        Box::new(d3_whole_snapshots::WholeSnapshots::default()),
        Box::new(a1_atomicity::Atomicity::default()),
        Box::new(a2_one_decision::OneDecision::default()),
        Box::new(a3_decision_first::DecisionFirst),
        Box::new(a4_fixed_list::FixedList),
        Box::new(a5_forward::Forward::default()),
        Box::new(a6_in_its_time::InItsTime::default()),
        Box::new(a7_saga::SagaEnds),
        Box::new(a9_fenced::Fenced::default()),
        Box::new(b1_one_holder::OneHolder::default()),
        Box::new(b2_dirty_write::DirtyWrite),
        Box::new(b3_no_lock_left::NoLockLeft),
        Box::new(b6_money::Money),
        Box::new(c1_kept_word::KeptWord),
        Box::new(c2_no_phantom::NoPhantom::default()),
        Box::new(c3_fresh::Fresh),
        Box::new(c4_once::Once::default()),
        Box::new(e4_members::OneQuorum::default()),
        // What is pending first is named: a group that is nowhere lets nothing end.
        Box::new(g3_placed::Placed),
        Box::new(g1_all_end::AllEnd),
        Box::new(g2_nothing_left::NothingLeft),
    ]
}
