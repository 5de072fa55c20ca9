//! Keeping, pure: what a queue is declared with, and the records it holds.
//!
//! A log is pages of records in offset order. Offsets are dense and never reused; a record leaves when it is settled
//! or moved, its place stays empty while an older one lives in its page, and a page goes when nothing in it lives.

mod arguments;
mod cold;
mod hot;
mod memory;
mod page;
mod record;
mod spec;

pub use arguments::{BadDeclare, QueueKind, Returned, Returns};
pub use cold::Cold;
pub(crate) use cold::{put_tag, put_tags, take_tag, take_tags};
pub use page::{Log, PAGE_RECORDS};
pub use record::{Moment, Place, Record, RecordState};
pub use spec::{Life, Limits, Overflow, QueueSpec, counted};

/// Place of a record in its log: dense, from 0, never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Offset(pub u64);
