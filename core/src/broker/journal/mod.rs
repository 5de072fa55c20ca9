//! What is stored, and when: units, the one committer that writes them, and messages that are read back.

pub mod committer;
pub mod entry;
pub mod fetch;
pub mod unit;
