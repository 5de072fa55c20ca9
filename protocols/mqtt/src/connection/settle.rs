//! What the client acknowledges: PUBACK, PUBREC and PUBCOMP settle deliveries, PUBREL frees an identifier of its own.

use super::{Closing, Connection};
use crate::codec::{Ack, AckKind, Reason};
use crate::state::{Awaited, Release, Sent, memo};
use bytes::Bytes;
use crossdock_core::{ConsumerId, Credit, Memo, Offset, Outcome};
use std::sync::Arc;

/// What a read turn leaves to be done at its end, all at once.
#[derive(Default)]
pub(super) struct Batch {
    /// Accepted records of `settling`.
    settled: Vec<Offset>,
    settling: Option<ConsumerId>,
    /// PUBCOMPs that may be sent once the release is stored.
    releases: Vec<u16>,
    /// PUBRELs that may be sent once the PUBREC is stored.
    received: Vec<u16>,
}

impl Batch {
    /// True when something is to be stored before it is answered.
    pub(super) fn is_to_be_stored(&self) -> bool {
        !self.releases.is_empty() || !self.received.is_empty()
    }

    /// PUBREL is sent once what was done at PUBREC is stored.
    pub(super) fn release(&mut self, packet_id: u16) {
        self.received.push(packet_id);
    }
}

/// Why a client refuses a delivery.
pub(super) fn refusal(ack: &Ack) -> Arc<str> {
    let text = ack.text.as_ref().map_or("", |text| text.as_str());
    match text {
        "" => format!("reason code {:?}", ack.reason).into(),
        text => format!("reason code {:?}: {text}", ack.reason).into(),
    }
}

impl Connection {
    pub(super) fn acknowledged(&mut self, ack: Ack) -> Result<(), Closing> {
        if ack.kind == AckKind::PubRel {
            return self.released(ack.packet_id);
        }
        let Some(sent) = self.outbound.get(ack.packet_id) else {
            // Only PUBREC has an answer: PUBREL with the code that the identifier is unknown (MQTT 5 §3.6.2.1).
            if ack.kind == AckKind::PubRec && !ack.reason.is_failure() {
                let reason = Reason::PACKET_ID_NOT_FOUND;
                self.client.to(&mut self.line.output).ack(
                    AckKind::PubRel,
                    ack.packet_id,
                    reason,
                    None,
                );
            }
            return Ok(());
        };
        match (ack.kind, sent.awaited) {
            (AckKind::PubAck, Awaited::PubAck) | (AckKind::PubRec, Awaited::PubRec)
                if ack.reason.is_failure() =>
            {
                self.outbound.remove(ack.packet_id);
                self.reject(sent, &ack);
            }
            (AckKind::PubAck, Awaited::PubAck) => {
                self.outbound.remove(ack.packet_id);
                self.accept(sent);
            }
            (AckKind::PubRec, Awaited::PubRec) => {
                if self.opened.persistent {
                    let key = memo::outbound(sent.offset.0);
                    self.session.memo(Memo { key, value: Some(Bytes::new()) });
                }
                let awaited = Awaited::PubComp;
                self.outbound.insert(ack.packet_id, Sent { awaited, ..sent });
                self.batch.received.push(ack.packet_id);
            }
            // A repeated PUBREC: its PUBREL may have been lost with a connection.
            (AckKind::PubRec, Awaited::PubComp) => self.batch.received.push(ack.packet_id),
            (AckKind::PubComp, Awaited::PubComp) => {
                self.outbound.remove(ack.packet_id);
                if self.opened.persistent {
                    self.session.memo(Memo { key: memo::outbound(sent.offset.0), value: None });
                }
                self.accept(sent);
            }
            (_, Awaited::ClaimedRec | Awaited::ClaimedComp) => {
                return self.acknowledged_claim(&ack, sent);
            }
            _ => {
                let why = "an acknowledgement of another quality of service";
                return Err(Closing::refused(Reason::PROTOCOL_ERROR, why));
            }
        }
        Ok(())
    }

    fn accept(&mut self, sent: Sent) {
        match sent.consumer {
            Some(consumer) => self.gather(consumer, sent.offset),
            None => self.fit_pool(),
        }
    }

    /// Unacknowledged deliveries of ended consumers count against the client's Receive Maximum [MQTT-3.3.4-9].
    pub(super) fn fit_pool(&mut self) {
        let Credit { messages, bytes } = self.opened.credit;
        let messages = match self.line.is_ended() {
            false => messages.saturating_sub(self.outbound.orphans()),
            // It cannot acknowledge anything any more.
            true => 0,
        };
        self.session.set_pool(self.opened.pool, Credit { messages, bytes });
    }

    /// Settles with the turn: acknowledgements come in batches.
    pub(super) fn gather(&mut self, consumer: ConsumerId, offset: Offset) {
        if self.batch.settling != Some(consumer) {
            self.settle_gathered();
            self.batch.settling = Some(consumer);
        }
        self.batch.settled.push(offset);
    }

    fn reject(&mut self, sent: Sent, ack: &Ack) {
        let Some(consumer) = sent.consumer else { return self.fit_pool() };
        // Keeps the order of settles.
        self.settle_gathered();
        let outcome = Outcome::Rejected { reason: Some(refusal(ack)) };
        self.session.settle(self.opened.lane, consumer, &[sent.offset], outcome);
    }

    /// PUBREL: the identifier is forgotten, and PUBCOMP is sent when that is stored.
    pub(super) fn released(&mut self, packet_id: u16) -> Result<(), Closing> {
        match self.inbound.release(packet_id) {
            Release::Done => {
                if self.opened.persistent {
                    self.session.memo(Memo { key: memo::inbound(packet_id), value: None });
                }
                self.batch.releases.push(packet_id);
            }
            // The client did not wait for PUBREC. It gets the answers in their order.
            Release::Later => {}
            Release::Unknown => {
                // Released before. 3.1.1 has no code for it; the answer is the same.
                let mut writer = self.client.to(&mut self.line.output);
                writer.ack(AckKind::PubComp, packet_id, Reason::PACKET_ID_NOT_FOUND, None);
            }
        }
        Ok(())
    }

    /// What this turn noted is stored now. Where another connection has the session it was perhaps not noted: that one
    /// goes on from where the session is.
    pub(super) fn finish_handshakes(&mut self) {
        if self.opened.persistent && !self.session.has_its_name() {
            self.batch.releases.clear();
            self.batch.received.clear();
        }
        let mut writer = self.client.to(&mut self.line.output);
        for packet_id in self.batch.releases.drain(..) {
            writer.ack(AckKind::PubComp, packet_id, Reason::SUCCESS, None);
        }
        for packet_id in self.batch.received.drain(..) {
            writer.ack(AckKind::PubRel, packet_id, Reason::SUCCESS, None);
        }
    }

    pub(super) fn settle_gathered(&mut self) {
        if let Some(consumer) = self.batch.settling.take() {
            let lane = self.opened.lane;
            self.session.settle(lane, consumer, &self.batch.settled, Outcome::Accepted);
            self.batch.settled.clear();
        }
    }
}
