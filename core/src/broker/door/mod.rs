//! What adapters ask of the broker, and what it answers: plain data. The verbs are those of
//! [`Session`](crate::Session).

pub mod browse;
pub mod events;
pub mod names;
pub mod progress;
pub mod request;
