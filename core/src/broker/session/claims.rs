//! Deliveries that are the session's to finish: their records stay with it when its connection is lost, over a restart,
//! too, and nobody else gets them. When the session ends before that, they leave as rejected.

use super::state::Session;
use crate::broker::door::request::{Claim, Memo};
use crate::broker::journal::fetch::{fetch, fetch_if_there};
use crate::broker::vhost::named::claims;
use crate::log::Offset;
use crate::message::Message;
use crate::subscription::{ConsumerId, Outcome};
use bytes::Bytes;

/// A claim of an earlier connection.
#[derive(Debug)]
pub struct Claimed {
    pub claim: Claim,
    /// What the adapter noted about it.
    pub note: Bytes,
    /// None: the record was settled, or is gone with its queue.
    pub message: Option<Message>,
}

impl Session {
    /// A delivery is this session's to finish from the next flush on; it is sent when that is stored. `note` is what
    /// the next connection has to know of it. None: there is no such delivery, or another connection has the session.
    #[cold]
    pub fn claim(&mut self, consumer: ConsumerId, offset: Offset, note: Bytes) -> Option<Claim> {
        let named = self.named.clone()?;
        let attachment = self.consumers.get(consumer)?;
        let claim = Claim { queue: attachment.queue.id, offset };
        self.touch();
        if !named.is_of(&self.inbox) {
            return None;
        }
        self.memo_one(Memo { key: claims::key(claim), value: Some(note) });
        Some(claim)
    }

    /// The client has said what became of a delivery that it had: accepted or rejected. The claim itself stays.
    #[cold]
    pub fn settle_claim(&mut self, claim: Claim, outcome: &Outcome) {
        self.touch();
        let is_mine = self.has_its_name();
        if let Some(queue) = self.vhost.queue_by_id(claim.queue).filter(|_| is_mine) {
            let now = self.broker.shared().now();
            queue.change(&mut self.turn.after, |state, effects| {
                state.sub.settle_claimed(claim.offset, outcome, effects);
                state.sub.dispatch(now, effects);
            });
        }
        self.settle_down();
    }

    /// Nothing is left to be done about a claim.
    #[cold]
    pub fn end_claim(&mut self, claim: Claim) {
        self.memo(Memo { key: claims::key(claim), value: None });
    }

    /// What earlier connections of the session have claimed and not ended.
    pub async fn claims(&mut self) -> Vec<Claimed> {
        let Some(named) = &self.named else { return Vec::new() };
        let all = named.with(|state| state.claims());
        let mut claimed = Vec::with_capacity(all.len());
        for (claim, note) in all {
            let message = self.claimed_message(claim).await;
            claimed.push(Claimed { claim, note, message });
        }
        claimed
    }

    async fn claimed_message(&self, claim: Claim) -> Option<Message> {
        let queue = self.vhost.queue_by_id(claim.queue)?;
        let shared = self.shared();
        // It may be moved to another place of the journal while it is looked for in the first one.
        for is_last in [false, true] {
            let message = match queue.look(|state| state.sub.claimed(claim.offset))? {
                (None, Some(place)) if is_last => fetch(&*shared.store, &[place]).await.pop()?,
                (None, Some(place)) => fetch_if_there(&*shared.store, &[place]).await.pop()?,
                (message, _) => message,
            };
            if let Some(message) = message {
                shared.charge(&message);
                return Some(message);
            }
        }
        None
    }

    /// Offsets of that queue that this session has claimed.
    pub(super) fn claimed_of(&self, queue: crate::exchange::LogId) -> Vec<Offset> {
        match &self.named {
            Some(named) => named.with(|state| state.claims_of(queue)),
            None => Vec::new(),
        }
    }
}
