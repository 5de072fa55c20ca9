//! What is kept of the journal, and how a broker comes back from it.
//!
//! | file | what it does |
//! |---|---|
//! | `snapshot` | stores all but message bodies, so that the journal in front of that can go |
//! | `collect` | what a snapshot says, collected slice by slice |
//! | `clean` | writes again what little lives in a part of the journal, so that the part can go |
//! | `recovery` `bindings` `values` `sessions` `accounts` `counts` `damage` | reads the newest snapshot and the journal behind it |
//! | `catch_up` | does what the end of the last start would have done |
//! | `dump` | reads a stored queue, for tools |

mod accounts;
mod bindings;
pub mod catch_up;
pub mod clean;
mod collect;
mod counts;
mod damage;
pub mod dump;
pub mod recovery;
mod sessions;
pub mod snapshot;
mod values;
