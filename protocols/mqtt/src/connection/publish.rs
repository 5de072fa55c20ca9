//! PUBLISH from the client, and the acknowledgements that the core's confirms turn into.

use super::{Closing, Connection};
use crate::codec::{AckKind, Publish, Reason};
use crate::mapping;
use crate::state::{Seen, memo};
use bytes::Bytes;
use crossdock_core::message::Charge;
use crossdock_core::{
    Address, Aside, Confirm, ConfirmOutcome, Error, ErrorKind, Key, LiveSettings, Memo,
    Publish as CorePublish, Session, Timestamp,
};
use std::sync::Arc;

/// Topics that were resolved: the last one, and those the client gave a number.
#[derive(Debug, Default)]
pub(super) struct Aliases {
    last: Option<(Bytes, Resolved)>,
    /// By alias, from 1 on. Grows to the highest one used, at most the announced maximum.
    numbered: Vec<Option<(Bytes, Resolved)>>,
    /// What their topics take.
    kept: Option<Charge>,
}

/// A publish that waits for some seconds. Its time to live runs from then.
#[cold]
fn waiting(publish: CorePublish, (now, seconds): (Timestamp, u32)) -> CorePublish {
    let ms = u64::from(seconds) * 1000;
    let mut meta = publish.message.meta().clone();
    meta.expires = meta.expires.map(|at| at.plus(ms));
    let message = publish.message.with(publish.message.address().clone(), meta);
    CorePublish { message, aside: Some(Box::new(Aside::Due(now.plus(ms)))), ..publish }
}

/// Where a publish goes, and in how many seconds.
type Resolved = (Address, u32);

impl Aliases {
    /// Keeps the last topic under its number, from 0 on.
    fn keep(&mut self, at: usize, session: &Session) -> Result<(), Error> {
        let Some((topic, resolved)) = &self.last else { return Ok(()) };
        if self.numbered.len() <= at {
            self.numbered.resize(at + 1, None);
        }
        let Some(slot) = self.numbered.get_mut(at) else { return Ok(()) };
        let kept = self.kept.get_or_insert_with(|| session.kept());
        // The topic, its address, and what one of their entries takes beside them.
        let cost = |topic: &Bytes| 2 * topic.len() + 128;
        kept.shrink(slot.as_ref().map_or(0, |(old, _)| cost(old)));
        session.may_keep(cost(topic))?;
        kept.grow(cost(topic));
        *slot = Some((topic.clone(), resolved.clone()));
        Ok(())
    }
}

impl Connection {
    pub(super) fn publish(&mut self, publish: Publish) -> Result<(), Closing> {
        let (address, delay) = self.resolve(&publish)?;
        if publish.qos == 2 {
            match self.inbound.seen(publish.packet_id) {
                Seen::New => (),
                Seen::Waiting => return Ok(()),
                Seen::TooEarly => {
                    let why = "a packet identifier was used again before its PUBREC was sent";
                    return Err(Closing::refused(Reason::PROTOCOL_ERROR, why));
                }
                Seen::Stored => {
                    self.client.to(&mut self.line.output).ack(
                        AckKind::PubRec,
                        publish.packet_id,
                        Reason::SUCCESS,
                        None,
                    );
                    return self.within_receive_maximum();
                }
            }
        }
        let (packet_id, qos) = (publish.packet_id, publish.qos);
        let users = publish.users;
        let headers = self.session.check_headers(publish.properties.len(), || users);
        let max = self.session.broker().live().message_bytes_max();
        let allowed = match publish.payload.len() > max {
            true => Err(too_large(publish.payload.len(), max)),
            false => headers,
        };
        let now = self.session.broker().now();
        let message = mapping::message(publish, address, &self.opened.incoming, now);
        // 3.1.1 has no word for no.
        let can_refuse = self.client.version.is_5();
        let publish = CorePublish { can_refuse, ..CorePublish::new(message, qos > 0) };
        let publish = if delay > 0 { waiting(publish, (now, delay)) } else { publish };
        let lane = self.opened.lane;
        let number = match qos == 2 && self.opened.persistent {
            _ if let Err(why) = allowed => self.session.refuse(lane, publish, why),
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

    /// MQTT 5 §3.3.4: more than announced is an error. 3.1.1 knows no limit: its clients are held back, and so are all
    /// where no limit was announced.
    fn within_receive_maximum(&self) -> Result<(), Closing> {
        let max = self.options.receive_maximum;
        let within = max == u16::MAX || self.inbound.open() <= usize::from(max);
        match within || !self.client.version.is_5() {
            true => Ok(()),
            false => {
                let why = "more publishes in flight than the receive maximum";
                Err(Closing::refused(Reason::RECEIVE_MAXIMUM_EXCEEDED, why))
            }
        }
    }

    /// The address of a publish.
    fn resolve(&mut self, publish: &Publish) -> Result<Resolved, Closing> {
        let Some(alias) = publish.alias else { return self.resolve_topic(publish.topic.bytes()) };
        // [MQTT-3.3.2-8], [MQTT-3.3.2-9]
        if alias == 0 || alias > self.options.topic_alias_maximum {
            return Err(Closing::refused(
                Reason::TOPIC_ALIAS_INVALID,
                "a topic alias out of range",
            ));
        }
        let at = usize::from(alias) - 1;
        if publish.topic.is_empty() {
            let known = self.aliases.numbered.get(at).and_then(Option::as_ref);
            return match known {
                Some((_, resolved)) => Ok(resolved.clone()),
                None => {
                    Err(Closing::refused(Reason::PROTOCOL_ERROR, "an alias that was never set"))
                }
            };
        }
        let resolved = self.resolve_topic(publish.topic.bytes())?;
        self.aliases
            .keep(at, &self.session)
            .map_err(|why| Closing::refused(Reason::QUOTA_EXCEEDED, why.detail().to_owned()))?;
        Ok(resolved)
    }

    fn resolve_topic(&mut self, topic: &Bytes) -> Result<Resolved, Closing> {
        if let Some((last, resolved)) = &self.aliases.last
            && last == topic
        {
            return Ok(resolved.clone());
        }
        let broker = self.session.broker();
        within_limits(topic, broker.live())
            .map_err(|why| Closing::refused(Reason::TOPIC_NAME_INVALID, why.detail().to_owned()))?;
        let delayed = mapping::delayed(topic);
        let (delay, at) = delayed.as_ref().map_or((0, topic), |(delay, topic)| (*delay, topic));
        let resolved = (mapping::target(at, &broker.settings().topic_exchange), delay);
        // A copy: the topic is a slice of the read buffer.
        let kept = match &resolved {
            (address, _) if delayed.is_none() && !address.is_queue() => address.key.bytes().clone(),
            _ => Bytes::copy_from_slice(topic),
        };
        self.aliases.last = Some((kept, resolved.clone()));
        Ok(resolved)
    }

    /// The core's answer to a publish.
    pub(super) fn confirmed(&mut self, confirm: Confirm) -> Result<(), Closing> {
        let reason = mapping::publish_reason(&confirm.confirmed);
        let why: Option<Arc<str>> = match &confirm.confirmed {
            ConfirmOutcome::Refused(error) => Some(Arc::from(error.detail())),
            ConfirmOutcome::Stored | ConfirmOutcome::Unroutable(_) => None,
        };
        if confirm.number == 0 && reason.is_failure() {
            // A QoS 0 publish that is not allowed, on a listener that does not drop it.
            return Err(Closing::refused(reason, why.as_deref().unwrap_or_default().to_owned()));
        }
        self.inbound.confirmed(confirm.number, reason, why);
        Ok(())
    }

    /// Writes the acknowledgements that are decided, in the order of the publishes.
    pub(super) fn answers(&mut self) -> Result<(), Closing> {
        while let Some(answer) = self.inbound.next() {
            if answer.reason.is_failure() && !self.client.version.is_5() {
                // 3.1.1 has no negative PUBACK, and a positive one would be a lie.
                let why = answer.why.as_deref().unwrap_or("a publish was refused").to_owned();
                return Err(Closing::refused(answer.reason, why));
            }
            let kind = match answer.qos {
                2 => AckKind::PubRec,
                _ => AckKind::PubAck,
            };
            if answer.qos == 2 && answer.reason.is_failure() && self.opened.persistent {
                self.session.memo(Memo { key: memo::inbound(answer.packet_id), value: None });
            }
            for _ in 0..=answer.repeats {
                let mut writer = self.client.to(&mut self.line.output);
                writer.ack(kind, answer.packet_id, answer.reason, answer.why.as_deref());
            }
            if answer.is_released {
                self.released(answer.packet_id)?;
            }
        }
        Ok(())
    }
}

/// docs/SEMANTICS.md §1: longer topics are refused.
pub(super) fn within_limits(topic: &Bytes, live: &LiveSettings) -> Result<(), Error> {
    live.check_topic(topic.len(), Key::new(topic.clone()).separators())
}

/// A packet of the size that CONNACK announces may have a body that is larger than a message may be: the message is
/// refused, not the connection.
#[cold]
fn too_large(bytes: usize, max: usize) -> Error {
    let why = format!("a message of {bytes} bytes is larger than {max} (limits.message_bytes)");
    Error::new(ErrorKind::TooLarge, why)
}
