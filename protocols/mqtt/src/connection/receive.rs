//! Packets from the client, but for subscriptions.

use super::{Connection, End, Resolved};
use crate::codec::{Ack, AckKind, Disconnect, Packet, Publish, Reason, Version, cut, decode};
use crate::mapping;
use crate::state::{Awaited, Outbound, Seen, Sent, memo};
use bytes::Bytes;
use crossdock_core::{
    Confirm, Confirmed, ConsumerId, Credit, Key, Memo, Offset, Outcome, Publish as CorePublish,
    Settings,
};
use std::sync::Arc;
use tokio::time::Instant;

/// Topics that were resolved: the last one, and those the client gave a number.
#[derive(Debug, Default)]
pub(super) struct Aliases {
    last: Option<(Bytes, Resolved)>,
    /// By alias, from 1 on. Grows to the highest one used, at most the announced maximum.
    numbered: Vec<Option<(Bytes, Resolved)>>,
}

impl Connection<'_> {
    /// Handles every whole packet of the input: one turn.
    pub(super) async fn packets(&mut self) -> Result<(), End> {
        let handled = self.handle_all().await;
        // What came before a bad packet keeps its effect.
        let ended = self.end_turn().await;
        handled.and(ended)
    }

    async fn handle_all(&mut self) -> Result<(), End> {
        let version = self.peer.version;
        while let Some(frame) = cut(self.input.buffer(), self.packet_max, version.is_5())? {
            self.handle(decode(frame, version)?).await?;
        }
        Ok(())
    }

    async fn handle(&mut self, packet: Packet) -> Result<(), End> {
        match packet {
            Packet::Publish(publish) => self.publish(publish),
            Packet::Ack(ack) => self.acknowledged(ack),
            Packet::PingReq => {
                self.peer.pingresp();
                Ok(())
            }
            // Rare, and large futures.
            rare => Box::pin(self.control(rare)).await,
        }
    }

    /// Packets whose handling waits for the store.
    async fn control(&mut self, packet: Packet) -> Result<(), End> {
        // It flushes: a PUBCOMP's settle must not be stored later than the end of its memo.
        self.settle_gathered();
        let since = Instant::now();
        let handled = match packet {
            Packet::Subscribe(subscribe) => self.subscribe(subscribe).await,
            Packet::Unsubscribe(unsubscribe) => self.unsubscribe(unsubscribe).await,
            Packet::Disconnect(disconnect) => self.disconnect(disconnect).await,
            Packet::Publish(_) | Packet::Ack(_) | Packet::PingReq => Ok(()),
        };
        self.clock.away(since);
        handled
    }

    async fn disconnect(&mut self, disconnect: Disconnect) -> Result<(), End> {
        let Disconnect { reason, session_expiry: expiry, text } = disconnect;
        if let Some(text) = text {
            tracing::debug!(?reason, text = text.as_str(), "the client disconnects");
        }
        // [MQTT-3.14.2-2]: a session that was to end with the connection cannot be kept now.
        if expiry.is_some_and(|seconds| seconds > 0) && !self.seat.persistent {
            let why = "a session that ends with its connection gets an expiry";
            return Err(End::refuse(Reason::PROTOCOL_ERROR, why));
        }
        if reason == Reason::SUCCESS {
            // Before anything else is waited for: whoever takes the session over must not find it [MQTT-3.14.4-3].
            self.withdraw_will().await;
        }
        Err(End::Disconnect { reason, expiry })
    }

    async fn withdraw_will(&mut self) {
        if let Some(will) = self.seat.will.take()
            && let Err(error) = self.session.unpark(will).await
        {
            tracing::debug!(%error, "the will was not withdrawn");
        }
    }

    fn publish(&mut self, publish: Publish) -> Result<(), End> {
        let resolved = self.resolve(&publish)?;
        if publish.payload.len() > self.session.broker().settings().message_bytes_max {
            return Err(End::refuse(Reason::PACKET_TOO_LARGE, "the message is too large"));
        }
        if publish.qos == 2 {
            match self.inbound.seen(publish.packet_id) {
                Seen::New => (),
                Seen::Waiting => return Ok(()),
                Seen::Stored => {
                    self.peer.ack(AckKind::PubRec, publish.packet_id, Reason::SUCCESS, None);
                    return self.within_receive_maximum();
                }
            }
        }
        let (packet_id, qos) = (publish.packet_id, publish.qos);
        let Some(address) = resolved else { return self.refuse_publish(packet_id, qos) };
        let now = self.session.broker().now();
        let message = mapping::message(publish, address, &self.seat.incoming, now);
        let publish = CorePublish { message, confirm: qos > 0, mandatory: false };
        let lane = self.seat.lane;
        let number = match qos == 2 && self.seat.persistent {
            // The identifier is stored in the entry of its message.
            true => {
                let memo = Memo { key: memo::inbound(packet_id), value: Some(Bytes::new()) };
                self.session.publish_with(lane, publish, memo)
            }
            false => self.session.publish(lane, publish),
        };
        if qos > 0 {
            self.inbound.routed(packet_id, qos, number);
            self.within_receive_maximum()?;
        }
        Ok(())
    }

    /// MQTT 5 §3.3.4: more than announced is an error; 3.1.1 knows no limit.
    fn within_receive_maximum(&self) -> Result<(), End> {
        let within = self.inbound.open() <= usize::from(self.options.receive_maximum);
        match within || self.peer.version == Version::V311 {
            true => Ok(()),
            false => {
                let why = "more publishes in flight than the receive maximum";
                Err(End::refuse(Reason::RECEIVE_MAXIMUM_EXCEEDED, why))
            }
        }
    }

    /// A topic that nobody may publish to. 3.1.1 has no way to say so: acknowledged and dropped (docs/SEMANTICS.md §1).
    fn refuse_publish(&mut self, packet_id: u16, qos: u8) -> Result<(), End> {
        tracing::trace!("a publish to a reserved topic was dropped");
        if qos == 0 {
            return Ok(());
        }
        let (reason, why) = match self.peer.version {
            Version::V5 => (Reason::NOT_AUTHORIZED, Some(Arc::from("a reserved topic"))),
            Version::V311 => (Reason::SUCCESS, None),
        };
        self.inbound.decided(packet_id, qos, reason, why);
        self.within_receive_maximum()?;
        self.answers()
    }

    /// The address of a publish; `None` when nobody may publish there.
    fn resolve(&mut self, publish: &Publish) -> Result<Resolved, End> {
        let Some(alias) = publish.alias else { return self.resolve_topic(publish.topic.bytes()) };
        // [MQTT-3.3.2-8], [MQTT-3.3.2-9]
        if alias == 0 || alias > self.options.topic_alias_maximum {
            return Err(End::refuse(Reason::TOPIC_ALIAS_INVALID, "a topic alias out of range"));
        }
        let at = usize::from(alias) - 1;
        if publish.topic.is_empty() {
            let known = self.aliases.numbered.get(at).and_then(Option::as_ref);
            return match known {
                Some((_, resolved)) => Ok(resolved.clone()),
                None => Err(End::refuse(Reason::PROTOCOL_ERROR, "an alias that was never set")),
            };
        }
        let resolved = self.resolve_topic(publish.topic.bytes())?;
        if self.aliases.numbered.len() <= at {
            self.aliases.numbered.resize(at + 1, None);
        }
        if let (Some(slot), Some(last)) =
            (self.aliases.numbered.get_mut(at), self.aliases.last.as_ref())
        {
            *slot = Some(last.clone());
        }
        Ok(resolved)
    }

    fn resolve_topic(&mut self, topic: &Bytes) -> Result<Resolved, End> {
        if let Some((last, resolved)) = &self.aliases.last
            && last == topic
        {
            return Ok(resolved.clone());
        }
        let settings = self.session.broker().settings();
        if !within_limits(topic, settings) {
            return Err(End::refuse(Reason::TOPIC_NAME_INVALID, "the topic is too long"));
        }
        let resolved = mapping::target(topic, &settings.topic_exchange);
        // A copy: the topic is a slice of the read buffer.
        let kept = match &resolved {
            Some(address) if !address.is_queue() => address.key.bytes().clone(),
            _ => Bytes::copy_from_slice(topic),
        };
        self.aliases.last = Some((kept, resolved.clone()));
        Ok(resolved)
    }

    /// The core's answer to a publish.
    pub(super) fn confirmed(&mut self, confirm: Confirm) {
        let reason = mapping::publish_reason(&confirm.confirmed);
        let why = match &confirm.confirmed {
            Confirmed::Refused(error) => Some(Arc::from(error.detail())),
            Confirmed::Stored | Confirmed::Unroutable(_) => None,
        };
        self.inbound.confirmed(confirm.number, reason, why);
    }

    /// Writes the acknowledgements that are decided, in the order of the publishes.
    pub(super) fn answers(&mut self) -> Result<(), End> {
        while let Some(answer) = self.inbound.next() {
            if answer.reason.is_failure() && self.peer.version == Version::V311 {
                // 3.1.1 cannot say no, and must not say yes (reliability: never a lying PUBACK).
                let why = answer.why.as_deref().unwrap_or("a publish was refused").to_owned();
                return Err(End::refuse(answer.reason, why));
            }
            let kind = match answer.qos {
                2 => AckKind::PubRec,
                _ => AckKind::PubAck,
            };
            if answer.qos == 2 && answer.reason.is_failure() && self.seat.persistent {
                self.session.memo(Memo { key: memo::inbound(answer.packet_id), value: None });
            }
            self.peer.ack(kind, answer.packet_id, answer.reason, answer.why.as_deref());
        }
        Ok(())
    }

    fn acknowledged(&mut self, ack: Ack) -> Result<(), End> {
        if ack.kind == AckKind::PubRel {
            return self.released(ack.packet_id);
        }
        let Some(sent) = self.outbound.get(ack.packet_id) else {
            // Only PUBREC has an answer: there is nothing to go on with [MQTT-4.3.3-7].
            if ack.kind == AckKind::PubRec && !ack.reason.is_failure() {
                let reason = Reason::PACKET_ID_NOT_FOUND;
                self.peer.ack(AckKind::PubRel, ack.packet_id, reason, None);
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
                if self.seat.persistent {
                    let key = memo::outbound(sent.offset.0);
                    self.session.memo(Memo { key, value: Some(Bytes::new()) });
                }
                let awaited = Awaited::PubComp;
                self.outbound.insert(ack.packet_id, Sent { awaited, ..sent });
                self.turn.received.push(ack.packet_id);
            }
            // A repeated PUBREC: its PUBREL may have been lost with a connection.
            (AckKind::PubRec, Awaited::PubComp) => self.turn.received.push(ack.packet_id),
            (AckKind::PubComp, Awaited::PubComp) => {
                self.outbound.remove(ack.packet_id);
                if self.seat.persistent {
                    self.session.memo(Memo { key: memo::outbound(sent.offset.0), value: None });
                }
                self.accept(sent);
            }
            _ => {
                let why = "an acknowledgement of another quality of service";
                return Err(End::refuse(Reason::PROTOCOL_ERROR, why));
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

    /// What the client holds of consumers that are gone counts against its Receive Maximum [MQTT-3.3.4-9].
    pub(super) fn fit_pool(&mut self) {
        let Credit { messages, bytes } = self.seat.credit;
        let messages = messages.saturating_sub(self.outbound.orphans());
        self.session.set_pool(self.seat.pool, Credit { messages, bytes });
    }

    /// Settles with the turn: acknowledgements come in batches.
    pub(super) fn gather(&mut self, consumer: ConsumerId, offset: Offset) {
        if self.turn.settling != Some(consumer) {
            self.settle_gathered();
            self.turn.settling = Some(consumer);
        }
        self.turn.settled.push(offset);
    }

    fn reject(&mut self, sent: Sent, ack: &Ack) {
        let Some(consumer) = sent.consumer else { return self.fit_pool() };
        // Keeps the order of settles.
        self.settle_gathered();
        let text = ack.text.as_ref().map_or("", |text| text.as_str());
        let reason = match text {
            "" => format!("reason code {:?}", ack.reason),
            text => format!("reason code {:?}: {text}", ack.reason),
        };
        let outcome = Outcome::Rejected { reason: Some(reason.into()) };
        self.session.settle(self.seat.lane, consumer, &[sent.offset], outcome);
    }

    /// PUBREL: the identifier is forgotten, and PUBCOMP is sent when that is stored.
    fn released(&mut self, packet_id: u16) -> Result<(), End> {
        if self.inbound.release(packet_id) {
            if self.seat.persistent {
                self.session.memo(Memo { key: memo::inbound(packet_id), value: None });
            }
            self.turn.releases.push(packet_id);
        } else {
            // Released before: 3.1.1 knows no code and answers all the same.
            self.peer.ack(AckKind::PubComp, packet_id, Reason::PACKET_ID_NOT_FOUND, None);
        }
        Ok(())
    }

    /// What this turn noted is stored now.
    pub(super) fn finish_handshakes(&mut self) {
        for packet_id in self.turn.releases.drain(..) {
            self.peer.ack(AckKind::PubComp, packet_id, Reason::SUCCESS, None);
        }
        for packet_id in self.turn.received.drain(..) {
            self.peer.ack(AckKind::PubRel, packet_id, Reason::SUCCESS, None);
        }
    }

    /// Deliveries that waited for an identifier go out as soon as it is free.
    pub(super) fn send_held(&mut self) {
        let mut moved = false;
        while let Some(delivery) = self.outbound.unhold() {
            if self.outbound.is_taken(Outbound::derived(delivery.offset)) {
                self.outbound.hold_first(delivery);
                break;
            }
            self.send_own(delivery);
            moved = true;
        }
        if moved {
            self.settle_gathered();
            self.session.flush();
            self.encoded();
        }
    }
}

/// docs/SEMANTICS.md §1: longer topics are refused.
pub(super) fn within_limits(topic: &Bytes, settings: &Settings) -> bool {
    topic.len() <= settings.topic_bytes_max
        && Key::new(topic.clone()).separators() <= settings.topic_separators_max
}
