//! What the broker has for the client: deliveries, confirms, returns, notices → frames. Heads are written per receiver;
//! properties and body are the shared bytes.

use super::channel::{COUNTED_EVERY, Slot};
use super::direct_reply::receiver;
use super::unsettled::Tag;
use super::{Closing, Connection, Limits};
use crate::codec::frame::{self, END, OVERHEAD};
use crate::codec::properties::largest;
use crate::codec::{Refusal, Reply, ReplyCode, Sent};
use crate::mapping::address::wire_key;
use crate::mapping::{errors, outbound};
use bytes::{BufMut, Bytes};
use crossdock_core::{
    Broker, Confirm, ConfirmOutcome, ConsumerId, Delivery, ErrorKind, Events, LaneId, Late,
    Message, Notice, Timestamp,
};
use crossdock_net::Output;
use smallvec::SmallVec;
use std::future::Future;
use std::pin::pin;
use std::task::Poll;

/// Bodies up to this size go into the buffer; larger ones stay where they are (docs/adr/0002).
const COPY_MAX: usize = 2 << 10;

/// A consumer as deliveries find it.
#[derive(Debug, Clone)]
pub struct Subscriber {
    pub channel: u16,
    pub tag: Bytes,
    pub settles: bool,
}

/// Which method announces a message.
#[derive(Debug, Clone, Copy)]
pub enum Head<'a> {
    Delivered { consumer_tag: &'a [u8], delivery_tag: u64 },
    Got { delivery_tag: u64, messages: u64 },
}

/// Where the messages of a channel are written, and how its client reads them.
struct Writer<'a> {
    output: &'a mut Output,
    reader: outbound::Reader<'a>,
    channel: u16,
}

fn reader<'a>(broker: &'a Broker, limits: &Limits, now: Timestamp) -> outbound::Reader<'a> {
    let (carry, frame_max) = (limits.carry, limits.frame_max);
    outbound::Reader { formats: broker.formats(), carry, frame_max, now }
}

impl Writer<'_> {
    /// False when the properties are too large for the reader's frames.
    fn put_delivery(&mut self, delivery: &Delivery, head: Head<'_>) -> bool {
        let address = delivery.message.address();
        let key = wire_key(address);
        let sent = |delivery_tag| Sent {
            delivery_tag,
            redelivered: delivery.redelivered,
            exchange: address.exchange.as_bytes(),
            routing_key: &key.routing_key,
        };
        let reply = match head {
            Head::Delivered { consumer_tag, delivery_tag } => {
                Reply::BasicDeliver { consumer_tag, sent: sent(delivery_tag) }
            }
            Head::Got { delivery_tag, messages } => {
                Reply::BasicGetOk { sent: sent(delivery_tag), messages }
            }
        };
        reply.put(self.output.tail(), self.channel);
        let properties = outbound::properties(delivery, &self.reader);
        self.put_content(&properties, delivery.message.body());
        properties.len() <= self.reader.properties_max()
    }

    /// Header and body frames (AMQP 0-9-1 §4.2.6); a body longer than a frame is divided.
    fn put_content(&mut self, properties: &[u8], body: &Bytes) {
        let size = u64::try_from(body.len()).unwrap_or(u64::MAX);
        frame::put_content_header(self.output.tail(), self.channel, size, properties);
        let most = self.reader.frame_max.saturating_sub(OVERHEAD).max(1);
        if (1..=most).contains(&body.len()) {
            put_body(self.output, self.channel, body);
            return;
        }
        let mut rest = body.clone();
        while !rest.is_empty() {
            let piece = rest.split_to(most.min(rest.len()));
            put_body(self.output, self.channel, &piece);
        }
    }
}

/// Channels that have confirms to be written.
type Runs = SmallVec<[u16; 4]>;

impl Connection {
    /// Encodes what is ready, without waiting for more.
    pub(super) async fn encode_ready(&mut self) -> Result<(), Refusal> {
        let (session, events) = (&mut self.session, &mut self.events);
        let ready = std::future::poll_fn(|cx| {
            let wait = pin!(session.events(events));
            Poll::Ready(wait.poll(cx).is_ready())
        });
        if !ready.await {
            return Ok(());
        }
        self.encode_events().map_err(|closing| match closing {
            Closing::Refused(refusal, _) => refusal,
            Closing::ByClient | Closing::Quiet(_) | Closing::Lost(_) => {
                Refusal::new(ReplyCode::ConnectionForced, "the connection ends")
            }
        })
    }

    /// Encodes the events that were taken.
    pub(super) fn encode_events(&mut self) -> Result<(), Closing> {
        let mut events = std::mem::take(&mut self.events);
        self.now = self.session.broker().now();
        let Events { deliveries, confirms, notices } = &mut events;
        deliveries.drain(..).for_each(|delivery| self.deliver(&delivery));
        self.session.encoded(self.line.output.position());
        let confirmed = self.encode_confirms(confirms);
        let noticed = notices.drain(..).try_for_each(|notice| self.notice(notice));
        // The vectors keep their allocations for the next time.
        self.events = events;
        confirmed.and(noticed)
    }

    fn deliver(&mut self, delivery: &Delivery) {
        // A consumer that was cancelled meanwhile: the core has taken back what it was not sent.
        let Self { subscribers, channels, line, session, limits, now, .. } = self;
        let Some(Subscriber { channel, tag, settles }) = subscribers.get(&receiver(delivery))
        else {
            return;
        };
        let Some(Slot::Open(state)) = channels.get_mut(channel) else { return };
        let delivery_tag = state.next_tag();
        if *settles {
            let (consumer, offset) = (delivery.consumer, delivery.offset);
            state.unsettled.push(Tag { tag: delivery_tag, consumer, offset });
            // Now and then: the memory of so many comes at once.
            if delivery_tag % COUNTED_EVERY == 0 {
                state.count();
            }
        }
        let reader = reader(session.broker(), limits, *now);
        let mut writer = Writer { output: &mut line.output, reader, channel: *channel };
        let head = Head::Delivered { consumer_tag: tag, delivery_tag };
        if !writer.put_delivery(delivery, head) {
            self.note_oversized(delivery);
        }
    }

    pub(super) fn put_delivery(&mut self, channel: u16, delivery: &Delivery, head: Head<'_>) {
        if !self.writer(channel).put_delivery(delivery, head) {
            self.note_oversized(delivery);
        }
    }

    /// A content header was sent that is larger than the frames that the client agreed to.
    #[cold]
    fn note_oversized(&mut self, delivery: &Delivery) {
        self.session.note_oversized();
        if std::mem::replace(&mut self.limits.told_oversized, true) {
            return;
        }
        let reader = reader(self.session.broker(), &self.limits, self.now);
        let properties = outbound::properties(delivery, &reader);
        let (header, octets) = largest(&properties).unwrap_or_default();
        let (origin, frame_max) = (self.session.origin(), self.limits.frame_max);
        tracing::warn!(
            user = %origin.user, client = %origin.client, peer = %origin.peer, frame_max, header, octets,
            "a message's headers are larger than the frames that its reader takes: they are sent whole, \
             and cut when the message has to be delivered again"
        );
    }

    fn writer(&mut self, channel: u16) -> Writer<'_> {
        let reader = reader(self.session.broker(), &self.limits, self.now);
        Writer { output: &mut self.line.output, reader, channel }
    }

    fn encode_confirms(&mut self, confirms: &mut Vec<Confirm>) -> Result<(), Closing> {
        let mut runs = Runs::new();
        for Confirm { lane, number, confirmed } in confirms.drain(..) {
            if number > 0 && self.is_stale(lane) {
                continue;
            }
            // Its channel may be gone.
            let Some(channel) = self.lanes.get(&lane).copied() else { continue };
            let Some(Slot::Open(state)) = self.channels.get_mut(&channel) else { continue };
            state.confirms.confirmed = state.confirms.confirmed.max(number);
            let returned = number == 0 || state.confirms.was_mandatory(number);
            let sent = state.confirms.take_sent(number);
            match confirmed {
                ConfirmOutcome::Stored => {}
                // The return goes before the confirm (docs/RELIABILITY.md §1).
                ConfirmOutcome::Unroutable(message) if returned => {
                    self.put_return(channel, &message, None)
                }
                ConfirmOutcome::Unroutable(_) => {}
                ConfirmOutcome::Refused(error) => {
                    self.put_acks(&mut runs);
                    match error.kind() {
                        // The exchange went, or may not be published to: the same as at the publish.
                        ErrorKind::NotFound | ErrorKind::Refused => {
                            self.fail_later(channel, errors::refusal(&error), (60, 40))?;
                        }
                        _ => {
                            tracing::debug!(channel, number, %error, "publish refused with basic.nack");
                            if let Some(message) = sent {
                                let why = errors::refusal(&error);
                                self.put_return(channel, &message, Some(&why));
                            }
                            self.put_nack(channel, number);
                        }
                    }
                    continue;
                }
            }
            if number > 0 && self.note_confirmed(channel, number) {
                runs.push(channel);
            }
        }
        self.put_acks(&mut runs);
        Ok(())
    }

    /// True for a confirm of a channel that is gone. They come before those of the lane's next channel.
    fn is_stale(&mut self, lane: LaneId) -> bool {
        let Some(left) = self.stale_confirms.get_mut(&lane) else { return false };
        *left = left.saturating_sub(1);
        if *left == 0 {
            self.stale_confirms.remove(&lane);
        }
        true
    }

    fn put_nack(&mut self, channel: u16, number: u64) {
        if number > 0 {
            Reply::BasicNack { delivery_tag: number, multiple: false }
                .put(self.line.output.tail(), channel);
        }
    }

    /// Adds a number to its channel's run; true when that is a new one.
    fn note_confirmed(&mut self, channel: u16, number: u64) -> bool {
        let Some(Slot::Open(state)) = self.channels.get_mut(&channel) else { return false };
        match &mut state.confirms.run {
            Some((_, last)) => {
                *last = number;
                false
            }
            run => {
                *run = Some((number, number));
                true
            }
        }
    }

    /// One ack for each run: all before its last number are confirmed already, or in the run.
    fn put_acks(&mut self, runs: &mut Runs) {
        for channel in runs.drain(..) {
            let Some(Slot::Open(state)) = self.channels.get_mut(&channel) else { continue };
            let Some((first, last)) = state.confirms.run.take() else { continue };
            Reply::BasicAck { delivery_tag: last, multiple: first < last }
                .put(self.line.output.tail(), channel);
        }
    }

    /// A message goes back to its publisher: nothing is bound for it, or it is refused.
    fn put_return(&mut self, channel: u16, message: &Message, refused: Option<&Refusal>) {
        let key = wire_key(message.address());
        let code = refused.map_or(ReplyCode::NoRoute, |refused| refused.code);
        let text = refused.map(Refusal::reply_text);
        let reply = Reply::BasicReturn {
            code: code.number(),
            text: text.as_deref().unwrap_or(code.word()),
            exchange: message.address().exchange.as_bytes(),
            routing_key: &key.routing_key,
        };
        reply.put(self.line.output.tail(), channel);
        let mut writer = self.writer(channel);
        let properties = outbound::returned(message, &writer.reader);
        writer.put_content(&properties, message.body());
    }

    fn notice(&mut self, notice: Notice) -> Result<(), Closing> {
        let forced = |text: &str| {
            Err(Closing::Refused(Refusal::new(ReplyCode::ConnectionForced, text), (0, 0)))
        };
        match notice {
            Notice::Detached { consumer, why } => {
                tracing::debug!(?consumer, %why, "the broker ended a consumer");
                self.consumer_ended(consumer);
                Ok(())
            }
            Notice::Late(late) => self.consumer_late(&late),
            Notice::Blocked(blocked) => {
                if self.limits.client.connection_blocked {
                    let reply = match blocked {
                        true => Reply::ConnectionBlocked { reason: "publishes are held back" },
                        false => Reply::ConnectionUnblocked,
                    };
                    reply.put(self.line.output.tail(), 0);
                }
                Ok(())
            }
            Notice::TakenOver => forced("another connection took the session"),
            Notice::Closed(error) => forced(error.detail()),
        }
    }

    /// RabbitMQ "Delivery acknowledgement timeout": the consumer is cancelled where its client understands that. What
    /// it acknowledges from now on is nobody's. Otherwise, and where there is no consumer to cancel (a basic.get, or
    /// one that was cancelled), the channel is closed.
    fn consumer_late(&mut self, late: &Late) -> Result<(), Closing> {
        let is_told = self.limits.client.consumer_cancel_notify;
        if is_told && self.subscribers.contains_key(&late.consumer) {
            self.consumer_ended(late.consumer);
            return Ok(());
        }
        let lane = late.lane.and_then(|lane| self.lanes.get(&lane));
        let Some(channel) = lane.copied() else { return Ok(()) };
        let text = format!(
            "delivery acknowledgement on channel {channel} timed out. Timeout value used: {} ms. This \
             timeout value can be configured, see consumers doc guide to learn more",
            late.timeout_ms
        );
        self.fail_later(channel, Refusal::new(ReplyCode::PreconditionFailed, text), (0, 0))
    }

    /// RabbitMQ "Consumer cancel notification": the queue of a consumer is gone.
    fn consumer_ended(&mut self, consumer: ConsumerId) {
        let Some(Subscriber { channel, tag, .. }) = self.subscribers.remove(&consumer) else {
            return;
        };
        let Some(Slot::Open(state)) = self.channels.get_mut(&channel) else { return };
        state.consumers.remove(&tag);
        if self.limits.client.consumer_cancel_notify {
            Reply::BasicCancel { consumer_tag: &tag }.put(self.line.output.tail(), channel);
        }
    }
}

fn put_body(output: &mut Output, channel: u16, piece: &Bytes) {
    let tail = output.tail();
    frame::put_body_head(tail, channel, piece.len());
    if piece.len() <= COPY_MAX {
        tail.extend_from_slice(piece);
    } else {
        output.push(piece);
    }
    output.tail().put_u8(END);
}
