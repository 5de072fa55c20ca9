//! What adapters ask of the broker, and what they are told: plain data. The verbs are those of
//! [`Session`](crate::Session).

pub mod events;
pub mod request;
