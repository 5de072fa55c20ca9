//! What the journal says: operations and their bytes (docs/STORE.md). It knows no queue, no store and no session: those
//! know it.
//!
//! | file | the bytes of |
//! |---|---|
//! | `op` `ops` | operations |
//! | `specs` | what is declared |
//! | `accounts` | users and their rights |
//! | `messages` | a message |
//! | `settles` | how records leave, and what queues have counted |
//! | `known` | nothing: what neighbours share when they are read |

pub mod accounts;
pub mod known;
pub mod messages;
pub mod op;
pub mod ops;
pub mod settles;
pub mod specs;
