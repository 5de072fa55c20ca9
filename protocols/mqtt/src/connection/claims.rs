//! QoS 2 from `$share` and `$q`: a delivery that was begun is the session's to finish (MQTT 5 §4.8.2), so its record is
//! claimed, and it is sent when that is stored. The record is settled at PUBREC; what is left of the claim until
//! PUBCOMP is that the packet identifier is taken.
//!
//! ```text
//! claim ── stored ── PUBLISH ── PUBREC ── settled, stored ── PUBREL ── PUBCOMP ── claim ended
//! ```
//!
//! The next connection of the session finds its claims. With a record: PUBLISH is sent again, with DUP; without:
//! PUBREL.

use super::deliver::How;
use super::settle::refusal;
use super::{Closing, Connection};
use crate::codec::{Ack, AckKind, Reason};
use crate::state::{Awaited, Outbound, Sent};
use bytes::{BufMut, Bytes, BytesMut};
use crossdock_core::{
    Claim, Claimed, ConsumerId, Delivery, Message, Offset, Outcome, Session, Tags,
};
use smallvec::SmallVec;
use std::collections::VecDeque;

/// Deliveries that a connection begins, or finishes for an earlier one.
#[derive(Default)]
pub(super) struct Claims {
    /// To be sent when their claims are stored.
    begun: Vec<(Delivery, How)>,
    /// An earlier connection began them. They are sent again as the client's Receive Maximum allows.
    again: VecDeque<(Claim, Delivery, How)>,
}

impl Claims {
    /// What earlier connections left, and the identifiers whose PUBREL is due.
    pub(super) async fn of(session: &mut Session, outbound: &mut Outbound) -> (Self, Vec<u16>) {
        let (mut claims, mut releases) = (Self::default(), Vec::new());
        for Claimed { claim, note, message } in session.claims().await {
            let Some(how) = read_note(&note) else {
                tracing::debug!("a stored delivery is dropped: its note cannot be decoded");
                session.settle_claim(claim, &unreadable());
                session.end_claim(claim);
                continue;
            };
            let packet_id = how.packet_id;
            match message {
                Some(message) => {
                    outbound.restore_claimed(packet_id, claim, Awaited::ClaimedRec);
                    claims.again.push_back((claim, once_more(message), how));
                }
                None => {
                    // Settled, or gone with its queue. One that cannot be read leaves now.
                    session.settle_claim(claim, &unreadable());
                    outbound.restore_claimed(packet_id, claim, Awaited::ClaimedComp);
                    releases.push(packet_id);
                }
            }
        }
        (claims, releases)
    }

    /// True when something is to be stored before it is sent.
    pub(super) fn is_begun(&self) -> bool {
        !self.begun.is_empty()
    }

    /// True when something waits to be sent again.
    pub(super) fn is_owed(&self) -> bool {
        !self.again.is_empty()
    }
}

fn unreadable() -> Outcome {
    Outcome::Rejected { reason: Some("it cannot be read".into()) }
}

/// A delivery of an earlier connection: its record is with no consumer.
fn once_more(message: Message) -> Delivery {
    Delivery {
        consumer: ConsumerId::DIRECT,
        offset: Offset(0),
        message,
        attempts: 0,
        redelivered: true,
        retained: false,
        tags: Tags::default(),
    }
}

impl Connection {
    /// A delivery at QoS 2, under an identifier that is free.
    #[cold]
    pub(super) fn begin(&mut self, delivery: &Delivery, how: How) {
        let (consumer, offset) = (delivery.consumer, delivery.offset);
        // None: another connection has the session by now, and this one is about to end.
        let Some(claim) = self.session.claim(consumer, offset, note(&how)) else { return };
        let sent = Sent { consumer: Some(consumer), offset, awaited: Awaited::ClaimedRec };
        self.outbound.insert(how.packet_id, sent);
        self.outbound.claimed(how.packet_id, claim);
        self.claims.begun.push((delivery.clone(), how));
        if !self.opened.persistent {
            self.send_begun();
        }
    }

    /// What was begun is stored.
    #[cold]
    pub(super) fn send_begun(&mut self) {
        let mut is_unsent = false;
        for (delivery, how) in std::mem::take(&mut self.claims.begun) {
            if !self.send(&delivery, &how)
                && let Some(claim) = self.outbound.claim(how.packet_id)
            {
                is_unsent = true;
                self.finish(how.packet_id, claim);
            }
        }
        if is_unsent {
            // It was settled instead, behind the flush of this turn.
            self.settle_gathered();
            self.session.flush();
        }
    }

    /// Sends again what an earlier connection began.
    #[cold]
    pub(super) fn send_again(&mut self) {
        let most = self.opened.credit.messages as usize;
        while self.outbound.in_flight().saturating_sub(self.claims.again.len()) < most {
            let Some((claim, delivery, how)) = self.claims.again.pop_front() else { return };
            let awaited = self.outbound.get(how.packet_id).map(|sent| sent.awaited);
            if awaited != Some(Awaited::ClaimedRec)
                || self.outbound.claim(how.packet_id) != Some(claim)
            {
                // The client has acknowledged what it had got on an earlier connection.
                continue;
            }
            if !self.send(&delivery, &how) {
                // The client takes smaller packets than before: as if it had been sent.
                self.session.settle_claim(claim, &Outcome::Accepted);
                self.finish(how.packet_id, claim);
                self.session.flush();
            }
        }
    }

    /// An acknowledgement of a claimed delivery.
    #[cold]
    pub(super) fn acknowledged_claim(&mut self, ack: &Ack, sent: Sent) -> Result<(), Closing> {
        let Some(claim) = self.outbound.claim(ack.packet_id) else { return Ok(()) };
        match (ack.kind, sent.awaited) {
            (AckKind::PubRec, Awaited::ClaimedRec) if ack.reason.is_failure() => {
                self.settle_claimed(claim, sent, Outcome::Rejected { reason: Some(refusal(ack)) });
                self.finish(ack.packet_id, claim);
            }
            (AckKind::PubRec, Awaited::ClaimedRec) => {
                // It counts against the client's Receive Maximum until PUBCOMP: its credit does not come back before.
                self.outbound.restore_claimed(ack.packet_id, claim, Awaited::ClaimedComp);
                self.fit_pool();
                self.settle_claimed(claim, sent, Outcome::Accepted);
                self.batch.release(ack.packet_id);
            }
            (AckKind::PubRec, Awaited::ClaimedComp) => self.batch.release(ack.packet_id),
            (AckKind::PubComp, Awaited::ClaimedComp) => self.finish(ack.packet_id, claim),
            _ => {
                let why = "an acknowledgement of another quality of service";
                return Err(Closing::refused(Reason::PROTOCOL_ERROR, why));
            }
        }
        Ok(())
    }

    fn settle_claimed(&mut self, claim: Claim, sent: Sent, outcome: Outcome) {
        // Keeps the order of settles.
        self.settle_gathered();
        match sent.consumer {
            Some(consumer) => {
                self.session.settle(self.opened.lane, consumer, &[sent.offset], outcome);
            }
            None => self.session.settle_claim(claim, &outcome),
        }
    }

    /// The identifier is free.
    fn finish(&mut self, packet_id: u16, claim: Claim) {
        self.outbound.remove(packet_id);
        self.outbound.unclaim(packet_id);
        self.session.end_claim(claim);
        self.fit_pool();
    }
}

/// What the next connection has to know: `packet identifier | subscription identifier | retain`.
fn note(how: &How) -> Bytes {
    let mut note = BytesMut::with_capacity(7);
    note.put_u16(how.packet_id);
    note.put_u32(how.subscription_ids.first().copied().unwrap_or(0));
    note.put_u8(u8::from(how.retain));
    note.freeze()
}

fn read_note(note: &[u8]) -> Option<How> {
    let [high, low, id @ .., retain] = *<&[u8; 7]>::try_from(note).ok()?;
    let id = u32::from_be_bytes(id);
    let subscription_ids: SmallVec<[u32; 4]> = (id != 0).then_some(id).into_iter().collect();
    let packet_id = u16::from_be_bytes([high, low]);
    Some(How { qos: 2, dup: true, retain: retain != 0, packet_id, subscription_ids })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_come_back() {
        for (id, retain) in [(None, false), (Some(268_435_455), true)] {
            let subscription_ids = id.into_iter().collect();
            let how = How { qos: 2, dup: false, retain, packet_id: 40_000, subscription_ids };
            let back = read_note(&note(&how)).expect("readable");
            assert_eq!((back.packet_id, back.retain, back.dup), (40_000, retain, true));
            assert_eq!(back.subscription_ids, how.subscription_ids);
        }
        assert!(read_note(b"short").is_none());
    }
}
