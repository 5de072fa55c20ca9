//! The broker through its public API, on the memory store.

mod delivery;
mod durability;
mod life;
mod limits;
mod mended;
mod room;
mod sessions;
mod stage;
