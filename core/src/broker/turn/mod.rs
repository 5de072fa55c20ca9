//! One flush's way through the broker: route, append, dispatch, dead-letter, and one unit for the journal.

pub mod after_commit;
pub mod context;
pub mod dead_letter;
pub mod removal;
pub mod retained;
pub mod run;
