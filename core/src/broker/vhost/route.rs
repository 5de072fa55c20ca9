//! Where a message goes, as far as that depends on bindings and content routes only.

use super::content_path::ContentPath;
use super::exchange_counts::ExchangeCounts;
use super::inbox::Inbox;
use super::named::Named;
use super::queue::Queue;
use crate::exchange::delayed::Delay;
use crate::exchange::recent_history::History;
use crate::exchange::{BindingTag, LogId, SessionId, Tags, Unknown};
use crate::message::{Key, Message};
use smallvec::SmallVec;
use std::sync::Arc;

/// Where a key leads, as far as it depends on bindings only.
#[derive(Clone, Default)]
pub struct Route {
    /// Where it begins.
    pub exchange: Option<Arc<ExchangeCounts>>,
    /// The only one, as nearly always, stands here itself.
    pub queues: SmallVec<[Arc<Queue>; 1]>,
    pub sessions: Vec<SessionHit>,
    /// Content routes that watch the address or one of the queues.
    pub content: Vec<ContentHit>,
    /// Exchanges on the way that keep the message for a time.
    pub delays: Option<Box<[Delay]>>,
    /// Of exchanges on the way: they keep the message for bindings that are still to come.
    pub histories: Option<Box<[Arc<History>]>>,
    /// Exchanges, bindings and headers that were looked at to find it, about.
    pub steps: usize,
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

impl Route {
    /// Queues and sessions that it leads to.
    pub fn receivers(&self) -> usize {
        self.queues.len() + self.sessions.len()
    }

    /// That exchange keeps the message for a time.
    pub fn is_delayed_at(&self, exchange: &str) -> bool {
        self.delays.iter().flatten().any(|delay| *delay.exchange == *exchange)
    }

    /// A content route watches the whole address, not only one of its queues.
    pub fn is_watched(&self) -> bool {
        self.content.iter().any(|hit| hit.queue.is_none())
    }
}

impl Route {
    /// What another route leads to is reached as well, each once.
    pub fn join(&mut self, other: &Route) {
        for queue in &other.queues {
            if !self.queues.iter().any(|known| known.id == queue.id) {
                self.queues.push(queue.clone());
            }
        }
        for hit in &other.sessions {
            if !self.sessions.iter().any(|known| Arc::ptr_eq(&known.session, &hit.session)) {
                self.sessions.push(hit.clone());
            }
        }
        for hit in &other.content {
            let is_same = |known: &ContentHit| {
                Arc::ptr_eq(&known.path, &hit.path) && known.queue == hit.queue
            };
            if !self.content.iter().any(is_same) {
                self.content.push(hit.clone());
            }
        }
        if let Some(more) = &other.delays {
            let known = self.delays.take().unwrap_or_default();
            let new = more.iter().filter(|delay| !known.contains(delay)).cloned();
            self.delays = Some(known.iter().cloned().chain(new).collect());
        }
        if let Some(more) = &other.histories {
            let known = self.histories.take().unwrap_or_default();
            let is_new = |it: &&Arc<History>| !known.iter().any(|known| Arc::ptr_eq(known, it));
            let new: Vec<_> = more.iter().filter(is_new).cloned().collect();
            self.histories = Some(known.iter().cloned().chain(new).collect());
        }
        self.steps += other.steps;
    }
}

impl Route {
    /// Exchanges that keep the message route it by these keys as well when it is due.
    pub fn wait_with(&mut self, copies: &[Key]) {
        for delay in self.delays.iter_mut().flatten() {
            delay.copies = copies.into();
        }
    }
}

impl SessionHit {
    /// The tags of what reaches the session; none: it was published there, and nothing comes back.
    pub fn tags_of(&self, message: &Message, inbox: Option<&Arc<Inbox>>) -> Option<&Tags> {
        let is_own = inbox.is_some_and(|i| Arc::ptr_eq(&i.origin, &message.meta().origin));
        match (is_own, &self.own_tags) {
            (false, _) => Some(&self.tags),
            (true, own) => own.as_ref(),
        }
    }

    /// True when the session gets the message: in its queue, or at once if it is connected.
    pub fn reaches(&self, message: &Message) -> bool {
        let inbox = self.session.inbox();
        let Some(tags) = self.tags_of(message, inbox.as_ref()) else { return false };
        match message.meta().level.min(tags.level()) {
            0 => inbox.is_some(),
            _ => self.session.queue().is_some(),
        }
    }
}

/// Targets as bindings name them, each as often as a binding leads to it.
#[derive(Default)]
pub(super) struct Found {
    /// The exchange where it begins.
    pub exchange: Option<Arc<ExchangeCounts>>,
    pub queues: Vec<LogId>,
    /// Tags with whether the session's own publishes are skipped.
    pub sessions: Vec<(SessionId, BindingTag, bool)>,
    /// It is a reply address of this session.
    pub reply: Option<Box<SessionHit>>,
    /// Exchanges, bindings and headers that were looked at, about.
    pub steps: usize,
    /// It leads through more exchanges than a publish may: this is not all.
    pub is_too_far: bool,
    /// What plugins that route for some of the exchanges do not know, or have to be asked first: this is not all.
    pub unknown: Vec<Unknown>,
    /// Exchanges that keep it for a time, and where it does not go on from yet.
    pub delays: Vec<Delay>,
    pub histories: Vec<Arc<History>>,
    /// It led to a topic that nobody may publish to, and not on from there.
    pub is_denied: bool,
}
