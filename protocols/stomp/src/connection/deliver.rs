//! Events of the session into frames. A MESSAGE is a head of this delivery and a tail that all its receivers share.

use super::Connection;
use super::receipts::ReceiptId;
use super::refusal::Refusal;
use crate::codec::{FRAME_END, decimal};
use crate::mapping::{self, Look};
use crate::options::TimeUnit;
use bytes::{BufMut, Bytes, BytesMut};
use crossdock_core::{ConfirmOutcome, Delivery, Error, ErrorKind, Message, Notice, Outcome};

impl Connection<'_> {
    /// Handles the events that were taken from the session.
    pub(super) fn take_events(&mut self) -> Result<(), Refusal> {
        self.now = self.session.broker().now();
        let mut events = std::mem::take(&mut self.events);
        for confirm in events.confirms.drain(..) {
            if let (0, ConfirmOutcome::Refused(error)) = (confirm.number, &confirm.confirmed) {
                return Err(error.clone().into());
            }
            if confirm.lane == self.lane {
                let (out, rules) = (self.line.output.tail(), self.client.rules);
                let confirmed = self.receipts.confirmed(confirm.confirmed, out, rules);
                confirmed.map_err(refused)?;
            }
        }
        for notice in events.notices.drain(..) {
            self.notice(notice)?;
        }
        // After DISCONNECT no more messages are sent; what is not written goes back with the end of the session.
        if self.leaving.is_none() {
            for delivery in events.deliveries.drain(..) {
                self.deliver(&delivery);
            }
            self.session.encoded(self.line.output.position());
            self.count_kept();
        }
        self.events = events;
        Ok(())
    }

    fn notice(&mut self, notice: Notice) -> Result<(), Refusal> {
        match notice {
            // STOMP has no frame for it; held publishes simply get no receipts.
            Notice::Blocked(_) => {}
            Notice::Detached { consumer, why } => {
                if self.subscriptions.remove(consumer).is_some_and(|removed| !removed.ended) {
                    let detail = format!("the server ended a subscription: {}", why.detail());
                    return Err(Error::new(why.kind(), detail).into());
                }
            }
            Notice::Late(late) => {
                self.subscriptions.remove(late.consumer);
                return Err(late.why().into());
            }
            Notice::TakenOver => {
                return Err(Error::new(ErrorKind::Closed, "another connection took over").into());
            }
            Notice::Closed(error) => return Err(error.into()),
        }
        Ok(())
    }

    fn deliver(&mut self, delivery: &Delivery) {
        let message = &delivery.message;
        if self.subscriptions.is_unwanted(delivery, self.session.origin()) {
            let (consumer, offset) = (delivery.consumer, delivery.offset);
            // In a subscription without acknowledgements it would be accepted when written; this is only earlier.
            self.session.settle(self.lane, consumer, &[offset], Outcome::Accepted);
            return;
        }
        let tail = self.tail(message);
        let noted = self.subscriptions.delivered(delivery.consumer, delivery.offset);
        let Some((number, subscription)) = noted else { return };
        let out = self.line.output.tail();
        subscription.put_head(out, (delivery.redelivered, message.meta().durable));
        decimal(out, delivery.offset.0);
        out.put_u8(b'\n');
        if let Some(ack) = &subscription.ack {
            out.put_slice(ack);
            decimal(out, number);
            out.put_u8(b'\n');
        }
        if delivery.attempts > 0 {
            out.put_slice(b"mq.delivery-count:");
            decimal(out, u64::from(delivery.attempts));
            out.put_u8(b'\n');
        }
        if delivery.retained {
            out.put_slice(b"mq.retained:true\n");
        }
        if let Some(expires) = message.meta().expires
            && !mapping::is_native(message)
        {
            // docs/SEMANTICS.md R7: time that is left is never shown as 0.
            out.put_slice(b"expiration:");
            decimal(out, self.now.until(expires).max(1));
            out.put_u8(b'\n');
        }
        if subscription.is_jms {
            put_jms(out, message, &tail, self.client.door.timestamps);
        }
        if let Some(shown) = &subscription.shown {
            put_shown(out, shown, &tail);
        }
        self.line.output.push(&tail);
        if !mapping::holds_body(message) {
            self.line.output.push(message.body());
            self.line.output.tail().put_slice(FRAME_END);
        }
    }

    fn tail(&self, message: &Message) -> Bytes {
        let look = Look {
            version: self.client.version,
            topic_exchange: &self.client.topic_exchange,
            formats: &self.client.formats,
            door: &self.client.door,
        };
        match self.client.shares(message) {
            true => message.frame(self.client.format, || mapping::tail(message, look)),
            false => mapping::tail(message, look),
        }
    }
}

/// A virtual topic's queue is shown as it was subscribed to, and where the message was sent behind that. `tail` begins
/// with the header `destination`, which becomes `original-destination`.
#[cold]
fn put_shown(out: &mut BytesMut, shown: &[u8], tail: &[u8]) {
    if !tail.starts_with(shown) {
        out.put_slice(shown);
        out.put_slice(b"original-");
    }
}

/// What ActiveMQ writes on every message, unless the sender did.
#[cold]
fn put_jms(out: &mut BytesMut, message: &Message, tail: &[u8], unit: TimeUnit) {
    let end = memchr::memmem::find(tail, b"\n\n").unwrap_or(tail.len());
    let headers = tail.get(..end).unwrap_or_default();
    let meta = message.meta();
    let sent = match unit {
        TimeUnit::Milliseconds => meta.published.0,
        TimeUnit::Seconds => meta.published.0 / 1000,
    };
    let expires = meta.expires.map_or(0, |at| at.0);
    let priority = u64::from(meta.priority.unwrap_or(4));
    let all = [("timestamp", sent), ("expires", expires), ("priority", priority)];
    for (name, value) in all {
        if memchr::memmem::find(headers, format!("\n{name}:").as_bytes()).is_none() {
            out.put_slice(name.as_bytes());
            out.put_u8(b':');
            decimal(out, value);
            out.put_u8(b'\n');
        }
    }
}

fn refused((error, receipt): (Error, ReceiptId)) -> Refusal {
    Refusal { receipt: Some(receipt), ..error.into() }
}
