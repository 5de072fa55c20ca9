//! Keeping, pure: what a queue is declared with, and the records it holds.

mod spec;

pub use spec::{Life, Limits, Overflow, QueueSpec};

/// Place of a record in its log: dense, from 0, never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Offset(pub u64);
