//! The broker through its public API, on the memory store.

mod delivery;
mod durability;
mod life;
mod limits;
mod sessions;
mod stage;
