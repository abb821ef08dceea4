//! The coordinator over a real replica, with hand-made channels.
