//! The embedded store: one journal for the node in preallocated segment files, one fdatasync for everything that
//! waits, snapshots beside it. docs/STORE.md has the bytes.
//!
//! | file | what is in it |
//! |---|---|
//! | `store` | [`FileStore`]: the seam, opening |
//! | `writer` `journal` `spare` `dead` | appending: the queue, the writer thread, the next segment, what may go |
//! | `reader` `catalog` | reading: the tail-bound reader, which segment and where in it |
//! | `recovery` `scan` | starting: what the files hold, what is torn, what is damaged |
//! | `snapshot` `manifest` | the two kinds of file that are replaced as a whole |
//! | `layout` `window` | bytes: headers and records, a view that moves through a file |
//! | `disk` | the port to the file system; its double for tests loses what was not synced |
//!
//! Invariants: an append resolves `Ok` only after its bytes were synced; after a failed write or sync nothing is
//! written or acknowledged any more; damage is reported at its position and never cut away, except behind the last
//! entry that is known to have been synced.

#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)
)]

mod catalog;
#[cfg(test)]
mod crash_tests;
mod dead;
mod disk;
#[cfg(test)]
mod faulty;
mod journal;
mod layout;
mod manifest;
mod reader;
mod recovery;
mod scan;
mod snapshot;
mod spare;
mod store;
mod window;
mod writer;

pub use recovery::OpenError;
pub use store::{FileStore, Options};
