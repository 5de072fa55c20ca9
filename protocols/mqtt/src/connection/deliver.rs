//! Deliveries to the client.

use super::Connection;
use crate::codec::{AckKind, PublishHead, Reason, Version};
use crate::mapping::{Rendered, Renderer, remaining_seconds};
use crate::state::{Awaited, Outbound, Sent};
use bytes::Bytes;
use crossdock_core::{ConsumerId, Delivery, Outcome};
use smallvec::SmallVec;

/// The bit of a binding tag's flags for Retain As Published.
pub(super) const RETAIN_AS_PUBLISHED: u8 = 1;

/// How one delivery is sent.
#[derive(Debug, Clone)]
pub(super) struct How {
    pub qos: u8,
    pub dup: bool,
    pub retain: bool,
    pub packet_id: u16,
    pub subscription_ids: SmallVec<[u32; 4]>,
}

impl Connection {
    pub(super) fn deliver(&mut self, deliveries: impl Iterator<Item = Delivery>) {
        let mut any = false;
        for delivery in deliveries {
            any = true;
            if delivery.consumer == ConsumerId::DIRECT {
                self.send_direct(&delivery);
            } else if delivery.consumer != self.opened.own {
                match self.is_window_full() && self.has_identifier(&delivery) {
                    true => self.outbound.hold(delivery),
                    false => self.send_from_queue(&delivery),
                }
            } else if self.outbound.is_holding() || self.has_to_wait(&delivery) {
                self.outbound.hold(delivery);
            } else {
                self.send_own(delivery);
            }
        }
        if any {
            self.encoded();
        }
    }

    /// All deliveries taken so far are in the output, or were settled without being sent.
    pub(super) fn encoded(&mut self) {
        self.session.encoded(self.line.output.position());
        if self.line.output.is_empty() {
            // Nothing of them is left to be written.
            self.session.flushed(self.line.output.written());
        }
    }

    /// True when the client has as many unacknowledged deliveries as it allows [MQTT-3.3.4-9]. Credit keeps within
    /// that, but when a queue is deleted, the core hands its credit out again before this side learns of it.
    fn is_window_full(&self) -> bool {
        self.outbound.in_flight() >= self.opened.credit.messages as usize
    }

    /// Whether a delivery of a queue that the client consumes by name or in a group has a packet identifier.
    fn has_identifier(&self, delivery: &Delivery) -> bool {
        let subscription = self.subscriptions.of(delivery.consumer);
        subscription.is_some_and(|subscription| qos_of(delivery, subscription.qos) > 0)
    }

    /// Whether a delivery of the session's own queue has to wait.
    fn has_to_wait(&self, delivery: &Delivery) -> bool {
        self.is_window_full() || self.outbound.is_taken(Outbound::derived(delivery.offset))
    }

    /// Deliveries that waited for an identifier or for the client's acknowledgements go out as soon as they can.
    pub(super) fn send_held(&mut self) {
        if self.claims.is_owed() {
            self.send_again();
        }
        let mut moved = false;
        while let Some(delivery) = self.outbound.unhold() {
            let is_own = delivery.consumer == self.opened.own;
            if self.is_window_full() || (is_own && self.has_to_wait(&delivery)) {
                self.outbound.hold_first(delivery);
                break;
            }
            match is_own {
                true => self.send_own(delivery),
                false => self.send_from_queue(&delivery),
            }
            moved = true;
        }
        if moved {
            self.settle_gathered();
            self.session.flush();
            self.encoded();
        }
    }

    /// QoS 0: sent now, or dropped.
    fn send_direct(&mut self, delivery: &Delivery) {
        if !self.is_expired(delivery) {
            let how = how(delivery, 0, 0);
            self.send(delivery, &how);
        }
    }

    fn is_expired(&self, delivery: &Delivery) -> bool {
        let expires = delivery.message.meta().expires;
        expires.is_some_and(|at| at <= self.session.broker().now())
    }

    /// A record of the session's own queue, under its derived identifier, which is free.
    pub(super) fn send_own(&mut self, delivery: Delivery) {
        let packet_id = Outbound::derived(delivery.offset);
        let (consumer, offset) = (delivery.consumer, delivery.offset);
        if self.outbound.was_received(offset) {
            // Its PUBREC came on an earlier connection: only the release is repeated [MQTT-4.4.0-1].
            self.outbound.insert(
                packet_id,
                Sent { consumer: Some(consumer), offset, awaited: Awaited::PubComp },
            );
            self.client.to(&mut self.line.output).ack(
                AckKind::PubRel,
                packet_id,
                Reason::SUCCESS,
                None,
            );
            return;
        }
        if !delivery.redelivered && self.is_expired(&delivery) {
            self.gather(consumer, offset);
            return;
        }
        // A message that another protocol published to the queue itself has no tag; it has to be acknowledged as well.
        let level = match delivery.tags.as_slice().is_empty() {
            true => 1,
            false => delivery.message.meta().level.min(delivery.tags.level()),
        };
        let mut how = how(&delivery, level.clamp(1, 2), packet_id);
        how.dup = delivery.redelivered;
        if self.send(&delivery, &how) {
            let awaited = if how.qos == 2 { Awaited::PubRec } else { Awaited::PubAck };
            self.outbound.insert(packet_id, Sent { consumer: Some(consumer), offset, awaited });
        }
    }

    /// A record of a queue that the client consumes by name or in a group.
    fn send_from_queue(&mut self, delivery: &Delivery) {
        let (consumer, offset) = (delivery.consumer, delivery.offset);
        let Some(subscription) = self.subscriptions.of(consumer) else {
            // The client unsubscribed while this was on the way: another consumer gets it.
            self.session.settle(self.opened.lane, consumer, &[offset], Outcome::Released);
            return;
        };
        let (granted, id) = (subscription.qos, subscription.id);
        let qos = qos_of(delivery, granted);
        let retain = subscription.retain_as_published && delivery.message.meta().retain;
        let packet_id = match qos {
            0 => 0,
            _ => match self.outbound.free() {
                Some(packet_id) => packet_id,
                // Cannot happen: the credit is far below the number of identifiers. A release would bring it again at
                // once, for ever; so it goes back with the end of the connection.
                None => return,
            },
        };
        let subscription_ids = id.into_iter().collect();
        let how = How { qos, dup: false, retain, packet_id, subscription_ids };
        if qos == 2 {
            return self.begin(delivery, how);
        }
        if !self.send(delivery, &how) {
            return;
        }
        if qos > 0 {
            let awaited = Awaited::PubAck;
            self.outbound.insert(packet_id, Sent { consumer: Some(consumer), offset, awaited });
        } else if granted > 0 {
            // At most once, and nobody acknowledges it. A subscription of QoS 0 settles with the written byte.
            self.gather(consumer, offset);
        }
    }

    /// Writes the PUBLISH. False when it cannot be sent to this client: then it is settled.
    pub(super) fn send(&mut self, delivery: &Delivery, how: &How) -> bool {
        let message = &delivery.message;
        let version = self.client.version;
        let broker = self.session.broker().clone();
        let carry = self.options.carry;
        let renderer = Renderer { version, formats: broker.formats(), carry };
        let Some(Rendered { topic, properties }) = renderer.render(message) else {
            self.give_up(delivery, "conversion: the topic is too long");
            return false;
        };
        let expiry = match version {
            Version::V5 => remaining_seconds(message.meta().expires, broker.now()),
            Version::V31 | Version::V311 => None,
        };
        let mut head = PublishHead {
            version,
            dup: how.dup,
            qos: how.qos,
            retain: how.retain,
            topic: &topic,
            packet_id: how.packet_id,
            expiry,
            subscription_ids: match version {
                Version::V5 => &how.subscription_ids,
                Version::V31 | Version::V311 => &[],
            },
            properties: properties.len(),
            payload: message.body().len(),
        };
        let mut chosen: Bytes = properties;
        if !self.client.takes(&head) {
            let smaller = renderer.smaller(message).into_iter().find(|block| {
                head.properties = block.len();
                self.client.takes(&head)
            });
            let Some(smaller) = smaller else {
                // [MQTT-3.1.2-25]: as if it had been sent.
                tracing::trace!(
                    "a message was skipped: it is larger than the client's maximum packet size"
                );
                self.settle_unsent(delivery);
                return false;
            };
            chosen = smaller;
        }
        self.client.to(&mut self.line.output).publish(&head, &chosen, message.body());
        true
    }

    /// docs/SEMANTICS.md R9: what cannot be framed at all is dead-lettered.
    fn give_up(&mut self, delivery: &Delivery, why: &str) {
        tracing::trace!(why, "a message cannot be put into a packet and is dead-lettered");
        if delivery.consumer != ConsumerId::DIRECT {
            let outcome = Outcome::Rejected { reason: Some(why.into()) };
            let lane = self.opened.lane;
            self.session.settle(lane, delivery.consumer, &[delivery.offset], outcome);
        }
    }

    fn settle_unsent(&mut self, delivery: &Delivery) {
        if delivery.consumer != ConsumerId::DIRECT {
            self.gather(delivery.consumer, delivery.offset);
        }
    }
}

/// The lower of what was published and what was granted [MQTT-3.8.4-8].
fn qos_of(delivery: &Delivery, granted: u8) -> u8 {
    delivery.message.meta().level.min(granted)
}

fn how(delivery: &Delivery, qos: u8, packet_id: u16) -> How {
    let tags = delivery.tags.as_slice();
    // MQTT 5 §3.3.1.3: 1 for a retained message at subscribe time, otherwise as published if it was asked for so.
    let as_published = tags.iter().any(|tag| tag.flags & RETAIN_AS_PUBLISHED != 0);
    let retain = delivery.retained || (as_published && delivery.message.meta().retain);
    let subscription_ids = tags.iter().map(|tag| tag.id).filter(|id| *id != 0).collect();
    How { qos, dup: false, retain, packet_id, subscription_ids }
}
