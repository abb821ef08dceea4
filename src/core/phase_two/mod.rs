//! What to send next in phase two, to which channel, and when to try again: pure policy.
