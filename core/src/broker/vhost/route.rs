//! Where a message goes, as far as that depends on bindings and content routes only.

use super::content_path::ContentPath;
use super::named::Named;
use super::queue::Queue;
use crate::exchange::{BindingTag, LogId, SessionId, Tags};
use crate::transform::Mode;
use std::sync::Arc;

/// Where a key leads, as far as it depends on bindings only.
#[derive(Clone, Default)]
pub struct Route {
    pub queues: Vec<Arc<Queue>>,
    pub sessions: Vec<SessionHit>,
    /// Content routes that watch the address or one of the queues.
    pub content: Vec<ContentHit>,
}

/// A session that is reached.
#[derive(Clone)]
pub struct SessionHit {
    pub session: Arc<Named>,
    /// Tags for what others publish.
    pub tags: Tags,
    /// Tags for what the session itself publishes; none: nothing comes back.
    pub own_tags: Option<Tags>,
}

/// A content route that watches.
#[derive(Clone)]
pub struct ContentHit {
    pub path: Arc<ContentPath>,
    /// Only this queue is watched, not the whole address.
    pub queue: Option<LogId>,
}

impl ContentHit {
    /// The original does not go on to that queue.
    pub fn diverts(&self, queue: &Queue) -> bool {
        self.path.route.mode != Mode::Tap && self.queue.is_none_or(|id| id == queue.id)
    }

    /// The original does not go on to sessions either.
    pub fn diverts_all(&self) -> bool {
        self.path.route.mode != Mode::Tap && self.queue.is_none()
    }
}

/// Targets as bindings name them, each as often as a binding leads to it.
#[derive(Default)]
pub(super) struct Found {
    pub queues: Vec<LogId>,
    /// Tags with whether the session's own publishes are skipped.
    pub sessions: Vec<(SessionId, BindingTag, bool)>,
}
