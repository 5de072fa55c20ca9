//! What adapters ask of the broker, and what they are told: plain data.

pub mod events;
pub mod request;
