//! Named sessions as the snapshot and the journal describe them.

use crate::auth::GUEST;
use crate::broker::accounts::subject::Subject;
use crate::broker::door::request::SessionLife;
use crate::broker::shared::Shared;
use crate::broker::vhost::named::Named;
use crate::broker::vhost::queue::Queue;
use crate::exchange::{LogId, SessionId};
use crate::log::Offset;
use crate::message::{Name, Timestamp};
use bytes::Bytes;
use rustc_hash::FxHashMap;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A named session.
pub(super) struct SessionRecord {
    pub vhost: Name,
    pub name: Name,
    pub life: SessionLife,
    pub queue: Option<LogId>,
    /// User and client id; none in stores from before there were users.
    pub owner: Option<(Name, Name)>,
    /// That queue, when it was deleted, and where its offsets ended.
    pub gone: Option<(LogId, Offset)>,
    pub memos: BTreeMap<Bytes, Bytes>,
}

impl SessionRecord {
    /// Whose it is. Before there were users, everybody was the guest.
    pub fn subject(&self, shared: &Shared) -> Arc<Subject> {
        let guest = || (GUEST.into(), Name::default());
        let (user, client) = self.owner.clone().unwrap_or_else(guest);
        shared.users.absent_subject(&user, &client, &self.vhost)
    }
}

/// The session as it was, without a connection.
pub(super) fn restore_session(
    id: SessionId,
    (record, owner): (SessionRecord, Arc<Subject>),
    queues: &FxHashMap<LogId, Arc<Queue>>,
    now: Timestamp,
) -> Arc<Named> {
    let queue = record.queue.and_then(|id| queues.get(&id).cloned());
    let spec = queue.as_ref().map(|q| q.spec.clone());
    if let Some(queue) = &queue {
        queue.look(|state| state.sub.rules.keeps_seen = true);
        queue.belong_to(&record.name);
    }
    let named = Named::new(id, (record.name, owner), record.life, spec);
    named.with(|state| {
        state.queue = queue;
        state.stored = true;
        state.gone = record.gone;
        state.memos = record.memos;
        state.gone_since = Some(now);
    });
    named
}
