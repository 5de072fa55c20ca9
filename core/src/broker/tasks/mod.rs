//! What runs in the background until the broker closes: timers, memory, disk space, content routes.

pub mod disk_space;
pub mod due;
pub mod load;
pub mod relieve;
pub mod route_worker;
