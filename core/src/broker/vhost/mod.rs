//! What a virtual host is made of: exchanges, queues, named sessions, inboxes and routes, each behind its own lock.

pub mod content_path;
pub mod host;
pub mod inbox;
pub mod named;
pub mod parked;
pub mod queue;
