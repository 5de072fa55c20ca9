//! The embedded store: one journal for the node in preallocated segment files, one fdatasync for all entries
//! that wait, and snapshots beside it. docs/STORE.md describes the file formats.
//!
//! | file | what is in it |
//! |---|---|
//! | `store` | [`FileStore`]: the seam, opening |
//! | `writer` `queue` `journal` `dead` | appending: waiting entries, the writer thread, entries that are no longer needed |
//! | `spare` `reserve` | disk space: the next segment, made before it is needed; the reserve file for a full disk |
//! | `spill` | files for what leaves memory and need not survive |
//! | `reader` `fetch` `catalog` `offsets` | reading: in order, by position; which segment and where in it |
//! | `survey` `scan` `tail` | what the files hold, what is damaged, what a torn end can be |
//! | `recovery` `mend` `verify` | starting: mends what it finds; checking: reports it and changes nothing |
//! | `snapshot` `manifest` | the two kinds of file that are replaced as a whole |
//! | `losses` | what is known to be lost, until an operator accepts it |
//! | `backup` | copies of a store beside whoever writes to it, and a store out of a copy |
//! | `layout` `window` | bytes: headers and records, a view that moves through a file |
//! | `figures` | how many entries a sync is for, and how long it takes |
//! | `disk` | access to the file system; the test double loses what was not synced |
//!
//! Invariants: an append resolves `Ok` only after its bytes were synced; after a failed write or sync nothing is
//! written or acknowledged any more; damage is reported at its position and never cut away, except behind the last
//! entry whose sync the manifest notes. Damage there looks like an unfinished write; the bytes that a start cuts off
//! are copied to quarantine/ first.

#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)
)]

mod backup;
#[cfg(feature = "bench")]
#[doc(hidden)]
pub mod bench;
mod catalog;
#[cfg(test)]
mod crash_tests;
mod dead;
mod disk;
#[cfg(test)]
mod faulty;
mod fetch;
#[cfg(test)]
mod fetch_tests;
mod figures;
#[cfg(test)]
mod full_disk_tests;
mod journal;
mod layout;
mod losses;
mod manifest;
mod mend;
mod offsets;
mod queue;
mod reader;
mod recovery;
mod reserve;
mod scan;
#[cfg(test)]
mod sim_tests;
mod snapshot;
mod spare;
mod spill;
mod store;
mod survey;
mod tail;
mod verify;
mod window;
mod writer;

pub use backup::{
    Backup, BackupError, BackupOptions, Copied, RestoreError, RestoreOptions, Restored, backup,
    restore,
};
pub use disk::cure;
pub use figures::Figures;
pub use store::{FileStore, Options};
pub use survey::OpenError;
pub use verify::{Finding, Report, verify};
