//! Where and when a turn takes place, and how often a message may be moved on.

use crate::broker::shared::Shared;
use crate::broker::vhost::host::Vhost;
use crate::message::Timestamp;
use std::sync::Arc;

/// Content routes that may send a message on to another address, one after the other.
pub const HOPS_MAX: u8 = 32;

/// The broker and the virtual host in which a turn takes place, and its time.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    pub shared: &'a Arc<Shared>,
    pub vhost: &'a Arc<Vhost>,
    pub now: Timestamp,
}
