//! Where things are: the meta group's state machine and the planners over it.
//!
//! [`Meta`] is what group 0 replicates: the cluster id, the nodes with their addresses and silence, the groups with
//! their replicas, and who owns which slot. [`Routing`] is the picture of it that every node routes by. The planners
//! only propose: [`sharding`] which group gets which slot, [`placement`] which nodes carry which group at first,
//! [`rebalance`] which group goes where next, [`balance`] which leader should move; [`health`] says how a group is.
//! [`membership`] has how nodes come and go and groups move, as the meta group applies it, [`transition`] by which steps of
//! raft a group gets there.
//!
//! Not here: raft, sockets, when to act. Nothing in this folder knows a transaction; what a slot holds is the
//! business of the group that owns it.

pub mod balance;
pub mod command;
pub mod health;
pub mod member;
pub mod membership;
pub mod meta;
pub mod placement;
pub mod rebalance;
pub mod routing;
pub mod sharding;
pub mod snapshot;
pub mod transition;

pub use command::{MetaBatch, MetaCommand, MetaOutcome, MetaRefusal};
pub use member::{Addresses, ClusterId, DiskId, Node, Standing, StartEpoch, StartId};
pub use meta::Meta;
pub use routing::{GroupRoute, Routing, SlotRoute, VgroupRoute};
pub use snapshot::LoadError;
