//! The verbs of a session: one connection's publishes, settles, consumers and declarations.

pub mod consume;
pub mod declare;
pub mod flush;
pub mod lane;
pub mod leaving;
pub mod opening;
pub mod park;
pub mod state;
