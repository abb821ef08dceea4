//! What is stored or sent between nodes: bincode behind one door.
