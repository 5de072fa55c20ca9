//! Looking into a queue: pages of its messages, for operators. Nothing of the queue changes by that.

use super::state::Session;
use crate::broker::door::browse::{
    MessageState, PEEK_BYTES_MAX, PEEK_MESSAGES_MAX, PeekPage, Peeked,
};
use crate::broker::journal::fetch::fetch_if_there;
use crate::broker::shared::Shared;
use crate::broker::vhost::queue::Queue;
use crate::error::{Error, ErrorKind};
use crate::log::{Offset, Place};
use crate::message::Filter;
use crate::rights::Action;
use crate::subscription::{Cursor, Scan, Scanned};

/// Messages that one page is looked for among, and bytes of them: then the page ends as it is.
const LOOKED_AT_MAX: u64 = 50_000;
const LOOKED_AT_BYTES_MAX: u64 = 64 << 20;
/// How often a message is looked for in the store: it may be written again elsewhere meanwhile.
const READ_TRIES: usize = 3;

/// Reads the messages of these records that are not in memory, with no lock held. Those that are gone by now leave the
/// list; those that cannot be read stay in it without a message.
pub(super) async fn read_absent(shared: &Shared, queue: &Queue, found: &mut Vec<Scanned>) {
    let mut gone: Vec<Offset> = Vec::new();
    for _ in 0..READ_TRIES {
        let absent = |scanned: &&mut Scanned| scanned.message.is_none() && scanned.place.is_some();
        let mut wanted: Vec<&mut Scanned> = found.iter_mut().filter(absent).collect();
        if wanted.is_empty() {
            break;
        }
        let places: Vec<Place> = wanted.iter().filter_map(|scanned| scanned.place).collect();
        let read = fetch_if_there(&*shared.store, &places).await;
        for (scanned, message) in wanted.iter_mut().zip(read) {
            scanned.message = message;
            match &scanned.message {
                Some(message) => shared.charge(message),
                None => match queue.look(|state| state.sub.whereabouts(scanned.offset)) {
                    None => {
                        gone.push(scanned.offset);
                        scanned.place = None;
                    }
                    // Where it was looked for: it is damaged.
                    Some((place, None)) if place == scanned.place => scanned.place = None,
                    Some((place, message)) => {
                        (scanned.place, scanned.message) = (place, message);
                    }
                },
            }
        }
    }
    found.retain(|scanned| !gone.contains(&scanned.offset));
}

impl Session {
    /// A page of the messages in a queue, in the order of their delivery: what is ready and not expired, and what
    /// consumers have and did not settle. In queues with priorities, what consumers have comes behind what is ready.
    /// Nothing is consumed, marked, counted or moved in its order by that. `limit`: 1 to [`PEEK_MESSAGES_MAX`]; of
    /// [`PEEK_BYTES_MAX`] bytes at most, but for one larger message alone. Asks for the right to read the queue.
    /// `NotFound`, `Refused`, `Locked` (exclusive to another connection), `Invalid`.
    pub async fn peek(
        &mut self,
        queue: &str,
        from: Cursor,
        limit: usize,
        filter: &Filter,
    ) -> Result<PeekPage, Error> {
        if limit == 0 || limit > PEEK_MESSAGES_MAX {
            let detail = format!("a page has 1 to {PEEK_MESSAGES_MAX} messages, not {limit}");
            return Err(Error::new(ErrorKind::Invalid, detail));
        }
        self.arrived().await?;
        let (mut page, mut at, mut bytes_seen) = (PeekPage::default(), from, 0);
        let mut room = PEEK_BYTES_MAX;
        loop {
            self.check_queue(Action::Read, queue)?;
            let queue = self.looked_into(queue)?;
            let shared = self.shared();
            let scan = Scan {
                only_ready: false,
                upto: Offset(u64::MAX),
                now: shared.now(),
                // With a filter few of them may be meant, and each slice reads whole entries of the journal.
                records: match filter.is_all() {
                    true => limit - page.messages.len(),
                    false => PEEK_MESSAGES_MAX,
                },
                bytes: PEEK_BYTES_MAX,
            };
            let mut slice = queue.look(|state| state.sub.scan(at, &scan));
            bytes_seen += slice.found.iter().map(|scanned| u64::from(scanned.size)).sum::<u64>();
            read_absent(&shared, &queue, &mut slice.found).await;
            let taken = (limit, &mut room);
            if let Some(next) = self.take_into(&mut page, (&queue, slice.found), filter, taken) {
                page.next = Some(next);
                return Ok(page);
            }
            page.next = slice.next;
            let Some(next) = slice.next else { return Ok(page) };
            let is_enough = page.looked_at >= LOOKED_AT_MAX || bytes_seen >= LOOKED_AT_BYTES_MAX;
            if is_enough || page.messages.len() >= limit {
                return Ok(page);
            }
            at = next;
            tokio::task::yield_now().await;
        }
    }

    /// Adds those that are meant, as far as there is room; where the first one stands that there is none for.
    fn take_into(
        &mut self,
        page: &mut PeekPage,
        (queue, found): (&Queue, Vec<Scanned>),
        filter: &Filter,
        (limit, room): (usize, &mut u64),
    ) -> Option<Cursor> {
        let shared = self.shared();
        let now = shared.now();
        for scanned in found {
            let Some(message) = scanned.message else {
                page.unreadable += 1;
                continue;
            };
            page.looked_at += 1;
            let is_meant = self.may_see(queue, message.address())
                && (filter.is_all() || filter.matches(&message, &shared.formats, now));
            if !is_meant {
                continue;
            }
            let (size, is_first) = (u64::from(scanned.size), page.messages.is_empty());
            if page.messages.len() >= limit || size > *room && !is_first {
                return Some(scanned.at);
            }
            *room = room.saturating_sub(size);
            page.messages.push(Peeked {
                offset: scanned.offset,
                state: match scanned.is_ready {
                    true => MessageState::Ready,
                    false => MessageState::Unacknowledged,
                },
                redelivered: scanned.redelivered,
                attempts: scanned.attempts,
                message,
            });
        }
        None
    }
}
