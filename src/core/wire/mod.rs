//! Seata frames and messages: bytes and values, both ways.
