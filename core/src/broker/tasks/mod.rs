//! What runs in the background until the broker closes.
//!
//! | file | what it does |
//! |---|---|
//! | `audit` | looks whether all that was counted comes out |
//! | `due` | acts on timers |
//! | `clock` | lets the clock follow the system's |
//! | `departures` | dead letters that are more than one turn may do |
//! | `load` | reads records back that dispatch has come to |
//! | `relieve` | lets messages leave memory |
//! | `disk_space` | watches the disk |
//! | `slow_readers` | warns of deliveries that were dropped because nobody read them in time |
//! | `sleepers` | keeps queues of subscribers that may be away within the disk |
//! | `routes` | content routes begin; what an old one left is moved on |
//! | `route_worker` `route_inputs` | consumes the queue of a content route; messages that wait there |

pub mod audit;
pub mod clock;
pub mod departures;
pub mod disk_space;
pub mod due;
pub mod load;
pub mod relieve;
pub mod route_inputs;
pub mod route_worker;
pub mod routes;
pub mod sleepers;
pub mod slow_readers;
