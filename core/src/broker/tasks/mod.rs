//! What runs in the background until the broker closes.
//!
//! | file | what it does |
//! |---|---|
//! | `due` | acts on timers |
//! | `load` | reads records back that dispatch has come to |
//! | `relieve` | lets messages leave memory |
//! | `disk_space` | watches the disk |
//! | `route_worker` | consumes the queues of content routes |

pub mod disk_space;
pub mod due;
pub mod load;
pub mod relieve;
pub mod route_worker;
