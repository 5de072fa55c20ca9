//! The protocol's own state: acknowledgements that the client is owed, QoS 2 identifiers, and the packet identifiers of
//! deliveries. Pure; state that has to outlive the connection has keys in [`memo`].
//!
//! Identifiers of the two directions are separate spaces. From the client:
//!
//! ```text
//! QoS 1   PUBLISH ── waiting ──(confirm)── PUBACK
//! QoS 2   PUBLISH ── waiting ──(confirm)── PUBREC ── received ──(PUBREL)── PUBCOMP
//! ```
//!
//! Invariant: acknowledgements leave in the order of their publishes ([MQTT-4.6.0-2], [MQTT-4.6.0-3]).

use crate::codec::Reason;
use crossdock_core::{Claim, ConsumerId, Delivery, Offset};
use rustc_hash::{FxHashMap, FxHashSet};
use std::collections::VecDeque;
use std::sync::Arc;

/// An acknowledgement of a publish: PUBACK for QoS 1, PUBREC for QoS 2.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub packet_id: u16,
    pub qos: u8,
    pub reason: Reason,
    /// Why, for the reason string.
    pub why: Option<Arc<str>>,
    /// How often the client has sent the same publish again meanwhile: each gets the answer, too.
    pub repeats: u32,
    /// Its PUBREL came already: PUBCOMP follows the PUBREC.
    pub is_released: bool,
}

/// What a PUBREL comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Release {
    /// The identifier is free.
    Done,
    /// It will be when its PUBREC is sent.
    Later,
    /// It was not in use.
    Unknown,
}

/// Answers that are owed to publishes that came again while they waited, at most: whoever repeats itself more often
/// than that gets fewer.
const REPEATS_MAX: u32 = 4_096;

#[derive(Debug)]
struct Pending {
    /// The number of its confirm; 0 when there is none to wait for.
    number: u64,
    packet_id: u16,
    qos: u8,
    resolved: Option<(Reason, Option<Arc<str>>)>,
}

/// The progress of a QoS 2 publish of the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Qos2 {
    /// Its publish is not confirmed. `repeats`: how often it came again. `is_released`: its PUBREL came, too, before
    /// its PUBREC was sent.
    Waiting { repeats: u32, is_released: bool },
    /// PUBREC was sent. `counted`: by this connection's Receive Maximum.
    Received { counted: bool },
}

/// What to do about a QoS 2 PUBLISH.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// The identifier is new: route the message.
    New,
    /// The message was routed and stored: acknowledge it again.
    Stored,
    /// The message was routed; its acknowledgements follow when it is stored, one for each time that it came.
    Waiting,
    /// The message of before is released and not acknowledged yet: this is another one, which looks the same.
    TooEarly,
}

/// Publishes from the client.
#[derive(Debug, Default)]
pub struct Inbound {
    pending: VecDeque<Pending>,
    /// How many of the first of them are decided.
    decided: usize,
    ids: FxHashMap<u16, Qos2>,
    /// QoS 1 and 2 publishes that count against the Receive Maximum.
    open: usize,
    /// Publishes that came again while they waited, and are owed an answer each.
    repeats: u32,
}

impl Inbound {
    /// An identifier that an earlier connection of the session left.
    pub fn restore(&mut self, packet_id: u16) {
        self.ids.insert(packet_id, Qos2::Received { counted: false });
    }

    /// Publishes that the client has not seen acknowledged to the end.
    pub fn open(&self) -> usize {
        self.open
    }

    /// Publishes whose acknowledgement is not decided.
    pub fn waiting(&self) -> usize {
        self.pending.len()
    }

    /// Whether a QoS 2 identifier is in use: then its PUBLISH must not be routed again ([MQTT-4.3.3-10]).
    pub fn seen(&mut self, packet_id: u16) -> Seen {
        match self.ids.get_mut(&packet_id) {
            None => Seen::New,
            Some(Qos2::Waiting { is_released: true, .. }) => Seen::TooEarly,
            Some(Qos2::Waiting { repeats, .. }) => {
                if self.repeats < REPEATS_MAX {
                    (*repeats, self.repeats) = (*repeats + 1, self.repeats + 1);
                }
                Seen::Waiting
            }
            Some(Qos2::Received { counted }) => {
                self.open += usize::from(!*counted);
                *counted = true;
                Seen::Stored
            }
        }
    }

    /// A publish was handed to the core under that confirm number.
    pub fn routed(&mut self, packet_id: u16, qos: u8, number: u64) {
        self.push(Pending { number, packet_id, qos, resolved: None });
    }

    fn push(&mut self, pending: Pending) {
        self.open += 1;
        if pending.qos == 2 {
            self.ids.insert(pending.packet_id, Qos2::Waiting { repeats: 0, is_released: false });
        }
        self.pending.push_back(pending);
    }

    /// The core's answer to a number; numbers come in order.
    pub fn confirmed(&mut self, number: u64, reason: Reason, why: Option<Arc<str>>) {
        let waiting = self.pending.get_mut(self.decided);
        if let Some(pending) = waiting.filter(|p| p.number == number) {
            pending.resolved = Some((reason, why));
            self.decided += 1;
        }
    }

    /// The next acknowledgement that may be sent.
    pub fn next(&mut self) -> Option<Answer> {
        self.pending.front()?.resolved.as_ref()?;
        let Pending { packet_id, qos, resolved, .. } = self.pending.pop_front()?;
        self.decided = self.decided.saturating_sub(1);
        let (reason, why) = resolved?;
        let (repeats, is_released) = match self.ids.get(&packet_id) {
            Some(Qos2::Waiting { repeats, is_released }) if qos == 2 => (*repeats, *is_released),
            _ => (0, false),
        };
        self.repeats = self.repeats.saturating_sub(repeats);
        if qos == 2 && !reason.is_failure() {
            self.ids.insert(packet_id, Qos2::Received { counted: true });
        } else {
            self.open = self.open.saturating_sub(1);
            if qos == 2 {
                // After a failure the identifier is free [MQTT-4.3.3-9].
                self.ids.remove(&packet_id);
            }
        }
        Some(Answer { packet_id, qos, reason, why, repeats, is_released })
    }

    /// PUBREL: frees the identifier.
    pub fn release(&mut self, packet_id: u16) -> Release {
        match self.ids.get_mut(&packet_id) {
            Some(Qos2::Received { counted }) => {
                self.open = self.open.saturating_sub(usize::from(*counted));
                self.ids.remove(&packet_id);
                Release::Done
            }
            Some(Qos2::Waiting { is_released, .. }) => {
                *is_released = true;
                Release::Later
            }
            None => Release::Unknown,
        }
    }
}

/// What the client has to send next about a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(clippy::enum_variant_names, reason = "the specification's names")]
pub enum Awaited {
    PubAck,
    PubRec,
    PubComp,
    /// PUBREC and PUBCOMP of a delivery that is not of the own queue.
    ClaimedRec,
    ClaimedComp,
}

/// A delivery that the client has not acknowledged to the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sent {
    /// None when the consumer has ended: the record went back, but the client still holds the identifier.
    pub consumer: Option<ConsumerId>,
    pub offset: Offset,
    pub awaited: Awaited,
}

/// Deliveries to the client.
#[derive(Debug)]
pub struct Outbound {
    sent: FxHashMap<u16, Sent>,
    /// How many of `sent` have no consumer any more.
    orphans: u32,
    /// Deliveries that wait, in order: for an identifier that is still taken, or for the client's Receive Maximum.
    held: VecDeque<Delivery>,
    /// Offsets of the own queue for which an earlier connection got PUBREC.
    received: FxHashSet<u64>,
    /// Where the search for a free identifier goes on.
    search: u16,
    /// Deliveries of QoS 2 that are not of the own queue, by their identifiers.
    claims: FxHashMap<u16, Claim>,
}

/// Records of the session's own queue have the identifiers from 1 to this, those of other queues the rest. So neither
/// has to know which ones of the other kind an earlier connection may have left with the client.
const OWN_IDS: u16 = 32_767;
/// How many deliveries the client may be given at once, so that there is always an identifier: when a queue is
/// deleted, the core hands its credit out again before this side learns that its deliveries have no consumer.
pub const IN_FLIGHT_MAX: u16 = (u16::MAX - OWN_IDS) / 2;

impl Default for Outbound {
    fn default() -> Self {
        let (sent, received) = (FxHashMap::default(), FxHashSet::default());
        let (held, claims) = (VecDeque::new(), FxHashMap::default());
        Self { sent, orphans: 0, held, received, search: 0, claims }
    }
}

impl Outbound {
    /// The identifier of a record of the session's own queue: the same on every connection, without being stored.
    pub fn derived(offset: Offset) -> u16 {
        // Below 32,767, so it fits.
        u16::try_from(offset.0 % u64::from(OWN_IDS)).unwrap_or_default().saturating_add(1)
    }

    /// An identifier for a delivery of another queue; none when all are taken.
    pub fn free(&mut self) -> Option<u16> {
        for _ in OWN_IDS..u16::MAX {
            self.search = self.search.checked_add(1).unwrap_or(0).max(OWN_IDS + 1);
            if !self.sent.contains_key(&self.search) {
                return Some(self.search);
            }
        }
        None
    }

    /// Notes, from an earlier connection's memo, that the client's next packet about this record is PUBCOMP.
    pub fn restore(&mut self, offset: u64) {
        self.received.insert(offset);
    }

    /// Restored records that do not exist any more, expired ones for instance: their PUBREL is owed all the same
    /// [MQTT-4.4.0-1]. Their identifiers, in order.
    pub fn release_lost(&mut self, is_there: impl Fn(Offset) -> bool) -> Vec<u16> {
        let lost = self.received.iter().map(|offset| Offset(*offset)).filter(|o| !is_there(*o));
        let mut lost: Vec<Offset> = lost.collect();
        lost.sort_unstable();
        for offset in &lost {
            self.received.remove(&offset.0);
            let sent = Sent { consumer: None, offset: *offset, awaited: Awaited::PubComp };
            self.sent.insert(Self::derived(*offset), sent);
            self.orphans += 1;
        }
        lost.into_iter().map(Self::derived).collect()
    }

    /// True once for a restored record.
    pub fn was_received(&mut self, offset: Offset) -> bool {
        self.received.remove(&offset.0)
    }

    /// True when the identifier is taken.
    pub fn is_taken(&self, packet_id: u16) -> bool {
        self.sent.contains_key(&packet_id)
    }

    pub fn insert(&mut self, packet_id: u16, sent: Sent) {
        self.sent.insert(packet_id, sent);
    }

    pub fn get(&self, packet_id: u16) -> Option<Sent> {
        self.sent.get(&packet_id).copied()
    }

    /// Notes that a delivery is the session's to finish.
    pub fn claimed(&mut self, packet_id: u16, claim: Claim) {
        self.claims.insert(packet_id, claim);
    }

    /// The claim behind that identifier.
    pub fn claim(&self, packet_id: u16) -> Option<Claim> {
        self.claims.get(&packet_id).copied()
    }

    /// Nothing is left to be finished behind that identifier.
    pub fn unclaim(&mut self, packet_id: u16) {
        self.claims.remove(&packet_id);
    }

    /// A claimed delivery has no consumer: its record is settled, or is kept for the session.
    pub fn restore_claimed(&mut self, packet_id: u16, claim: Claim, awaited: Awaited) {
        self.remove(packet_id);
        self.sent.insert(packet_id, Sent { consumer: None, offset: Offset(0), awaited });
        self.orphans += 1;
        self.claims.insert(packet_id, claim);
    }

    pub fn remove(&mut self, packet_id: u16) {
        if self.sent.remove(&packet_id).is_some_and(|sent| sent.consumer.is_none()) {
            self.orphans = self.orphans.saturating_sub(1);
        }
    }

    /// A consumer has ended: its deliveries have none any more. The identifiers stay taken until the client
    /// acknowledges them [MQTT-2.2.1-4].
    pub fn forget(&mut self, consumer: ConsumerId) {
        self.forget_all(|ended| ended == consumer);
    }

    /// The same for several consumers.
    pub fn forget_all(&mut self, has_ended: impl Fn(ConsumerId) -> bool) {
        for sent in self.sent.values_mut().filter(|sent| sent.consumer.is_some_and(&has_ended)) {
            sent.consumer = None;
            self.orphans += 1;
        }
    }

    /// Deliveries of ended consumers that the client has not acknowledged.
    pub fn orphans(&self) -> u32 {
        self.orphans
    }

    /// Keeps a delivery back. The credit of the client bounds how many.
    pub fn hold(&mut self, delivery: Delivery) {
        self.held.push_back(delivery);
    }

    /// The oldest one that was kept back.
    pub fn unhold(&mut self) -> Option<Delivery> {
        self.held.pop_front()
    }

    /// Puts back what [`Outbound::unhold`] took.
    pub fn hold_first(&mut self, delivery: Delivery) {
        self.held.push_front(delivery);
    }

    /// Deliveries that the client has not acknowledged to the end.
    pub fn in_flight(&self) -> usize {
        self.sent.len()
    }

    /// True while deliveries are kept back: later ones have to wait behind them.
    pub fn is_holding(&self) -> bool {
        !self.held.is_empty()
    }
}

/// Keys of the session's memos.
pub mod memo {
    use bytes::Bytes;

    /// An identifier of a QoS 2 PUBLISH that was stored and not released.
    pub fn inbound(packet_id: u16) -> Bytes {
        tagged(b'q', &packet_id.to_be_bytes())
    }

    /// A record of the own queue for which PUBREC came.
    pub fn outbound(offset: u64) -> Bytes {
        tagged(b'r', &offset.to_be_bytes())
    }

    /// A subscription that consumes a queue of its own name; `digest` is of its filter.
    pub fn subscription(digest: &[u8]) -> Bytes {
        tagged(b's', digest)
    }

    fn tagged(tag: u8, rest: &[u8]) -> Bytes {
        std::iter::once(tag).chain(rest.iter().copied()).collect()
    }

    /// A memo's key, read.
    #[derive(Debug, PartialEq, Eq)]
    pub enum Key {
        Inbound(u16),
        Outbound(u64),
        Subscription,
    }

    /// Reads a key; `None` for one that this version does not know.
    pub fn read(key: &[u8]) -> Option<Key> {
        let (tag, rest) = key.split_first()?;
        Some(match tag {
            b'q' => Key::Inbound(u16::from_be_bytes(rest.try_into().ok()?)),
            b'r' => Key::Outbound(u64::from_be_bytes(rest.try_into().ok()?)),
            b's' => Key::Subscription,
            _ => return None,
        })
    }
}

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;
