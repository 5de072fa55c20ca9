//! What is kept of the journal, and how a broker comes back from it.

pub mod catch_up;
pub mod clean;
pub mod dump;
pub mod recovery;
pub mod snapshot;
