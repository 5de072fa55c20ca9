//! What runs in the background until the broker closes: timers, memory, disk space, content routes.

pub mod content_routes;
pub mod disk_space;
pub mod relieve;
pub mod timer;
