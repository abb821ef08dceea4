//! Where things are: the meta group's state machine and the planners over it.
//!
//! [`Meta`] is what group 0 replicates: the cluster id, the nodes with their addresses and silence, the groups with
//! their replicas, who owns which slot, and which slots are on their way. [`Routing`] is the picture of it that every
//! node routes by. The planners only propose: [`sharding`] which group gets which slot, [`resharding`] which slots move
//! to get there, [`placement`] which nodes carry which group at first, [`rebalance`] which group goes where next,
//! [`balance`] which leader should move; [`health`] says how a group is.
//! [`membership`] has how nodes come and go and groups move, as the meta group applies it, [`group`] how groups come and
//! go, [`migration`] how slots move; [`transition`] by which steps of raft a group gets to other nodes.
//!
//! Not here: raft, sockets, when to act. Nothing in this folder knows a transaction; what a slot holds is the
//! business of the group that owns it.

pub mod balance;
pub mod command;
pub mod group;
pub mod health;
pub mod member;
pub mod membership;
pub mod meta;
pub mod migration;
pub mod placement;
pub mod rebalance;
pub mod resharding;
pub mod routing;
pub mod sharding;
pub mod snapshot;
pub mod transition;

pub use command::{MetaBatch, MetaCommand, MetaOutcome, MetaRefusal};
pub use member::{Addresses, ClusterId, DiskId, GroupKey, Node, Standing, StartEpoch, StartId};
pub use meta::Meta;
pub use migration::{Migration, Phase};
pub use routing::{GroupRoute, Routing, SlotRoute, VgroupRoute};
pub use snapshot::LoadError;
