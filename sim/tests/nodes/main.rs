//! Whole nodes as their machines start them, without the workloads and faults of a seed: what a founding, a restart and a node
//! that is cut off look like from outside. One program, because each would hold the whole server once more.

mod attendance;
mod founding;
mod returning;
mod three;
