//! What the journal says: operations and their bytes. It knows no queue, no store and no session.

pub mod messages;
pub mod ops;
pub mod specs;
