//! The broker through its public API, on the memory store.

mod accounts;
mod bindings;
mod claims;
mod counts;
mod dead_letters;
mod delayed;
mod delivery;
mod disk_and_memory;
mod durability;
mod foreign;
mod late_consumers;
mod lifetimes;
mod limits;
mod look;
mod moving;
mod peek;
mod reading_back;
mod reload;
mod replies;
mod rights;
mod routes;
mod session_ends;
mod sessions;
mod sleepers;
mod stage;
mod storing_together;
