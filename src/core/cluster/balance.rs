//! Which leader should move where: each group's leader back to its preferred node.
//!
//! Each leader judges its own groups, as it alone knows who is caught up; what it reads of the others is the
//! replicated picture. A group moves at most once a minute, so a node that comes and goes drags no leaders along.

use alloc::vec::Vec;

use super::routing::Routing;
use crate::model::{GroupId, NodeId};

/// A healthy leader is moved away from at most this often.
pub const MOVE_INTERVAL_MS: u64 = 60_000;

/// A group that this node leads.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Led {
    /// Which.
    pub group: GroupId,
    /// Followers whose log ends where the leader's does, or nearly.
    pub caught_up: Vec<NodeId>,
    /// How long ago its leader was last moved by this node; None if never.
    pub moved_ms_ago: Option<u64>,
}

/// Hand `group` over to `to`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Move {
    /// Which.
    pub group: GroupId,
    /// The preferred leader.
    pub to: NodeId,
}

/// The groups that `me` should hand over now.
pub fn moves(routing: &Routing, me: NodeId, led: &[Led]) -> Vec<Move> {
    led.iter().filter_map(|led| handover(routing, me, led)).collect()
}

fn handover(routing: &Routing, me: NodeId, led: &Led) -> Option<Move> {
    // Whoever leads a group that moves brings the move to its end.
    let rests = routing.group(led.group).is_some_and(|route| route.target.is_none());
    let to = routing.preferred_leader(led.group).filter(|_| rests)?;
    let up = routing.node(to).is_some_and(|node| !node.silent);
    let rested = led.moved_ms_ago.is_none_or(|ago| ago >= MOVE_INTERVAL_MS);
    (to != me && up && rested && led.caught_up.contains(&to)).then_some(Move { group: led.group, to })
}

#[cfg(test)]
mod tests;
