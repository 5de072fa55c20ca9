//! What a virtual host is made of. Lock order: **vhost → log → inbox**.
//!
//! | file | what it is |
//! |---|---|
//! | `host` | a virtual host: what is declared, behind one lock |
//! | `topology` | exchanges, queues, named sessions and their bindings |
//! | `walk` `route` | from an address to its targets |
//! | `route_cache` `route_table` | routes that are remembered: for all connections, and by one of them |
//! | `generations` | when a remembered route is out of date |
//! | `queue` | a queue and its lock; what its changes leave to be done without the lock |
//! | `inbox` | what waits for one connection |
//! | `connection` `sizes` | a connection as operators see it: who it is, its lanes and consumers, and what passed |
//! | `held` `crowds` | sessions whose publishes are held back; those that wait for plugins which route |
//! | `seats` | how many connections each user and each virtual host has |
//! | `named` | what outlives a connection |
//! | `replies` | names that lead straight to a session, while its lane lives |
//! | `content_path` `route_counters` `route_state` | a content route with its queue; what it did; what it remembers |
//! | `limits` | how many objects there may be; who met a limit |
//! | `departing` | records that left their queues, and whose dead letters wait for a turn |
//! | `drops` | counts of refused messages that were dropped without a refusal to their publishers |
//! | `unroutable` | the last publish of each exchange that reached nobody |
//! | `exchange_counts` `gone` | what exchanges count; what queues that are gone have counted |
//! | `parked` | delayed publishes and wills that wait |

pub mod connection;
pub mod content_path;
pub mod crowds;
pub mod departing;
pub mod drops;
pub mod exchange_counts;
pub mod generations;
pub mod gone;
pub mod held;
pub mod host;
pub mod inbox;
pub mod limits;
pub mod named;
pub mod parked;
pub mod queue;
pub mod replies;
pub mod route;
pub mod route_cache;
pub mod route_counters;
pub mod route_state;
pub mod route_table;
pub mod seats;
pub mod sizes;
pub mod topology;
pub mod unroutable;
mod walk;
