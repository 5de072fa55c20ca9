//! What is stored, and when. Only the committer writes.
//!
//! | file | what it is |
//! |---|---|
//! | `unit` | what is stored as a whole or not at all |
//! | `committer` | the one writer: all units that came while the last write was under way become one entry |
//! | `entry` | the bytes around units |
//! | `fetch` | messages that are read back |
//! | `spilled` | what has left memory without being stored |

pub mod committer;
pub mod entry;
pub mod fetch;
pub mod spilled;
pub mod unit;
