//! The meta group's state machine and the planners: routing, placement, balance, health.
